"""A server whose disk is full, whose disk fails, and whose clock goes back, while records come.

Each time what was sent is compared with what is in the log: nothing lost, nothing twice, and the
trouble told.
"""

import contextlib
import json
import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from harness import faults
from harness.faults import Fault
from harness.host import Host
from harness.serving import Serving
from harness.waiting import DEADLINE_S, until

pytestmark = pytest.mark.once

needs_strace = pytest.mark.skipif(faults.why_not() is not None, reason=str(faults.why_not()))
MIB = 1 << 20
HOUR_S = 3600

# Answers with the time of the system and as many seconds more as a file says.
CLOCK = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
int clock_gettime(clockid_t which, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int told = real(which, now);
    if (told == 0 && which == CLOCK_REALTIME) {
        FILE *file = fopen(getenv("TURNED_CLOCK"), "r");
        long more = 0;
        if (file) { if (fscanf(file, "%ld", &more) != 1) more = 0; fclose(file); }
        now->tv_sec += more;
    }
    return told;
}
"""


def lines(state: Path) -> list[dict[str, Any]]:
    """All that was sent, as it is in the logs. A line that is being written has no end yet."""
    segments = sorted(state.glob("records/*/log/*.jsonl"))
    rows = (row for segment in segments for row in segment.open())
    found = [json.loads(row) for row in rows if row.endswith("\n")]
    return [line for line in found if not line["stream"].startswith("legwork.")]


def numbers(state: Path) -> list[int]:
    """The records that are in the logs, by the numbers that they were given."""
    return [line["data"]["n"] for line in lines(state) if "data" in line]


def written(path: Path, count: int, first: int = 0) -> Path:
    """A file of so many records of a kilobyte."""
    pad = "x" * 1000
    rows = (f'{{"n":{n},"pad":"{pad}"}}\n' for n in range(first, first + count))
    path.write_text("".join(rows))
    return path


def send(host: Host, file: Path) -> None:
    """Send all of a file."""
    host.run("records", "send", "--stream", "s", file).expect(0)


def check(host: Host) -> None:
    """Nothing is wrong with the log."""
    host.run("records", "fsck", "--stream", "s").expect(0)


@contextlib.contextmanager
def small(place: Path, size: int) -> Iterator[Path]:
    """A file system of its own, of so many bytes."""
    place.mkdir(exist_ok=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "tmpfs", str(place)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode != 0:
        pytest.skip(f"a small disk cannot be mounted: {mounted.stderr.decode().strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
@pytest.mark.parametrize("reserve", ["free_bytes = 0", "free_bytes = 8388608"])
def test_a_full_disk_holds_senders_up_and_costs_nothing(host: Host, reserve: str) -> None:
    settings = host.tmp / "server.toml"
    settings.write_text(f"[records]\n{reserve}\n")
    file = written(host.tmp / "records", 30_000)
    count = 30_000
    with small(host.state, 96 * MIB) as disk:
        with Serving(host, "--listen", "127.0.0.1:0", "--init", "--config", settings) as server:
            send(host, written(host.tmp / "one", 1, first=count))
            filler = disk / "filler"
            filler.write_bytes(bytes(80 * MIB))
            sender = host.popen("records", "send", "--stream", "s", file)
            until(lambda: "disk_full" in server.log.read_text(), "the disk is full")
            assert sender.poll() is None
            kept = numbers(disk)
            assert 0 < len(kept) < count
            # Whoever only reads does not need the disk.
            host.ok("records", "tail", "--stream", "s", "--lines", "1")
            filler.unlink()
            _, rest = sender.communicate(timeout=DEADLINE_S)
            assert sender.returncode == 0, rest
            check(host)
            assert server.end() == 0
        assert sorted(numbers(disk)) == list(range(count + 1))


@needs_strace
@pytest.mark.parametrize("when", [1, 2, 5])
def test_a_sync_that_fails_is_told_and_costs_nothing(host: Host, when: int) -> None:
    count = 5_000
    file = written(host.tmp / "records", count)
    with Serving(host, "--listen", "127.0.0.1:0", "--init") as server:
        send(host, written(host.tmp / "one", 1, first=count))
        log = host.tmp / "server.log"
        fault = Fault("fdatasync", when, "EIO")
        with faults.attached(server.process.pid, log, fault, threads=True):
            send(host, file)
        assert faults.was_met(log)
        assert "sync_failed" in server.log.read_text()
        assert sorted(numbers(host.state)) == list(range(count + 1))
        check(host)
        assert server.end(9) == -9
    with Serving(host, "--listen", "127.0.0.1:0"):
        assert sorted(numbers(host.state)) == list(range(count + 1))
        # Segments of which a sync failed are not gone on with.
        begun = Counter(segment.parent for segment in host.state.glob("records/*/log/*.jsonl"))
        # The server's own log may be another one of which a sync failed.
        assert 2 in begun.values() and set(begun.values()) <= {1, 2}


@dataclass
class Turned:
    """A clock that a test turns."""

    file: Path

    def by(self, seconds: int) -> None:
        """Turn it."""
        fresh = self.file.with_suffix(".new")
        fresh.write_text(str(seconds))
        fresh.rename(self.file)


@pytest.fixture
def clock(host: Host) -> Turned:
    """The clock of everything that is started on the host."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("cc is missing: a clock cannot be made")
    source, library = host.tmp / "clock.c", host.tmp / "clock.so"
    source.write_text(CLOCK)
    words = [compiler, "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"]
    subprocess.run(words, check=True)
    turned = Turned(host.tmp / "clock")
    turned.by(0)
    host.env |= {"LD_PRELOAD": str(library), "TURNED_CLOCK": str(turned.file)}
    return turned


def test_a_clock_that_goes_back_changes_no_order(host: Host, clock: Turned) -> None:
    with Serving(host, "--listen", "127.0.0.1:0", "--init") as server:
        send(host, written(host.tmp / "a", 3))
        clock.by(-HOUR_S)
        send(host, written(host.tmp / "b", 3, first=3))
        assert "clock_back" in server.log.read_text()
        assert server.end(9) == -9
    with Serving(host, "--listen", "127.0.0.1:0"):
        send(host, written(host.tmp / "c", 3, first=6))
        clock.by(HOUR_S)
        send(host, written(host.tmp / "d", 3, first=9))
        found = lines(host.state)
        assert [line["data"]["n"] for line in found] == list(range(12))
        assert [line["seq"] for line in found] == list(range(1, 13))
        back = [line["data"]["n"] for line in found if line.get("clock_back")]
        # A restart does not tell it again: the last line that there is counts as the one before.
        assert back == [3]
        times = [line["received_at"] for line in found]
        assert times[3] < times[0] < times[9]
        # What is asked for by its time is found wherever it stands.
        early = host.ok("records", "export", "--data", "--stream", "s", "--until", times[0])
        kept = [json.loads(line)["n"] for line in early.splitlines()]
        assert kept == list(range(3, 9))
        check(host)
