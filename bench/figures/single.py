"""One short job in the foreground, against adding and waiting in task-spooler.

The anchor is what its users type for this: `tsp COMMAND`, then `tsp -w`. In a second figure the job
has all limits; a third, which has no bar, is against `tsp -f`, which does both in one process.
task-spooler has a server that is running already; legwork starts from nothing each time.
"""

import os
import statistics
from collections.abc import Callable

from kit import held, place, tools
from kit.measure import Figure, Series, alternate, seconds
from kit.spooler import spooler

REPEATS = 30
BAR = 3


def measure(runs: int) -> list[Figure]:
    """Time of one job as a ratio."""
    tsp = tools.need("tsp")
    with place.scratch() as directory, spooler(directory, 1) as env, held.limits() as limits:
        place.settled(directory)
        state = directory / "state"
        own = place.environment(state)
        null = os.open("/dev/null", os.O_WRONLY)

        def succeed(words: list[str], env: dict[str, str]) -> None:
            code = place.spawn(words, env, null)
            assert code == 0, f"{words}: exit {code}"

        def add_and_wait() -> None:
            succeed([tsp, "/bin/true"], env)
            succeed([tsp, "-w"], env)

        def foreground() -> None:
            succeed([tsp, "-f", "/bin/true"], env)

        def legwork() -> None:
            succeed([str(tools.legwork()), "run", "--no-sync", "--", "/bin/true"], own)

        def limited() -> None:
            run = [str(tools.legwork()), "run", "--no-sync", *limits.options, "--", "/bin/true"]
            succeed(run, own | limits.env)

        found = alternate(
            runs,
            two=lambda: _median(add_and_wait),
            one=lambda: _median(foreground),
            legwork=lambda: _median(legwork),
            limited=lambda: _median(limited),
        )
        os.close(null)
    return [
        _figure("single", "tsp, then tsp -w", found["legwork"], found["two"], f"<= {BAR}"),
        _figure("single-limits", "tsp, then tsp -w", found["limited"], found["two"], f"<= {BAR}"),
        _figure("single-foreground", "tsp -f", found["legwork"], found["one"], "none"),
    ]


def _figure(name: str, anchor_name: str, own: Series, anchor: Series, bar: str) -> Figure:
    ratio = own.median / anchor.median
    with_limits = ", with all limits" if name.endswith("limits") else ""
    return Figure(
        name=name,
        what=f"one /bin/true in the foreground{with_limits}, time as a ratio to `{anchor_name}`",
        legwork=own,
        anchor=anchor,
        anchor_name=anchor_name,
        unit="ms",
        scale=1000,
        bar=bar,
        value=ratio,
        holds=bar == "none" or ratio <= BAR,
        notes=[f"each run is the median of {REPEATS}"],
    )


def _median(action: Callable[[], None]) -> float:
    return statistics.median(seconds(action) for _ in range(REPEATS))
