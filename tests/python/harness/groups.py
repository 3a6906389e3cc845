"""A place for control groups of a test's own, where this machine lets it have one."""

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.host import User, Word
from harness.waiting import until


@dataclass(frozen=True)
class Groups:
    """A control group in which nobody is, and which belongs to a user as a delegated one does."""

    path: Path

    def entered_by(self, user: User, *argv: Word) -> list[Word]:
        """A command that becomes a member, then the user, then something else."""
        become = [] if user.uid is None else [
            "setpriv", f"--reuid={user.uid}", f"--regid={user.gid}", "--clear-groups",
        ]  # fmt: skip
        script = f'echo $$ > {self.path}/cgroup.procs; exec "$@"'
        return ["sh", "-c", script, "sh", *become, *argv]

    def below(self, directory: str = "") -> list[str]:
        """The names of the groups below it, or below one of those."""
        return sorted(entry.name for entry in (self.path / directory).iterdir() if entry.is_dir())


def _delegate(path: Path, user: User) -> None:
    for file in (path, *(path / name for name in ("cgroup.procs", "cgroup.subtree_control"))):
        user.owns(file)


def _remove(path: Path) -> bool:
    for below in sorted(path.rglob("*/"), reverse=True):
        with contextlib.suppress(OSError):
            below.rmdir()
    try:
        path.rmdir()
    except OSError:
        return False
    return True


@contextlib.contextmanager
def mounted(user: User) -> Iterator[Groups]:
    """Mount the hierarchy and make a group in it for a user; SKIPPED where that cannot be."""
    if os.geteuid() != 0:
        pytest.skip("SKIPPED: only root can mount a file system of control groups")
    with tempfile.TemporaryDirectory(prefix="legwork-groups-") as directory:
        Path(directory).chmod(0o755)
        mount = ["mount", "-t", "cgroup2", "none", directory]
        done = subprocess.run(mount, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            pytest.skip(f"SKIPPED: control groups cannot be mounted: {done.stderr.strip()}")
        try:
            path = Path(directory) / f"legwork-test-{os.urandom(4).hex()}"
            path.mkdir()
            _delegate(path, user)
            yield Groups(path)
            until(lambda: _remove(path), "the group is empty")
        finally:
            subprocess.run(["umount", "-l", directory], check=True)
