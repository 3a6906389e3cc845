"""200 short jobs, 8 at a time, against task-spooler.

Both sides keep each job's output in a file. task-spooler keeps nothing else on disk; legwork's jobs
have a directory, a shim and a durable exit record each. The legwork side is one process: the jobs
library's example `burst` where it exists, else one `legwork start` with 200 commands and one
`wait`. task-spooler has no such call: its side is one client process for each job, as people use
it.
"""

import subprocess
from pathlib import Path

from kit import place, tools
from kit.measure import Figure, alternate, seconds
from kit.spooler import spooler

JOBS = 200
SLOTS = 8


def measure(runs: int) -> list[Figure]:
    """Jobs per second as a ratio."""
    tsp = tools.need("tsp")
    example = tools.example("legwork-jobs", "burst")
    with place.scratch() as directory, spooler(directory, SLOTS) as env:

        def anchor() -> float:
            def all_of_them() -> None:
                with Path("/dev/null").open("wb") as null:
                    for _ in range(JOBS):
                        place.spawn([tsp, "/bin/true"], env, null.fileno())
                    place.spawn([tsp, "-w"], env, null.fileno())

            took = seconds(all_of_them)
            subprocess.run([tsp, "-C"], env=env, check=True)
            return took

        def legwork() -> float:
            with place.scratch() as fresh:
                if example:
                    return _example(example, fresh / "state")
                return _client(fresh / "state")

        found = alternate(runs, anchor=anchor, legwork=legwork)
    ratio = found["anchor"].median / found["legwork"].median
    through = "the library, 8 at a time" if example else "one `start`, all at once, and one `wait`"
    return [
        Figure(
            name="burst",
            what=f"{JOBS} jobs of /bin/true through {through}; jobs/s as a ratio to tsp",
            legwork=found["legwork"],
            anchor=found["anchor"],
            anchor_name="tsp",
            unit="ms",
            scale=1000,
            bar=">= 1.0",
            value=ratio,
            holds=ratio >= 1.0,
            notes=[
                f"legwork {JOBS / found['legwork'].median:.0f} jobs/s, "
                f"tsp {JOBS / found['anchor'].median:.0f} jobs/s"
            ],
        )
    ]


def _example(example: Path, state: Path) -> float:
    words = [str(example), str(state), str(JOBS), str(SLOTS)]
    env = place.environment(state)
    return seconds(lambda: subprocess.run(words, env=env, check=True, capture_output=True))


def _client(state: Path) -> float:
    def all_of_them() -> None:
        commands = ["-c", "exec /bin/true"] * JOBS
        started = place.run(state, "start", "--no-sync", *commands)
        place.run(state, "wait", *started.stdout.decode().split())

    place.run(state, "ps")
    return seconds(all_of_them)
