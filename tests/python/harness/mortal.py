"""A server that dies at an exact system call while it is asked something, and comes back."""

import itertools
import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from harness import faults
from harness.faults import Fault, places
from harness.host import Host, Result, Word
from harness.serving import Away
from harness.waiting import DEADLINE_S, until

# What changes something that stays, or tells somebody of it.
LASTING = (
    *("write", "writev", "pwrite64", "ftruncate", "fsync", "fdatasync", "mkdir", "mkdirat"),
    *("rename", "renameat", "renameat2", "unlink", "unlinkat", "utimensat", "openat", "openat2"),
    *("flock", "clone3", "copy_file_range"),
)


@dataclass
class Mortal:
    """A server that dies while it is asked something, and comes back."""

    away: Away
    laptop: Host
    # What it is started with again.
    options: tuple[Word, ...] = ()
    deaths: int = 0
    numbers: "itertools.count[int]" = field(default_factory=itertools.count)

    @property
    def log(self) -> Path:
        """What the server did."""
        return self.away.host.tmp / "server.log"

    def asked(self, asked: Callable[[], "subprocess.Popen[bytes]"], *these: Fault) -> Result:
        """Ask something of a server that meets these faults; the answer, maybe of the next one."""
        server = self.away.server.process
        with faults.attached(server.pid, self.log, *these, threads=True):
            process = asked()
            over = (process, server)
            until(lambda: any(one.poll() is not None for one in over), "answered, or dead")
        self.deaths += faults.was_met(self.log)
        # One that is about to die cannot be told from one that lives, so it dies in any case.
        self.away.end(signal.SIGKILL)
        self.away.again("--advertise", self.away.relay.address, *self.options)
        try:
            out, err = process.communicate(timeout=DEADLINE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            _, err = process.communicate()
            raise AssertionError(f"not answered: {err!r}") from None
        return Result(process.args, process.returncode, out, err)

    def dies(self, most: int, round_: Callable[..., None]) -> None:
        """Do the same in peace, and then with a death at each call, or at some of them."""
        # The first has more to do than those that come after it.
        round_()
        round_()
        calls = faults.counts(self.log)
        chosen = [
            Fault(kind, when) for kind in LASTING for when in places(calls.get(kind, 0), most)
        ]
        wrong = []
        for fault in chosen:
            try:
                round_(fault)
            except AssertionError as error:
                wrong.append(f"{fault}: {error}")
        assert not wrong, "\n".join(wrong)
        # Which thread does what depends on who is idle.
        assert self.deaths > len(chosen) // 2, f"{self.deaths} deaths of {len(chosen)}"
