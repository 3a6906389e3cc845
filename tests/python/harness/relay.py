"""A network between a client and a server, which a test can look into and cut."""

import contextlib
import math
import socket
import threading


class Link:
    """One connection through the relay."""

    def __init__(self, client: socket.socket, server: socket.socket, left: float) -> None:
        """Nothing has passed yet; so many bytes may."""
        self.ends = (client, server)
        self.left = left
        self.turns = 0
        self.speaker: socket.socket | None = None

    def copy(self, source: socket.socket, target: socket.socket) -> None:
        """Pass on what comes from one end until either is closed."""
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                if self.speaker is not source:
                    self.speaker = source
                    self.turns += 1
                self.left -= len(data)
                if self.left < 0:
                    break
                target.sendall(data)
        self.cut()

    def cut(self) -> None:
        """Close both ends."""
        for end in self.ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


class Relay:
    """Listens, and passes on to a server that may come later."""

    def __init__(self) -> None:
        """Listen on a free port."""
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.target = ("127.0.0.1", 0)
        self.links: list[Link] = []
        self.budgets: list[float] = []
        self.threads = [threading.Thread(target=self._accept)]
        self.threads[0].start()

    def __enter__(self) -> "Relay":
        return self

    def __exit__(self, *_: object) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.cut()
        for thread in self.threads:
            thread.join()

    @property
    def address(self) -> str:
        """Where it listens."""
        name, port = self.listener.getsockname()
        return f"{name}:{port}"

    def lead_to(self, address: str) -> None:
        """Pass on to this server from now on."""
        name, port = address.rsplit(":", 1)
        self.target = (name, int(port))

    def cut(self) -> None:
        """Cut all connections; new ones are possible."""
        for link in self.links:
            link.cut()

    def cut_next(self, *after: int) -> None:
        """Cut the next connections, each when so many bytes have passed."""
        self.budgets += after

    def talking(self) -> int:
        """How many connections have come past the handshake.

        The client's hello, the server's, the client's first call, and what the server says to that.
        """
        return sum(link.turns >= 4 for link in self.links)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(self.target, timeout=10)
            except OSError:
                client.close()
                continue
            server.settimeout(None)
            link = Link(client, server, self.budgets.pop(0) if self.budgets else math.inf)
            self.links.append(link)
            for ends in ((client, server), (server, client)):
                thread = threading.Thread(target=link.copy, args=ends)
                self.threads.append(thread)
                thread.start()
