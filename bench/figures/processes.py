"""A snapshot of some 300 processes, in time of a processor, against `ps aux`.

Both read the same process table, which is filled up by sleepers. `ps aux` is a whole process, whose
output is dropped. Legwork's side is the snapshot that an agent makes again and again: what one costs,
from `/proc` to the JSON of its records, where one was made before. The first one, which
has nothing to remember, is told beside.
"""

import os
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kit import tools
from kit.measure import Figure, Series, alternate

PROCESSES = 300
SNAPSHOTS = 40
LIMIT = 0.35


@contextmanager
def _filled() -> Iterator[None]:
    """As many processes as wanted."""
    there = sum(entry.name.isdigit() for entry in Path("/proc").iterdir())
    sleepers = []
    try:
        for _ in range(max(PROCESSES - there, 0)):
            sleepers.append(subprocess.Popen(["sleep", "3600"]))
        yield
    finally:
        for sleeper in sleepers:
            sleeper.kill()
            sleeper.wait()


def _ps() -> float:
    """Seconds of a processor for one list."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with Path(os.devnull).open("wb") as nowhere:
        subprocess.run(["ps", "aux"], stdout=nowhere, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(runs: int) -> list[Figure]:
    """The ratio, against a fixed bar."""
    example = tools.example("legwork-processes", "cost")
    first = Series()
    told: dict[str, int] = {}

    def legwork() -> float:
        out = subprocess.run([example, str(SNAPSHOTS), "50"], check=True, capture_output=True)
        words = out.stdout.decode().split()
        told.update(zip(words[::2], map(int, words[1::2]), strict=True))
        first.values.append(told["first_us"] / 1e6)
        return (told["collect_us"] + told["record_us"]) / 1e6

    with _filled():
        found = alternate(runs, legwork=legwork, ps=_ps)
    ratio = found["legwork"].median / found["ps"].median
    return [
        Figure(
            name="processes",
            what=f"processor time of a snapshot of {told['processes']} processes, in ms",
            legwork=found["legwork"],
            anchor=found["ps"],
            anchor_name="ps aux",
            unit="ms",
            scale=1000,
            bar=f"<= {LIMIT} x",
            value=ratio,
            holds=ratio <= LIMIT,
            notes=[
                f"the first one, with nothing remembered: {first.text('ms', 1000)}",
                f"{told['whole_bytes']} bytes as a whole, {told['bytes']} as changes",
            ],
        )
    ]
