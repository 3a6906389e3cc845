"""A save in a watched directory, until it is in the mirror, against lsyncd.

20,000 files. lsyncd with delay 0 runs rsync over an open ssh connection, legwork is
`sync --watch` to a server of its own over mTLS. Each has its own copy of the tree, all on a tmpfs,
and both watch while either saves. A save is what an editor does: a file beside it, renamed over it.
The mirror is looked at every half millisecond. For a burst, files are saved one after the other,
and what counts is the time from the last of them until the last is in the mirror.
"""

import contextlib
import json
import random
import shutil
import statistics
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from kit import place, serving, sshd, tools
from kit.measure import Figure, Series

from figures import mirror

SAVES = 51
BURSTS = 11
BURST_FILES = 100
BAR = 0.3
PATIENCE_S = 60
LOOK_S = 0.0005
PAUSES_S = (0.2, 0.5)
PERCENTILE = 95


@dataclass
class Side:
    """A directory, and the mirror of it."""

    source: Path
    copy: Path

    def save(self, name: str, text: str) -> None:
        """As an editor does."""
        path = self.source / name
        beside = path.with_name(f".{path.name}.swp")
        beside.write_text(text)
        beside.rename(path)

    def arrives(self, name: str, text: str, began: float) -> float:
        """How long after that the mirror has it."""
        path = self.copy / name
        while True:
            with contextlib.suppress(FileNotFoundError):
                if path.read_text() == text:
                    return time.perf_counter() - began
            assert time.perf_counter() - began < PATIENCE_S, f"{name} does not come"
            time.sleep(LOOK_S)


def measure(_: int) -> list[Figure]:
    """The time of a save and of a burst of them, as ratios to lsyncd's."""
    tree = mirror.source()
    chance = random.Random(5)
    single = {"legwork": Series(), "lsyncd": Series()}
    burst = {"legwork": Series(), "lsyncd": Series()}
    with place.scratch(place.MEMORY) as directory, _sides(directory, tree) as sides:
        names = sorted(str(path.relative_to(tree)) for path in tree.rglob("*.txt"))
        for number in range(SAVES + 1):
            for side, series in single.items():
                took = _one(sides[side], chance.choice(names), f"save {number}\n")
                if number > 0:
                    series.values.append(took)
                time.sleep(chance.uniform(*PAUSES_S))
        for number in range(BURSTS + 1):
            for side, series in burst.items():
                took = _many(sides[side], chance.sample(names, BURST_FILES), f"burst {number}\n")
                if number > 0:
                    series.values.append(took)
                time.sleep(chance.uniform(*PAUSES_S))
    what = "a save over 20,000 files, until it is in the mirror"
    many = f"{BURST_FILES} saves in a row, from the last until all are in the mirror"
    return [_figure("watch-save", what, single), _figure("watch-burst", many, burst)]


def _one(side: Side, name: str, text: str) -> float:
    began = time.perf_counter()
    side.save(name, text)
    return side.arrives(name, text, began)


def _many(side: Side, names: list[str], text: str) -> float:
    for name in names:
        side.save(name, text)
    began = time.perf_counter()
    return max(side.arrives(name, text, began) for name in reversed(names))


@contextmanager
def _sides(directory: Path, tree: Path) -> Iterator[dict[str, Side]]:
    with contextlib.ExitStack() as stack:
        sources = {}
        for name in ("legwork", "lsyncd"):
            sources[name] = directory / name
            shutil.copytree(tree, sources[name], copy_function=shutil.copy2)
        warm = stack.enter_context(
            sshd.master(stack.enter_context(sshd.server(directory)), directory)
        )
        remote = stack.enter_context(serving.server(directory))
        stack.enter_context(_lsyncd(directory, warm, sources["lsyncd"]))
        stack.enter_context(_watch(remote, sources["legwork"]))
        (own,) = (directory / "server" / "workspaces").glob("*/tree")
        yield {
            "legwork": Side(sources["legwork"], own),
            "lsyncd": Side(sources["lsyncd"], directory / "copy"),
        }


@contextmanager
def _watch(remote: serving.Remote, source: Path) -> Iterator[None]:
    words = [str(tools.legwork()), "sync", "--watch", "--json", str(source)]
    with subprocess.Popen(
        words, env=remote.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
    ) as process:
        try:
            assert process.stdout
            assert json.loads(process.stdout.readline())["event"] == "mirrored"
            # It tells of each update, and would wait for somebody to read that.
            threading.Thread(target=process.stdout.read, daemon=True).start()
            yield
        finally:
            process.terminate()


@contextmanager
def _lsyncd(directory: Path, ssh: list[str], source: Path) -> Iterator[None]:
    *shell, host = ssh
    (directory / "lsyncd.lua").write_text(
        "settings { nodaemon = true, insist = true }\n"
        "sync {\n"
        "    default.rsync,\n"
        f'    source = "{source}", target = "{host}:{directory}/copy", delay = 0,\n'
        f'    rsync = {{ archive = true, rsh = "{" ".join(shell)}" }},\n'
        "}\n"
    )
    program = tools.need("lsyncd")
    with (directory / "lsyncd.log").open("wb") as log:
        process = subprocess.Popen([program, directory / "lsyncd.lua"], stdout=log, stderr=log)
        try:
            files = sum(1 for _ in source.rglob("*.txt"))
            copied = directory / "copy"
            tools.wait_until(
                lambda: sum(1 for _ in copied.rglob("*.txt")) == files,
                PATIENCE_S,
                f"lsyncd copies nothing: see {directory}/lsyncd.log",
            )
            yield
        finally:
            process.terminate()
            process.wait()


def _figure(name: str, what: str, sides: dict[str, Series]) -> Figure:
    ratio = sides["legwork"].median / sides["lsyncd"].median
    late = ", ".join(
        f"{side} {statistics.quantiles(series.values, n=100)[PERCENTILE - 1] * 1000:.3g} ms"
        for side, series in sides.items()
    )
    return Figure(
        name=name,
        what=f"{what}; as a ratio to lsyncd with delay 0 over an open ssh connection",
        legwork=sides["legwork"],
        anchor=sides["lsyncd"],
        anchor_name="lsyncd",
        unit="ms",
        scale=1000,
        bar=f"<= {BAR}",
        value=ratio,
        holds=ratio <= BAR,
        notes=[f"{PERCENTILE}th percentile: {late}"],
    )
