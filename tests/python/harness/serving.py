"""A server as a process, and somebody elsewhere who has joined it."""

import contextlib
import json
import os
import signal
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from harness.host import Host, Word
from harness.relay import Relay
from harness.waiting import DEADLINE_S

ANYWHERE = "127.0.0.1:0"
LISTEN = ("--listen", ANYWHERE)


@contextlib.contextmanager
def reserved() -> Iterator[str]:
    """A free address that a server may listen at again and again, and nobody else gets in between.

    The system gives no port away that is bound, and lets another bind it as long as nobody listens
    there; so this has to come before the first server.
    """
    with socket.socket() as kept:
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        kept.bind(("127.0.0.1", 0))
        yield "{}:{}".format(*kept.getsockname())


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
        return self.process.wait(timeout=DEADLINE_S)


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

    def again(self, *args: Word, at: str = ANYWHERE) -> None:
        """Start a server where the one before it could be reached."""
        self.server.__exit__()
        self.server = Serving(self.host, "--listen", at, *args)
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
