"""Mirroring 20,000 source files, first and with nothing changed, against rsync.

rsync runs as two local processes without a network, legwork as `legwork sync`. The source is on
disk in the page cache; destinations are on a tmpfs, because a file system that just deleted as many
files can be ten times slower, and says nothing about either side. Deletions are outside of what is
measured, and the last result of each side is compared with the source byte by byte.
"""

import filecmp
import itertools
import os
import random
import shutil
import subprocess
from pathlib import Path

from kit import place, tools
from kit.measure import Figure, Series, seconds

FILES = 20_000
BYTES = 281 << 20
TOP, SUB = 20, 100


def measure(runs: int) -> list[Figure]:
    """Time as a ratio, for a first copy and for one with nothing to do."""
    rsync = tools.need("rsync")
    tree = source()
    first = {"rsync": Series(), "legwork": Series()}
    again = {"rsync": Series(), "legwork": Series()}
    for number in range(runs + 1):
        last = number == runs
        for name, side in (("rsync", _Rsync(rsync, tree)), ("legwork", _Legwork(tree))):
            with place.scratch(place.MEMORY) as directory:
                took = seconds(lambda d=directory, s=side: s.copy(d))
                noop = seconds(lambda d=directory, s=side: s.copy(d))
                if last:
                    _compare(tree, side.tree(directory))
            if number > 0:
                first[name].values.append(took)
                again[name].values.append(noop)
    return [
        _figure("mirror-first", "first copy", first, 1.3),
        _figure("mirror-again", "nothing changed", again, 0.6),
    ]


class _Rsync:
    def __init__(self, program: str, source: Path) -> None:
        self.program, self.source = program, source

    def tree(self, directory: Path) -> Path:
        return directory / "copy"

    def copy(self, directory: Path) -> None:
        words = [self.program, "-a", "--delete", f"{self.source}/", f"{self.tree(directory)}/"]
        subprocess.run(words, check=True)


class _Legwork:
    def __init__(self, source: Path) -> None:
        self.source = source

    def tree(self, directory: Path) -> Path:
        (found,) = (directory / "state" / "workspaces").glob("*/tree")
        return found

    def copy(self, directory: Path) -> None:
        place.run(directory / "state", "sync", "-q", self.source)


def _figure(name: str, what: str, sides: dict[str, Series], bar: float) -> Figure:
    ratio = sides["legwork"].median / sides["rsync"].median
    return Figure(
        name=name,
        what=f"{FILES} files, {BYTES >> 20} MiB, {what}; time as a ratio to rsync -a --delete",
        legwork=sides["legwork"],
        anchor=sides["rsync"],
        anchor_name="rsync",
        unit="s",
        bar=f"<= {bar}",
        value=ratio,
        holds=ratio <= bar,
    )


def source() -> Path:
    """The tree, made once: the same bytes on every machine."""
    tree = tools.CACHE / "tree"
    done = tools.CACHE / "tree.done"
    if done.exists():
        return tree
    shutil.rmtree(tree, ignore_errors=True)
    chance = random.Random(7)
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["".join(chance.choices(letters, k=chance.randint(2, 11))) for _ in range(6000)]
    weights = list(itertools.accumulate(1 / (rank + 3) for rank in range(len(words))))
    left = BYTES
    for number in range(FILES):
        parent = tree / f"part{number % TOP:02}" / f"unit{number // TOP % SUB:02}"
        parent.mkdir(parents=True, exist_ok=True)
        size = left if number == FILES - 1 else int(BYTES / FILES * (0.2 + 1.6 * chance.random()))
        left -= size
        (parent / f"file{number:05}.txt").write_bytes(_text(chance, words, weights, size))
    done.touch()
    os.sync()
    return tree


def _text(chance: random.Random, words: list[str], weights: list[float], size: int) -> bytes:
    picked = chance.choices(words, cum_weights=weights, k=size // 3)
    lines = (" ".join(picked[at : at + 9]) for at in range(0, len(picked), 9))
    return "\n".join(lines).encode()[:size]


def _compare(source: Path, copy: Path) -> None:
    seen = 0
    for directory, _, names in os.walk(source):
        other = copy / Path(directory).relative_to(source)
        _, wrong, missing = filecmp.cmpfiles(directory, other, names, shallow=False)
        assert not wrong, wrong
        assert not missing, missing
        seen += len(names)
    assert seen == FILES
