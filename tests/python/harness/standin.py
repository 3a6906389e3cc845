"""A shim of another version: it holds the lock, writes records, and answers as a test wants."""

import fcntl
import json
import os
import socket
import struct
import threading
import time
import uuid
from pathlib import Path
from types import TracebackType
from typing import Any

STDIN, STDIN_END, SIGNAL, STOP, PAUSE, RESUME = range(1, 7)
DONE, UNSUPPORTED = 0x8001, 0x8005
UNHEARD = 0x8042
"""A reply that no version has yet."""

SPEC = {
    "version": 1, "argv": ["make", "test"], "env": [], "dir": "/",
    "stop_signal": 15, "stop_grace_ms": 5000, "output_limit": 1 << 20,
}  # fmt: skip
LAUNCH = {"version": 1, "control": 0, "boot_id": "", "shim_pid": 1, "pid": 1, "started_at_ms": 5}
EXIT = {
    "version": 1, "cause": {"stopped": {"by": "tester"}}, "status": {"signal": 15},
    "started_at_ms": 5, "ended_at_ms": 9, "output_end": 0,
}  # fmt: skip
NEWER_EXIT = {"version": 2, "cause": ["evicted"], "ended": "2030-01-01T00:00:00Z"}


def _uuid7() -> str:
    """An id as clients make it: the time, and chance."""
    high = int(time.time() * 1000) << 16 | 0x7000 | int.from_bytes(os.urandom(2)) & 0xFFF
    return str(uuid.UUID(int=high << 64 | 0b10 << 62 | int.from_bytes(os.urandom(8)) >> 2))


class Standin:
    """A job below a state directory, which seems to run for as long as this is open."""

    def __init__(
        self,
        state: Path,
        spec: dict[str, Any] | None = None,
        launch: dict[str, Any] | None = None,
        exit: dict[str, Any] | None = None,  # noqa: A002
        replies: dict[int, int] | None = None,
    ) -> None:
        """Make it, with these fields in the place of an older version's."""
        self.id = _uuid7()
        self.directory = state / "jobs" / self.id
        self.heard: list[int] = []
        self._exit = EXIT if exit is None else exit
        self._replies = {SIGNAL: DONE, STOP: DONE} | (replies or {})
        self.directory.mkdir(mode=0o700)
        journal = self.directory / "journal"
        self._held: int | None = os.open(journal, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        whole = struct.pack("hhqqi", fcntl.F_WRLCK, 0, 0, 0, 0)
        fcntl.fcntl(self._held, fcntl.F_OFD_SETLK, whole)
        self.writes({"spec": {**SPEC, "id": self.id, **(spec or {})}})
        self.writes({"launch": {**LAUNCH, **(launch or {})}})
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.directory / "control"))
        self._listener.listen()
        # Whoever else begins jobs has an index of another version, which is built anew.
        (state / "index.boot").unlink(missing_ok=True)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def writes(self, record: dict[str, Any]) -> None:
        """Append a line to the journal."""
        with (self.directory / "journal").open("a") as journal:
            journal.write(json.dumps(record, separators=(",", ":")) + "\n")

    def prints(self, text: bytes) -> None:
        """Print to standard output, once."""
        (self.directory / "index").write_bytes(struct.pack("<QQQ", 0, 1, 1))
        (self.directory / f"output.{0:020}").write_bytes(text)

    def content(self) -> dict[str, bytes]:
        """Every file of the job."""
        return {path.name: path.read_bytes() for path in self.directory.iterdir() if path.is_file()}

    def dies(self) -> None:
        """Be gone, as by SIGKILL."""
        if self._held is not None:
            os.close(self._held)
            self._held = None
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                peer, _ = self._listener.accept()
            except OSError:
                return
            with peer, peer.makefile("rb") as frames:
                while head := frames.read(6):
                    length, kind = struct.unpack("<IH", head)
                    frames.read(length - 2)
                    self.heard.append(kind)
                    reply = self._replies.get(kind, UNSUPPORTED)
                    peer.sendall(struct.pack("<IH", 2, reply))
                    if (kind, reply) == (STOP, DONE):
                        self.writes({"exit": self._exit})
                        self.dies()
                        return

    def __enter__(self) -> "Standin":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.dies()
