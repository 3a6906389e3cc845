"""TLS and HTTP/2 by hand, for peers that do what no library does."""

import os
import socket
import ssl
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hyperframe.frame as frames
from hpack import Decoder, Encoder

from harness.api import Credentials
from harness.waiting import DEADLINE_S
from harness.world import World

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
MOST = 2**31 - 1


def context(world: World, who: Credentials | None = None) -> ssl.SSLContext:
    """How to shake hands as somebody; with ``None``, without a certificate."""
    made = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cadata=world.ca.decode())
    # Its certificates may lack what this check wants and no standard of TLS does.
    made.verify_flags &= ~ssl.VERIFY_X509_STRICT
    made.set_alpn_protocols(["h2"])
    if who:
        with tempfile.TemporaryDirectory() as place:
            both = Path(place) / "both.pem"
            both.write_bytes(who.key + who.certificate)
            made.load_cert_chain(both)
    return made


def connect(world: World, source: str = "127.0.0.1") -> socket.socket:
    """A connection without a word said."""
    made = socket.create_connection(
        ("127.0.0.1", world.port), timeout=DEADLINE_S, source_address=(source, 0)
    )
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made


def shake(world: World, how: ssl.SSLContext, source: str = "127.0.0.1") -> ssl.SSLSocket:
    """A connection after the handshake."""
    return how.wrap_socket(connect(world, source), server_hostname="legwork")


def is_closed(peer: socket.socket, deadline_s: float = 0.0) -> bool:
    """Whether the other end has gone, whatever it said before."""
    peer.settimeout(deadline_s)
    try:
        while peer.recv(1 << 16):
            pass
    except (TimeoutError, BlockingIOError, ssl.SSLWantReadError):
        return False
    except OSError:
        return True
    return True


class Wire:
    """One HTTP/2 connection, frame by frame."""

    def __init__(self, world: World, how: ssl.SSLContext, **settings: int) -> None:
        """Shake hands and say the first words."""
        self.peer = shake(world, how)
        self.encoder, self.decoder = Encoder(), Decoder()
        self.stream = -1
        self.rest = b""
        first = frames.SettingsFrame(0)
        names = {name: getattr(frames.SettingsFrame, name.upper()) for name in settings}
        first.settings = {names[name]: value for name, value in settings.items()}
        self.peer.sendall(PREFACE + first.serialize())

    def __enter__(self) -> "Wire":
        return self

    def __exit__(self, *_: object) -> None:
        self.peer.close()

    def head(self, path: str, *more: tuple[str, str]) -> bytes:
        """The headers of a call, encoded."""
        fields = [
            (":method", "POST"),
            (":scheme", "https"),
            (":path", path),
            (":authority", "legwork"),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
        ]
        return self.encoder.encode([*fields, *more])

    def begin(self, path: str, *more: tuple[str, str]) -> int:
        """Send a call's headers; its stream."""
        self.stream += 2
        head = frames.HeadersFrame(self.stream, self.head(path, *more), flags=["END_HEADERS"])
        self.peer.sendall(head.serialize())
        return self.stream

    def call(self, path: str, message: bytes, *more: tuple[str, str]) -> int:
        """Begin a call with its one message; its stream."""
        stream = self.begin(path, *more)
        framed = struct.pack(">BI", 0, len(message)) + message
        self.peer.sendall(frames.DataFrame(stream, framed, flags=["END_STREAM"]).serialize())
        return stream

    def send(self, *made: frames.Frame) -> None:
        """Send frames as they are."""
        self.peer.sendall(b"".join(frame.serialize() for frame in made))

    def next(self) -> frames.Frame | None:
        """The next frame; ``None`` at the end of the connection."""
        try:
            head = self._take(9)
            frame, length = frames.Frame.parse_frame_header(memoryview(head))
            frame.parse_body(memoryview(self._take(length)))
        except (ConnectionError, EOFError, ssl.SSLError):
            return None
        if isinstance(frame, frames.SettingsFrame) and "ACK" not in frame.flags:
            self.send(frames.SettingsFrame(0, flags=["ACK"]))
        return frame

    def _take(self, count: int) -> bytes:
        while len(self.rest) < count:
            more = self.peer.recv(1 << 16)
            if not more:
                raise EOFError
            self.rest += more
        taken, self.rest = self.rest[:count], self.rest[count:]
        return taken

    def until(self, wanted: Callable[[Any], bool]) -> Any:
        """The next frame of this kind; ``None`` if the connection ends before."""
        while (frame := self.next()) is not None and not wanted(frame):
            pass
        return frame

    def answer(self, stream: int) -> dict[str, str] | int | None:
        """How a call is answered: its last headers, the number of its reset, or ``None``."""
        found: dict[str, str] = {}
        while frame := self.next():
            if frame.stream_id != stream:
                continue
            if isinstance(frame, frames.RstStreamFrame):
                return frame.error_code
            if isinstance(frame, frames.HeadersFrame):
                found |= dict(self.decoder.decode(frame.data))
            if "END_STREAM" in frame.flags:
                return found
        return None


def memory_bytes(pid: int) -> int:
    """What a process has in memory, without the files that it maps."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) << 10
    raise AssertionError(f"process {pid} does not tell")


def descriptors(pid: int) -> int:
    """How many descriptors a process has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208
