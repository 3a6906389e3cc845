"""A task-spooler server of our own."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kit import tools


@contextmanager
def spooler(directory: Path, slots: int) -> Iterator[dict[str, str]]:
    """A server on its own socket with that many slots; the environment that reaches it."""
    tsp = tools.need("tsp")
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(directory),
        "TMPDIR": str(directory),
        "TS_SOCKET": str(directory / "socket"),
        "TS_MAXFINISHED": "1000",
    }
    quiet = {"env": env, "stdout": subprocess.DEVNULL, "check": True}
    subprocess.run([tsp, "-S", str(slots)], **quiet)
    try:
        yield env
    finally:
        subprocess.run([tsp, "-K"], **quiet)
