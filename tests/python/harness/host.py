"""One user's private place on this machine, and the shipped binary in it."""

import json
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness import processes
from harness.journal import Journal
from harness.waiting import DEADLINE_S, until

SELF_UID = os.geteuid()
Word = str | bytes | os.PathLike[str]


@dataclass(frozen=True)
class User:
    """Whom to run as; ``None`` means as the tests themselves."""

    name: str
    uid: int | None = None
    gid: int | None = None

    def popen_arguments(self) -> dict[str, Any]:
        """What ``subprocess`` needs to become that user."""
        if self.uid is None:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def owns(self, path: Path) -> Path:
        """Give the path to that user."""
        if self.uid is not None:
            os.chown(path, self.uid, self.gid if self.gid is not None else -1)
        return path


@dataclass(frozen=True)
class Result:
    """How a command ended and what it said."""

    args: Sequence[Word]
    code: int
    out: bytes
    err: bytes

    @property
    def text(self) -> str:
        """Standard output as text."""
        return self.out.decode()

    @property
    def error_text(self) -> str:
        """Standard error as text."""
        return self.err.decode()

    def expect(self, code: int) -> "Result":
        """Fail unless the exit code is this one."""
        assert self.code == code, (
            f"{list(self.args)}: exit {self.code}, expected {code}\n"
            f"stdout: {self.out[-2000:]!r}\nstderr: {self.err[-2000:]!r}"
        )
        return self

    def error(self) -> dict[str, Any]:
        """The error object that ``--json`` puts on standard error."""
        lines = [line for line in self.err.splitlines() if line.startswith(b"{")]
        assert len(lines) == 1, self.err
        return json.loads(lines[0])


@dataclass
class Host:
    """A home, a state directory, a project, and the binary that works in them."""

    binary: Path
    top: Path
    user: User
    env: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Make the directories and an environment in which nothing of the caller's is left."""
        for path in (self.home, self.project, self.tmp):
            path.mkdir()
            self.user.owns(path)
        self.env = {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "HOME": str(self.home),
            "TMPDIR": str(self.tmp),
            "LANG": "C.UTF-8",
            "LEGWORK_STATE": str(self.state),
            "XDG_CONFIG_HOME": str(self.home / "config"),
            "XDG_DATA_HOME": str(self.home / "data"),
            "XDG_STATE_HOME": str(self.home / "state"),
            "XDG_RUNTIME_DIR": str(self.tmp),
        }

    @property
    def home(self) -> Path:
        """The user's home directory."""
        return self.top / "home"

    @property
    def project(self) -> Path:
        """The directory commands are given in, unless said otherwise."""
        return self.top / "project"

    @property
    def tmp(self) -> Path:
        """A directory for the test's own files."""
        return self.top / "tmp"

    @property
    def state(self) -> Path:
        """The state directory, made by the binary itself."""
        return self.top / "state"

    def popen(self, *args: Word, **options: Any) -> subprocess.Popen[bytes]:
        """Start the binary and return at once, with pipes for its output."""
        settings: dict[str, Any] = {
            "cwd": self.project,
            "env": self.env,
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
        }
        settings |= self.user.popen_arguments() | options
        return subprocess.Popen([self.binary, *args], **settings)

    def run(
        self, *args: Word, stdin: bytes | None = None, timeout_s: float = DEADLINE_S, **options: Any
    ) -> Result:
        """Run the binary to its end."""
        if stdin is not None:
            options["stdin"] = subprocess.PIPE
        with self.popen(*args, **options) as process:
            try:
                out, err = process.communicate(stdin, timeout=timeout_s)
            except subprocess.TimeoutExpired:
                process.kill()
                out, err = process.communicate()
                raise AssertionError(f"{args}: still runs after {timeout_s} s\n{err!r}") from None
        return Result(args, process.returncode, out, err)

    def ok(self, *args: Word, **options: Any) -> str:
        """Run the binary, expect success; its standard output as text."""
        return self.run(*args, **options).expect(0).text

    def json(self, *args: Word, **options: Any) -> Any:
        """Run the binary with ``--json``, expect success; the one value it printed."""
        return json.loads(self.ok(args[0], "--json", *args[1:], **options))

    def start(self, *argv: Word, options: Sequence[Word] = (), **more: Any) -> str:
        """Start a job without a mirror; its id as printed."""
        return self.ok("start", "--no-sync", *options, "--", *argv, **more).strip()

    def shell(self, script: str, options: Sequence[Word] = (), **more: Any) -> str:
        """Start a shell script as a job without a mirror; its id as printed."""
        return self.start("sh", "-c", script, options=options, **more)

    def status(self, job: str) -> dict[str, Any]:
        """The job as ``status --json`` shows it."""
        return self.json("status", job)

    def finished(self, job: str, deadline_s: float = DEADLINE_S) -> dict[str, Any]:
        """Wait until the job has ended; the job."""

        def over() -> dict[str, Any] | None:
            seen = self.status(job)
            return seen if seen["state"] == "finished" else None

        return until(over, f"job {job} finished", deadline_s)

    def running(self, job: str) -> dict[str, Any]:
        """Wait until the job runs; the job."""

        def runs() -> dict[str, Any] | None:
            seen = self.status(job)
            return seen if seen["state"] == "running" else None

        return until(runs, f"job {job} running")

    def job_dir(self, job: str) -> Path:
        """The job's directory."""
        return self.state / "jobs" / self.status(job)["id"]

    def claim(self, job: str) -> dict[str, Any]:
        """The claim of a job that runs: boot id and process ids."""
        journal = self.journal(job)
        return until(lambda: journal.record("launch"), f"claim of {job}")

    def journal(self, job: str) -> Journal:
        """What the job's directory tells of its course."""
        return Journal(self.job_dir(job))

    def output(self, job: str) -> bytes:
        """Everything the job has printed so far, from its segments on disk."""
        segments = sorted(self.job_dir(job).glob("output.*"))
        return b"".join(segment.read_bytes() for segment in segments)

    def printed(self, job: str, text: bytes) -> bytes:
        """Wait until the job's output contains this; the output."""
        return until(
            lambda: (seen := self.output(job)) and text in seen and seen,
            f"job {job} printed {text!r}",
        )

    def write(self, path: str, content: str | bytes, mode: int = 0o644) -> Path:
        """Write a file of the project, directories included, as the user's own."""
        target = self.project / path
        missing = [p for p in target.parents if not p.exists()]
        target.parent.mkdir(parents=True, exist_ok=True)
        for made in missing:
            self.user.owns(made)
        data = content.encode() if isinstance(content, str) else content
        target.write_bytes(data)
        target.chmod(mode)
        return self.user.owns(target)

    def leftovers(self) -> list[int]:
        """Processes that still belong to this place."""
        return processes.of_state(self.state)
