"""One short job in the foreground, against adding and waiting in task-spooler.

task-spooler has a server that is running already; legwork starts from nothing each time.
"""

import os
import statistics
from collections.abc import Callable

from kit import place, tools
from kit.measure import Figure, alternate, seconds
from kit.spooler import spooler

REPEATS = 30


def measure(runs: int) -> list[Figure]:
    """Time of one job as a ratio."""
    tsp = tools.need("tsp")
    with place.scratch() as directory, spooler(directory, 1) as env:
        state = directory / "state"
        own = place.environment(state)
        null = os.open("/dev/null", os.O_WRONLY)

        def anchor() -> float:
            # In the foreground: adds the job and waits for its end, in one process.
            return _median(lambda: place.spawn([tsp, "-f", "/bin/true"], env, null))

        def legwork() -> float:
            words = [str(tools.legwork()), "run", "--no-sync", "--", "/bin/true"]
            return _median(lambda: place.spawn(words, own, null))

        found = alternate(runs, anchor=anchor, legwork=legwork)
        os.close(null)
    ratio = found["legwork"].median / found["anchor"].median
    return [
        Figure(
            name="single",
            what="one /bin/true in the foreground, time as a ratio to `tsp -f`",
            legwork=found["legwork"],
            anchor=found["anchor"],
            anchor_name="tsp -f",
            unit="ms",
            scale=1000,
            bar="<= 3",
            value=ratio,
            holds=ratio <= 3,
            notes=[f"each run is the median of {REPEATS}"],
        )
    ]


def _median(action: Callable[[], int]) -> float:
    def once() -> None:
        code = action()
        assert code == 0, f"exit {code}"

    return statistics.median(seconds(once) for _ in range(REPEATS))
