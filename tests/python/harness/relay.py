"""A network between a client and a server, which a test can look into, hold up and cut."""

import contextlib
import math
import socket
import struct
import threading
from dataclasses import dataclass

UP, DOWN = 0, 1
"""What the client says, and what the server says."""


@dataclass
class Fate:
    """What becomes of one connection when so many bytes have passed."""

    cut_after: float = math.inf
    hold_after: float = math.inf
    # Which bytes count; `None` is all of them.
    direction: int | None = None


class Link:
    """One connection through the relay."""

    def __init__(self, client: socket.socket, server: socket.socket, fate: Fate) -> None:
        """Nothing has passed yet."""
        self.ends = (client, server)
        self.fate = fate
        self.passed = [0, 0]
        self.turns = 0
        # What had passed when the client spoke for the second time, and when that was answered.
        self.greeted, self.answered = (0, 0), (0, 0)
        self.ended = 0
        self.was_reset = False
        self.was_held = False
        self.flows = (threading.Event(), threading.Event())
        self.flow()
        self.lock = threading.Lock()
        self._speaker: int | None = None

    def copy(self, direction: int) -> None:
        """Pass on what comes from one end until either is closed."""
        source, target = self.ends[direction], self.ends[1 - direction]
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                self.flows[direction].wait()
                if not self._pass_on(data, direction, target):
                    self.reset()
                    break
        if not self.was_reset:
            # Who does not hear anything does not hear of the end either.
            self.flows[direction].wait()
            self.cut()
        with self.lock:
            self.ended += 1
            if self.ended == 2:
                for end in self.ends:
                    end.close()

    def _pass_on(self, data: bytes, direction: int, target: socket.socket) -> bool:
        with self.lock:
            if self.was_reset:
                return False
            if self._speaker != direction:
                self._speaker = direction
                self.turns += 1
                if self.turns == 3:
                    self.greeted = (self.passed[UP], self.passed[DOWN])
                if self.turns == 4:
                    self.answered = (self.passed[UP], self.passed[DOWN])
            counted = self.fate.direction in (None, direction)
            so_far = sum(self.passed) if self.fate.direction is None else self.passed[direction]
            until_cut = self.fate.cut_after - so_far if counted else math.inf
            until_held = self.fate.hold_after - so_far if counted else math.inf
            rest = b""
            if len(data) > until_held:
                self.fate = Fate()
                self.flows[direction].clear()
                self.was_held = True
                data, rest = data[: int(until_held)], data[int(until_held) :]
            goes_on = len(data) <= until_cut
            data = data if goes_on else data[: max(int(until_cut), 0)]
            self.passed[direction] += len(data)
        target.sendall(data)
        if rest:
            self.flows[direction].wait()
            return self._pass_on(rest, direction, target)
        return goes_on

    def hold(self) -> None:
        """Pass nothing on any more, neither what is said nor that somebody has left."""
        for direction in self.flows:
            direction.clear()

    def flow(self) -> None:
        """Pass on what was held up."""
        for direction in self.flows:
            direction.set()

    def cut(self) -> None:
        """Close both ends; what has been passed on arrives."""
        for end in self.ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def reset(self) -> None:
        """Break both ends; what has not been read yet may be lost."""
        self.was_reset = True
        self.flow()
        for end in self.ends:
            with contextlib.suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                # Says nothing to the other end, and wakes who reads; the reset comes with closing.
                end.shutdown(socket.SHUT_RD)


class Relay:
    """Listens, and passes on to a server that may come later."""

    def __init__(self) -> None:
        """Listen on a free port."""
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.target = ("127.0.0.1", 0)
        self.links: list[Link] = []
        self.fates: list[Fate] = []
        self.refuses = False
        self.waiting = False
        self.flows = threading.Event()
        self.flows.set()
        self.threads = [threading.Thread(target=self._accept)]
        self.threads[0].start()

    def __enter__(self) -> "Relay":
        return self

    def __exit__(self, *_: object) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.refuses = True
        self.flow()
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

    def cut_next(self, *after: int, direction: int | None = None) -> None:
        """Cut the next connections, each when so many bytes have passed."""
        self.fates += [Fate(cut_after=count, direction=direction) for count in after]

    def hold_next(self, after: int, direction: int) -> None:
        """Hold up what one end says on the next connection after so many bytes of it."""
        self.fates.append(Fate(hold_after=after, direction=direction))

    def silence(self) -> None:
        """Pass nothing on any more on the connections that there are, and close none."""
        for link in self.links:
            link.hold()

    def stall(self) -> None:
        """The same, and let no new ones through."""
        self.flows.clear()
        self.silence()

    def flow(self) -> None:
        """Pass on what was held up."""
        self.flows.set()
        for link in self.links:
            link.flow()

    def talking(self) -> int:
        """How many connections have come past the handshake.

        The client's hello, the server's, the client's first call, and what the server says to that.
        """
        return sum(link.turns >= 4 for link in self.links)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
                self.waiting = not self.flows.is_set()
                self.flows.wait()
                self.waiting = False
                if self.refuses:
                    client.close()
                    continue
            except OSError:
                return
            try:
                server = socket.create_connection(self.target, timeout=10)
            except OSError:
                client.close()
                continue
            server.settimeout(None)
            link = Link(client, server, self.fates.pop(0) if self.fates else Fate())
            self.links.append(link)
            for direction in (UP, DOWN):
                thread = threading.Thread(target=link.copy, args=(direction,))
                self.threads.append(thread)
                thread.start()
