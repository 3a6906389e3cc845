"""A server as a process, and somebody elsewhere who has joined it."""

import json
import os
import signal
from dataclasses import dataclass
from typing import Any

from harness.host import Host, Word
from harness.relay import Relay

LISTEN = ("--listen", "127.0.0.1:0")


def is_root(host: Host) -> bool:
    """Whether what runs there runs as root."""
    return os.geteuid() == 0 and host.user.uid is None


class Serving:
    """A `serve` that listens, and what it said at its beginning."""

    def __init__(self, host: Host, *args: Word) -> None:
        """Start it and wait until it listens."""
        root = ("--allow-root",) if is_root(host) else ()
        self.log = host.tmp / f"serve-{os.urandom(4).hex()}.log"
        with self.log.open("wb") as log:
            self.process = host.popen("serve", "--json", *root, *args, stderr=log)
        assert self.process.stdout
        line = self.process.stdout.readline()
        assert line, self.log.read_text()
        self.told: dict[str, Any] = json.loads(line)

    def __enter__(self) -> "Serving":
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if self.process.stdout:
            self.process.stdout.close()

    @property
    def address(self) -> str:
        """Where it listens."""
        return self.told["addresses"][0]

    def end(self, number: int = signal.SIGTERM) -> int:
        """Signal it and wait for its end; its exit code."""
        self.process.send_signal(number)
        return self.process.wait(timeout=20)


@dataclass
class Away:
    """A server, the place that it serves, and a place elsewhere from which it is used."""

    host: Host
    laptop: Host
    server: Serving
    relay: Relay

    def end(self, number: int = signal.SIGTERM) -> None:
        """End the server."""
        self.server.end(number)

    def again(self, *args: Word) -> None:
        """Start a server where the one before it could be reached."""
        self.server.__exit__()
        self.server = Serving(self.host, *LISTEN, *args)
        self.relay.lead_to(self.server.address)

    @property
    def address(self) -> str:
        """Where the server is for who is elsewhere."""
        return self.relay.address

    def invite(self, name: str, *options: Word) -> str:
        """Make an invite."""
        return self.host.ok("invite", name, *options).strip()

    def join(self, laptop: Host, name: str, role: str = "run", context: str = "box") -> None:
        """Let somebody join under a name, whose current context this server is from then on."""
        token = self.invite(name, "--role", role)
        laptop.ok("join", "--name", context, stdin=token.encode())
