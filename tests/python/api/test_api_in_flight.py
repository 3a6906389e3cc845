"""One identity that begins much and ends nothing: what it can make a server hold is bounded."""

import contextlib
import struct
from collections.abc import Iterator

import grpc
import hyperframe.frame as frames
import pytest
from harness.waiting import until
from harness.wire import Wire, context, memory_bytes
from harness.world import World

pytestmark = pytest.mark.once

INFO = "/legwork.v1.HostService/Info"
MIB = 1 << 20
# What the server lets one identity have, and what stands around that.
BOUND = 192 * MIB
AROUND = 48 * MIB
EXHAUSTED = str(grpc.StatusCode.RESOURCE_EXHAUSTED.value[0])


@contextlib.contextmanager
def hostile(world: World, count: int) -> Iterator[list[Wire]]:
    """So many connections of somebody who may only report."""
    world.join("mallory", "report")
    how = context(world, world.credentials["mallory"])
    peers = [Wire(world, how) for _ in range(count)]
    for peer in peers:
        peer.until(lambda frame: isinstance(frame, frames.WindowUpdateFrame))
    yield peers
    for peer in peers:
        peer.peer.close()


def refusals(peer: Wire) -> list[str]:
    """How calls were answered by now that were, and were not asked about before."""
    found: list[str] = []
    peer.send(frames.PingFrame(0, b"is it so"))
    while (frame := peer.next()) is not None:
        if isinstance(frame, frames.PingFrame) and "ACK" in frame.flags:
            return found
        if isinstance(frame, frames.HeadersFrame):
            told = dict(peer.decoder.decode(frame.data))
            found += [told["grpc-status"]] if "grpc-status" in told else []
    return found


def refused(peers: list[Wire], answered: list[str], most: int) -> None:
    """Until so many have been answered."""

    def enough() -> bool:
        for peer in peers:
            answered.extend(refusals(peer))
        return len(answered) >= most

    until(enough, f"{most} are refused")


def test_messages_without_an_end_are_bounded_for_an_identity(world: World) -> None:
    before = memory_bytes(world.serving.process.pid)
    piece = frames.DataFrame(1, b"x" * 16_000).serialize()
    with hostile(world, 16) as peers:
        answered: list[str] = []
        for peer in peers:
            for _ in range(5):
                stream = peer.begin(INFO)
                head = frames.DataFrame(stream, struct.pack(">BI", 0, 4 * MIB))
                rest = bytearray(piece)
                rest[5:9] = struct.pack(">I", stream)
                with contextlib.suppress(OSError):
                    peer.peer.sendall(head.serialize() + bytes(rest) * (3 * MIB // 16_000))
        refused(peers, answered, 16)
        grown = memory_bytes(world.serving.process.pid) - before
        print(f"{len(answered)} refused, {grown / MIB:.0f} MiB for 240 MiB")
        # Others are served all the while.
        assert world.admin.host.Info(world.stubs.host.InfoRequest()).principal == "admin"
        assert set(answered) == {EXHAUSTED}
        assert grown < BOUND + AROUND, f"{grown / MIB:.0f} MiB"
    # What it held is nobody's any more.
    again = world.join("mallory-2", "report")

    def served() -> bool:
        return again.host.Info(world.stubs.host.InfoRequest()).principal == "mallory-2"

    until(served, "there is room")


def test_calls_without_an_end_are_bounded_for_an_identity(world: World) -> None:
    before = memory_bytes(world.serving.process.pid)
    with hostile(world, 28) as peers:
        answered: list[str] = []
        for peer in peers:
            heads = []
            for _ in range(250):
                peer.stream += 2
                heads += [frames.HeadersFrame(peer.stream, peer.head(INFO), flags=["END_HEADERS"])]
            peer.send(*heads)
        refused(peers, answered, 800)
        grown = memory_bytes(world.serving.process.pid) - before
        print(f"{len(answered)} of {28 * 250} refused, {grown / MIB:.0f} MiB")
        assert set(answered) == {EXHAUSTED}
        assert grown < BOUND, f"{grown / MIB:.0f} MiB"
        assert world.admin.host.Info(world.stubs.host.InfoRequest()).principal == "admin"


def test_connections_beyond_a_few_have_small_windows(world: World) -> None:
    """What is sent and not read, as by a call whose disk is slow, waits in these."""

    def window(peer: Wire) -> int:
        """What may be sent on it, beside what every connection has at first."""
        found = peer.until(lambda frame: isinstance(frame, frames.WindowUpdateFrame))
        assert found is not None
        return found.window_increment + 65_535

    world.join("mallory", "report")
    how = context(world, world.credentials["mallory"])
    peers = [Wire(world, how) for _ in range(20)]
    windows = [window(peer) for peer in peers]
    assert windows[:16] == [16 * MIB] * 16
    assert windows[16:] == [MIB // 4] * 4
    for peer in peers:
        peer.peer.close()
