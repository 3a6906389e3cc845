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

from kit import held, place, tools
from kit.measure import Figure, Series, alternate

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
    with held.limits() as limits:
        free = held.Held([], {}, "no limits")
        found = alternate(
            runs,
            conmon=_conmon,
            legwork=lambda: _legwork(free),
            limited=lambda: _legwork(limits),
        )
    return [
        _figure("memory", found["legwork"], found["conmon"], 0.6, free.note),
        _figure("memory-limits", found["limited"], found["conmon"], 0.5, limits.note),
    ]


def _figure(name: str, own: Series, conmon: Series, bar: float, note: str) -> Figure:
    ratio = own.median / conmon.median
    return Figure(
        name=name,
        what=f"supervisor's PSS for an idle job, {JOBS} at once, as a ratio to conmon's",
        legwork=own,
        anchor=conmon,
        anchor_name="conmon",
        unit="kB",
        bar=f"<= {bar}",
        value=ratio,
        holds=ratio <= bar,
        notes=[note],
    )


def _pss_kb(pid: int) -> float:
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return float(next(x.split()[1] for x in text.splitlines() if x.startswith("Pss:")))


def _claims(journal: Path) -> list[dict[str, int]]:
    records = map(json.loads, journal.read_text().splitlines())
    return [record["launch"] for record in records if "launch" in record]


def _legwork(how: held.Held) -> float:
    with place.scratch() as directory:
        state = directory / "state"
        env = place.environment(state) | how.env
        words = ["start", "--no-sync", *how.options, *["-c", "exec sleep 600"] * JOBS]
        started = place.run(state, *words, env=env)
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
