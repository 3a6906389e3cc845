"""A mirror of 200,000 files to another machine, nothing changed: its processor time and memory.

Bars are absolute here. Processor time is that of both ends, client and server, of one `sync`.
Memory is the peak of a process, as the kernel tells it, above that of the same with 1,000 files,
for each file and directory more. The server is started again before, so that nothing of the first
copy counts. Trees are on a tmpfs, ten small files to a directory.
"""

import os
import shutil
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from kit import place, serving, tools
from kit.measure import Figure, Series

FEW, MANY = 1_000, 200_000
IN_A_DIRECTORY, IN_A_PART = 10, 1_000
# What was changed less than two seconds before it is mirrored is read again the next time.
OLD_ENOUGH = 2.5


@dataclass
class _Tree:
    """What was measured with a tree of that size."""

    entries: int
    processor: Series
    client_peak: float
    server_peak: float


def measure(runs: int) -> list[Figure]:
    """Processor time with many, and memory for each that is more than few."""
    few, many = _measure(runs, FEW), _measure(runs, MANY)
    more = many.entries - few.entries
    each = {
        "client": (many.client_peak - few.client_peak) / more,
        "server": (many.server_peak - few.server_peak) / more,
    }
    what = f"{MANY:,} files, nothing changed"
    found = [
        Figure(
            name="many-processor",
            what=f"{what}: processor time of both ends",
            legwork=many.processor,
            anchor=None,
            anchor_name="",
            unit="s",
            bar="<= 1 s",
            value=many.processor.median,
            holds=many.processor.median <= 1,
        )
    ]
    found += [
        Figure(
            name=f"many-{end}",
            what=f"{what}: peak memory of the {end} for each entry more than with {FEW:,}",
            legwork=Series([value]),
            anchor=None,
            anchor_name="",
            unit="B",
            bar="<= 200 B",
            value=value,
            holds=value <= 200,
        )
        for end, value in each.items()
    ]
    return found


def _measure(runs: int, files: int) -> _Tree:
    with place.scratch(place.MEMORY) as directory:
        tree = directory / "source"
        entries = _make(tree, files)
        with serving.server(directory) as remote:
            time.sleep(OLD_ENOUGH)
            remote.run("-C", serving.CONTEXT, "sync", "-q", tree)
        with serving.again(directory, remote) as remote:
            client_peak = _peak(remote, tree)
            server_peak = _status(remote.pid)
            taken = [_processor(remote, tree) for _ in range(runs + 1)]
        (own,) = (directory / "server" / "workspaces").glob("*/tree")
        subprocess.run(["diff", "-rq", tree, own], check=True)
        shutil.rmtree(tree)
    return _Tree(entries, Series(taken[1:]), client_peak, server_peak)


def _make(tree: Path, files: int) -> int:
    """That many files; how many entries that are with the directories."""
    entries = 0
    for number in range(0, files, IN_A_DIRECTORY):
        part = tree / f"part{number // IN_A_DIRECTORY // IN_A_PART:02}"
        unit = part / f"unit{number // IN_A_DIRECTORY % IN_A_PART:03}"
        entries += 1 + (not part.exists())
        unit.mkdir(parents=True)
        for file in range(number, number + IN_A_DIRECTORY):
            (unit / f"file{file:06}.txt").write_text(f"{file}\n")
            entries += 1
    return entries


def _client(remote: serving.Remote, tree: Path) -> subprocess.Popen[bytes]:
    words = [tools.legwork(), "-C", serving.CONTEXT, "sync", "-q", tree]
    return subprocess.Popen(words, env=remote.env, stdin=subprocess.DEVNULL)


def _peak(remote: serving.Remote, tree: Path) -> float:
    """Bytes of the client at its largest.

    Asked for until it ends: what the system tells afterwards includes who started it.
    """
    client, peak = _client(remote, tree), 0.0
    while client.poll() is None:
        # It has none in its last moment either.
        with suppress(StopIteration, ProcessLookupError):
            peak = max(peak, _status(client.pid))
        time.sleep(0.0005)
    assert client.returncode == 0
    return peak


def _status(pid: int) -> float:
    text = Path(f"/proc/{pid}/status").read_text()
    kilobytes = next(line.split()[1] for line in text.splitlines() if line.startswith("VmHWM:"))
    return float(kilobytes) * 1024


def _processor(remote: serving.Remote, tree: Path) -> float:
    """Seconds of both ends."""
    before = _used(remote.pid)
    client = _client(remote, tree)
    _, status, usage = os.wait4(client.pid, 0)
    client.returncode = os.waitstatus_to_exitcode(status)
    assert client.returncode == 0
    return usage.ru_utime + usage.ru_stime + _used(remote.pid) - before


def _used(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
