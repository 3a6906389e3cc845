"""One short job added and waited for, against pueue.

pueue looks every so often whether a job has ended, so this bar is easy; task-spooler is the honest
one.
"""

import os
import subprocess

from kit import held, place, pueue, tools
from kit.measure import Figure, alternate, seconds


def measure(runs: int) -> list[Figure]:
    """Time of one job as a ratio."""
    with place.scratch() as directory, pueue.daemon(directory) as client:
        own = place.environment(directory / "state")
        null = os.open("/dev/null", os.O_WRONLY)

        def anchor() -> float:
            def once() -> None:
                added = subprocess.run(
                    [*client, "add", "--print-task-id", "/bin/true"],
                    check=True,
                    capture_output=True,
                    text=True,
                )
                words = [*client, "wait", "--quiet", added.stdout.strip()]
                subprocess.run(words, check=True, stdout=subprocess.DEVNULL)

            return seconds(once)

        def legwork() -> float:
            words = [str(tools.legwork()), "run", "--no-sync", *held.options(), "--", "/bin/true"]
            return seconds(lambda: place.spawn(words, own, null))

        found = alternate(runs, anchor=anchor, legwork=legwork)
        os.close(null)
    return [
        Figure(
            name="queue",
            what="one /bin/true added and waited for, time as a ratio to pueue",
            legwork=found["legwork"],
            anchor=found["anchor"],
            anchor_name="pueue",
            unit="ms",
            scale=1000,
            bar="none",
            value=found["legwork"].median / found["anchor"].median,
            holds=True,
        )
    ]
