"""A state directory and a project in which two versions of the binary take turns."""

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

DEADLINE_S = 30
REFUSALS = ("STATE_NEWER", "SHIM_TOO_OLD", "JOB_NEWER")


class Refused(Exception):  # noqa: N818
    """A version said that it does not do that, and why."""


def until(holds: Callable[[], Any], what: str) -> Any:
    """Wait until something holds; what it returned."""
    deadline = time.monotonic() + DEADLINE_S
    while not (found := holds()):
        if time.monotonic() > deadline:
            raise AssertionError(f"never came true: {what}")
        time.sleep(0.01)
    return found


class Place:
    """A home, a state directory and a project; whatever still runs in it at the end is killed."""

    def __init__(self) -> None:
        """Make them."""
        self.top = Path(tempfile.mkdtemp(prefix="legwork-compat-"))
        self.state = self.top / "state"
        self.project = self.top / "project"
        self.gate = self.top / "gate"
        self.project.mkdir()
        self.env = {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "HOME": str(self.top),
            "LANG": "C.UTF-8",
            "LEGWORK_STATE": str(self.state),
            "XDG_RUNTIME_DIR": str(self.top),
        }

    def popen(self, binary: Path, *args: str, **options: Any) -> subprocess.Popen[bytes]:
        """Start a version of the binary."""
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        settings = {"cwd": self.project, "env": self.env} | pipes | options
        return subprocess.Popen([binary, *args], **settings)

    def call(self, binary: Path, *args: str) -> tuple[int, bytes]:
        """Run it to its end: its exit code, and what it printed. What it refuses is raised."""
        with self.popen(binary, "--json", *args) as process:
            out, err = process.communicate(timeout=DEADLINE_S * 2)
        for line in err.splitlines():
            error = json.loads(line) if line.startswith(b"{") else {}
            if error.get("reason") in REFUSALS or "unrecognized subcommand" in str(error):
                raise Refused(f"{error['reason']}: {error['message']}")
        if process.returncode and not out:
            raise AssertionError(f"{args}: exit {process.returncode}: {err.decode().strip()}")
        return process.returncode, out

    def json(self, binary: Path, *args: str) -> Any:
        """The value that a command prints."""
        return json.loads(self.call(binary, *args)[1])

    def text(self, binary: Path, *args: str) -> bytes:
        """What a command prints without ``--json``; refusals are raised as by :meth:`call`."""
        with self.popen(binary, *args) as process:
            out, err = process.communicate(timeout=DEADLINE_S * 2)
        if process.returncode and b"newer legwork" in err:
            raise Refused(err.decode().strip())
        assert process.returncode == 0, err
        return out

    def start(self, binary: Path, script: str) -> str:
        """Start a job without a mirror; its whole id."""
        return self.json(binary, "start", "--no-sync", "-c", script)["id"]

    def job(self, binary: Path, job: str) -> dict[str, Any]:
        """The job, as a version tells of it."""
        return self.json(binary, "status", job)

    def directory(self, job: str) -> Path:
        """Its directory."""
        return self.state / "jobs" / job

    def journal(self, job: str) -> dict[str, dict[str, Any]]:
        """The records in its journal, by name."""
        raw = (self.directory(job) / "journal").read_text()
        records: dict[str, dict[str, Any]] = {}
        for line in raw[: raw.rfind("\n") + 1].splitlines():
            records |= json.loads(line)
        return records

    def printed(self, job: str, text: bytes) -> None:
        """Wait until a job has printed this."""
        segments = self.directory(job)

        def there() -> bool:
            return any(text in path.read_bytes() for path in segments.glob("output.*"))

        until(there, f"job {job} printed {text!r}")

    def shims(self) -> list[int]:
        """The shims of this place, by what they work in."""
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                works_in = (entry / "cwd").readlink()
                name = (entry / "comm").read_text().strip()
            except OSError:
                continue
            if name == "legwork-shim" and works_in.is_relative_to(self.state):
                found.append(int(entry.name))
        return found

    def __enter__(self) -> "Place":
        return self

    def __exit__(self, *_: object) -> None:
        """End what is left, and take the place away."""
        for pid in self.shims():
            os.kill(pid, signal.SIGTERM)
        for pid in self.shims():
            deadline = time.monotonic() + 12
            while pid in self.shims() and time.monotonic() < deadline:
                time.sleep(0.02)
        shutil.rmtree(self.top, ignore_errors=True)
