"""Clean places: state directories, scratch space, and the binary in them.

ext4 without a journal gives no inode number again that was freed in the last minute, or five more
where that is not on the disk yet. To find another it passes over all of those (`recently_deleted`
in fs/ext4/ialloc.c of Linux). So what makes files is slower for as long after a directory of ours
was removed, and what makes none is not.
"""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kit import held, tools

MEMORY = Path("/dev/shm")
DISK_WAITS = 51
RECORD = 600
FORGOTTEN_S = 360
REMOVED = tools.CACHE / "removed"


@contextmanager
def scratch(where: Path | None = None) -> Iterator[Path]:
    """A directory that is gone afterwards; on disk unless said otherwise."""
    made = Path(tempfile.mkdtemp(prefix="legwork-bench-", dir=where))
    try:
        yield made
    finally:
        remembered = _remembers(made)
        shutil.rmtree(made, ignore_errors=True)
        if remembered:
            tools.CACHE.mkdir(exist_ok=True)
            REMOVED.touch()


def settled(directory: Path) -> None:
    """Wait until what was removed before is forgotten, on a file system that keeps it in mind."""
    if not REMOVED.exists() or not _remembers(directory):
        return
    left = REMOVED.stat().st_mtime + FORGOTTEN_S - time.time()
    if left > 0:
        print(f"bench: {left:.0f} s until the disk forgets removed files", file=sys.stderr)
        time.sleep(left)


def _remembers(directory: Path) -> bool:
    device = directory.stat().st_dev
    name = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}").resolve().name
    journal = any(Path("/proc/fs/jbd2").glob(f"{name}-*"))
    return Path("/proc/fs/ext4", name).exists() and not journal


def disk_wait(directory: Path) -> float:
    """Seconds until a small new file is on the disk: what a durable record costs at least here."""
    taken = []
    for number in range(DISK_WAITS):
        with (directory / f"wait-{number}").open("wb", buffering=0) as file:
            file.write(bytes(RECORD))
            begun = time.perf_counter()
            os.fdatasync(file)
            taken.append(time.perf_counter() - begun)
    return statistics.median(taken)


def environment(state: Path) -> dict[str, str]:
    """What a user without any configuration has, with this state directory."""
    home = state.parent / "home"
    home.mkdir(exist_ok=True)
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "LEGWORK_STATE": str(state),
        **held.environment(),
    }


def run(state: Path, *args: str | Path, **options: Any) -> subprocess.CompletedProcess[bytes]:
    """Run the binary on a state directory; it must succeed."""
    settings: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE}
    settings |= {"env": environment(state), "check": True} | options
    return subprocess.run([tools.legwork(), *args], **settings)


def spawn(words: list[str], env: dict[str, str], stdout: int) -> int:
    """Run a program to its end by the cheapest way there is; its exit code.

    ``subprocess`` costs more than what is measured here.
    """
    actions = [(os.POSIX_SPAWN_DUP2, stdout, 1)]
    pid = os.posix_spawn(words[0], words, env, file_actions=actions)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
