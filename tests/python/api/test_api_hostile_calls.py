"""Peers that are who they say, and send what no library would."""

import contextlib
import random
import struct
from collections.abc import Iterator

import grpc
import hyperframe.frame as frames
import pytest
from harness.waiting import until
from harness.wire import Wire, context, is_closed, memory_bytes
from harness.world import World

pytestmark = pytest.mark.once

INFO = "/legwork.v1.HostService/Info"
GET = "/legwork.v1.JobService/Get"
MIB = 1 << 20
# What a server may gain by all that one peer does; far below what the peers here try.
FLAT_BYTES = 24 * MIB
TOO_LARGE = str(grpc.StatusCode.INVALID_ARGUMENT.value[0])


@pytest.fixture
def peers(world: World) -> Iterator[list[Wire]]:
    """One who is known and one who is not; after the test the server is as it was."""
    admin = context(world, world.credentials["admin"])
    world.admin.host.Info(world.stubs.host.InfoRequest())
    before = memory_bytes(world.serving.process.pid)
    made = [Wire(world, admin), Wire(world, context(world))]
    yield made
    for peer in made:
        peer.peer.close()
    assert world.serving.process.poll() is None
    assert world.admin.host.Info(world.stubs.host.InfoRequest()).principal == "admin"
    grown = memory_bytes(world.serving.process.pid) - before
    assert grown < FLAT_BYTES, f"{grown / MIB:.1f} MiB more"


def is_head(frame: frames.Frame) -> bool:
    return isinstance(frame, frames.HeadersFrame)


def test_headers_that_are_too_many_are_refused_and_the_connection_lives(peers: list[Wire]) -> None:
    for peer in peers:
        large = [(f"x-{number}", "v" * 100) for number in range(150)]
        stream = peer.begin(INFO, *large)
        refused = peer.answer(stream)
        assert refused == frames.RstStreamFrame or refused[":status"] == "431", refused
        assert peer.answer(peer.call(INFO, b"")) is not None


def test_headers_without_an_end_are_cut_off(peers: list[Wire]) -> None:
    for peer in peers:
        head = frames.HeadersFrame(1, peer.head(INFO))
        peer.send(head)
        more = frames.ContinuationFrame(1, b"\x00\x01x\x7f\x80\x7f" + b"v" * 16000)
        sent = 0
        try:
            while sent < 100 * MIB and not is_closed(peer.peer):
                peer.peer.settimeout(20)
                peer.send(*[more] * 64)
                sent += 64 * 16000
        except OSError:
            pass
        assert sent < 100 * MIB, "it took all of it"


def test_empty_frames_without_an_end_are_cut_off(peers: list[Wire]) -> None:
    for peer in peers:
        peer.send(frames.HeadersFrame(1, peer.head(INFO)))
        empty = frames.ContinuationFrame(1, b"").serialize() * 10_000
        rounds = 0
        try:
            while rounds < 200 and not is_closed(peer.peer):
                peer.peer.settimeout(20)
                peer.peer.sendall(empty)
                rounds += 1
        except OSError:
            pass
        assert rounds < 200, "it took all of them"


@pytest.mark.parametrize("announced", [4 * MIB + 1, 2**32 - 1])
def test_a_message_that_is_too_long_is_refused_and_the_connection_lives(
    peers: list[Wire], announced: int
) -> None:
    known, _ = peers
    stream = known.begin(GET)
    known.send(frames.DataFrame(stream, struct.pack(">BI", 0, announced)))
    refused = known.answer(stream)
    assert refused["grpc-status"] == TOO_LARGE
    assert str(announced) in refused["grpc-message"]
    assert known.answer(known.call(INFO, b""))["grpc-status"] == "0"


def test_each_service_has_its_own_bound(peers: list[Wire], world: World) -> None:
    known, stranger = peers
    for peer, path, most in [
        (known, "/legwork.v1.JobService/Start", 64 * MIB),
        (known, "/legwork.v1.EnrollService/Revoke", 64 << 10),
        (stranger, "/legwork.v1.EnrollService/Join", 64 << 10),
        (stranger, "/grpc.health.v1.Health/Check", 4 * MIB),
    ]:
        stream = peer.begin(path)
        peer.send(frames.DataFrame(stream, struct.pack(">BI", 0, most + 1)))
        assert peer.answer(stream)["grpc-status"] == TOO_LARGE, path
    large = world.stubs.jobs.EnvVar(name=b"X", value=b"x" * (6 * MIB))
    (result,) = world.start_all(world.admin, [world.spec(env=[large])])
    assert result.refusal.reason == "INVALID_JOB", "it was read"
    sync = world.stubs.sync
    commit = world.admin.sync.Commit(
        iter([sync.CommitRequest(data=sync.Data(bytes=b"x" * (5 * MIB)))])
    )
    with world.admin.refused("MESSAGE_TOO_LARGE") as told:
        list(commit)
    assert told[0].code == grpc.StatusCode.INVALID_ARGUMENT


def test_bytes_that_are_no_message_are_refused(peers: list[Wire], world: World) -> None:
    known, _ = peers
    for body in (b"\xff" * 20, b"\x0a\xff\xff\xff\xff\x0f", b"\x0a\x02\xff\xff"):
        answer = known.answer(known.call(GET, body))
        assert answer["grpc-status"] not in ("0", "2"), answer
    stream = known.begin(GET)
    framed = struct.pack(">BI", 1, 4) + b"gzip"
    known.send(frames.DataFrame(stream, framed, flags=["END_STREAM"]))
    assert known.answer(stream)["grpc-status"] != "0"
    with world.admin.refused("") as told:
        request = world.stubs.jobs.GetRequest(id="x" * 1000)
        world.admin.jobs.Get(request, compression=grpc.Compression.Gzip)
    assert told[0].code == grpc.StatusCode.UNIMPLEMENTED


def test_a_flood_of_resets_is_cut_off_or_harmless(peers: list[Wire]) -> None:
    for peer in peers:
        try:
            for number in range(20_000):
                stream = 2 * number + 1
                head = frames.HeadersFrame(stream, peer.head(INFO), flags=["END_HEADERS"])
                peer.send(head, frames.RstStreamFrame(stream, 8))
        except OSError:
            continue
        gone = peer.until(lambda frame: isinstance(frame, frames.GoAwayFrame))
        assert gone is None or gone.error_code != 0


@pytest.mark.parametrize("kind", ["ping", "settings", "window"])
def test_a_flood_of_control_frames_is_harmless(peers: list[Wire], kind: str) -> None:
    frame: frames.Frame = frames.PingFrame(0, b"12345678")
    if kind == "settings":
        frame = frames.SettingsFrame(0, {frames.SettingsFrame.MAX_FRAME_SIZE: 16384})
    if kind == "window":
        frame = frames.WindowUpdateFrame(0, 1)
    data = frame.serialize() * 1000
    for peer in peers:
        peer.peer.settimeout(1)
        try:
            # Never reads: sooner or later neither does the server.
            for _ in range(400):
                peer.peer.sendall(data)
        except OSError:
            pass


def test_windows_beyond_all_bounds_end_the_connection(peers: list[Wire]) -> None:
    for peer in peers:
        peer.send(frames.WindowUpdateFrame(0, 2**31 - 1), frames.WindowUpdateFrame(0, 2**31 - 1))
        gone = peer.until(lambda frame: isinstance(frame, frames.GoAwayFrame))
        assert gone is None or gone.error_code == 3
        until(lambda p=peer: is_closed(p.peer), "it is closed")


def test_half_a_call_is_ended_by_its_deadline_or_its_end(peers: list[Wire]) -> None:
    known, stranger = peers
    for peer in (known, stranger):
        streams = [peer.begin("/legwork.v1.EnrollService/Join") for _ in range(3)]
        for stream in streams:
            peer.send(frames.DataFrame(stream, struct.pack(">BI", 0, 60_000) + b"x" * 1000))
            peer.send(frames.DataFrame(stream, b"", flags=["END_STREAM"]))
            assert peer.answer(stream)["grpc-status"] != "0"


def test_requests_that_are_none_are_answered_or_closed(peers: list[Wire], world: World) -> None:
    usual = {":method": "POST", ":scheme": "https", ":path": INFO, ":authority": "legwork"}
    odd = [
        usual | {":method": "GET"},
        usual | {":path": "*"},
        usual | {":path": "/" + "%00" * 100},
        usual | {":authority": "x" * 5000},
        usual | {"content-type": "text/html"},
        usual | {"content-type": "application/grpc", "grpc-timeout": "99999999999999H"},
        usual | {"content-type": "application/grpc", "grpc-encoding": "nonsense"},
        usual | {"content-type": "application/grpc", "x-bin": "!" * 1000},
        usual | {"Upper-Case": "x"},
        usual | {"connection": "keep-alive"},
        {":method": "POST"},
        {"x": "y"},
    ]
    for who in (world.credentials["admin"], None):
        for fields in odd:
            with Wire(world, context(world, who)) as peer:
                head = peer.encoder.encode(list(fields.items()))
                peer.send(frames.HeadersFrame(1, head, flags=["END_HEADERS", "END_STREAM"]))
                answer = peer.answer(1)
                if isinstance(answer, dict):
                    assert answer[":status"] != "200" or answer.get("grpc-status") != "0", fields
    assert peers


def test_frames_without_rhyme_or_reason(peers: list[Wire], world: World) -> None:
    """Whatever follows the preface, the server goes on; the seed says which."""
    admin = context(world, world.credentials["admin"])
    for seed in range(60):
        chance = random.Random(seed)
        with Wire(world, admin) as peer:
            data = b""
            for _ in range(chance.randrange(1, 60)):
                body = chance.randbytes(chance.choice([0, 1, 4, 5, 6, 8, 40, 3000]))
                kind, flags = chance.randrange(12), chance.randrange(256)
                stream = chance.choice([0, 1, 2, 3, 5, 2**31 - 1])
                data += len(body).to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4) + body
            with contextlib.suppress(OSError):
                peer.peer.sendall(data)
                is_closed(peer.peer, 0.02)
    assert peers
