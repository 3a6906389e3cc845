"""Clean places: state directories, scratch space, and the binary in them."""

import os
import shutil
import statistics
import subprocess
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


@contextmanager
def scratch(where: Path | None = None) -> Iterator[Path]:
    """A directory that is gone afterwards; on disk unless said otherwise."""
    made = Path(tempfile.mkdtemp(prefix="legwork-bench-", dir=where))
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


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
