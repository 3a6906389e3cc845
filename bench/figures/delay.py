"""How long a printed line takes to its reader, against a bare pipe.

The writer prints the monotonic clock, the reader compares it with its own: on one machine that is
the same clock.
"""

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from kit import held, place, tools
from kit.measure import Figure, alternate

LINES = 100
PAUSE_S = 0.01

WRITER = f"""
import os, time
for _ in range({LINES}):
    time.sleep({PAUSE_S})
    os.write(1, b"%d\\n" % time.monotonic_ns())
"""


def measure(runs: int) -> list[Figure]:
    """Median delay as a ratio, with the allowance of the bar taken off."""
    with place.scratch() as directory:
        writer = directory / "writer.py"
        writer.write_text(WRITER)
        state = directory / "state"
        interpreter = str(Path(sys.executable).resolve())
        job = [interpreter, "-I", "-S", str(writer)]

        def legwork() -> float:
            words = [str(tools.legwork()), "run", "--no-sync", "-q", *held.options(), "--", *job]
            return median_delay(words, place.environment(state))

        found = alternate(runs, bare=lambda: median_delay(job, dict(os.environ)), legwork=legwork)
    bare, own = found["bare"].median, found["legwork"].median
    return [
        Figure(
            name="delay",
            what="delay of a line through `run`, as a ratio to a bare pipe",
            legwork=found["legwork"],
            anchor=found["bare"],
            anchor_name="bare pipe",
            unit="us",
            scale=1e6,
            bar="<= 2 x and 200 us",
            value=own / bare,
            holds=own <= 2 * bare + 200e-6,
            notes=[f"each run is the median of {LINES} lines, one every {PAUSE_S * 1000:.0f} ms"],
        )
    ]


def median_delay(words: list[str], env: dict[str, str]) -> float:
    """The median delay of the lines that the command prints, in seconds."""
    delays = []
    with subprocess.Popen(
        words, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, bufsize=0
    ) as process:
        assert process.stdout
        descriptor = process.stdout.fileno()
        while data := os.read(descriptor, 4096):
            now = time.monotonic_ns()
            delays += [now - int(line) for line in data.split()]
    assert len(delays) == LINES
    return statistics.median(delays) / 1e9
