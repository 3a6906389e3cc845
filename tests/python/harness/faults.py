"""Faults at an exact system call: strace kills a process there, or lets the call fail."""

import functools
import re
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness import processes
from harness.host import Host, Word
from harness.waiting import DEADLINE_S, until

STRACE = ("strace", "-qq")
# Stops whoever executes a program, at the first instruction of that.
STOP = ("-e", "trace=execve", "-e", "inject=execve:signal=STOP:when=1")
GO_ON = signal.SIGCONT
SHIM = "legwork-shim"
_CALL = re.compile(r"^(?:(\d+) +)?(\w+)\(", re.MULTILINE)


@dataclass(frozen=True)
class Fault:
    """What becomes of the call number ``when`` of one kind, counted by each thread for itself."""

    kind: str
    when: int
    # An error's name; without one, the process is killed before the call is made.
    error: str | None = None

    def __str__(self) -> str:
        return f"{self.kind}#{self.when} {self.error or 'KILL'}"

    def words(self) -> list[str]:
        """The words that tell strace of it."""
        what = f"error={self.error}" if self.error else "signal=KILL"
        return ["-e", f"inject={self.kind}:{what}:when={self.when}"]


@functools.cache
def why_not() -> str | None:
    """Why nothing can be traced here, if so."""
    if not shutil.which("strace"):
        return "strace is not installed"
    probe = [*STRACE, "-f", "-b", "execve", "-o", "/dev/null", "-e", "inject=chdir:error=EIO"]
    made = subprocess.run([*probe, "sh", "-c", "cd / || exit 9"], capture_output=True, check=False)
    if made.returncode != 9:
        return f"strace cannot trace here: {made.stderr.decode(errors='replace').strip()}"
    return None


def counts(log: Path) -> dict[str, int]:
    """How many calls of each kind a trace tells of, of the thread that made most of them."""
    most: dict[str, int] = {}
    for (_, kind), count in Counter(_CALL.findall(log.read_text(errors="replace"))).items():
        most[kind] = max(count, most.get(kind, 0))
    return most


def was_met(log: Path) -> bool:
    """Whether a trace tells of a fault that was made."""
    text = log.read_text(errors="replace")
    return "(INJECTED)" in text or "killed by SIGKILL" in text


def places(count: int, most: int) -> list[int]:
    """The last, the first and some between, in even steps, of what is counted from 1."""
    if count <= most:
        return list(range(1, count + 1))
    return sorted({count - round(step * (count - 1) / max(most - 1, 1)) for step in range(most)})


def _tracer(pid: int) -> int:
    """Who traces a process; 0 for nobody, or when the process is gone."""
    try:
        status = (processes.PROC / str(pid) / "status").read_text()
    except OSError:
        return 0
    return int(re.findall(r"^TracerPid:\s*(\d+)", status, re.MULTILINE)[0])


@contextmanager
def attached(
    pid: int, log: Path, *faults: Fault, threads: bool = False
) -> Iterator[subprocess.Popen[bytes]]:
    """Trace a process that runs or is stopped, with all its threads or alone."""
    words = [word for fault in faults for word in fault.words()]
    # Who is forked is not followed any further than to the program it executes.
    follow = ["-f", "-b", "execve"] if threads else []
    with _attached(pid, [*follow, "-o", str(log), *words], threads) as strace:
        yield strace


@contextmanager
def freezes(pid: int, log: Path) -> Iterator[Callable[[], int | None]]:
    """Let a process that starts jobs stop their shims; yields what finds such a shim."""
    log.unlink(missing_ok=True)
    with _attached(pid, ["-f", "-b", "execve", "-o", str(log), *STOP], threads=True):
        yield lambda: _frozen(log)


@contextmanager
def _attached(pid: int, words: list[str], threads: bool) -> Iterator[subprocess.Popen[bytes]]:
    command = [*STRACE, *words, "-p", str(pid)]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as strace:
        try:
            tasks = processes.PROC / str(pid) / "task"

            def traced() -> bool:
                found = [int(task.name) for task in tasks.iterdir()]
                return all(map(_tracer, found if threads else [pid]))

            until(traced, f"{pid} is traced")
            yield strace
        finally:
            _let_go(strace, pid)


def _let_go(strace: subprocess.Popen[bytes], pid: int) -> None:
    """End a trace; what still runs goes on."""
    if processes.alive(pid):
        strace.terminate()
    try:
        strace.communicate(timeout=2)
    except subprocess.TimeoutExpired:
        # Told to end while a process of several threads dies, it may wait for them for ever.
        strace.kill()
        strace.communicate()


@dataclass
class Frozen:
    """A shim that has been executed and has not done anything yet, and who started it."""

    starter: subprocess.Popen[bytes]
    pid: int

    def thaw(self) -> None:
        """Let it go on."""
        processes.kill(self.pid, GO_ON)


def _frozen(log: Path) -> int | None:
    """The process that has executed a shim and is held there, once it is let go of."""
    for line in log.read_text(errors="replace").splitlines():
        if f'["{SHIM} ' in line and "<detached" in line:
            pid = int(line.split()[0])
            if processes.state(pid) == "T" and not _tracer(pid):
                return pid
    return None


def traced(host: Host, log: Path, *args: Word, faults: Iterable[Fault] = ()) -> int:
    """Give a command that meets faults in any of its threads, but in no program it executes."""
    words = [word for fault in faults for word in fault.words()]
    command = [*STRACE, "-f", "-b", "execve", "-o", str(log), *words, str(host.binary), *args]
    made = subprocess.run(
        command,
        cwd=host.project,
        env=host.env,
        capture_output=True,
        timeout=DEADLINE_S,
        check=False,
    )
    return made.returncode


@contextmanager
def frozen(host: Host, log: Path, *args: Word) -> Iterator[Frozen]:
    """Give a command that starts a job, and stop its shim at its first instruction.

    Whoever executes a program is sent a stop signal, which takes effect in the new program, and is
    then let go of. So the command itself is traced only for its executions, and what the shim
    will do can be traced from its beginning, and its children need not be.
    """
    command = [*STRACE, "-f", "-b", "execve", "-o", str(log), *STOP, str(host.binary), *args]
    log.unlink(missing_ok=True)
    with subprocess.Popen(
        command,
        cwd=host.project,
        env=host.env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as starter:
        pid = 0
        try:
            pid = until(lambda: _frozen(log), "the shim is frozen")
            yield Frozen(starter, pid)
        finally:
            # One that is still there hangs, and its starter may wait for it.
            if pid and processes.cmdline(pid).startswith(SHIM.encode()):
                processes.kill(pid)
            starter.communicate(timeout=DEADLINE_S)
