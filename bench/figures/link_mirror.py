"""Mirroring over slow links, against rsync -z over an open ssh connection, and against the link.

Both go through a relay of 50 ms round trip and a certain rate (`testkit::link`). Two bars for each
case. One is the link: its time for the bytes that went over it in the busier direction, and the
round trips that there must be. Those are one for the handshake (the relay makes TCP connections at
once), one for the call, and where the server's tree is not known one more to ask for it. Where more
than 64 KiB go up without that, HTTP/2 has one more: it takes no more on a new connection before the
server has said so. The other is rsync -z, whose connection is open before. Plain rsync is told
beside it.

The sample is a tenth of the source tree and a file of 8 MiB, half of it random. Each run begins
with a server and a mirror that are new; the results are compared with the source each time.
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

ROUND_TRIP_MS = 50
MBITS = (20, 100)
PARTS = ("part00", "part01")
LARGE_BYTES = 8 << 20
PERCENT, MANY = 20, 200
OF_LINK = 1.15
# Of HTTP/2, until the other end has told its own.
FIRST_WINDOW = 65_535
BYTES_OF_SMALL_EDITS = 2.5

Edit = Callable[[Path], None]


@dataclass(frozen=True)
class Case:
    """What is done to the source, and how many round trips it takes to mirror that."""

    name: str
    what: str
    edit: Edit
    round_trips: int = 2
    back: bool = False


@dataclass
class Run:
    """One measurement."""

    took: float
    up: int
    down: int


class Side(Protocol):
    """One of those that are compared."""

    def copy(self, source: Path) -> None:
        """Make its mirror like the source."""

    def back(self, into: Path) -> None:
        """Bring all of its mirror to a directory that is not there."""


def _nothing(_: Path) -> None:
    pass


def _files(tree: Path) -> list[Path]:
    return sorted(tree.rglob("*.txt"))


def _edit_one(tree: Path) -> None:
    with _files(tree)[1483].open("a") as file:
        file.write("one\n")


def _edit_percent(tree: Path) -> None:
    for path in random.Random(11).sample(_files(tree), PERCENT):
        with path.open("a") as file:
            file.write("an edit\n")


def _edit_many(tree: Path) -> None:
    for path in random.Random(12).sample(_files(tree), MANY):
        text = path.read_bytes()
        path.write_bytes(text[: len(text) // 2] + b" some words " + text[len(text) // 2 :])


def _put_in_front(tree: Path) -> None:
    large = tree / "large"
    large.write_bytes(b"!" + large.read_bytes())


def _rename(tree: Path) -> None:
    (tree / PARTS[0]).rename(tree / f"{PARTS[0]}-renamed")


CASES = [
    Case("first", "first copy of 2,000 files and 8 MiB, 36 MiB in all", _nothing, round_trips=3),
    Case("again", "nothing changed", _nothing),
    Case("one", "one file edited", _edit_one),
    Case("percent", "1 % of the files edited at their ends", _edit_percent),
    Case("many", "10 % of the files edited in their middles", _edit_many),
    Case("front", "a byte put in front of 8 MiB", _put_in_front),
    Case("rename", "a directory of 1,000 files renamed", _rename),
    Case("back", "all of it pulled into an empty directory", _nothing, round_trips=3, back=True),
]


class _Rsync:
    def __init__(self, ssh: list[str], directory: Path, *options: str) -> None:
        *shell, self.host = ssh
        self.copied = directory / "copy"
        self.words = [tools.need("rsync"), "-a", "--delete", *options, "-e", " ".join(shell)]

    def copy(self, source: Path) -> None:
        subprocess.run([*self.words, f"{source}/", f"{self.host}:{self.copied}/"], check=True)

    def back(self, into: Path) -> None:
        subprocess.run([*self.words, f"{self.host}:{self.copied}/", f"{into}/"], check=True)


class _Legwork:
    def __init__(self, remote: serving.Remote) -> None:
        self.remote = remote

    def copy(self, source: Path) -> None:
        self.remote.run("-C", "linked", "sync", "-q", "--workspace", "bench", source)

    def back(self, into: Path) -> None:
        self.remote.run("-C", "linked", "pull", "-q", "--workspace", "bench", "--into", into, "**")


@contextmanager
def _sides(directory: Path, mbit: int) -> Iterator[dict[str, tuple[Side, Link]]]:
    with contextlib.ExitStack() as stack:
        enter = stack.enter_context
        slow = partial(link, round_trip_ms=ROUND_TRIP_MS, mbit=mbit)
        cold = enter(sshd.server(directory))
        found: dict[str, tuple[Side, Link]] = {}
        for name, options in (("rsync", ()), ("rsync -z", ("-z",))):
            way = enter(slow(f"127.0.0.1:{sshd.port(cold)}"))
            own = directory / name.replace(" ", "")
            own.mkdir()
            warm = enter(sshd.master(sshd.at(cold, way.port), own))
            found[name] = (_Rsync(warm, own, *options), way)
        remote = enter(serving.server(directory))
        way = enter(slow(remote.address))
        remote.run("context", "add", "linked", f"https://{way.address}", "--from", "bench")
        found["legwork"] = (_Legwork(remote), way)
        yield found


def measure(runs: int) -> list[Figure]:
    """Time as a ratio to the link's own, and to rsync's."""
    tree = mirror.source()
    found = []
    for mbit in MBITS:
        with place.scratch(place.MEMORY) as directory:
            taken = _measure(runs, directory, tree, mbit)
        for case in CASES:
            found += _figures(case, mbit, taken[case.name])
    return found


def _sample(tree: Path, work: Path) -> None:
    work.mkdir()
    for part in PARTS:
        shutil.copytree(tree / part, work / part, copy_function=shutil.copy2)
    follow.write_blob(work / "large", LARGE_BYTES)


def _measure(runs: int, directory: Path, tree: Path, mbit: int) -> dict[str, dict[str, list[Run]]]:
    taken: dict[str, dict[str, list[Run]]] = {case.name: {} for case in CASES}
    origin = directory / "origin"
    _sample(tree, origin)
    for number in range(runs + 1):
        here = directory / f"run{number}"
        here.mkdir()
        work = here / "source"
        shutil.copytree(origin, work, copy_function=shutil.copy2)
        with _sides(here, mbit) as sides:
            for case in CASES:
                case.edit(work)
                names = sorted(sides, reverse=bool(number % 2))
                for name in names:
                    run = _run(case, *sides[name], work, here / f"back-{name[-1]}")
                    if number > 0:
                        taken[case.name].setdefault(name, []).append(run)
            _compare(work, here)
        shutil.rmtree(here)
    return taken


def _run(case: Case, side: Side, way: Link, work: Path, into: Path) -> Run:
    up, down = way.ways()
    action = partial(side.back, into) if case.back else partial(side.copy, work)
    took = seconds(action)
    up_after, down_after = way.ways()
    return Run(took, up_after - up, down_after - down)


def _compare(work: Path, here: Path) -> None:
    (own,) = (here / "server" / "workspaces").glob("*/tree")
    copies = [own, here / "rsync" / "copy", here / "rsync-z" / "copy", *here.glob("back-*")]
    for copy in copies:
        subprocess.run(["diff", "-r", "--no-dereference", work, copy], check=True)


def _figures(case: Case, mbit: int, taken: dict[str, list[Run]]) -> list[Figure]:
    def limit(run: Run) -> float:
        busier = run.down if case.back else run.up
        waits = run.up > FIRST_WINDOW and case.round_trips == 2
        round_trips = case.round_trips + waits
        return busier * 8 / (mbit * 1e6) + round_trips * ROUND_TRIP_MS / 1000

    times = {name: Series([run.took for run in runs]) for name, runs in taken.items()}
    sent = {name: Series([run.up + run.down for run in runs]) for name, runs in taken.items()}
    limits = Series([limit(run) for run in taken["legwork"]])
    told = ", ".join(f"{name} {series.median:,.0f}" for name, series in sorted(sent.items()))
    notes = [f"bytes at the socket: {told}", f"rsync without -z: {times['rsync'].text('s')}"]
    what = f"{case.what}; {ROUND_TRIP_MS} ms, {mbit} Mbit/s"
    of_link = times["legwork"].median / limits.median
    of_rsync = times["legwork"].median / times["rsync -z"].median
    found = [
        Figure(
            name=f"link{mbit}-{case.name}",
            what=f"{what}; time as a ratio to what the link takes for the bytes",
            legwork=times["legwork"],
            anchor=limits,
            anchor_name="link",
            unit="s",
            bar=f"<= {OF_LINK}",
            value=of_link,
            holds=of_link <= OF_LINK,
            notes=notes,
        )
    ]
    if case.name == "many":
        ratio = sent["legwork"].median / sent["rsync -z"].median
        return [*found, _against(f"link{mbit}-many-bytes", what, sent, "B", ratio)]
    return [*found, _against(f"link{mbit}-{case.name}-rsync", what, times, "s", of_rsync)]


def _against(name: str, what: str, sides: dict[str, Series], unit: str, ratio: float) -> Figure:
    bar = 1.0 if unit == "s" else BYTES_OF_SMALL_EDITS
    return Figure(
        name=name,
        what=f"{what}; as a ratio to rsync -z",
        legwork=sides["legwork"],
        anchor=sides["rsync -z"],
        anchor_name="rsync -z",
        unit=unit,
        bar=f"<= {bar}",
        value=ratio,
        holds=ratio <= bar,
    )
