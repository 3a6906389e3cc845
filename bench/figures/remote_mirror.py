"""Mirroring to another machine, against rsync over an open ssh connection.

The same tree as in `mirror`, and the same edits for both sides; each has its own copy, on a tmpfs.
rsync goes over an open connection (ControlMaster); legwork makes its own each time, whose handshake
counts. Bytes are those at the socket, in both directions, in one more pass through a relay that
counts. Files of 1 GiB are half random, so that neither compression nor its absence is flattered.
"""

import contextlib
import random
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from kit import place, serving, sshd, tools
from kit.link import Link, link
from kit.measure import Figure, Series, seconds

from figures import follow, mirror

PERCENT = 200
RENAMED = "part05"

Edit = Callable[[Path], None]


@dataclass(frozen=True)
class Case:
    """What is done to the source, and what the mirror of it may take of rsync's time and bytes."""

    name: str
    what: str
    edit: Edit
    time: float
    bytes: float | None = None
    rsync: tuple[str, ...] = ()
    legwork: tuple[str, ...] = ()


class Side(Protocol):
    """One of the two."""

    def copy(self, source: Path, options: tuple[str, ...]) -> None:
        """Make its copy like the source."""


def measure(runs: int) -> list[Figure]:
    """Time and bytes as ratios."""
    tree = mirror.source()
    with place.scratch(place.MEMORY) as directory:
        found = _measure(runs, directory, tree, TREE)
    with place.scratch(place.MEMORY) as directory:
        blob = directory / "blob"
        blob.mkdir()
        follow.write_blob(blob / "large")
        return found + _measure(runs, directory, blob, LARGE)


def _nothing(_: Path) -> None:
    pass


def _append(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


def _edit_one(tree: Path) -> None:
    _append(_files(tree)[1483], "one\n")


def _files(tree: Path) -> list[Path]:
    return sorted(path for path in tree.rglob("*.txt"))


def _edit_percent(tree: Path) -> None:
    chance = random.Random(11)
    for path in chance.sample(_files(tree), PERCENT):
        _append(path, "an edit\n")


def _rename(tree: Path) -> None:
    there, other = tree / RENAMED, tree / f"{RENAMED}-renamed"
    (there if there.exists() else other).rename(other if there.exists() else there)


def _put_in_front(tree: Path) -> None:
    large = tree / "large"
    before = large.read_bytes()
    large.write_bytes(b"!" + before)


TREE = [
    Case("first", "first copy", _nothing, 0.8),
    Case("again", "nothing changed", _nothing, 0.35, 0.03),
    Case("one", "one file edited", _edit_one, 0.35),
    Case("percent", "1 % of the files edited", _edit_percent, 0.5),
    Case(
        "percent-zstd",
        "the same, compressed, against whole files",
        _edit_percent,
        1.0,
        0.5,
        ("-W",),
        ("--compress", "zstd"),
    ),
    Case("rename", "a directory of 14 MiB renamed", _rename, 0.5, 0.05),
]
LARGE = [
    Case("large-first", "a file of 1 GiB", _nothing, 0.9),
    Case("large-front", "a byte put in front of it", _put_in_front, 0.8, 2.0),
]


class _Rsync:
    def __init__(self, ssh: list[str], directory: Path) -> None:
        self.ssh, self.directory = ssh, directory

    def copy(self, source: Path, options: tuple[str, ...]) -> None:
        *shell, host = self.ssh
        rsync = [tools.need("rsync"), "-a", "--delete", *options, "-e", " ".join(shell)]
        subprocess.run([*rsync, f"{source}/", f"{host}:{self.directory}/copy/"], check=True)


class _Legwork:
    def __init__(self, remote: serving.Remote, context: str) -> None:
        self.remote, self.context = remote, context

    def copy(self, source: Path, options: tuple[str, ...]) -> None:
        self.remote.run("-C", self.context, "sync", "-q", *options, source)


@contextmanager
def _sides(directory: Path) -> Iterator[tuple[dict[str, Side], dict[str, tuple[Side, Link]]]]:
    """Both, directly and through links that count."""
    with contextlib.ExitStack() as stack:
        enter = stack.enter_context
        cold = enter(sshd.server(directory))
        remote = enter(serving.server(directory))
        counting = enter(link(f"127.0.0.1:{sshd.port(cold)}"))
        counted = enter(link(remote.address))
        remote.run("context", "add", "counted", f"https://{counted.address}", "--from", "bench")
        (directory / "through").mkdir()
        warm = enter(sshd.master(cold, directory))
        through = enter(sshd.master(sshd.at(cold, counting.port), directory / "through"))
        yield (
            {"rsync": _Rsync(warm, directory), "legwork": _Legwork(remote, "bench")},
            {
                "rsync": (_Rsync(through, directory), counting),
                "legwork": (_Legwork(remote, "counted"), counted),
            },
        )


def _measure(runs: int, directory: Path, origin: Path, cases: list[Case]) -> list[Figure]:
    times = {case.name: {"rsync": Series(), "legwork": Series()} for case in cases}
    sent: dict[str, dict[str, int]] = {case.name: {} for case in cases}
    for number in range(runs + 2):
        here = directory / f"run{number}"
        here.mkdir()
        work = here / "source"
        shutil.copytree(origin, work, copy_function=shutil.copy2)
        with _sides(here) as (direct, counted):
            for case in cases:
                case.edit(work)
                names = ["rsync", "legwork"] if number % 2 else ["legwork", "rsync"]
                for name in names:
                    options = case.rsync if name == "rsync" else case.legwork
                    if number > runs:
                        side, meter = counted[name]
                        before = meter.passed()
                        side.copy(work, options)
                        sent[case.name][name] = meter.passed() - before
                        continue
                    took = seconds(partial(direct[name].copy, work, options))
                    if number > 0:
                        times[case.name][name].values.append(took)
            _compare(work, here)
        shutil.rmtree(here)
    found = []
    for case in cases:
        found += _figures(case, times[case.name], sent[case.name])
    return found


def _compare(source: Path, here: Path) -> None:
    (own,) = (here / "server" / "workspaces").glob("*/tree")
    for copy in (here / "copy", own):
        subprocess.run(["diff", "-r", "--no-dereference", source, copy], check=True)


def _figures(case: Case, times: dict[str, Series], sent: dict[str, int]) -> list[Figure]:
    ratio = times["legwork"].median / times["rsync"].median
    bytes_ratio = sent["legwork"] / sent["rsync"]
    told = f"bytes at the socket: legwork {sent['legwork']:,}, rsync {sent['rsync']:,}"
    found = [
        Figure(
            name=f"mirror-{case.name}",
            what=f"{case.what}, over mTLS; time as a ratio to rsync over an open ssh connection",
            legwork=times["legwork"],
            anchor=times["rsync"],
            anchor_name="rsync",
            unit="s",
            bar=f"<= {case.time}",
            value=ratio,
            holds=ratio <= case.time,
            notes=[f"{told}: {bytes_ratio:.3g}"],
        )
    ]
    if case.bytes is not None:
        found.append(
            Figure(
                name=f"bytes-{case.name}",
                what=f"{case.what}; bytes at the socket as a ratio to rsync's",
                legwork=Series([float(sent["legwork"])]),
                anchor=Series([float(sent["rsync"])]),
                anchor_name="rsync",
                unit="B",
                bar=f"<= {case.bytes}",
                value=bytes_ratio,
                holds=bytes_ratio <= case.bytes,
            )
        )
    return found
