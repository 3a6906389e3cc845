"""What a message of the mirror may become: its length is no measure of that."""

import queue
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from harness.world import World

pytestmark = pytest.mark.once

MIB = 1 << 20
MOST = 4 * MIB
# The message itself is there twice, as it comes and as one piece.
FLAT_BYTES = 4 * MOST


def peak_bytes(pid: int) -> int:
    """The most that a process had in memory since it was last forgotten."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) << 10
    raise AssertionError(f"process {pid} does not tell")


def field(number: int, body: bytes) -> bytes:
    """A field with a length."""
    length, size = b"", len(body)
    while size >= 128:
        length += bytes([size & 127 | 128])
        size >>= 7
    tag = number << 3 | 2
    head = bytes([tag]) if tag < 128 else bytes([tag & 127 | 128, tag >> 7])
    return head + length + bytes([size]) + body


@pytest.mark.parametrize(
    "lists",
    [field(4, b"\x0a\x00" * (2 * MIB - 8)), field(4, b"\x12\x00" * (2 * MIB - 8)),
     field(5, b"\x0a\x00" * (2 * MIB - 8)), field(20, b"\x12\x00" * (2 * MIB - 8))],
    ids=["puts", "deletes", "pieces", "ranges"],
)  # fmt: skip
def test_empty_entries_cost_what_they_are_long(world: World, lists: bytes) -> None:
    pid = world.serving.process.pid
    alice = world.join("alice")
    sync = world.stubs.sync
    said: queue.Queue[bytes | None] = queue.Queue()
    path = "/legwork.v1.SyncService/Commit"
    call = alice.channel.stream_stream(path)
    reference = world.stubs.jobs.WorkspaceRef(name="w")
    hello = sync.Hello(version=2, client_time_ns=1)
    said.put(sync.CommitRequest(workspace=reference, hello=hello).SerializeToString())
    answers: Iterator[bytes] = call(iter(said.get, None), timeout=60)
    assert sync.CommitResponse.FromString(next(answers)).HasField("welcome")
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    before = peak_bytes(pid)
    said.put(lists)
    with pytest.raises(grpc.RpcError) as refused:
        while next(answers):
            pass
    said.put(None)
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT, refused.value
    grown = peak_bytes(pid) - before
    assert grown < FLAT_BYTES, f"{grown / MIB:.1f} MiB more"
