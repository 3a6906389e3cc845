"""What a control group of its own costs a job, against a scope of systemd's.

    cargo xtask vm --shell-command "python3 /carried/vm/bench_scope.py"

Where there is no accelerator the machine's clock runs by the instructions of its processor: then
times are none, and only the ratio tells something.
"""

import json
import os
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

BINARY = "/carried/legwork"
GROUP = Path("/sys/fs/cgroup/bench")
RUNS, REPEATS = 7, 10
JOB = ("run", "--no-sync", "-q")
LIMITS = ("--memory", "256M", "--pids", "100", "--cpus", "2")


def _timed(words: tuple[str, ...], root: str) -> Callable[[], float]:
    env = os.environ | {"LEGWORK_STATE": "/var/lib/bench", "LEGWORK_CGROUP_ROOT": root}

    def once() -> float:
        begun = time.perf_counter()
        subprocess.run(words, env=env, check=True, stdout=subprocess.DEVNULL)
        return time.perf_counter() - begun

    return lambda: statistics.median(once() for _ in range(REPEATS))


def main() -> None:
    """Measure in turn, and tell the medians in milliseconds."""
    # systemd gives its root group what some unit has asked for, and none has.
    (GROUP.parent / "cgroup.subtree_control").write_text("+cpu +memory +pids")
    GROUP.mkdir(exist_ok=True)
    legwork = (BINARY, *JOB)
    true = ("--", "/bin/true")
    sides = {
        "none": _timed((*legwork, *true), "none"),
        "group": _timed((*legwork, *true), str(GROUP)),
        "limits": _timed((*legwork, *LIMITS, *true), str(GROUP)),
        "program": _timed(("/bin/true",), "none"),
        "scope": _timed(("systemd-run", "--scope", "--quiet", "/bin/true"), "none"),
    }
    found: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(RUNS + 1):
        for name, side in sides.items():
            value = side()
            if number > 0:
                found[name].append(value)
    ms = {name: round(statistics.median(values) * 1000, 2) for name, values in found.items()}
    scope = ms["scope"] - ms["program"]
    added = {name: round(ms[name] - ms["none"], 2) for name in ("group", "limits")}
    ratios = {name: round(cost / scope, 3) for name, cost in added.items()}
    print(json.dumps({"ms": ms, "added_ms": added, "of_a_scope": ratios}, indent=2))


if __name__ == "__main__":
    main()
