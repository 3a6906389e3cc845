"""Limits that need controllers: what the kernel does to a job, and what is told of it."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from guest.serving import CARRIED
from guest.told import tell

STATE = Path("/var/lib/limits")
HOG = "import time; held = bytearray(300 << 20); time.sleep(60)"
BURN = "while :; do :; done"


def _scoped(*args: str) -> subprocess.CompletedProcess[str]:
    """The command line in a scope of its own, which is delegated to it."""
    scope = ("systemd-run", "--scope", "--quiet", "--collect", "-p", "Delegate=yes")
    env = os.environ | {"LEGWORK_STATE": str(STATE), "LEGWORK_CGROUP_ROOT": "auto"}
    done = subprocess.run(
        [*scope, CARRIED, *args], env=env, capture_output=True, text=True, check=False
    )
    tell(f"{args[:1]}: exit {done.returncode} {done.stderr.strip()[-300:]}")
    return done


def _last() -> dict[str, Any]:
    env = os.environ | {"LEGWORK_STATE": str(STATE)}
    jobs = subprocess.run(
        [CARRIED, "ps", "-a", "--json"], env=env, capture_output=True, check=True
    ).stdout
    return json.loads(jobs)[0]


def _run(*args: str) -> tuple[int, dict[str, Any]]:
    done = _scoped("run", "--no-sync", "-q", *args)
    return done.returncode, _last()["finish"]


def test_the_scope_is_found_with_its_controllers() -> None:
    told = json.loads(_scoped("doctor", "--json").stdout)
    assert told["containment"] == "cgroup"
    assert set(told["controllers"]) >= {"cpu", "io", "memory", "pids"}


def test_too_much_memory_is_told_as_that_with_the_peak() -> None:
    limit = 64 << 20
    code, finish = _run("--memory", "64M", "--", "python3", "-c", HOG)
    assert code == 137
    assert finish["cause"] == "out_of_memory"
    assert finish["usage"]["oomKills"] >= 1
    # Linux 6.1 has the peak since 5.19.
    assert limit / 2 < finish["usage"]["memoryPeakBytes"] <= limit
    # A child's hunger takes the whole job, also one whose shell would go on.
    code, finish = _run("--memory", "64M", "--", "sh", "-c", f"python3 -c '{HOG}'; echo on")
    assert (code, finish["cause"]) == (137, "out_of_memory")
    code, finish = _run("--memory", "200M", "--", "sh", "-c", "exit 9")
    assert (code, finish["cause"]) == (9, "self")


def test_who_shields_itself_does_not_get_more() -> None:
    # As root it takes its main process out of the kernel's reach (oom_score_adj -1000), also from
    # the end of a whole group; what it starts again and again is killed all the same, and counted.
    stress = ("stress-ng", "--vm", "2", "--vm-bytes", "300M", "--vm-keep", "--timeout", "6s")
    code, finish = _run("--memory", "64M", "--", *stress)
    assert code in (0, 137)
    assert finish["usage"]["oomKills"] >= 2
    assert finish["usage"]["memoryPeakBytes"] <= 64 << 20


def test_a_fork_bomb_stays_below_its_limit_and_dies_whole() -> None:
    bomb = "b() { b | b & b; }; b"
    code, finish = _run(
        "--pids", "30", "--timeout", "5s", "--stop-grace", "0s", "--", "sh", "-c", bomb
    )
    assert finish["survivors"] == []
    assert finish["cause"] in ("timeout", "self")
    assert code in (124, 2, 0)
    # Linux counts the peak since 6.1 in some builds only.
    assert finish["usage"].get("pidsPeak", 30) <= 30


def test_processor_time_is_shared_out() -> None:
    _, finish = _run("--cpus", "0.2", "--", "timeout", "4", "sh", "-c", BURN)
    usage = finish["usage"]
    assert usage["exact"]
    assert usage["userUs"] + usage["systemUs"] < 4_000_000 * 0.2 * 2
    assert usage["throttledUs"] > 1_000_000


def test_a_disk_is_written_no_faster_than_allowed() -> None:
    target = STATE.with_name("written")
    write = ("dd", "if=/dev/zero", f"of={target}", "bs=256k", "count=8", "oflag=direct")
    code, finish = _run("--io-max", "/var:wbps=512K", "--", *write)
    assert code == 0
    job = _last()
    took_ms = job["finish"]["endedAtMs"] - job["startedAtMs"]
    assert took_ms > 2000, took_ms
    assert finish["usage"]["writtenBytes"] >= 2 << 20
    target.unlink()
