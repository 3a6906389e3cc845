"""A mirror over mTLS on loopback, against rsync over ssh through an open connection.

Both encrypt, both write to a tmpfs, and both start with a source that is in the page cache. Each
run begins with nothing at either destination, and then makes the same changes for both: nothing,
one file, 1 % of the files, a directory renamed. The same for one file of 1 GiB, half of it text,
which then gets a byte in front. At the end of each run the destinations are compared.
"""

import random
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from kit import place, serving, sshd, tools
from kit.measure import Figure, Series, seconds

from figures.mirror import source_tree

BLOCK = 64 << 10
LARGE = 1 << 30
EDITED = 200

BARS = {
    "first": (0.8, "20,000 files, 281 MiB, first copy"),
    "again": (0.35, "nothing changed"),
    "one": (0.35, "one file edited"),
    "some": (0.5, "1 % of the files edited"),
    "renamed": (0.5, "a directory of 1,000 files, 14 MiB, renamed"),
    "large": (0.9, "a file of 1 GiB, first copy"),
    "front": (0.8, "a byte in front of a file of 1 GiB"),
}


def measure(runs: int) -> list[Figure]:
    """Wall time as a ratio, case by case."""
    rsync = tools.need("rsync")
    found = {name: (Series(), Series()) for name in BARS}
    with place.scratch(place.MEMORY) as directory:
        tree, big = directory / "tree", directory / "big"
        shutil.copytree(source_tree(), tree, copy_function=shutil.copy)
        big.mkdir()
        _large(big / "file")
        with sshd.server(directory) as cold, sshd.master(cold, directory) as warm:
            for number in range(runs + 1):
                with _sides(directory, rsync, warm) as sides:
                    taken = _run(number, (tree, big), sides)
                for name, (ours, theirs) in taken.items() if number else ():
                    found[name][0].values.append(ours)
                    found[name][1].values.append(theirs)
    return [_figure(name, *found[name]) for name in BARS]


Sync = Callable[[Path], None]


@contextmanager
def _sides(directory: Path, rsync: str, ssh: list[str]) -> Iterator[tuple[Sync, Sync, Path]]:
    """Ways to bring a directory to a new place, ours and theirs; both places are below a third."""
    with place.scratch(place.MEMORY) as fresh, serving.server(fresh) as remote:
        shell = " ".join(ssh[:-1])

        def ours(source: Path) -> None:
            remote.run("sync", "-q", source)

        def theirs(source: Path) -> None:
            words = [rsync, "-a", "--delete", "-e", shell, f"{source}/"]
            subprocess.run([*words, f"{ssh[-1]}:{fresh}/{source.name}/"], check=True)

        yield ours, theirs, fresh


def _run(
    number: int, sources: tuple[Path, Path], sides: tuple[Sync, Sync, Path]
) -> dict[str, tuple[float, float]]:
    (tree, big), (ours, theirs, fresh) = sources, sides
    taken = {}

    def both(name: str, source: Path) -> None:
        order = [ours, theirs] if number % 2 else [theirs, ours]
        times = {side: seconds(lambda s=side: s(source)) for side in order}
        taken[name] = times[ours], times[theirs]

    both("first", tree)
    both("again", tree)
    files = sorted(path for path in tree.rglob("*.txt"))
    chosen = random.Random(number).sample(files, EDITED)
    for name, edited in (("one", chosen[:1]), ("some", chosen)):
        for path in edited:
            path.write_bytes(f"{name} {number} ".encode() + path.read_bytes())
        both(name, tree)
    first = sorted(tree.iterdir())[0]
    first.rename(tree / f"renamed{number:02}")
    both("renamed", tree)
    both("large", big)
    data = (big / "file").read_bytes()
    (big / "file").write_bytes(b"!" + data)
    both("front", big)
    for source in sources:
        _compare(source, fresh)
    return taken


def _compare(source: Path, fresh: Path) -> None:
    (workspace,) = (
        found
        for found in (fresh / "server" / "workspaces").glob("*/tree")
        if sorted(path.name for path in found.iterdir())
        == sorted(path.name for path in source.iterdir())
    )
    for copy in (workspace, fresh / source.name):
        subprocess.run(["diff", "-r", "-q", str(source), str(copy)], check=True)


def _large(path: Path) -> None:
    """By turns random bytes and text."""
    chance = random.Random(11)
    words = [chance.randbytes(chance.randint(2, 6)).hex() for _ in range(5000)]
    with path.open("wb") as file:
        for _ in range(LARGE // (2 * BLOCK)):
            file.write(chance.randbytes(BLOCK))
            text = " ".join(chance.choices(words, k=BLOCK // 4)).encode()
            file.write(text[:BLOCK].ljust(BLOCK))


def _figure(name: str, own: Series, rsync: Series) -> Figure:
    bar, what = BARS[name]
    ratio = own.median / rsync.median
    return Figure(
        name=f"content-{name}",
        what=f"{what}; time as a ratio to rsync over an open ssh connection",
        legwork=own,
        anchor=rsync,
        anchor_name="rsync",
        unit="s",
        bar=f"<= {bar}",
        value=ratio,
        holds=ratio <= bar,
    )
