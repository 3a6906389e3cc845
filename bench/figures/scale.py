"""The cost of `start` when there are many jobs already, against that when there are few."""

import statistics
from collections.abc import Callable
from pathlib import Path

from kit import place
from kit.measure import Figure, alternate, seconds

FEW, MANY = 10, 10_000
BATCH = 500
REPEATS = 20
BAR = 1.2


def measure(runs: int) -> list[Figure]:
    """Time of a start as a ratio."""
    with place.scratch(place.MEMORY) as directory:
        few, many = directory / "few" / "state", directory / "many" / "state"
        for state, jobs in ((few, FEW), (many, MANY)):
            state.parent.mkdir()
            _fill(state, jobs)
        found = alternate(runs, few=_started(few), many=_started(many))
    ratio = found["many"].median / found["few"].median
    return [
        Figure(
            name="scale",
            what=f"`start` with {MANY} jobs in the index as a ratio to that with {FEW}",
            legwork=found["many"],
            anchor=found["few"],
            anchor_name="few",
            unit="ms",
            scale=1000,
            bar=f"<= {BAR}",
            value=ratio,
            holds=ratio <= BAR,
            notes=[f"each run is the median of {REPEATS}"],
        )
    ]


def _fill(state: Path, jobs: int) -> None:
    for first in range(0, jobs, BATCH):
        batch = ["-c", ":"] * min(BATCH, jobs - first)
        started = place.run(state, "start", "--no-sync", *batch)
        place.run(state, "wait", *started.stdout.decode().split())


def _started(state: Path) -> Callable[[], float]:
    def once() -> float:
        ids: list[str] = []

        def start() -> None:
            ids.append(place.run(state, "start", "--no-sync", "--", "/bin/true").stdout.decode())

        took = seconds(start)
        place.run(state, "wait", *(job.strip() for job in ids))
        return took

    return lambda: statistics.median(once() for _ in range(REPEATS))
