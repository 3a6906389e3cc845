"""An agent that is killed at any of its system calls, and the one after it."""

import signal
import subprocess
from collections.abc import Iterable

import pytest
from harness import agents, faults
from harness.agents import Agent
from harness.faults import STRACE, Fault, places
from harness.host import Host
from harness.serving import Away
from harness.waiting import DEADLINE_S, until
from test_agent import node, runs, whole

__all__ = ["node"]

pytestmark = [
    pytest.mark.once,
    pytest.mark.skipif(faults.why_not() is not None, reason=str(faults.why_not())),
]

EXTENT = pytest.mark.parametrize(
    "most", [2, pytest.param(1 << 30, marks=pytest.mark.soak)], ids=["some", "all"]
)
LASTING = (
    *("write", "fsync", "fdatasync", "ftruncate", "mkdir", "openat", "flock", "fcntl"),
    *("rename", "renameat", "renameat2", "unlink", "unlinkat", "clone3"),
)
# A small spool, so that segments are closed and removed as well.
AGENT = ("agent", "--json", "--every", "100ms", "--spool-limit", "1M")


def _round(away: Away, node: Host, these: Iterable[Fault]) -> dict[str, int]:
    """Let an agent run into faults until it has sent some, or is dead; what it called."""
    log = node.tmp / "agent.strace"
    words = [word for fault in these for word in fault.words()]
    before = len(agents.snapshots(away.host.state))
    with subprocess.Popen(
        [*STRACE, "-f", "-o", log, *words, node.binary, *AGENT],
        cwd=node.project,
        env=node.env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as traced:

        def over() -> bool:
            sent = len(agents.snapshots(away.host.state)) > before + 6
            return sent or traced.poll() is not None

        until(over, "it has sent some, or is dead")
        for pid in _of(traced.pid):
            subprocess.run(["kill", f"-{signal.SIGTERM}", str(pid)], check=False)
        traced.wait(timeout=DEADLINE_S)
    return faults.counts(log)


def _of(tracer: int) -> list[int]:
    found = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(tracer)], capture_output=True, text=True, check=False
    )
    return [int(word) for word in found.stdout.split()]


@EXTENT
def test_nothing_is_lost_and_nothing_is_twice(away: Away, node: Host, most: int) -> None:
    calls = _round(away, node, [])
    whole(away.host.state)
    chosen = [Fault(kind, when) for kind in LASTING for when in places(calls.get(kind, 0), most)]
    assert len(chosen) > 8, calls
    deaths = 0
    for fault in chosen:
        _round(away, node, [fault])
        deaths += faults.was_met(node.tmp / "agent.strace")
        # The next one sends what was kept, and goes on.
        with Agent(node, "--every", "100ms", "--spool-limit", "1M") as agent:
            agents.logged(away.host.state, len(agents.snapshots(away.host.state)) + 2)
            told = agent.end()
        assert told["waiting"] == told["failed"] == 0, f"{fault}: {told}"
        last = whole(away.host.state)
        found = runs(away.host.state)
        assert sum(map(len, found.values())) == last, fault
        for numbers in found.values():
            # Of each run, what was kept is there from its first snapshot on, without a hole.
            assert numbers == list(range(len(numbers))), fault
        assert agents.at(away.laptop)["processes"]
    assert not agents.gaps(away.host.state)
    assert deaths > len(chosen) // 2, f"{deaths} deaths of {len(chosen)}"
