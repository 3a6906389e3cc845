"""Memory of 50 idle jobs' supervisors against conmon's, as proportional set size.

Resident size would count shared pages once for each process; proportional size does not, but needs
many at once to be fair. The jobs themselves are not counted.
"""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kit import place, tools
from kit.measure import Figure, alternate

JOBS = 50

# What conmon calls to make a container: starts the process and writes down its id.
RUNTIME = """#!/bin/sh
while [ $# -gt 0 ]; do
    [ "$1" = --pid-file ] && { shift; file=$1; }
    shift
done
sleep 600 &
printf %s $! > "$file"
"""


def measure(runs: int) -> list[Figure]:
    """Memory per job as a ratio."""
    tools.need("conmon")
    found = alternate(runs, conmon=_conmon, legwork=_legwork)
    ratio = found["legwork"].median / found["conmon"].median
    return [
        Figure(
            name="memory",
            what=f"supervisor's PSS for an idle job, {JOBS} at once, as a ratio to conmon's",
            legwork=found["legwork"],
            anchor=found["conmon"],
            anchor_name="conmon",
            unit="kB",
            bar="<= 0.6",
            value=ratio,
            holds=ratio <= 0.6,
        )
    ]


def _pss_kb(pid: int) -> float:
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return float(next(x.split()[1] for x in text.splitlines() if x.startswith("Pss:")))


def _claims(journal: Path) -> list[dict[str, int]]:
    records = map(json.loads, journal.read_text().splitlines())
    return [record["launch"] for record in records if "launch" in record]


def _legwork() -> float:
    with place.scratch() as directory:
        state = directory / "state"
        started = place.run(state, "start", "--no-sync", *["-c", "exec sleep 600"] * JOBS)
        jobs = started.stdout.decode().split()
        try:
            journals = (state / "jobs").glob("*/journal")
            claims = [claim for journal in journals for claim in _claims(journal)]
            assert len(claims) == JOBS, f"{len(claims)} of {JOBS} run"
            pids = [claim["shim_pid"] for claim in claims]
            return sum(map(_pss_kb, pids)) / JOBS
        finally:
            place.run(state, "stop", "--grace", "1s", *jobs)


@contextmanager
def _containers(directory: Path) -> Iterator[list[int]]:
    runtime = directory / "runtime"
    runtime.write_text(RUNTIME)
    runtime.chmod(0o755)
    pids = []
    for number in range(JOBS):
        own = directory / str(number)
        own.mkdir()
        words = [tools.need("conmon"), "--cid", f"c{number}", "--cuuid", f"u{number}"]
        words += ["--runtime", str(runtime), "--bundle", str(own)]
        words += ["--container-pidfile", str(own / "pid"), "--conmon-pidfile", str(own / "conmon")]
        words += ["--log-path", f"k8s-file:{own / 'log'}", "--exit-dir", str(own)]
        words += ["--socket-dir-path", str(own)]
        subprocess.run(words, check=True, stdin=subprocess.DEVNULL)
        pids.append(_appears(own / "conmon"))
        _appears(own / "pid")
    try:
        yield pids
    finally:
        for number in range(JOBS):
            os.kill(_appears(directory / str(number) / "pid"), signal.SIGKILL)
        _until_gone(pids)


def _conmon() -> float:
    with place.scratch() as directory, _containers(directory) as pids:
        return sum(map(_pss_kb, pids)) / JOBS


def _appears(path: Path) -> int:
    end = time.monotonic() + 10
    while time.monotonic() < end:
        if path.exists() and (text := path.read_text()):
            return int(text)
        time.sleep(0.002)
    raise TimeoutError(f"{path} never appeared")


def _until_gone(pids: list[int]) -> None:
    end = time.monotonic() + 10
    while any(Path(f"/proc/{pid}").exists() for pid in pids) and time.monotonic() < end:
        time.sleep(0.01)
