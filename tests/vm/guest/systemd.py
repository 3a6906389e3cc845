"""Units: written, started and asked about by the commands that an administrator has."""

import subprocess
from pathlib import Path
from types import TracebackType

from guest.cgroup import Cgroup
from guest.waiting import until

COMMAND_LIMIT_S = 120


def run(*args: str | Path, code: int = 0) -> str:
    """Run a command and expect this exit code; its standard output."""
    result = subprocess.run(
        [str(arg) for arg in args],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=COMMAND_LIMIT_S,
        text=True,
        errors="replace",
        check=False,
    )
    assert result.returncode == code, (
        f"{[str(arg) for arg in args]}: exit {result.returncode}, expected {code}\n"
        f"stdout: {result.stdout[-2000:]}\nstderr: {result.stderr[-2000:]}"
    )
    return result.stdout


class Unit:
    """A service, by its name."""

    def __init__(self, name: str) -> None:
        """Of a unit that is there, or will be."""
        self.name = f"{name}.service"
        self.path = Path("/etc/systemd/system") / self.name

    def act(self, verb: str, code: int = 0) -> None:
        """Have systemd do something with it."""
        run("systemctl", verb, self.name, code=code)

    def show(self, what: str) -> str:
        """One of its properties."""
        return run("systemctl", "show", "--value", "--property", what, self.name).strip()

    @property
    def main_pid(self) -> int:
        """Its main process."""
        return until(lambda: int(self.show("MainPID")), f"{self.name} has a main process")

    @property
    def cgroup(self) -> Cgroup:
        """Where its processes are."""
        return Cgroup(Path("/sys/fs/cgroup/system.slice") / self.name)

    def journal(self) -> str:
        """What it said, and what was said about it."""
        return run("journalctl", "--no-pager", "--output", "short-monotonic", "-u", self.name)


class Written(Unit):
    """One that is there for a test: as the context is left, it is stopped and removed."""

    def __init__(self, name: str, service: str) -> None:
        """Write the unit."""
        super().__init__(name)
        self.path.write_text(f"[Service]\n{service}\n")
        run("systemctl", "daemon-reload")

    def __enter__(self) -> "Written":
        self.act("start")
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        if error is not None:
            print(self.journal())
        subprocess.run(["systemctl", "stop", self.name], check=False, capture_output=True)
        self.cgroup.kill()
        subprocess.run(["systemctl", "reset-failed", self.name], check=False, capture_output=True)
        self.path.unlink()
        run("systemctl", "daemon-reload")

    def restart(self) -> int:
        """Restart it; the exit code."""
        return subprocess.run(
            ["systemctl", "restart", self.name],
            check=False,
            capture_output=True,
            timeout=COMMAND_LIMIT_S,
        ).returncode
