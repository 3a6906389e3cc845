"""Servers that lie to who sends records: they are not believed, and nobody runs in circles."""

import json
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any

import grpc
import pytest
from harness.api import Stubs
from harness.host import Host
from harness.waiting import DEADLINE_S, until

pytestmark = pytest.mark.once

MOST = 2**64 - 1


class Liar:
    """Takes conversations that send, and answers each batch as it is told to."""

    def __init__(self, stubs: Stubs, host: Host) -> None:
        """Listen on a socket."""
        self.wire = stubs.records
        # What becomes of a batch with this number.
        self.answer: Callable[[int], dict[str, Any]] = lambda number: {}
        self.times: list[float] = []
        self.path = host.tmp / "liar"
        wire = self.wire
        handlers = {
            "Ingest": grpc.stream_stream_rpc_method_handler(
                self._ingest,
                request_deserializer=wire.IngestRequest.FromString,
                response_serializer=wire.IngestResponse.SerializeToString,
            ),
            "Tail": grpc.unary_stream_rpc_method_handler(
                self._tail,
                request_deserializer=wire.TailRequest.FromString,
                response_serializer=wire.TailResponse.SerializeToString,
            ),
        }
        service = grpc.method_handlers_generic_handler("legwork.v1.RecordService", handlers)
        self.server = grpc.server(futures.ThreadPoolExecutor(4))
        self.server.add_generic_rpc_handlers((service,))
        self.server.add_insecure_port(f"unix:{self.path}")
        self.server.start()

    def _ingest(self, requests: Iterator[Any], _: grpc.ServicerContext) -> Iterator[Any]:
        wire = self.wire
        next(requests)
        welcome = wire.IngestWelcome(
            durability=wire.Durability(durable=wire.DurableNow()),
            record_bytes_max=1 << 18,
            depth_max=32,
            batch_records_max=1000,
            batch_bytes_max=1 << 20,
        )
        yield wire.IngestResponse(credit=1 << 20, welcome=welcome)
        for request in requests:
            self.times.append(time.monotonic())
            yield wire.IngestResponse(credit=1 << 16, **self.answer(request.batch.sequence))

    def _tail(self, _: Any, __: grpc.ServicerContext) -> Iterator[Any]:
        wire = self.wire
        line = '{"received_at":"T","client":"a\u009b2J","data":{"x":"\u202e"},"crc":"00000000"}\n'
        text = line.encode() + b"\x1b[2J\xff\n"
        lines = wire.Lines(text=text, count=2, first=1, last=2)
        yield wire.TailResponse(resume_token="x", lines=lines)
        yield wire.TailResponse(resume_token="x", end=wire.TailEnd())


@pytest.fixture
def liar(stubs: Stubs, host: Host) -> Iterator[Liar]:
    """One."""
    made = Liar(stubs, host)
    yield made
    made.server.stop(None)


def refusal(liar: Liar, number: int, **told: Any) -> dict[str, Any]:
    """A batch is not taken."""
    return {"refusal": liar.wire.IngestRefusal(sequence=number, message="m", **told)}


def ack(liar: Liar, number: int, first: int = 1, count: int = 1) -> dict[str, Any]:
    """A batch is taken."""
    accepted = liar.wire.SeqRange(first=first, count=count)
    return {"ack": liar.wire.IngestAck(sequence=number, accepted=accepted)}


@pytest.mark.parametrize("lie", ["behind all", "next", "other", "beyond", "empty"])
def test_what_nobody_can_have_is_not_taken_for_sent(liar: Liar, host: Host, lie: str) -> None:
    order = {"code": 9, "reason": "OUT_OF_ORDER"}
    liar.answer = {
        "behind all": lambda number: refusal(liar, number, expected=MOST, **order),
        "next": lambda number: refusal(liar, number, expected=number + 2, **order),
        "other": lambda number: ack(liar, number + 1),
        "beyond": lambda number: ack(liar, number, MOST, 10),
        "empty": lambda _: {},
    }[lie]
    words = ("--json", "-H", f"unix://{liar.path}", "records", "send")
    result = host.run(*words, stdin=b'{"n":1}\n{"n":2}\n').expect(1)
    summary = json.loads(result.text.splitlines()[-1])
    assert summary["accepted"] == 0
    assert result.error()["reason"] == "PROTOCOL"


@pytest.mark.parametrize("why", ["now", "order"])
def test_who_is_refused_again_and_again_takes_ever_more_time(
    liar: Liar, host: Host, why: str
) -> None:
    liar.answer = {
        "now": lambda number: refusal(liar, number, code=14, reason="X", retry_after_ms=0),
        "order": lambda number: refusal(
            liar, number, code=9, reason="OUT_OF_ORDER", expected=number
        ),
    }[why]
    words = ("-H", f"unix://{liar.path}", "records", "send", host.write("a.json", '{"n":1}'))
    with host.popen(*words) as sender:
        until(lambda: len(liar.times) >= 8, "it has tried")
        assert liar.times[7] - liar.times[0] > 0.3
        # It is not given up: what is taken at last is sent.
        liar.answer = lambda number: ack(liar, number)
        assert sender.wait(timeout=DEADLINE_S) == 0


def test_a_terminal_is_told_nothing_by_a_line(liar: Liar, host: Host) -> None:
    shown = host.ok("-H", f"unix://{liar.path}", "records", "tail")
    assert shown == 'T a\\u009b2J {"x":"\\u202e"}\n\\u001b[2J\ufffd\n'
