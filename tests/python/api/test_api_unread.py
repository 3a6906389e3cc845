"""A client that never reads what it asked for: it costs the server little and others nothing."""

from collections.abc import Callable
from typing import Any

import grpc
import pytest
from harness.api import Client
from harness.mirror import Commit, commit
from harness.waiting import until
from harness.wire import MOST, Wire, context, memory_bytes
from harness.world import World

pytestmark = pytest.mark.once

MIB = 1 << 20
LOGS = "/legwork.v1.JobService/Logs"
STREAMS = 200
# What a stream that is not read may hold, whatever window it announces; and the allocator.
UNREAD_BYTES = 768 << 10
OUTPUT = 64 * MIB


def asked(world: World, job: str) -> bytes:
    return world.stubs.jobs.LogsRequest(id=job, follow=True).SerializeToString()


def unread(world: World, job: str, streams: int) -> Wire:
    """A connection with large windows and many streams, of which nothing is read."""
    wire = Wire(world, context(world, world.credentials["admin"]), initial_window_size=MOST)
    wire.peer.sendall(b"\0\0\4\x08\0\0\0\0\0" + (MOST - 65535).to_bytes(4))
    for _ in range(streams):
        wire.call(LOGS, asked(world, job))
    return wire


def test_streams_that_are_not_read_hold_nobody_up(world: World) -> None:
    alice: Any = world.join("alice")
    script = f"while ! test -e go; do sleep 0.01; done; head -c {OUTPUT} /dev/zero; exit 5"
    job = world.start(alice, world.shell(script))
    pid = world.serving.process.pid
    before = memory_bytes(pid)
    peak = 0
    with unread(world, job.id, STREAMS), unread(world, job.id, STREAMS):
        (world.host.tmp / "go").touch()
        assert world.ended(alice, job.id).finish.exit_code == 5, "the job is not held up"
        assert len(world.output(alice, job.id, follow=True)) == OUTPUT, "and no other reader"
        peak = memory_bytes(pid) - before
        other = world.start(alice, world.shell("exit 2"))
        assert world.ended(alice, other.id).finish.exit_code == 2
        peak = max(peak, memory_bytes(pid) - before)
    assert peak < 2 * STREAMS * UNREAD_BYTES, f"{peak / MIB:.0f} MiB for {2 * STREAMS} streams"
    until(lambda: memory_bytes(pid) - before < 2 * STREAMS * UNREAD_BYTES, "and it is given back")


def test_a_grpc_client_that_does_not_read(world: World) -> None:
    alice = world.join("alice")
    job = world.start(alice, world.shell(f"head -c {OUTPUT} /dev/zero; exit 5"))
    streams = [world.logs(alice, job.id, follow=True) for _ in range(20)]
    before = memory_bytes(world.serving.process.pid)
    assert world.ended(alice, job.id).finish.exit_code == 5
    with world.client("alice") as other:
        assert world.output(other, job.id) == bytes(OUTPUT)
    assert memory_bytes(world.serving.process.pid) - before < 48 * MIB
    for stream in streams:
        stream.cancel()


def test_streams_of_one_identity_have_a_bound(serve: Callable[..., World]) -> None:
    world = serve("[limits]\nstreams_each = 10\n")
    alice, bob = world.join("alice"), world.join("bob")
    job = world.start(alice, world.shell("echo x; exec sleep 60"))
    streams = [world.logs(alice, job.id, follow=True) for _ in range(10)]
    for stream in streams:
        next(stream)
    with world.client("alice") as other, other.refused("TOO_MANY_STREAMS") as told:
        next(world.logs(other, job.id))
    assert told[0].metadata == {"limit": "10"}
    assert told[0].code == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert next(bob.health.Watch(world.stubs.health.HealthCheckRequest())).status
    streams[0].cancel()
    until(lambda: world.host.printed(job.id, b"x") and heard(world, alice, job.id), "a place")
    alice.jobs.Stop(world.stubs.jobs.StopRequest(id=job.id))


def heard(world: World, client: Client, job: str) -> bool:
    """Whether one more stream may be read."""
    try:
        return bool(next(world.logs(client, job)))
    except grpc.RpcError:
        return False


def test_commits_that_nobody_ends_hold_nobody_up(world: World) -> None:
    """Each keeps a thread waiting for its client."""
    alice, bob = world.join("alice"), world.join("bob")
    # More than there are threads for blocking work.
    clients = [world.client(name) for name in ("alice", "bob", "alice", "bob")]
    talks = [Commit(clients[number % 4], f"w{number}") for number in range(600)]
    for talk in talks:
        talk.hello()
    for talk in talks:
        talk.until("welcome")
    assert commit(bob, {b"x": b"1"}).generation == 1
    job = world.start(alice, world.shell("exit 2"))
    assert world.ended(alice, job.id).finish.exit_code == 2
    assert world.admin.enroll.ListIdentities(world.stubs.enroll.ListIdentitiesRequest()).identities
    for talk in talks:
        talk.close()
        talk.answers.cancel()
