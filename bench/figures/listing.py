"""`ps -a --json` with 10,000 finished jobs."""

import json

from kit import place
from kit.measure import Figure, alternate, seconds

JOBS = 10_000
BATCH = 500
LIMIT_S = 0.150


def measure(runs: int) -> list[Figure]:
    """Seconds, against a fixed bar."""
    with place.scratch(place.MEMORY) as directory:
        state = directory / "state"
        for _ in range(JOBS // BATCH):
            started = place.run(state, "start", "--no-sync", *["-c", ":"] * BATCH)
            place.run(state, "wait", *started.stdout.decode().split())
        listed = json.loads(place.run(state, "ps", "-a", "--json").stdout)
        assert len(listed) == JOBS, f"{len(listed)} jobs listed"
        found = alternate(
            runs, legwork=lambda: seconds(lambda: place.run(state, "ps", "-a", "--json"))
        )
    took = found["legwork"].median
    return [
        Figure(
            name="listing",
            what=f"`ps -a --json` of {JOBS} finished jobs, in ms",
            legwork=found["legwork"],
            anchor=None,
            anchor_name="",
            unit="ms",
            scale=1000,
            bar="<= 150",
            value=took * 1000,
            holds=took <= LIMIT_S,
        )
    ]
