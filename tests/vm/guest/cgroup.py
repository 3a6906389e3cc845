"""Control groups, by their files."""

import contextlib
import errno
import os
from dataclasses import dataclass
from pathlib import Path

from guest.waiting import until

ROOT = Path("/sys/fs/cgroup")
CONTROLLERS = ("cpu", "io", "memory", "pids")


@dataclass(frozen=True)
class Cgroup:
    """A directory below /sys/fs/cgroup."""

    path: Path

    @classmethod
    def of(cls, pid: int | str) -> "Cgroup":
        """The one that a process is in."""
        lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
        (unified,) = [line for line in lines if line.startswith("0::")]
        return cls(ROOT / unified.removeprefix("0::/"))

    def child(self, name: str) -> "Cgroup":
        """A group in it, made if it is not there."""
        child = Cgroup(self.path / name)
        child.path.mkdir(exist_ok=True)
        return child

    def read(self, name: str) -> str:
        """One of its files."""
        return (self.path / name).read_text().strip()

    def write(self, name: str, text: str) -> None:
        """Write one of its files."""
        (self.path / name).write_text(text)

    def try_write(self, name: str, text: str) -> str:
        """Write one of its files; the name of the error, or ``ok``."""
        try:
            self.write(name, text)
        except OSError as error:
            return errno.errorcode[error.errno or 0]
        return "ok"

    def controllers(self) -> set[str]:
        """Those that it can give to groups in it."""
        return set(self.read("cgroup.controllers").split())

    def enable(self, *names: str) -> None:
        """Give these to the groups in it."""
        self.write("cgroup.subtree_control", " ".join(f"+{name}" for name in names))

    def enabled(self) -> set[str]:
        """Those that it gives to groups in it."""
        return set(self.read("cgroup.subtree_control").split())

    def pids(self) -> list[int]:
        """The processes in it, not those in groups in it."""
        return [int(line) for line in self.read("cgroup.procs").split()]

    def kill(self) -> None:
        """Kill what is in it and below, and remove all of it, unless systemd is faster."""
        with contextlib.suppress(FileNotFoundError):
            self.write("cgroup.kill", "1")
        until(self._is_empty, f"{self.path} is empty")
        for path, _, _ in os.walk(self.path, topdown=False):
            with contextlib.suppress(FileNotFoundError):
                Path(path).rmdir()

    def _is_empty(self) -> bool:
        try:
            return "populated 0" in self.read("cgroup.events")
        except FileNotFoundError:
            return True
