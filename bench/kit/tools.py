"""The tools to compare with: found, or installed where that is allowed."""

import atexit
import functools
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / "bench" / ".cache"
PIECE = 1 << 20

PACKAGES = {
    "tsp": "task-spooler",
    "conmon": "conmon",
    "rsync": "rsync",
    "lsyncd": "lsyncd",
    "cc": "gcc",
    "valgrind": "valgrind",
    "ssh": "openssh-client",
    "sshd": "openssh-server",
}


Condition = Callable[[], bool]


class MissingError(Exception):
    """A tool is not there and cannot be installed from here."""


@functools.cache
def legwork() -> Path:
    """The binary to measure, installed: a copy of ``LEGWORK_BIN``, or of the release build.

    The pages of a file that a linker wrote lie singly in memory, those of a copy in large pieces.
    To map single ones costs each start 0.2 ms, which nobody pays who has installed it.
    """
    path = Path(os.environ.get("LEGWORK_BIN", ROOT / "target/release/legwork"))
    if not path.exists():
        raise MissingError(f"{path} is not there: cargo build --release")
    CACHE.mkdir(exist_ok=True)
    installed = CACHE / f"legwork-{os.getpid()}"
    atexit.register(installed.unlink)
    with path.open("rb") as source, installed.open("wb") as copy:
        shutil.copyfileobj(source, copy, PIECE)
    installed.chmod(0o755)
    return installed


@functools.cache
def need(program: str) -> str:
    """Where the program is; installed by apt-get when we are root and it is not there."""
    if found := _find(program):
        return found
    package = PACKAGES[program]
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise MissingError(f"{program} is missing: install {package} (name of the Debian package)")
    print(f"installing {package}", file=sys.stderr)
    env = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for words in (["update", "-q"], ["install", "-y", "-q", "--no-install-recommends", package]):
        subprocess.run(["apt-get", *words], env=env, check=True, stdout=subprocess.DEVNULL)
    if found := _find(program):
        return found
    raise MissingError(f"{package} was installed, but there is no {program}")


def _find(program: str) -> str | None:
    # Daemons are where an ordinary user's PATH does not look.
    return shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")


def wait_until(condition: Condition, patience_s: float, problem: str) -> None:
    """Wait for a condition; a tool that does not get there is as good as missing."""
    deadline = time.monotonic() + patience_s
    while not condition():
        if time.monotonic() > deadline:
            raise MissingError(problem)
        time.sleep(0.02)


def cpu_s(pid: int) -> float:
    """Processor time of a process and its threads so far, the kernel's on its behalf included."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_mib(pid: int) -> float:
    """The most resident memory that a process has had."""
    text = Path(f"/proc/{pid}/status").read_text()
    peak = next(line.split()[1] for line in text.splitlines() if line.startswith("VmHWM:"))
    return float(peak) / 1024


@functools.cache
def example(package: str, name: str) -> Path:
    """A release build of a crate's example."""
    words = ["cargo", "build", "--quiet", "--release", "--package", package, "--example", name]
    subprocess.run(words, cwd=ROOT, check=True)
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    return target / "release" / "examples" / name


def machine() -> str:
    """The machine in one line."""
    cpu = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        "unknown processor",
    )
    memory_gib = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    kernel = os.uname()
    return (
        f"{cpu}, {len(os.sched_getaffinity(0))} cores, {memory_gib:.0f} GiB, "
        f"{kernel.sysname} {kernel.release} {kernel.machine}"
    )


def version(*words: str) -> str:
    """The first line that a tool says about its version."""
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False)
    except OSError as error:
        return str(error)
    return (done.stdout or done.stderr).strip().partition("\n")[0]
