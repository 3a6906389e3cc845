"""Streams that are sent on by OTLP: every record, whatever happens on the way."""

import json
import signal
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from google.protobuf import any_pb2
from harness import otlp
from harness.api import Client
from harness.otlp import Collector, collecting, service
from harness.waiting import DEADLINE_S, until
from harness.world import World

pytestmark = pytest.mark.once


@pytest.fixture
def lake() -> Iterator[tuple[Collector, int]]:
    """A receiver on this host."""
    with collecting() as found:
        yield found


def settings(port: int, *more: str, streams: str = '["app"]') -> str:
    """An export to this receiver."""
    lines = [
        "[metrics]",
        'listen = "127.0.0.1:0"',
        "[records.export.lake]",
        f'endpoint = "http://127.0.0.1:{port}"',
        f"streams = {streams}",
        *more,
    ]
    return "\n".join(lines) + "\n"


def send(client: Client, *records: dict[str, Any], stream: str = "app") -> None:
    """Send records as JSON, and wait until they are durable."""
    wire = client.stubs.records
    text = "".join(json.dumps(record) + "\n" for record in records).encode()
    batch = wire.IngestBatch(records=text, observed_at=1_700_000_000_000_000)
    opened = wire.IngestOpen(stream=stream, host="web.example")
    requests = iter([wire.IngestRequest(open=opened), wire.IngestRequest(batch=batch)])
    answers = list(client.records.Ingest(requests, timeout=DEADLINE_S))
    assert answers[-1].ack.accepted.count == len(records), answers


def attributes(of: Any) -> dict[str, Any]:
    """Attributes by name."""
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in of}


def numbers(collector: Collector) -> list[int]:
    """The member n of all records that came."""
    bodies = (record.body.kvlist_value.values for record in collector.records())
    return [attributes(body)["n"] for body in bodies]


def metric(world: World, name: str) -> int:
    """A figure of the export."""
    with urllib.request.urlopen(world.serving.told["metrics"], timeout=DEADLINE_S) as page:
        lines = page.read().decode().splitlines()
    (found,) = [line for line in lines if line.startswith(f'legwork_{name}{{export="lake"}} ')]
    return int(found.rsplit(" ", 1)[1])


def some(first: int, last: int) -> list[dict[str, Any]]:
    """Numbered records."""
    return [{"n": n, "text": "x"} for n in range(first, last)]


def test_records_of_all_kinds_arrive_with_their_stamps(
    serve: Callable[..., World], lake: tuple[Collector, int]
) -> None:
    collector, port = lake
    world = serve(settings(port, 'compression = "gzip"', streams='["app", "otlp"]'))
    send(world.admin, {"n": 1, "price": 2.5, "who": {"name": "ann"}})
    first = until(collector.records, "the record has come")[0]
    body = attributes(first.body.kvlist_value.values)
    assert (body["n"], body["price"]) == (1, 2.5)
    assert first.time_unix_nano == 1_700_000_000_000_000_000
    assert abs(first.observed_time_unix_nano / 1e9 - time.time()) < DEADLINE_S
    stamps = attributes(first.attributes)
    assert stamps["legwork.stream"] == "app"
    assert stamps["legwork.seq"] == 1
    assert (stamps["legwork.client"], stamps["legwork.host"]) == ("admin", "web.example")
    # What came by the same protocol goes as it was, and gains the stamps.
    otlp.send_by_sdk(f"unix:{world.host.state}/sock", 3)
    until(lambda: len(collector.records()) == 4, "all of them have come")
    came = collector.records()[1:]
    for number, record in enumerate(came):
        assert (record.severity_text, record.event_name) == ("WARN", "order.late")
        assert record.time_unix_nano == 1_700_000_000_123_456_789 + number
        told = attributes(record.attributes)
        assert (told["n"], told["ratio"], told["ok"]) == (number, 0.5, True)
        assert told["legwork.seq"] == number + 1
    resource = collector.requests[-1].resource_logs[0]
    assert attributes(resource.resource.attributes)["service.name"] == "shop"
    assert resource.scope_logs[0].scope.name == "shop.orders"
    until(lambda: metric(world, "records_exported_total") == 4, "it is counted")
    until(lambda: metric(world, "records_export_lag") == 0, "nothing is left to send")


def test_nothing_is_lost_while_the_receiver_is_away(
    serve: Callable[..., World], lake: tuple[Collector, int]
) -> None:
    collector, port = lake
    again: list[float] = []

    def busy(_: Any, context: grpc.ServicerContext) -> Any:
        again.append(time.monotonic())
        # Two seconds: its first field is a duration, whose first is seconds.
        retry = any_pb2.Any(
            type_url="type.googleapis.com/google.rpc.RetryInfo", value=b"\x0a\x02\x08\x02"
        )
        # google.rpc.Status, whose third field is a list of details.
        packed = retry.SerializeToString()
        details = b"\x08\x0e\x1a" + bytes([len(packed)]) + packed
        context.set_trailing_metadata([("grpc-status-details-bin", details)])
        context.abort(grpc.StatusCode.UNAVAILABLE, "come later")

    def away(_: Any, context: grpc.ServicerContext) -> Any:
        again.append(time.monotonic())
        context.abort(grpc.StatusCode.UNAUTHENTICATED, "who are you")

    collector.answers = [busy, away]
    world = serve(settings(port, "batch_records = 10"))
    send(world.admin, *some(0, 100))
    until(lambda: len(collector.records()) == 100, "all records have come", DEADLINE_S * 2)
    assert numbers(collector) == list(range(100))
    assert len(again) == 2
    assert again[1] - again[0] >= 2, "the receiver was asked before it wanted to be"
    assert (
        max(
            len(request.resource_logs[0].scope_logs[0].log_records)
            for request in collector.requests
        )
        == 10
    )
    assert metric(world, "records_export_failures_total") == 2


def test_after_a_kill_only_what_was_under_way_is_sent_again(
    serve: Callable[..., World], lake: tuple[Collector, int]
) -> None:
    collector, port = lake
    world = serve(settings(port, "batch_records = 10"))
    send(world.admin, *some(0, 40))
    until(lambda: len(collector.records()) == 40, "the first ones have come")
    until(lambda: metric(world, "records_export_lag") == 0, "that is written down")

    sent = threading.Event()

    def dies(_: Any, context: grpc.ServicerContext) -> Any:
        assert sent.wait(DEADLINE_S)
        # Taken, and nobody is left to hear it.
        world.serving.process.send_signal(signal.SIGKILL)
        world.serving.process.wait()
        return service.ExportLogsServiceResponse()

    collector.answers = [dies]
    send(world.admin, *some(40, 60))
    sent.set()
    world.serving.process.wait(timeout=DEADLINE_S)
    until(lambda: len(collector.records()) == 50, "the batch was taken")
    world.again()
    until(lambda: len(collector.records()) == 70, "the rest has come")
    assert numbers(collector) == [*range(50), *range(40, 60)]


def test_a_record_that_is_not_taken_costs_no_other(
    serve: Callable[..., World], lake: tuple[Collector, int]
) -> None:
    collector, port = lake

    def picky(request: Any, context: grpc.ServicerContext) -> Any:
        collector.answers.append(picky)
        (resource,) = request.resource_logs
        bodies = [record.body.kvlist_value.values for record in resource.scope_logs[0].log_records]
        if any(attributes(body)["n"] == 13 for body in bodies):
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "thirteen")
        return service.ExportLogsServiceResponse()

    collector.answers = [picky]
    world = serve(settings(port))
    send(world.admin, *some(0, 50))
    until(lambda: metric(world, "records_export_given_up_total") == 1, "one is given up")
    until(lambda: len(collector.records()) == 49, "the others have come")
    assert sorted(numbers(collector)) == [n for n in range(50) if n != 13]
    partial = service.ExportLogsServiceResponse()
    partial.partial_success.rejected_log_records = 2
    partial.partial_success.error_message = "too old"
    collector.answers = [lambda *_: partial]
    send(world.admin, *some(50, 55))
    until(
        lambda: metric(world, "records_export_rejected_total") == 2, "what is rejected is counted"
    )
    assert "too old" in world.serving.log.read_text()


def test_headers_and_tls_are_those_of_the_settings(world: World, host: Any) -> None:
    """The receiver has a certificate for a name, by an authority of one's own."""
    made = otlp.certificate("localhost")
    (host.tmp / "ca.pem").write_bytes(made.authority)
    secret = host.tmp / "headers"
    secret.write_text("authorization: Bearer s3cret\n")
    secret.chmod(0o600)
    credentials = grpc.ssl_server_credentials([(made.key, made.certificate)])
    with collecting("localhost:0", credentials) as (collector, port):
        text = settings(port, f'ca = "{host.tmp}/ca.pem"', f'headers_file = "{secret}"')
        text = text.replace(f"http://127.0.0.1:{port}", f"https://localhost:{port}")
        assert world.serving.end() == 0
        (host.tmp / "server.toml").write_text(text)
        world.again()
        with world.client("admin") as admin:
            send(admin, *some(0, 3))
        until(lambda: len(collector.records()) == 3, "they have come over TLS")
        assert collector.metadata[0]["authorization"] == "Bearer s3cret"
    assert "s3cret" not in world.serving.log.read_text()


def test_a_receiver_that_asks_who_we_are_is_shown_a_certificate(world: World, host: Any) -> None:
    made = otlp.certificate("localhost")
    for name, text in (
        ("ca.pem", made.authority),
        ("own.pem", made.certificate),
        ("own.key", made.key),
    ):
        (host.tmp / name).write_bytes(text)
        (host.tmp / name).chmod(0o600)
    credentials = grpc.ssl_server_credentials(
        [(made.key, made.certificate)], made.authority, require_client_auth=True
    )
    with collecting("localhost:0", credentials) as (collector, port):
        ca = f'ca = "{host.tmp}/ca.pem"'
        own = f'{ca}\ncertificate = "{host.tmp}/own.pem"\nkey = "{host.tmp}/own.key"'
        assert world.serving.end() == 0
        for more in (ca, own):
            text = settings(port, more)
            text = text.replace(f"http://127.0.0.1:{port}", f"https://localhost:{port}")
            (host.tmp / "server.toml").write_text(text)
            world.again()
            if more == own:
                continue
            with world.client("admin") as admin:
                send(admin, *some(0, 3))
            until(lambda: metric(world, "records_export_failures_total") > 0, "it is refused")
            assert collector.records() == []
            assert world.serving.end() == 0
        until(lambda: len(collector.records()) == 3, "they have come, as somebody who is known")
    assert world.serving.end() == 0
    (host.tmp / "own.key").chmod(0o644)
    result = host.run("serve", "--config", host.tmp / "server.toml").expect(1)
    assert "chmod 600" in result.error_text
    world.serving.log.write_text("")
    (host.tmp / "server.toml").write_text("")
    world.again()


def test_the_server_ends_though_the_receiver_does_not_answer(
    serve: Callable[..., World], lake: tuple[Collector, int]
) -> None:
    collector, port = lake
    asked: list[int] = []

    def silent(_: Any, context: grpc.ServicerContext) -> Any:
        asked.append(1)
        until(lambda: not context.is_active(), "the caller has left", DEADLINE_S * 2)
        return service.ExportLogsServiceResponse()

    collector.answers = [silent] * 9
    world = serve(settings(port, "timeout_s = 600"))
    send(world.admin, *some(0, 3))
    until(lambda: asked, "it is asked")
    # Records are taken all the same.
    send(world.admin, *some(3, 6))
    assert metric(world, "records_export_lag") >= 3
    assert world.serving.end() == 0
