"""A server or a shim is killed at a system call: what was acknowledged runs once."""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from harness import faults, processes
from harness.api import Client
from harness.faults import Fault, places
from harness.waiting import DEADLINE_S, until
from harness.world import World

pytestmark = [
    pytest.mark.once,
    pytest.mark.skipif(faults.why_not() is not None, reason=str(faults.why_not())),
]

EXTENT = pytest.mark.parametrize(
    "most", [2, pytest.param(1 << 30, marks=pytest.mark.soak)], ids=["some", "all"]
)
LASTING = (
    *("write", "writev", "pwrite64", "ftruncate", "fsync", "fdatasync", "mkdir", "mkdirat"),
    *("rename", "renameat", "renameat2", "unlink", "unlinkat", "openat", "fcntl", "clone3"),
)
CODE = 3


def _noting(world: World, name: str, count: int) -> list[Any]:
    """Jobs that each leave a line in a file of its own."""
    return [world.shell(f"echo ran >> {name}-{n}; exit {CODE}") for n in range(count)]


def _ran(world: World, name: str) -> list[str]:
    return [path.read_text() for path in sorted(world.host.tmp.glob(f"{name}-*"))]


def _ask(world: World, client: Client, specs: list[Any], accept: bool) -> list[Any] | None:
    """Start them all; `None` when nothing was answered."""
    request = world.stubs.jobs.StartRequest(specs=specs, accept=accept)
    try:
        return list(client.jobs.Start(request, timeout=DEADLINE_S).results)
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.UNAVAILABLE, error
        return None


def _again(world: World, client: Client) -> None:
    """Start another server: one that is about to die cannot be told from one that lives."""
    world.serving.end(signal.SIGKILL)
    world.serving.__exit__()
    world.again()
    grpc.channel_ready_future(client.channel).result(DEADLINE_S)


@EXTENT
@pytest.mark.parametrize("accept", [False, True], ids=["start", "accept"])
def test_the_server_dies_in_a_start(world: World, accept: bool, most: int) -> None:
    alice = world.join("alice")
    log = world.host.tmp / "server.log"

    def round_(name: str, *these: Fault) -> bool:
        specs = _noting(world, name, 4)
        with faults.attached(world.serving.process.pid, log, *these, threads=True):
            answered = _ask(world, alice, specs, accept)
            if accept and answered:
                # The jobs are started after the answer, by a server that may die of that.
                died = world.serving.process.poll
                until(lambda: died() is not None or len(_ran(world, name)) == 4, "ran, or dead")
        dead = faults.was_met(log)
        _again(world, alice)
        if not (accept and answered):
            # What was not answered, or not promised, is asked for again.
            for result in _ask(world, alice, specs, accept) or []:
                assert result.WhichOneof("result") == "job", result
        for spec in specs:
            assert world.ended(alice, spec.id).finish.exit_code == CODE
        assert _ran(world, name) == ["ran\n"] * 4
        return dead

    # The first has more to do than those that come after it.
    round_("first")
    round_("peace")
    calls = faults.counts(log)
    these = [Fault(kind, n) for kind in LASTING for n in places(calls.get(kind, 0), most)]
    deaths = _all_hold(round_, these)
    # The jobs of a call are shared by threads, and how depends on who is idle.
    assert deaths > len(these) // 4, f"{deaths} deaths of {len(these)}"
    until(lambda: not list((world.host.state / "accepted").glob("*")), "all batches are done")


def _all_hold(round_: Callable[..., bool], these: list[Fault]) -> int:
    """Go through them all, and fail with all that is wrong; how many were met."""
    met, wrong = 0, []
    for number, fault in enumerate(these):
        try:
            met += round_(f"r{number}", fault)
        except AssertionError as error:
            wrong.append(f"{fault}: {error}")
    assert not wrong, "\n".join(wrong)
    return met


# Before the claim, between its parts, and when it can be seen.
BEFORE = [Fault("pread64", 1), Fault("pwrite64", 1)]
AFTER = [Fault("fsync", 1), Fault("fstatfs", 1)]


@pytest.mark.parametrize("fault", [*BEFORE, *AFTER], ids=str)
def test_a_start_is_repeated_after_the_death_of_its_shim(world: World, fault: Fault) -> None:
    alice = world.join("alice")
    (spec,) = _noting(world, "job", 1)
    log = world.host.tmp / "shim.log"
    with _first_shim_is_frozen(world) as frozen:
        call = alice.jobs.Start.future(world.stubs.jobs.StartRequest(specs=[spec]))
        pid = until(frozen, "its shim is frozen")
    with faults.attached(pid, log, fault) as strace:
        processes.kill(pid, faults.GO_ON)
        strace.wait(DEADLINE_S)
    call.result(DEADLINE_S)
    assert faults.was_met(log)
    assert _ran(world, "job") == []
    assert _ask(world, alice, [spec], accept=False)
    finish = world.ended(alice, spec.id).finish
    never_claimed = fault in BEFORE
    assert finish.exit_code == (CODE if never_claimed else 255)
    assert _ran(world, "job") == (["ran\n"] if never_claimed else [])


def _first_shim_is_frozen(world: World) -> Any:
    return faults.freezes(world.serving.process.pid, Path(world.host.tmp / "freeze.log"))
