"""A server whose disk is full says so, for each thing that needs space, and goes on later."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from harness.host import Host
from harness.mirror import commit
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
