"""A slow link, or one that only counts, between either tool and its server."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from kit import tools


@dataclass
class Link:
    """Its near end, and what came through."""

    address: str
    process: subprocess.Popen[str]

    @property
    def port(self) -> int:
        """Where it begins, on this machine."""
        return int(self.address.rpartition(":")[2])

    def passed(self) -> int:
        """Bytes in both directions until now."""
        return sum(self.ways())

    def ways(self) -> tuple[int, int]:
        """Bytes until now, from this end to the other and back."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write("?\n")
        self.process.stdin.flush()
        up, down = map(int, self.process.stdout.readline().split())
        return up, down


@contextmanager
def link(far: str, round_trip_ms: int = 0, mbit: int | None = None) -> Iterator[Link]:
    """Make one to an address of this machine."""
    words = [str(tools.example("testkit", "link")), far, str(round_trip_ms)]
    if mbit is not None:
        words.append(str(mbit))
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        yield Link(process.stdout.readline().strip(), process)
        assert process.stdin
        process.stdin.close()
