"""Jobs with every limit that this machine can apply, and a control group where it has them."""

import contextlib
import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

UNIFIED = Path("/sys/fs/cgroup")

# What a server's `[jobs.default]` gives those who ask for nothing.
RULES = ["cpu-time", "disk", "nofile", "file-size", "timeout", "memory", "cpus", "pids"]


@dataclass(frozen=True)
class Held:
    """What makes a job a limited one."""

    options: list[str]
    env: dict[str, str]
    note: str


_all: list[Held] = []


@contextmanager
def every_job() -> Iterator[str]:
    """From here on each job has all limits. Gives the note that says which."""
    with limits() as held:
        _all.append(held)
        try:
            yield held.note
        finally:
            _all.pop()


def options() -> list[str]:
    """What to say to `run` and `start`."""
    return _all[-1].options if _all else []


def environment() -> dict[str, str]:
    """What legwork needs to know."""
    return _all[-1].env if _all else {}


def rules() -> str:
    """The same as rules of a server, for clients that do not ask."""
    said = iter(options())
    pairs = ((option.removeprefix("--"), value) for option, value in zip(said, said, strict=True))
    lines = [
        f"{name.replace('-', '_')} = {value if value.isdigit() else json.dumps(value)}"
        for name, value in pairs
        if name in RULES
    ]
    return "\n".join(["[jobs.default]", *lines]) + "\n" if lines else ""


def _options(controllers: set[str]) -> list[str]:
    first = min(os.sched_getaffinity(0))
    last = max(os.sched_getaffinity(0))
    options = ["--cpu-time", "1h", "--disk", "100000G", "--nofile", "1024", "--file-size", "100G"]
    options += ["--nice", "1", "--oom-score", "100", "--rlimit", "core=0", "--timeout", "1h"]
    options += ["--cpuset", f"{first}-{last}"]
    if "memory" in controllers:
        options += ["--memory", "1G", "--memory-high", "900M"]
    if "cpu" in controllers:
        options += ["--cpus", "8", "--cpu-weight", "90"]
    if "pids" in controllers:
        options += ["--pids", "1000"]
    return options


@contextmanager
def limits() -> Iterator[Held]:
    """Every limit, in a group of its own if one can be had."""
    with contextlib.ExitStack() as stack:
        try:
            top = stack.enter_context(_hierarchy())
            group = Path(tempfile.mkdtemp(prefix="legwork-bench-", dir=top))
        except (OSError, subprocess.CalledProcessError):
            yield Held(_options(set()), {}, "without a control group: there are none here")
            return
        stack.callback(_remove, group)
        available = set((group / "cgroup.controllers").read_text().split())
        env = {"LEGWORK_CGROUP_ROOT": str(group)}
        with_them = ", ".join(sorted(available)) or "none"
        yield Held(_options(available), env, f"in a control group; controllers: {with_them}")


@contextmanager
def _hierarchy() -> Iterator[Path]:
    """The control groups of this machine, mounted if they are not."""
    if (UNIFIED / "cgroup.controllers").exists():
        yield UNIFIED
        return
    with tempfile.TemporaryDirectory(prefix="legwork-groups-") as directory:
        mount = ["mount", "-t", "cgroup2", "none", directory]
        subprocess.run(mount, check=True, capture_output=True)
        try:
            yield Path(directory)
        finally:
            subprocess.run(["umount", "-l", directory], check=True)


def _remove(group: Path) -> None:
    for below in sorted(group.rglob("*/"), reverse=True):
        with contextlib.suppress(OSError):
            below.rmdir()
    with contextlib.suppress(OSError):
        group.rmdir()
