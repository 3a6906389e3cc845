"""A command on a terminal of its own, for what depends on being watched."""

import contextlib
import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time
from types import TracebackType
from typing import Any

from harness.host import Host, Word
from harness.waiting import DEADLINE_S


def _take_terminal() -> None:
    """In the child: make the terminal the controlling one, so that its keys become signals."""
    for descriptor in (0, 1, 2):
        if os.isatty(descriptor):
            fcntl.ioctl(descriptor, termios.TIOCSCTTY, 0)
            return


class Terminal:
    """The binary as the foreground process of a new terminal."""

    def __init__(self, host: Host, *args: Word, **options: Any) -> None:
        """Open a terminal of 80 by 24 and start the binary on it."""
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        stdio = {"stdin": slave, "stdout": slave, "stderr": slave}
        self.seen = b""
        self.process: subprocess.Popen[bytes] = host.popen(
            *args,
            **(stdio | options),
            start_new_session=True,
            preexec_fn=_take_terminal,
        )
        os.close(slave)

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.master)

    def type(self, keys: bytes) -> None:
        """Press keys, control characters included."""
        os.write(self.master, keys)

    def read(self, timeout_s: float) -> bool:
        """Take what has come within the time; ``False`` when nothing did or all is closed."""
        ready, _, _ = select.select([self.master], [], [], timeout_s)
        if not ready:
            return False
        with contextlib.suppress(OSError):
            data = os.read(self.master, 65536)
            self.seen += data
            return bool(data)
        return False

    def shows(self, text: bytes, deadline_s: float = DEADLINE_S) -> bytes:
        """Wait until the terminal has shown this; everything shown."""
        end = time.monotonic() + deadline_s
        while text not in self.seen:
            left = end - time.monotonic()
            ended = self.process.poll() is not None
            if left <= 0 or (not self.read(min(left, 0.2)) and ended):
                raise AssertionError(f"the terminal never showed {text!r}, but {self.seen!r}")
        return self.seen

    def ends(self, deadline_s: float = DEADLINE_S) -> int:
        """Wait for the end of the command; its exit code."""
        end = time.monotonic() + deadline_s
        while self.process.poll() is None:
            if time.monotonic() > end:
                raise AssertionError(f"still runs after {deadline_s} s; showed {self.seen!r}")
            self.read(0.05)
        while self.read(0):
            pass
        return self.process.returncode
