"""Looking at processes through /proc, to see what a job left behind."""

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

PROC = Path("/proc")


def pids() -> Iterator[int]:
    """All process ids there are."""
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            yield int(entry.name)


def state(pid: int) -> str | None:
    """The state letter of a process, such as ``S`` or ``Z``; ``None`` when there is none."""
    try:
        stat = (PROC / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return None
    return stat.rpartition(")")[2].split()[0]


def alive(pid: int) -> bool:
    """Whether the process exists and is not a zombie."""
    return state(pid) not in (None, "Z", "X")


def environment(pid: int) -> dict[bytes, bytes]:
    """The environment a process was started with; empty when it cannot be read."""
    try:
        raw = (PROC / str(pid) / "environ").read_bytes()
    except OSError:
        return {}
    return dict(part.partition(b"=")[::2] for part in raw.split(b"\0") if part)


def of_state(state_dir: Path) -> list[int]:
    """Processes that belong to the jobs, shims or clients of one state directory.

    A process belongs to it when its environment names it, or when it has a file in it open.
    """
    me = os.getpid()
    found = []
    for pid in pids():
        if pid == me or not alive(pid):
            continue
        named = environment(pid).get(b"LEGWORK_STATE") == os.fsencode(state_dir)
        if named or _has_open(pid, state_dir):
            found.append(pid)
    return found


def of_job(job_id: str) -> list[int]:
    """Processes that carry the job's id in their environment."""
    wanted = job_id.encode()
    return [p for p in pids() if alive(p) and environment(p).get(b"LEGWORK_JOB") == wanted]


def _has_open(pid: int, directory: Path) -> bool:
    prefix = f"{directory}/"
    with contextlib.suppress(OSError):
        for link in (PROC / str(pid) / "fd").iterdir():
            with contextlib.suppress(OSError):
                if str(link.readlink()).startswith(prefix):
                    return True
    return False


def cmdline(pid: int) -> bytes:
    """The words of a process, each with a zero behind it; nothing when it is gone."""
    try:
        return (PROC / str(pid) / "cmdline").read_bytes()
    except OSError:
        return b""


def describe(pid: int) -> str:
    """A process in words, for a failure."""
    words = cmdline(pid)
    if not words:
        return f"{pid} (gone)"
    return f"{pid}: {words.replace(bytes(1), b' ').decode(errors='replace')}"


def kill(pid: int, number: int = signal.SIGKILL) -> None:
    """Send a signal; a process that is gone already is fine."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
