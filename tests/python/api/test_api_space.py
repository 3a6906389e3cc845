"""A server whose disk is full says so, for each thing that needs space, and goes on later."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest
from harness.api import Client
from harness.host import Host
from harness.mirror import Commit, commit, root
from harness.waiting import until
from harness.world import World

pytestmark = pytest.mark.once


@pytest.fixture
def small_disk(host: Host) -> Iterator[Path]:
    """A file system of a few MiB where the state directory is."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    host.state.mkdir(mode=0o700)
    options = ["-t", "tmpfs", "-o", "size=6m,mode=0700", "legwork-test"]
    mounted = subprocess.run(["mount", *options, host.state], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.decode().strip()}")
    yield host.state
    # Descriptors of processes that are about to end hold it a moment longer.
    subprocess.run(["umount", "-l", host.state], check=True)


def filled(disk: Path) -> Path:
    """Take all space that there is."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (1 << 16, 1 << 12):
            try:
                while file.write(bytes(size)):
                    pass
            except OSError:
                continue
    return ballast


def test_a_full_disk_is_named(small_disk: Path, world: World) -> None:
    jobs, enroll = world.stubs.jobs, world.stubs.enroll
    alice = world.join("alice")
    with alice.refused("NO_SPACE") as told:
        commit(alice, {b"large": os.urandom(8 << 20)})
    assert told[0].code == grpc.StatusCode.RESOURCE_EXHAUSTED
    commit(alice, {b"small": b"x"})
    ballast = filled(small_disk)
    (result,) = world.start_all(alice, [world.shell("true")])
    assert (result.refusal.reason, result.refusal.code) == ("NO_SPACE", 8), result
    with alice.refused("NO_SPACE") as told:
        commit(alice, {b"small": b"y", b"more": b"z" * 10_000})
    assert told[0].code == grpc.StatusCode.RESOURCE_EXHAUSTED
    with world.admin.refused("NO_SPACE") as told:
        for number in range(100):
            world.admin.enroll.Invite(enroll.InviteRequest(name=f"n{number}", roles=["run"]))
    assert told[0].code == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert list(alice.jobs.List(jobs.ListRequest()).jobs) == []
    ballast.unlink()
    job = world.start(alice, world.shell("exit 3"))
    assert world.ended(alice, job.id).finish.exit_code == 3
    assert commit(alice, {b"small": b"y"}).entries == 1


def test_what_is_on_its_way_counts_beside_what_is_there(serve: Callable[..., World]) -> None:
    world = serve("[limits]\nworkspace_bytes_each = 1000\n")
    alice, bob = world.join("alice"), world.join("bob")
    first, content = Commit(alice, "first"), {b"a": b"a" * 600}
    first.hello()
    first.until("manifest")
    first.say(rebase=first.sync.Rebase())
    # Announced, and kept back.
    first.say(delta=first.sync.Delta(puts=[first.put(b"a", content[b"a"])]))
    commit(bob, {b"b": b"b" * 1000})
    # The server may read the announcement later than what comes on other streams.
    until(lambda: not fits(alice, 401, "second"), "the announcement counts")
    with alice.refused("TOO_MANY_BYTES") as told:
        commit(alice, {b"b": b"b" * 401}, "second")
    assert told[0].code == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert (told[0].metadata["limit"], told[0].metadata["used"]) == ("1000", "600")
    commit(alice, {b"b": b"b" * 400}, "second")
    piece = first.sync.Piece(file=0, offset=0, len=600)
    first.say(data=first.sync.Data(pieces=[piece], bytes=content[b"a"]))
    first.end(root(content))
    assert first.until("committed").entries == 1
    with alice.refused("TOO_MANY_BYTES"):
        commit(alice, {b"c": b"c"}, "third")
    # Who begins and goes away has taken nothing.
    commit(alice, {}, "first", force_delete=True)
    gone = Commit(alice, "third")
    gone.hello()
    gone.until("manifest")
    gone.say(rebase=gone.sync.Rebase())
    gone.delta({b"c": b"c" * 600})
    gone.answers.cancel()
    until(lambda: fits(alice, 600, "first"), "room for the next")
    owners = world.host.state / "owners"
    assert len(list(owners.glob("*/*"))) == 4, "whose each mirror is"


def fits(client: Client, size: int, workspace: str) -> bool:
    """Try a file of that size, in a workspace that is empty unless that was tried before."""
    try:
        commit(client, {}, workspace, force_delete=True)
        commit(client, {b"file": bytes(size)}, workspace)
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED, error
        return False
    return True
