"""Bounds of senders of records, and a server that goes and comes back: none lost, none twice."""

import contextlib
import json
import time

import grpc
import pytest
from harness.api import refusal
from harness.recording import Sender, lines, numbers
from harness.waiting import until
from harness.world import World

pytestmark = pytest.mark.once


def test_an_identity_sends_so_much_and_makes_so_many_streams(serve) -> None:  # noqa: ANN001
    world = serve(
        """
        [records]
        streams_each = 2
        senders_each = 2
        [records.stream.slow]
        records_per_s = 100
        durability = "interval=50"
        """
    )
    web = world.join("web-1", "report")
    first = Sender(web, "slow", "p1")
    assert first.welcome.durability.interval_ms == 50
    second = Sender(web, "fast")
    with web.refused("TOO_MANY_SENDERS"):
        Sender(web, "fast")
    second.end()
    until(lambda: Sender(web, "fast").end() == [], "there is room again")
    with web.refused("TOO_MANY_LOGS"):
        Sender(web, "more")
    batch = b'{"n":1}\n' * 150
    assert first.send(batch, 1).accepted.count == 150
    refused = first.send(batch, 2)
    assert (refused.reason, refused.code) == ("THROTTLED", 8)
    assert 0 < refused.retry_after_ms <= 2000
    time.sleep(refused.retry_after_ms / 1000)
    until(lambda: getattr(first.send(batch, 2), "accepted", None), "it is let through")
    first.end()
    assert len(lines(world.admin, "slow")) == 300


def test_more_streams_than_logs_that_can_be_open(world: World) -> None:
    senders: list[Sender] = []
    clients = [world.join(f"web-{number}", "report") for number in range(5)]
    refused = None
    for number in range(300):
        client = clients[number // 60]
        try:
            senders.append(Sender(client, f"app-{number}"))
        except grpc.RpcError as error:
            refused = refusal(world.stubs, error)
            break
    assert refused is not None
    assert (refused.reason, refused.metadata["limit"]) == ("TOO_MANY_LOGS", "256")
    assert refused.code == grpc.StatusCode.RESOURCE_EXHAUSTED
    # One is the server's own.
    assert len(senders) >= 250
    # Those that have one go on.
    for number, sender in enumerate(senders):
        assert sender.send(b'{"n":%d}' % number).accepted.count == 1
    senders.pop().end()

    def another() -> bool:
        with contextlib.suppress(grpc.RpcError):
            return Sender(clients[4], "another").send(b'{"n":0}').accepted.count == 1
        return False

    until(another, "a log that nobody uses makes room")
    for sender in senders:
        sender.end()
    for number in range(300):
        last = Sender(clients[number // 60], f"app-{number}")
        assert last.send(b'{"n":1000}').accepted.count == 1
        last.end()
    assert numbers(world.admin, "app-0") == [0, 1000]


def test_a_schema_refuses_what_does_not_fit(serve, host) -> None:  # noqa: ANN001
    schema = host.tmp / "schema.json"
    schema.write_text(json.dumps({"required": ["n"], "properties": {"n": {"type": "integer"}}}))
    world = serve(f'[records.stream.app]\nschema = "{schema}"\ndepth = 3\nrecord_bytes = 64\n')
    sender = Sender(world.join("web-1", "report"), "app", "p1")
    assert (sender.welcome.depth_max, sender.welcome.record_bytes_max) == (3, 64)
    text = b'{"n":1}\n{"n":"x"}\n{}\n{"n":2,"a":[[[1]]]}\n{"n":3,"x":"%s"}\n{"n":4}' % (b"y" * 60)
    ack = sender.send(text, 1)
    told = [(one.index, one.reason, one.field) for one in ack.rejections]
    assert told == [
        (1, "SCHEMA", "/n"),
        (2, "SCHEMA", ""),
        (3, "TOO_DEEP", "/a/0/0"),
        (4, "TOO_LARGE", ""),
    ]
    sender.end()
    assert numbers(world.admin, "app") == [1, 4]


def test_settings_that_make_no_sense_are_refused(host) -> None:  # noqa: ANN001
    for text, told in (
        ("[records]\nsegment_byte = 1", "segment_bytes"),
        ('[records]\ndurability = "maybe"', "durability"),
        ('[records.stream.a]\nschema = "/nowhere"', "/nowhere"),
    ):
        path = host.tmp / "server.toml"
        path.write_text(text)
        result = host.run("serve", "--json", "--allow-root", "--config", path).expect(1)
        assert result.error()["reason"] == "BAD_CONFIG"
        assert told in json.dumps(result.error())


@pytest.mark.parametrize("how", [15, 9], ids=["TERM", "KILL"])
def test_what_was_acknowledged_is_there_once_over_restarts(world: World, how: int) -> None:
    web = world.join("web-1", "report")
    acked, next_one, restarts = 0, 1, 0
    sent_to = 600
    while acked < sent_to:
        try:
            sender = Sender(web, "app", "p1")
            next_one = acked + 1
            for number in range(next_one, min(next_one + 64, sent_to + 1)):
                sender.put(b'{"n":%d}' % number, number)
                next_one = number + 1
            ending = restarts < 4 and acked >= restarts * 100
            for number in range(acked + 1, next_one):
                answer = sender.answer()
                assert answer.sequence == number
                assert hasattr(answer, "accepted"), answer
                acked = number
                if ending and number % 8 == 0:
                    restarts, ending = restarts + 1, False
                    world.serving.end(how)
            sender.end()
        except (grpc.RpcError, StopIteration):
            world.serving.__exit__()
            world.again()
    assert restarts == 4
    assert numbers(world.admin, "app") == list(range(1, sent_to + 1))
    report = world.admin.records.Fsck(world.stubs.records.FsckRequest(stream="app"))
    assert report.total == 0


def test_metrics_tell_what_logs_did(serve) -> None:  # noqa: ANN001
    import urllib.request

    world = serve('[metrics]\nlisten = "127.0.0.1:0"\n')
    sender = Sender(world.join("web-1", "report"), "app", "p1")
    sender.send(b'{"n":1}\n{"n":NaN}', 1)
    sender.send(b'{"n":1}\n{"n":NaN}', 1)
    sender.send(b'{"n":3}', 7)
    page = urllib.request.urlopen(world.serving.told["metrics"]).read().decode()
    for line in (
        "legwork_records_accepted_total 1",
        'legwork_records_rejected_total{reason="BAD_NUMBER"} 1',
        "legwork_records_duplicate_batches_total 1",
        'legwork_records_refused_batches_total{reason="OUT_OF_ORDER"} 1',
        "legwork_records_queue_bytes 0",
        "legwork_records_senders 1",
        'legwork_streams{method="RecordService/Ingest"} 1',
    ):
        assert line in page.splitlines(), line
    assert "legwork_records_sync_seconds_count" in page
    other = Sender(world.client("web-1"), "app", "p9", host="elsewhere")
    page = urllib.request.urlopen(world.serving.told["metrics"]).read().decode()
    assert 'legwork_records_alarms_total{kind="two_hosts"} 1' in page.splitlines()
    assert "one identity sends records from several hosts" in world.serving.log.read_text()
    other.end()
    sender.end()
