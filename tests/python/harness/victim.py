"""A job whose shim meets a fault, and everything that can be told of it afterwards."""

import fcntl
import itertools
import os
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import TimeoutExpired
from typing import Any

from harness import faults, processes
from harness.faults import Fault
from harness.host import Host, Word
from harness.waiting import until

CODE, NEVER_RAN, LOST = 7, 125, 255
NOT_FOUND = 5
# Longer than anything a shim waits for.
PATIENCE_S = 60

# Leaves a line for each time it runs, and a process that has nothing to do with it any more; prints
# on both streams; waits for the socket of a job that is not short, if it is told to, but not for
# ever; prints once more.
PAYLOAD = """
echo ran >> "$1"
(setsid sleep 61 < /dev/null > /dev/null 2>&1 &)
seq 1 1500
seq 2001 2900 >&2
tries=$2
until test $tries = 0 || test -S "$3/jobs/$LEGWORK_JOB/control"; do
    tries=$((tries - 1)); sleep 0.01
done
seq 3001 3900
exit 7
"""


def _numbers(*ranges: tuple[int, int]) -> bytes:
    return b"".join(b"%d\n" % n for first, last in ranges for n in range(first, last + 1))


OUT, ERR = _numbers((1, 1500), (3001, 3900)), _numbers((2001, 2900))

# A command that starts the job, and how often the payload looks for the socket.
SHAPES: dict[str, tuple[tuple[Word, ...], int]] = {
    "short": (("start", "--no-sync"), 0),
    "settled": (("start", "--no-sync"), 50),
    "piped": (("run", "--no-sync", "--stdin"), 50),
    "mirrored": (("start",), 50),
}


@dataclass
class Course:
    """What became of one job."""

    directory: Path
    # Whether its shim was there for longer than it may be.
    hung: bool
    met: bool
    # What the command that started it exited with.
    started: int
    # How often the payload ran.
    runs: int
    # What waiting for it exited with, and what is left of it then.
    code: int
    leftovers: list[str]
    finish: dict[str, Any]
    out: bytes
    err: bytes
    kept: int
    files: set[str]
    locked: bool

    @property
    def printed_all(self) -> bool:
        """Whether everything that the payload prints is shown."""
        return (self.out, self.err) == (OUT, ERR)


@dataclass
class Victim:
    """Starts the same job again and again."""

    host: Host
    shape: str = "settled"
    _count: "itertools.count[int]" = field(default_factory=itertools.count)

    @property
    def log(self) -> Path:
        """What the last shim did."""
        return self.host.tmp / "shim.log"

    def words(self, runs: Path) -> list[Word]:
        """The command that starts the job; it notes there that it ran."""
        options, tries = SHAPES[self.shape]
        return [*options, "--", "sh", "-c", PAYLOAD, "sh", runs, str(tries), self.host.state]

    def fresh(self) -> Path:
        """Where another job is to note that it ran."""
        return self.host.tmp / f"runs-{next(self._count)}"

    def meets(
        self, *these: Fault, children: bool = False, patience_s: float = PATIENCE_S
    ) -> Course:
        """Start it; its shim meets these faults, or the child that becomes the payload does."""
        runs = self.fresh()
        with faults.frozen(self.host, self.host.tmp / "start.log", *self.words(runs)) as shim:
            directory = Path(f"/proc/{shim.pid}/cwd").readlink()
            with faults.attached(shim.pid, self.log, *these, threads=children) as strace:
                shim.thaw()
                hung = _hangs(strace, patience_s)
            if hung:
                processes.kill(shim.pid)
            shim.starter.communicate(timeout=PATIENCE_S)
            started = shim.starter.returncode
        met = faults.was_met(self.log)
        return self.course(directory, runs, started, hung=hung, met=met)

    def starts(self) -> dict[str, int]:
        """Start it; how often a thread of the command makes each kind of call."""
        log = self.host.tmp / "start.log"
        faults.traced(self.host, log, *self.words(self.fresh()))
        return faults.counts(log)

    def dies_in_start(self, fault: Fault) -> tuple[Path, set[Path]]:
        """Start it by a command that is killed; where it notes its runs, and what was made."""
        runs, before = self.fresh(), self._directories()
        log = self.host.tmp / "start.log"
        faults.traced(self.host, log, *self.words(runs), faults=[fault])
        return runs, self._directories() - before

    def _directories(self) -> set[Path]:
        return set(self.host.state.glob("jobs/*"))

    def course(
        self, directory: Path, runs: Path, started: int, *, hung: bool = False, met: bool = True
    ) -> Course:
        """Look at a job as anybody may who comes later."""
        job = directory.name
        waited = self.host.run("wait", job)
        locked = _stays_locked(directory / "journal")
        left = [processes.describe(pid) for pid in processes.of_job(job)]
        seen = self.host.status(job)
        logs = self.host.run("logs", job, "--quiet").expect(0)
        return Course(
            directory=directory,
            hung=hung,
            met=met,
            started=started,
            runs=ran(runs),
            code=waited.code,
            leftovers=left,
            finish=seen["finish"],
            out=logs.out,
            err=logs.err,
            kept=len(self.host.output(job)),
            files={path.name for path in directory.iterdir()},
            locked=locked,
        )


def _hangs(strace: Any, patience_s: float) -> bool:
    try:
        strace.wait(patience_s)
    except TimeoutExpired:
        return True
    return False


def ran(runs: Path) -> int:
    """How many lines payloads have left there."""
    return runs.read_bytes().count(b"\n") if runs.exists() else 0


def is_locked(journal: Path) -> bool:
    """Whether somebody holds a job's lock."""
    layout = "hhqqi4x"
    asked = struct.pack(layout, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    with journal.open("rb") as opened:
        told = fcntl.fcntl(opened, fcntl.F_OFD_GETLK, asked)
    return struct.unpack(layout, told)[0] != fcntl.F_UNLCK


def _stays_locked(journal: Path) -> bool:
    """Whether the lock is held for longer than a shim needs that has recorded the end."""
    try:
        until(lambda: not is_locked(journal), "the lock is free")
    except AssertionError:
        return True
    return False


def holds_whatever(course: Course) -> None:
    """What holds of every job, whatever its shim has met."""
    assert not course.hung, "its shim hangs"
    assert course.code in (CODE, NEVER_RAN, LOST), f"exit code {course.code}"
    assert course.runs <= 1, f"it ran {course.runs} times"
    assert (course.code != CODE) or course.runs == 1, "it did not run, and has an exit code"
    assert (course.code != NEVER_RAN) or course.runs == 0, "it ran, and is said not to have"
    # What has not happened is not told to whoever started it.
    assert course.started != NEVER_RAN or course.code == NEVER_RAN, "the starter was told a lie"
    assert not course.leftovers, f"left behind: {course.leftovers}"
    assert not course.finish["survivors"], f"survivors: {course.finish['survivors']}"
    assert not course.locked, "its lock is held"
    others = {name for name in course.files if not name.startswith("output.")}
    # Its socket is left by a shim that was killed, also one that has not got its name yet.
    sockets = {"control", "control.tmp"}
    assert others - sockets <= {"journal", "index"}, f"files: {others}"


def judge_killed(course: Course) -> None:
    """What holds when the shim was killed."""
    holds_whatever(course)
    assert OUT.startswith(course.out), "garbage on standard output"
    assert ERR.startswith(course.err), "garbage on standard error"
    assert course.code != CODE or course.printed_all, "output is missing from a job that finished"
    assert course.code != NEVER_RAN or not course.out + course.err, "output of a job that never ran"


def judge_failed(course: Course) -> None:
    """What holds when a call of the shim failed: the payload does not feel it."""
    holds_whatever(course)
    assert course.code == (CODE if course.runs else NEVER_RAN), f"harmed: exit code {course.code}"
    if course.code == CODE:
        dropped, end = course.finish["outputDropped"], course.finish["outputEnd"]
        assert end == len(OUT) + len(ERR), f"{end} bytes are said to have been printed"
        assert course.kept + dropped == end, f"of {end} bytes {course.kept} are kept, not {dropped}"
        assert course.finish["truncated"] == (dropped > 0)
        assert dropped or course.printed_all, "what is shown is not what was printed"


def state_is_clean(host: Host) -> None:
    """Nothing is in the state directory but what the layout knows."""
    known = {
        "version",
        "jobs",
        "bin",
        "machine-id",
        "mirrors",
        "workspaces",
        "owners",
        "accepted",
        "retained",
    }
    names = {path.name for path in host.state.iterdir() if not path.name.startswith("index.")}
    assert names <= known, names - known
    assert all(path.name.startswith("shim-") for path in (host.state / "bin").iterdir())


def all_hold(cases: Iterable[tuple[Fault, Course]], judge: Any) -> int:
    """Judge them all and fail with all that is wrong; how many of the faults were met."""
    wrong, met = [], 0
    for fault, course in cases:
        met += course.met
        try:
            judge(course)
        except AssertionError as error:
            wrong.append(f"{fault}: {str(error).splitlines()[0]}")
    assert not wrong, "\n".join(wrong)
    return met
