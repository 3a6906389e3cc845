"""200 short jobs against task-spooler: 8 at a time through the library, and all through one client.

Both sides keep each job's output in a file. task-spooler keeps nothing else on disk; legwork's
jobs have a directory, a shim and a durable exit record each. task-spooler has no call for many
jobs: its side is one client process for each, as people use it, and 8 slots. The library's side is
its example `burst`, whose own rounds are its repeats; the client's side is one `start` of all 200
at once, since this version has no queue, and one `wait`. Several commands in one `start` are given
to a shell each, so task-spooler's jobs are shells there too.
"""

import itertools
import re
import statistics
import subprocess
from pathlib import Path

from kit import held, place, tools
from kit.measure import Figure, Series, alternate, seconds
from kit.spooler import spooler

JOBS = 200
SLOTS = 8
SHELL = ["/bin/sh", "-c", "exec /bin/true"]
ROUND = re.compile(r"^round [1-9]: .* ([\d.]+) /s$", re.MULTILINE)


def measure(runs: int) -> list[Figure]:
    """Jobs per second as a ratio."""
    tsp = tools.need("tsp")
    example = tools.example("legwork-jobs", "burst")
    with place.scratch() as directory, spooler(directory, SLOTS) as env:
        place.settled(directory)

        def spooled(words: list[str]) -> float:
            took = seconds(lambda: _spool([tsp, *words], env))
            subprocess.run([tsp, "-C"], env=env, check=True)
            return took

        numbers = itertools.count()

        def fresh() -> Path:
            # Kept until the end: ext4 makes files slowly where many were just deleted.
            made = directory / f"run{next(numbers)}"
            made.mkdir()
            return made / "state"

        def client() -> float:
            return _client(fresh())

        def library() -> float:
            return _library(example, fresh())

        found = alternate(
            runs,
            programs=lambda: spooled(["/bin/true"]),
            library=library,
            shells=lambda: spooled(SHELL),
            client=client,
        )
    return [
        _figure("burst", "through the library, 8 at a time", found["library"], found["programs"]),
        _figure("burst-client", "by one `start` and `wait`", found["client"], found["shells"]),
    ]


def _figure(name: str, how: str, own: Series, anchor: Series) -> Figure:
    ratio = anchor.median / own.median
    return Figure(
        name=name,
        what=f"{JOBS} short jobs {how}; jobs/s as a ratio to tsp with {SLOTS} slots",
        legwork=own,
        anchor=anchor,
        anchor_name="tsp",
        unit="ms",
        scale=1000,
        bar=">= 1.0",
        value=ratio,
        holds=ratio >= 1.0,
        notes=[f"legwork {JOBS / own.median:.0f} jobs/s, tsp {JOBS / anchor.median:.0f} jobs/s"],
    )


def _spool(words: list[str], env: dict[str, str]) -> None:
    with Path("/dev/null").open("wb") as null:
        for _ in range(JOBS):
            place.spawn(words, env, null.fileno())
        place.spawn([words[0], "-w"], env, null.fileno())


def _library(example: Path, state: Path) -> float:
    words = [str(example), str(JOBS), str(SLOTS), str(state)]
    env = place.environment(state)
    done = subprocess.run(words, env=env, check=True, capture_output=True, text=True)
    return JOBS / statistics.median(map(float, ROUND.findall(done.stdout)))


def _client(state: Path) -> float:
    def all_of_them() -> None:
        commands = ["-c", SHELL[-1]] * JOBS
        started = place.run(state, "start", "--no-sync", *held.options(), *commands)
        place.run(state, "wait", *started.stdout.decode().split())

    place.run(state, "ps")
    return seconds(all_of_them)
