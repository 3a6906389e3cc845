"""A shim that dies at any of its system calls, or whose calls fail: what is told stays true."""

import itertools
from collections.abc import Callable, Iterator

import pytest
from harness import faults, victim
from harness.faults import Fault, places
from harness.host import Host
from harness.victim import CODE, NEVER_RAN, NOT_FOUND, Course, Victim

pytestmark = [
    pytest.mark.once,
    pytest.mark.skipif(faults.why_not() is not None, reason=str(faults.why_not())),
]

# How many calls of each kind meet a fault: some, or all of them.
SOME, ALL = 2, 1 << 30
EXTENT = pytest.mark.parametrize(
    ("shape", "most"),
    [
        pytest.param("settled", SOME, id="settled-some"),
        *(
            pytest.param(shape, ALL, id=f"{shape}-all", marks=pytest.mark.soak)
            for shape in victim.SHAPES
        ),
    ],
)

# What the kernel may answer, by the kind of the call. What is not here does not fail, or not to any
# effect: close(2) lets go of the descriptor whatever it says.
ERRORS = {
    ("open", "openat"): ("ENOSPC", "EIO", "ENOMEM", "EMFILE"),
    ("pwrite64", "splice", "fallocate", "fsync", "fdatasync"): ("ENOSPC", "EIO", "EINTR"),
    ("bind", "listen", "renameat", "unlinkat", "fstat", "fstatfs"): ("ENOSPC", "EIO"),
    ("pread64", "read", "getdents64", "flock"): ("EIO", "ENOMEM", "EINTR"),
    ("pipe2", "socketpair", "socket", "signalfd4", "fcntl", "dup2"): ("EMFILE", "ENOMEM"),
    ("clone", "mmap"): ("ENOMEM",),
    ("ppoll",): ("ENOMEM", "EINTR"),
    ("wait4",): ("EINTR",),
    ("write",): ("ENOBUFS", "EINTR"),
}
# Calls whose failure has a test of its own, or no way to happen: the word that lets the payload go,
# and the wait for what it says.
OPENS_GATE = ("write", 1)
HEARS_GATE = ("read", 2)
APART = (OPENS_GATE, HEARS_GATE)


def _whole(job: Victim) -> dict[str, int]:
    """Run it without a fault; how often its shim makes each kind of call."""
    course = job.meets()
    victim.judge_failed(course)
    assert (course.code, course.printed_all) == (CODE, True)
    assert course.files >= {"journal", "index"} and "control" not in course.files
    return faults.counts(job.log)


def _deaths(calls: dict[str, int], most: int) -> Iterator[Fault]:
    for kind, count in calls.items():
        yield from (Fault(kind, when) for when in places(count, most))


def _failures(calls: dict[str, int], most: int) -> Iterator[Fault]:
    """Each error at each place, or, of some places, another error at each."""
    for kinds, errors in ERRORS.items():
        turns = itertools.cycle(errors)
        for kind in kinds:
            for when in places(calls.get(kind, 0), most):
                if (kind, when) not in APART:
                    these = errors if most == ALL else (next(turns),)
                    yield from (Fault(kind, when, error) for error in these)


def _sweep(job: Victim, these: list[Fault], judge: Callable[[Course], None]) -> None:
    met = victim.all_hold(((fault, job.meets(fault)) for fault in these), judge)
    # Which calls are made depends a little on who is faster.
    assert met > len(these) * 3 // 4, f"{met} of {len(these)} faults were met"
    victim.state_is_clean(job.host)


@EXTENT
def test_a_shim_is_killed_at_any_call(host: Host, shape: str, most: int) -> None:
    job = Victim(host, shape)
    _sweep(job, list(_deaths(_whole(job), most)), victim.judge_killed)


@EXTENT
def test_any_call_of_a_shim_fails(host: Host, shape: str, most: int) -> None:
    job = Victim(host, shape)
    _sweep(job, list(_failures(_whole(job), most)), victim.judge_failed)


# Made only by the child that becomes the payload, or more often by it than by the shim.
CHILDS = [Fault("dup2", 3), Fault("getppid", 1), Fault("chdir", 1)]


@pytest.mark.parametrize("fault", CHILDS, ids=str)
def test_the_payload_dies_on_its_way_to_its_program(host: Host, fault: Fault) -> None:
    course = Victim(host, "short").meets(fault, children=True)
    victim.holds_whatever(course)
    assert (course.met, course.runs, course.code, course.started) == (True, 0, NEVER_RAN, NEVER_RAN)


@pytest.mark.parametrize("fault", [Fault("rt_sigaction", 2), Fault("execve", 1)], ids=str)
def test_the_payload_dies_after_the_gate(host: Host, fault: Fault) -> None:
    # Nobody can tell that from a program that is killed at once.
    course = Victim(host, "short").meets(fault, children=True)
    assert (course.met, course.runs, course.code) == (True, 0, 128 + 9)
    assert not course.leftovers


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (Fault("chdir", 1, "EIO"), NEVER_RAN),
        (Fault("dup2", 3, "EMFILE"), NEVER_RAN),
        (Fault("execve", 1, "ENOMEM"), 126),
        (Fault("execve", 1, "EIO"), 126),
    ],
    ids=str,
)
def test_the_payload_cannot_become_its_program(host: Host, fault: Fault, code: int) -> None:
    course = Victim(host, "short").meets(fault, children=True)
    assert (course.met, course.runs, course.code, course.started) == (True, 0, code, code)
    assert not course.leftovers
    assert course.finish["notStarted"]["errno"] > 0


def test_the_gate_cannot_be_opened(host: Host) -> None:
    course = Victim(host, "short").meets(Fault(*OPENS_GATE, "ENOBUFS"), patience_s=9)
    assert course.met
    victim.judge_failed(course)
    assert course.code == NEVER_RAN


def test_the_end_of_a_job_needs_no_memory_that_the_shim_does_not_have(host: Host) -> None:
    job = Victim(host, "settled")
    assert _whole(job)["mmap"] == 1, "all of it before the payload begins"


# Of the command itself, in any of its threads, and of the child that is about to execute a shim.
STARTS = (
    *("mkdir", "openat", "read", "fcntl", "write", "pwrite64", "ftruncate", "fsync", "fdatasync"),
    *("rename", "fchown", "pipe2", "clone3", "dup2", "chdir", "execve", "pidfd_open", "wait4"),
)


@pytest.mark.parametrize(
    "most", [2, pytest.param(ALL, marks=pytest.mark.soak)], ids=["some", "all"]
)
def test_a_command_line_is_killed_at_any_call(host: Host, most: int) -> None:
    job = Victim(host, "short")
    starts = job.starts()
    assert {"openat", "pwrite64", "write", "clone3", "dup2"} <= set(starts)
    for kind in STARTS:
        for when in places(starts.get(kind, 0), most):
            _judge_start(job, Fault(kind, when))
    victim.state_is_clean(host)
    assert host.run(*job.words(job.fresh())).expect(0).text


def _judge_start(job: Victim, fault: Fault) -> None:
    """What holds when whoever starts a job dies: it is a whole one, or nothing ran."""
    runs, made = job.dies_in_start(fault)
    if not made:
        assert victim.ran(runs) == 0, f"{fault}: it ran, and is gone"
        return
    (directory,) = made
    waited = job.host.run("wait", directory.name, "--json")
    if waited.code == NOT_FOUND:
        assert waited.error()["reason"] == "JOB_NOT_FOUND"
        assert victim.ran(runs) == 0, f"{fault}: it ran, and nobody knows of it"
        return
    course = job.course(directory, runs, waited.code)
    assert waited.code in (CODE, NEVER_RAN), f"{fault}: {waited}"
    assert course.runs == (waited.code == CODE), f"{fault}: {course}"
    assert course.printed_all or waited.code == NEVER_RAN, f"{fault}: output is missing"
    assert not course.leftovers, f"{fault}: {course.leftovers}"
    assert not course.locked, f"{fault}: its lock is held"
