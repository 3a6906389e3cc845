"""What a foreign client does with records: every method, and what is said to those who may not."""

import json
import threading
import time

import grpc
import pytest
from harness.recording import Sender, lines, numbers, texts
from harness.waiting import DEADLINE_S, until
from harness.world import World

pytestmark = pytest.mark.once


def test_records_are_stamped_by_the_server_and_kept_as_they_came(world: World) -> None:
    web = world.join("web-1", "report")
    sender = Sender(web, "app", "p1", host="web-1.example")
    assert sender.welcome.durability.WhichOneof("policy") == "durable"
    assert sender.welcome.record_bytes_max == 256 << 10
    now = int(time.time() * 1e6)
    text = b'[{"n": 1, "x": 0.10, "client": "root", "seq": 99}, {"n": NaN}, 7, {"n":2}]'
    ack = sender.send(text, 1, observed_at=now)
    assert (ack.sequence, ack.accepted.first, ack.accepted.count) == (1, 1, 2)
    assert not ack.duplicate
    assert ack.rejected == 2
    told = [(one.index, one.code, one.reason, one.field) for one in ack.rejections]
    assert told == [(1, 3, "BAD_NUMBER", "/n"), (2, 3, "NOT_AN_OBJECT", "")]
    assert all(one.message for one in ack.rejections)
    assert sender.end() == []
    found = lines(world.admin, "app")
    assert [line["seq"] for line in found] == [1, 2]
    assert {line["client"] for line in found} == {"web-1"}
    assert {line["host"] for line in found} == {"web-1.example"}
    assert all(line["observed_at"] for line in found)
    (first, *_) = texts(world.admin, "app", form=world.stubs.records.TAIL_FORM_DATA)
    assert first == b'{"n":1,"x":0.10,"client":"root","seq":99}\n'
    refused = lines(world.admin, "app", rejected=True)[-1]["rejected"]
    assert refused["total"] == 2


def test_a_repeat_has_the_first_answer_and_a_gap_the_expected_number(world: World) -> None:
    web = world.join("web-1", "report")
    sender = Sender(web, "app", "p1")
    assert sender.send(b'{"n":1}', 1).accepted.first == 1
    again = sender.send(b'{"n":1}', 1)
    assert (again.duplicate, again.accepted.first) == (True, 1)
    refused = sender.send(b'{"n":3}', 3)
    assert (refused.reason, refused.expected, refused.code) == ("OUT_OF_ORDER", 2, 9)
    conflict = sender.send(b'{"n":7}', 1)
    assert (conflict.reason, conflict.code) == ("CONFLICT", 6)
    assert sender.send(b'{"n":2}', 2).accepted.first == 2
    sender.end()
    unknown = Sender(web, "app", "p2")
    assert unknown.send(b'{"n":9}', 5).expected == 1
    unknown.end()
    # Without a producer nothing is known of a batch.
    plain = Sender(web, "app")
    assert [plain.send(b'{"n":3}').accepted.first for _ in range(2)] == [3, 4]
    plain.end()
    assert numbers(world.admin, "app") == [1, 2, 3, 3]


def test_a_gap_is_told_in_its_place(world: World) -> None:
    web = world.join("web-1", "report")
    wire = world.stubs.records
    sender = Sender(web, "app", "p1")
    gap = wire.IngestGap(first=1, records=40, reason=wire.GAP_REASON_SPOOL_FULL)
    assert sender.send(b"", 4, gap=gap).sequence == 4
    assert sender.send(b'{"n":1}', 5).accepted.count == 1
    sender.end()
    first, _ = lines(world.admin, "app")
    assert (first["gap"]["records"], first["gap"]["why"]) == (40, "SPOOL_FULL")


HOSTILE = {
    "duplicate keys": (b'{"a":1,"a":2}', "DUPLICATE_KEY"),
    "NaN": (b'{"a":NaN}', "BAD_NUMBER"),
    "infinity": (b'{"a":-Infinity}', "BAD_NUMBER"),
    "not UTF-8": (b'{"a":"\xff\xfe"}', "NOT_UTF8"),
    "half a pair": (b'{"a":"\\ud800"}', "BAD_ESCAPE"),
    "nested": (b'{"a":' + b"[" * 5000 + b"]" * 5000 + b"}", "TOO_DEEP"),
    "large": (b'{"a":"' + b"x" * (300 << 10) + b'"}', "TOO_LARGE"),
    "cut": (b'{"a":', "UNEXPECTED_END"),
    "control": (b'{"a":"\x01"}', "CONTROL_CHARACTER"),
    "scalar": (b"null", "NOT_AN_OBJECT"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_what_is_no_record_costs_its_neighbours_nothing(world: World, what: str) -> None:
    bad, reason = HOSTILE[what]
    web = world.join("web-1", "report")
    sender = Sender(web, "app", "p1")
    ack = sender.send(b'{"n":1}\n' + bad + b"\n" + (b"" if what == "cut" else b'{"n":2}\n'), 1)
    assert [one.reason for one in ack.rejections] == [reason]
    assert all(len(one.message) <= 256 and len(one.field) <= 128 for one in ack.rejections)
    assert sender.send(b'{"n":3}', 2).accepted.count == 1
    sender.end()
    assert numbers(world.admin, "app") == ([1, 3] if what == "cut" else [1, 2, 3])


def test_many_that_are_bad_are_counted_and_some_are_told(world: World) -> None:
    sender = Sender(world.join("web-1", "report"), "app", "p1")
    ack = sender.send(b"7\n" * 5000, 1)
    assert (ack.rejected, len(ack.rejections), ack.accepted.count) == (5000, 100, 0)
    # When each was seen is told by place: too many or too few do no harm.
    ack = sender.send(b'{"n":1}{"n":2}', 2, observed_each=[1_000_000] * 900)
    assert ack.rejected == 0
    ack = sender.send(b'{"n":3}{"n":4}', 3, observed_each=[2**63 + 5])
    assert ack.rejected == 0
    refused = sender.send(b"{}" * 10_001, 4)
    assert (refused.reason, refused.code) == ("TOO_LARGE", 3)
    assert sender.send(b'{"n":5}', 4).accepted.count == 1
    sender.end()
    assert numbers(world.admin, "app") == [1, 2, 3, 4, 5]


def test_what_breaks_the_conversation_ends_it(world: World) -> None:
    web = world.join("web-1", "report")
    wire = world.stubs.records
    opened = wire.IngestRequest(open=wire.IngestOpen(stream="app"))
    for first in (
        wire.IngestRequest(),
        wire.IngestRequest(batch=wire.IngestBatch(records=b"{}")),
    ):
        with web.refused("MALFORMED"):
            list(web.records.Ingest(iter([first]), timeout=DEADLINE_S))
    for second in (wire.IngestRequest(), opened):
        with web.refused("MALFORMED"):
            list(web.records.Ingest(iter([opened, second]), timeout=DEADLINE_S))
    for name in ("", "a\nb", 'a"b', "x" * 129):
        with web.refused("BAD_NAME"):
            Sender(web, name)
    with web.refused("BAD_NAME"):
        Sender(web, "app", "p", host="a\\b")
    with web.refused("OWN_STREAM"):
        Sender(web, "legwork.audit")
    sender = Sender(web, "app", "p1")
    with web.refused("MALFORMED"):
        sender.send(b"{}", 0)
    # A message larger than a batch may be, and a batch of one line of 100 MB in pieces that may.
    large = Sender(web, "app", "p2")
    with web.refused("MESSAGE_TOO_LARGE") as told:
        large.send(b"x" * (6 << 20), 1)
    assert told[0].code == grpc.StatusCode.INVALID_ARGUMENT
    assert int(told[0].metadata["limit"]) > large.welcome.batch_bytes_max
    assert "send less at a time" in told[0].message
    huge = Sender(web, "app", "p4")
    with web.refused("MESSAGE_TOO_LARGE") as told:
        huge.send(b'{"x":"' + b"x" * 100_000_000 + b'"}', 1)
    assert int(told[0].metadata["size"]) > 100_000_000
    pieces = Sender(web, "app", "p3")
    for number in range(1, 26):
        ack = pieces.send(b"x" * (4 << 20), number)
        assert (ack.rejected, ack.accepted.count) == (1, 0), number
    pieces.end()
    assert numbers(world.admin, "app") == []


def test_who_sends_without_credit_is_cut_off(world: World) -> None:
    web = world.join("web-1", "report")
    sender = Sender(web, "app")
    record = b'{"n":"' + b"x" * 200_000 + b'"}'
    costly = b"\n".join([record] * (sender.credit // len(record) + 1))
    acked = 0
    with web.refused("CREDIT_EXCEEDED"):
        # The first one may cost more than is left; the next comes long before that is on the disk.
        sender.put(costly)
        sender.put(b"{}")
        for message in sender.answers:
            acked += message.ack.accepted.count
    assert acked <= costly.count(b"\n") + 1
    # What was acknowledged is there.
    assert len(lines(world.admin, "app")) >= acked


def test_credit_comes_back_with_each_answer(world: World) -> None:
    sender = Sender(world.join("web-1", "report"), "app")
    batch, left = b'{"n":"' + b"x" * 100_000 + b'"}', sender.credit
    for _ in range(3 * sender.credit // len(batch)):
        sender.put(batch)
        left -= len(batch) + 256
        message = next(sender.answers)
        assert message.WhichOneof("message") == "ack"
        left += message.credit
    assert left == sender.credit


def test_roles_are_kept(world: World) -> None:
    people = {role: world.join(f"{role}-1", role) for role in ("report", "run", "read")}
    wire = world.stubs.records
    for role in ("report", "run"):
        sender = Sender(people[role], "app")
        sender.send(b'{"n":"%s"}' % role.encode())
        sender.end()
    with people["read"].refused("ROLE"):
        Sender(people["read"], "app")
    assert numbers(people["report"], "app") == ["report"]
    assert numbers(people["run"], "app") == ["run"]
    assert numbers(people["read"], "app") == ["report", "run"]
    everybody = wire.TailRequest(stream="app", clients=["run-1"])
    (end,) = people["report"].records.Tail(everybody, timeout=DEADLINE_S)
    assert end.WhichOneof("event") == "end"
    sender = Sender(people["run"], "other")
    sender.send(b'{"n":1}')
    sender.end()
    with people["report"].refused("STREAM_NOT_FOUND"):
        list(texts(people["report"], "other"))
    listed = {
        role: [found.name for found in who.records.ListStreams(wire.ListStreamsRequest()).streams]
        for role, who in people.items()
    }
    # Who sees everything sees what the server itself keeps, too, from when there is any.
    everything = listed.pop("read")
    assert [name for name in everything if name != "legwork.audit"] == ["app", "other"]
    assert listed == {"report": ["app"], "run": ["app", "other"]}
    stats, fsck = wire.StreamStatsRequest(stream="app"), wire.FsckRequest(stream="app")
    for role in ("report", "run"):
        with people[role].refused("ROLE"):
            people[role].records.StreamStats(stats)
    told = people["read"].records.StreamStats(stats)
    assert (told.accepted, told.info.next, told.segments) == (2, 3, 1)
    assert sum(told.sync_times) == told.syncs > 0
    with people["read"].refused("ROLE"):
        people["read"].records.Fsck(fsck)
    report = world.admin.records.Fsck(fsck)
    assert (report.lines, report.total, list(report.problems)) == (2, 0, [])
    stranger = world.client(None)
    for call in (
        lambda: stranger.records.ListStreams(wire.ListStreamsRequest()),
        lambda: stranger.records.StreamStats(stats),
        lambda: stranger.records.Fsck(fsck),
        lambda: Sender(stranger, "app"),
        lambda: list(texts(stranger, "app")),
        lambda: list(stranger.records.At(wire.AtRequest(), timeout=DEADLINE_S)),
    ):
        with stranger.refused("NOT_ENROLLED"):
            call()
    for bad in ("nothing", ""):
        with world.admin.refused("STREAM_NOT_FOUND", "BAD_NAME"):
            world.admin.records.Fsck(wire.FsckRequest(stream=bad))
        with world.admin.refused("STREAM_NOT_FOUND", "BAD_NAME"):
            world.admin.records.StreamStats(wire.StreamStatsRequest(stream=bad))


def test_who_is_revoked_is_cut_off(world: World) -> None:
    web = world.join("web-1", "report")
    sender = Sender(web, "app", "p1")
    sender.send(b'{"n":1}', 1)
    world.host.ok("revoke", "web-1")
    with pytest.raises(grpc.RpcError):
        list(sender.answers)
    assert numbers(world.admin, "app") == [1]


def test_a_tail_is_resumed_where_it_was(world: World) -> None:
    wire = world.stubs.records
    web = world.join("web-1", "report")
    sender = Sender(web, "app", "p1")
    for number in range(1, 401):
        sender.put(b'{"n":%d,"x":"%s"}' % (number, b"y" * 4000), number)
    for _ in range(400):
        sender.answer()
    found: list[int] = []
    token, calls = "", 0
    while True:
        asked = wire.TailRequest(stream="app")
        if token:
            asked.resume_token = token
        stream = world.admin.records.Tail(asked, timeout=DEADLINE_S)
        message = next(stream)
        stream.cancel()
        token, calls = message.resume_token, calls + 1
        if message.WhichOneof("event") == "end":
            break
        found += [json.loads(line)["data"]["n"] for line in message.lines.text.splitlines()]
        if calls == 5:
            world.serving.end()
            world.again()
    assert found == list(range(1, 401))
    assert calls > 8
    with world.admin.refused("MALFORMED"):
        list(texts(world.admin, "app", resume_token="here"))
    with world.admin.refused("OTHER_LOG"):
        list(texts(world.admin, "app", resume_token="00000000deadbeef-1"))
    last = [line["data"]["n"] for line in lines(world.admin, "app", last=3)]
    assert last == [398, 399, 400]
    assert [line["seq"] for line in lines(world.admin, "app", seq=399)] == [399, 400]
    now = int(time.time() * 1e6)
    assert lines(world.admin, "app", since=now) == []
    assert len(lines(world.admin, "app", until=now)) == 400


def test_a_follower_hears_what_comes(world: World) -> None:
    wire = world.stubs.records
    sender = Sender(world.join("web-1", "report"), "app")
    sender.send(b'{"n":0}')
    request = wire.TailRequest(stream="app", follow=True, form=wire.TAIL_FORM_DATA)
    stream = world.admin.records.Tail(request, timeout=DEADLINE_S)
    found: list[bytes] = []
    events: list[str] = []

    def follow() -> None:
        for message in stream:
            events.append(message.WhichOneof("event"))
            found.extend(message.lines.text.splitlines())
            if len(found) == 11:
                stream.cancel()
                return

    thread = threading.Thread(target=follow)
    thread.start()
    until(lambda: "caught_up" in events, "it has caught up")
    for number in range(1, 11):
        sender.send(b'{"n":%d}' % number)
    thread.join(timeout=DEADLINE_S)
    assert not thread.is_alive()
    assert found == [b'{"n":%d}' % number for number in range(11)]
    assert events.count("caught_up") == 1


def test_a_follower_ends_when_it_is_told_to(world: World) -> None:
    sender = Sender(world.join("web-1", "report"), "app")
    sender.send(b'{"n":0}')
    soon = int((time.time() + 0.3) * 1e6)
    assert len(lines(world.admin, "app", follow=True, until=soon)) == 1


def test_a_hosts_processes_are_told_as_they_were(world: World) -> None:
    wire = world.stubs.records
    request = wire.AtRequest()
    with world.admin.refused("STREAM_NOT_FOUND"):
        list(world.admin.records.At(request, timeout=DEADLINE_S))
    before = int(time.time() * 1e6)
    world.host.ok("records", "send", "--processes")
    first, *rest = world.admin.records.At(request, timeout=DEADLINE_S)
    assert first.snapshot.client.startswith("local:")
    assert first.snapshot.time >= before
    found = [json.loads(row) for message in rest for row in message.rows.processes]
    assert len(found) == first.snapshot.count > 0
    assert world.serving.process.pid in {process["pid"] for process in found}
    with world.admin.refused("NO_SNAPSHOT"):
        list(world.admin.records.At(wire.AtRequest(time=before), timeout=DEADLINE_S))
    # Somebody else's is not found, whoever they say they are.
    web = world.join("web-1", "report")
    sender = Sender(web, "process")
    sender.send(b'{"n":1}')
    sender.end()
    for client in ("", first.snapshot.client):
        with web.refused("NO_SNAPSHOT"):
            list(web.records.At(wire.AtRequest(client=client), timeout=DEADLINE_S))
