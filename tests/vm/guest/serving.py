"""A server as a service of systemd, as somebody would run it who serves a host."""

import json
import shutil
from pathlib import Path
from typing import Any

from guest.systemd import Unit, run
from guest.waiting import until

CARRIED = Path("/carried/legwork")

SERVICE = """\
Type=exec
ExecStart={binary} serve --init --state {state} --listen 127.0.0.1:0 --allow-root
KillMode=process
Restart=on-failure
"""

# Prints numbered lines until it is let go, then one more.
COUNTS = """\
i=0
until test -e {gate}; do echo line $i; i=$((i + 1)); sleep 0.05; done
echo the end after $i
exit 21
"""


class Server(Unit):
    """A server with its own binary and state directory."""

    def __init__(self, name: str) -> None:
        """Write its unit. What is there from before a reboot is used again."""
        self.top = Path("/var/lib") / name
        self.top.mkdir(exist_ok=True)
        self.binary, self.state = self.top / "legwork", self.top / "state"
        if not self.binary.exists():
            shutil.copy(CARRIED, self.binary)
        super().__init__(name, SERVICE.format(binary=self.binary, state=self.state))

    def __enter__(self) -> "Server":
        super().__enter__()
        return self.up()

    def up(self) -> "Server":
        """Wait until it answers."""
        until(lambda: self.call("ps", "--connect-timeout", "5s", "--reconnect", "0s"), self.name)
        return self

    def upgrade(self) -> None:
        """Put another file in the place of its binary, as a package manager does."""
        new = self.binary.with_name("legwork.new")
        shutil.copy(CARRIED, new)
        with new.open("ab") as file:
            # What follows a program in its file is not looked at.
            file.write(b"another version\n")
        new.replace(self.binary)

    def call(self, *args: str | Path, code: int = 0) -> str:
        """A command, answered by the server at its socket."""
        return run(CARRIED, "-H", f"unix://{self.state}/sock", *args, code=code) or " "

    def status(self, job: str) -> dict[str, Any]:
        """What is said of a job."""
        return json.loads(self.call("status", "--json", job))

    def start(self, *command: str) -> str:
        """Start a job that mirrors nothing; its id."""
        return self.call("start", "--no-sync", "--dir", "/", "--", *command).strip()


class Counting:
    """A job that prints until its gate is opened."""

    def __init__(self, server: Server, job: str | None = None) -> None:
        """Start it, or take it up again by its id."""
        self.server = server
        self.gate = server.top / "gate"
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
