"""Records as a foreign client sends and reads them."""

import json
import queue
from collections.abc import Iterator
from typing import Any

from harness.api import Client
from harness.waiting import DEADLINE_S

BATCH_COST = 256


class Sender:
    """A conversation that sends: messages go out when asked, answers come when read."""

    def __init__(self, client: Client, stream: str, producer: str = "", **opened: Any) -> None:
        """Open it, and wait for the welcome."""
        self.wire = client.stubs.records
        self._queue: queue.SimpleQueue[Any] = queue.SimpleQueue()
        opening = self.wire.IngestOpen(stream=stream, producer=producer, **opened)
        self._queue.put(self.wire.IngestRequest(open=opening))
        self.answers = client.records.Ingest(iter(self._queue.get, None), timeout=2 * DEADLINE_S)
        first = next(self.answers)
        assert first.WhichOneof("message") == "welcome", first
        self.welcome = first.welcome
        self.credit = first.credit

    def put(self, records: bytes, sequence: int = 0, **more: Any) -> None:
        """Send a batch and do not wait."""
        batch = self.wire.IngestBatch(sequence=sequence, records=records, **more)
        self._queue.put(self.wire.IngestRequest(batch=batch))

    def raw(self, request: Any) -> None:
        """Send any message."""
        self._queue.put(request)

    def answer(self) -> Any:
        """The next answer: an acknowledgement or a refusal."""
        message = next(self.answers)
        return getattr(message, message.WhichOneof("message"))

    def send(self, records: bytes, sequence: int = 0, **more: Any) -> Any:
        """Send a batch; its answer."""
        self.put(records, sequence, **more)
        return self.answer()

    def end(self) -> list[Any]:
        """Say that there is no more; what else is answered until the end."""
        self._queue.put(None)
        return list(self.answers)


def lines(client: Client, stream: str, **how: Any) -> list[dict[str, Any]]:
    """Every line that is there now, whole."""
    return [json.loads(line) for line in texts(client, stream, **how)]


def texts(client: Client, stream: str, **how: Any) -> Iterator[bytes]:
    """The same as they stand there."""
    wire = client.stubs.records
    ended = False
    for message in client.records.Tail(wire.TailRequest(stream=stream, **how), timeout=DEADLINE_S):
        assert not ended, "nothing comes after the end"
        kind = message.WhichOneof("event")
        ended = kind == "end"
        if kind == "lines":
            found = message.lines.text.splitlines(keepends=True)
            assert len(found) == message.lines.count
            assert all(line.endswith(b"\n") for line in found)
            yield from found
    assert ended, "a stream ends with an end"


def numbers(client: Client, stream: str) -> list[Any]:
    """What the records say of `n`."""
    return [line["data"]["n"] for line in lines(client, stream) if "data" in line]
