"""Records over mTLS, durable before they are acknowledged, against rsyslog and against the disk.

A million records of 300 bytes from four senders, each with a connection of its own. Ours are
encrypted, checked to be JSON, stamped, written as lines of half as much again, on the disk when
acknowledged, and acknowledged; the time ends with the last of that. rsyslog takes the same from
four plain TCP connections; its time ends when its file has everything. What rsyslog does beside
is said with each figure: it parses, syncs or acknowledges, never all of it. Our senders are the
example `ingest` of the client library; rsyslog's sends what has been put together before. Rates
include the senders' work, which shares the processors with the servers; processor time is the
servers' own.

One sender with one record a batch is held up by the disk: its rate is compared with how often the
same disk takes an append and an fdatasync from one thread.
"""

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

from kit import place, records, rsyslog, serving, tools
from kit.measure import Figure, Series, alternate, seconds

RECORDS = 1_000_000
# rsyslog that syncs, and RELP: a rate needs no more.
FEWER = 100_000
SENDERS = 4
BATCH = 1000
UNDER_WAY = 4
ALONE = 2_000
IN_FLIGHT = 10_000
# What a line of the log has around a record of 300 bytes.
LINE = 480

CPU = "processor time of the server, us a record, kernel included"


def measure(runs: int) -> list[Figure]:
    """Both parts."""
    return [*_four(runs), *_one(runs)]


class _Taken:
    """What was measured beside the rate, by side; the first run of each is to warm up."""

    def __init__(self) -> None:
        self.cpu: dict[str, Series] = {}
        self.memory: dict[str, Series] = {}

    def note(self, name: str, cpu_us: float, memory_mib: float) -> None:
        self.cpu.setdefault(name, Series()).values.append(cpu_us)
        self.memory.setdefault(name, Series()).values.append(memory_mib)

    def settle(self) -> None:
        for series in [*self.cpu.values(), *self.memory.values()]:
            del series.values[0]


def _four(runs: int) -> list[Figure]:
    made = records.records(RECORDS)
    wires = {"plain": rsyslog.Wire.of(made, SENDERS)}
    wires["json"] = wires["plain"]
    wires["fsync"] = wires["relp"] = rsyslog.Wire.of(made[:FEWER], SENDERS)
    taken = _Taken()
    with place.scratch() as directory:
        file = records.write(directory / "records", made)
        del made
        sides = {mode: _rsyslog(mode, wires[mode], taken) for mode in rsyslog.MODES}
        found = alternate(runs, legwork=_legwork(file, taken), **sides)
    taken.settle()
    own = found["legwork"]
    return [
        _rates("records-plain", "rsyslog's plain TCP", own, found["plain"], 1.0),
        _rates("records-fsync", "rsyslog with a synced file", own, found["fsync"], 4),
        _rates("records-json", "rsyslog that parses JSON", own, found["json"], 2.5),
        _rates("records-relp", "rsyslog with RELP, told only", own, found["relp"], 0),
        _cpu(taken),
        _memory(taken),
    ]


def _legwork(file: Path, taken: _Taken) -> Callable[[], float]:
    def once() -> float:
        with place.scratch() as directory, serving.server(directory) as remote:
            before = remote.cpu_s()
            rate = _ingest(remote, file, SENDERS, BATCH, UNDER_WAY)
            cpu = remote.cpu_s() - before
            taken.note("legwork", cpu / RECORDS * 1e6, remote.peak_mib())
            return rate

    return once


def _rsyslog(mode: str, wire: rsyslog.Wire, taken: _Taken) -> Callable[[], float]:
    def once() -> float:
        with place.scratch() as directory, rsyslog.daemon(directory / mode, mode) as daemon:
            before = daemon.cpu_s()
            took = seconds(lambda: daemon.take(wire))
            cpu = daemon.cpu_s() - before
            taken.note(mode, cpu / wire.count * 1e6, daemon.memory_mib())
            return wire.count / took

    return once


def _ingest(remote: serving.Remote, file: Path, senders: int, batch: int, under_way: int) -> float:
    example = tools.example("legwork-client", "ingest")
    numbers = (senders, batch, under_way)
    words = [example, remote.context, remote.address, "bench", file, *map(str, numbers)]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    told = re.search(r"^records_s (\d+)$", done.stdout, re.MULTILINE)
    assert told, done.stdout
    return float(told[1])


def _one(runs: int) -> list[Figure]:
    made = records.records(IN_FLIGHT)
    with place.scratch() as directory, serving.server(directory) as remote:
        few = records.write(directory / "few", made[:ALONE])
        many = records.write(directory / "many", made)
        found = alternate(
            runs,
            disk=lambda: _disk(directory),
            alone=lambda: _ingest(remote, few, 1, 1, 1),
            flying=lambda: _ingest(remote, many, 1, 1, 32),
        )
    how = "one sender, one record a batch"
    return [
        _waits("records-one", f"{how}, each answered before the next", found, "alone", 0.3),
        _waits("records-flight", f"{how}, 32 under way", found, "flying", 1.0),
    ]


def _disk(directory: Path) -> float:
    """How often a second one thread can append a line and have it on the disk."""
    line = bytes(LINE)
    path = directory / "appended"
    with path.open("ab", buffering=0) as file:

        def append() -> None:
            for _ in range(ALONE):
                file.write(line)
                os.fdatasync(file)

        took = seconds(append)
    path.unlink()
    return ALONE / took


def _waits(name: str, what: str, found: dict[str, Series], side: str, bar: float) -> Figure:
    own, disk = found[side], found["disk"]
    ratio = own.median / disk.median
    return Figure(
        name=name,
        what=f"{what}; rate as a ratio to appending and syncing lines in one thread",
        legwork=own,
        anchor=disk,
        anchor_name="disk",
        unit="/s",
        bar=f">= {bar}",
        value=ratio,
        holds=ratio >= bar,
    )


def _rates(name: str, other: str, own: Series, anchor: Series, bar: float) -> Figure:
    ratio = own.median / anchor.median
    return Figure(
        name=name,
        what=f"records over mTLS, durable, {SENDERS} senders; rate as a ratio to {other}",
        legwork=own,
        anchor=anchor,
        anchor_name="rsyslog",
        unit="/s",
        bar=f">= {bar}",
        value=ratio,
        holds=ratio >= bar,
    )


def _cpu(taken: _Taken) -> Figure:
    own, anchor = taken.cpu["legwork"], taken.cpu["plain"]
    ratio = own.median / anchor.median
    others = ((mode, taken.cpu[mode]) for mode in rsyslog.MODES if mode != "plain")
    return Figure(
        name="records-cpu",
        what=f"{CPU}, as a ratio to rsyslog's plain TCP",
        legwork=own,
        anchor=anchor,
        anchor_name="rsyslog",
        unit="us",
        bar="<= 1",
        value=ratio,
        holds=ratio <= 1,
        notes=[f"rsyslog, {mode}: {series.text('us')}" for mode, series in others],
    )


def _memory(taken: _Taken) -> Figure:
    own = taken.memory["legwork"]
    return Figure(
        name="records-memory",
        what="the most resident memory that the server had meanwhile",
        legwork=own,
        anchor=taken.memory["plain"],
        anchor_name="rsyslog",
        unit="MiB",
        bar="<= 64 MiB",
        value=own.median,
        holds=own.median <= 64,
    )
