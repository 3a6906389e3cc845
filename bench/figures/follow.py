"""Following 1 GiB of half-random bytes while the log is kept, against a bare pipe.

The bytes are 64 KiB random and 64 KiB text by turns, so that neither compression nor its absence is
flattered. The same counter reads both sides.
"""

import os
import random
import subprocess
from pathlib import Path

from kit import held, place, tools
from kit.measure import Figure, alternate, seconds

SIZE = 1 << 30
PIECE = 1 << 16


def measure(runs: int) -> list[Figure]:
    """Throughput as a ratio, with the log on disk and in memory."""
    with place.scratch(place.MEMORY) as memory:
        blob = memory / "blob"
        write_blob(blob)
        with place.scratch() as disk:
            return [
                _one("follow", "log on disk", blob, disk / "state", runs),
                _one("follow-memory", "log on tmpfs", blob, memory / "state", runs),
            ]


def _one(name: str, where: str, blob: Path, state: Path, runs: int) -> Figure:
    def bare() -> float:
        return count(["cat", str(blob)], dict(os.environ))

    def legwork() -> float:
        words = [
            str(tools.legwork()),
            "run",
            "--no-sync",
            "-q",
            *held.options(),
            "--",
            "cat",
            str(blob),
        ]
        took = count(words, place.environment(state))
        jobs = place.run(state, "ps", "-a", "-q")
        for line in jobs.stdout.decode().splitlines()[1:]:
            place.run(state, "rm", line.split()[0])
        return took

    found = alternate(runs, bare=bare, legwork=legwork)
    ratio = found["bare"].median / found["legwork"].median
    return Figure(
        name=name,
        what=f"1 GiB through `run`, {where}; throughput as a ratio to a bare pipe",
        legwork=found["legwork"],
        anchor=found["bare"],
        anchor_name="bare pipe",
        unit="s",
        bar=">= 0.4",
        value=ratio,
        holds=ratio >= 0.4,
        notes=[
            f"legwork {SIZE / 1e6 / found['legwork'].median:.0f} MB/s, "
            f"bare pipe {SIZE / 1e6 / found['bare'].median:.0f} MB/s"
        ],
    )


def count(words: list[str], env: dict[str, str], size: int | None = SIZE) -> float:
    """How long the command takes to print so many bytes, or as many as it likes."""

    def read_all() -> None:
        with subprocess.Popen(
            words, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
        ) as process:
            assert process.stdout
            descriptor = process.stdout.fileno()
            buffer = bytearray(1 << 20)
            total = 0
            while got := os.readv(descriptor, [buffer]):
                total += got
        assert process.returncode == 0
        assert size in (None, total), f"{total} bytes came"

    return seconds(read_all)


def write_blob(path: Path, size: int = SIZE) -> None:
    """Write the bytes, which are the same each time."""
    chance = random.Random(1)
    words = [f"word{number}" for number in range(4000)]
    with path.open("wb") as file:
        for _ in range(size // PIECE // 2):
            file.write(chance.randbytes(PIECE))
            text = " ".join(chance.choices(words, k=PIECE // 8)).encode()
            file.write((text + b" " * PIECE)[:PIECE])
