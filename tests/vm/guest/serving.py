"""A server as the services that `legwork service install` makes."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any

from guest.systemd import Unit, run
from guest.waiting import until

CARRIED = Path("/carried/legwork")
BINARY = Path("/usr/local/bin/legwork")
SERVER, JOBS = Unit("legwork"), Unit("legwork-jobs")

# Prints numbered lines until it is let go, then one more.
COUNTS = """\
i=0
until test -e {gate}; do echo line $i; i=$((i + 1)); sleep 0.05; done
echo the end after $i
exit 21
"""


class Server:
    """The server of the guest, with a state directory of its own."""

    def __init__(self, name: str, *options: str) -> None:
        """Without options, it is root and so are its jobs."""
        self.state = Path("/var/lib") / name
        self.gates = Path("/var/lib") / f"{name}-gates"
        self.gates.mkdir(exist_ok=True)
        self.gates.chmod(0o755)
        self.options = options or ("--allow-root",)

    def __enter__(self) -> "Server":
        """Install it on a machine that has none."""
        put()
        self.install()
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        if error is not None:
            print(SERVER.journal()[-6000:], JOBS.journal()[-3000:], sep="\n")
        subprocess.run([BINARY, "service", "uninstall", "--stop-jobs"], check=error is None)

    def install(self, *options: str) -> dict[str, Any]:
        """Install it, or install it again; what it says of that."""
        wanted = ("--json", "service", "install", "--state", self.state, *self.options, *options)
        return json.loads(run(BINARY, *wanted))

    def call(self, *args: str | Path, code: int = 0) -> str:
        """A command, answered by the server at its socket."""
        contact = ("-H", f"unix://{self.state}/sock", "--reconnect", "0s")
        return run(BINARY, *contact, *args, code=code) or " "

    def up(self) -> None:
        """Wait until it answers."""
        until(lambda: self.call("ps"), "the server answers")

    def status(self, job: str) -> dict[str, Any]:
        """What is said of a job."""
        return json.loads(self.call("status", "--json", job))

    def start(self, *command: str, limits: tuple[str, ...] = ()) -> str:
        """Start a job that mirrors nothing; its id."""
        return self.call("start", "--no-sync", "--dir", "/", *limits, "--", *command).strip()

    def run(self, *command: str, code: int = 0, limits: tuple[str, ...] = ()) -> str:
        """Run a job to its end; what it prints."""
        return self.call("run", "-q", "--no-sync", "--dir", "/", *limits, "--", *command, code=code)


class Counting:
    """A job that prints until its gate is opened."""

    def __init__(self, server: Server, job: str | None = None) -> None:
        """Start it, or take it up again by its id."""
        self.server = server
        self.gate = server.gates / "gate"
        self.job = job or server.start("sh", "-c", COUNTS.format(gate=self.gate))

    def lines(self) -> list[str]:
        """What it has printed so far."""
        return self.server.call("logs", self.job).split("\n")[:-1]

    def prints_on(self) -> None:
        """Wait until it has printed more than it had."""
        before = len(self.lines())
        until(lambda: len(self.lines()) > before + 3, f"{self.job} prints on")

    def ends(self) -> None:
        """Let it go, and look at how it ended and at every line."""
        self.gate.touch()
        self.server.call("wait", self.job, code=21)
        *counted, last = self.lines()
        assert last == f"the end after {len(counted)}", last
        assert counted == [f"line {index}" for index in range(len(counted))]


def put(more: bytes = b"") -> None:
    """Put the binary, or another one, where it is executed, as a package manager does."""
    new = BINARY.with_name("legwork.new")
    shutil.copy(CARRIED, new)
    new.chmod(0o755)
    with new.open("ab") as file:
        # What follows a program in its file is not looked at.
        file.write(more)
    new.replace(BINARY)
    os.sync()
