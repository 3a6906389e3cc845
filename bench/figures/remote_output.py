"""Output over mTLS on loopback while the log is kept, against ssh over an open connection.

ssh's cipher is AES-128-GCM, the faster of its two, and TLS's is AES as well. The job copies a file
of half-random bytes, or prints numbers (`seq`, which is a limit by itself). Sixteen followers read
one finished log at once, each over a connection of its own, as sixteen `ssh host cat log` do.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from kit import held, place, serving, sshd, tools
from kit.measure import Figure, Series, alternate, seconds

from figures.delay import WRITER, median_delay
from figures.follow import SIZE, count, write_blob

CIPHER = "aes128-gcm@openssh.com"
NUMBERS = 20_000_000
FOLLOWERS = 16
SHARE = SIZE // 8


def measure(runs: int) -> list[Figure]:
    """Throughput of one and of sixteen, and the delay of a line."""
    with place.scratch(place.MEMORY) as memory, place.scratch() as directory:
        blob = memory / "blob"
        write_blob(blob)
        with (
            sshd.server(directory) as cold,
            sshd.master([*cold[:-1], "-c", CIPHER, cold[-1]], directory) as ssh,
            serving.server(directory) as remote,
        ):
            return [
                _one("remote-follow", ["cat", str(blob)], SIZE, 0.65, (runs, ssh, remote)),
                _one("remote-seq", ["seq", str(NUMBERS)], None, 1.0, (runs, ssh, remote)),
                _sixteen(runs, memory / "share", blob, ssh, remote),
                _delay(runs, directory, ssh, remote),
            ]


def _one(
    name: str,
    job: list[str],
    size: int | None,
    bar: float,
    sides: tuple[int, list[str], serving.Remote],
) -> Figure:
    runs, ssh, remote = sides
    run = [str(tools.legwork()), "run", "--no-sync", "-q", *held.options(), "--", *job]

    def legwork() -> float:
        took = count(run, remote.env, size)
        _forget(remote)
        return took

    found = alternate(
        runs, ssh=lambda: count([*ssh, *job], dict(os.environ), size), legwork=legwork
    )
    return _figure(name, f"{' '.join(job[:1])} over mTLS", found["legwork"], found["ssh"], bar)


def _forget(remote: serving.Remote) -> None:
    for line in remote.run("ps", "-a", "-q").splitlines()[1:]:
        remote.run("rm", line.split()[0])


def _sixteen(runs: int, share: Path, blob: Path, ssh: list[str], remote: serving.Remote) -> Figure:
    with blob.open("rb") as whole:
        share.write_bytes(whole.read(SHARE))
    job = remote.run("start", "--no-sync", "--", "cat", str(share)).split()[0]
    remote.run("wait", job)

    def all_at_once(words: list[str], env: dict[str, str]) -> float:
        def read(_: int) -> None:
            count(words, env, SHARE)

        with ThreadPoolExecutor(FOLLOWERS) as pool:
            return seconds(lambda: list(pool.map(read, range(FOLLOWERS))))

    logs = [str(tools.legwork()), "logs", job]
    found = alternate(
        runs,
        ssh=lambda: all_at_once([*ssh, "cat", str(share)], dict(os.environ)),
        legwork=lambda: all_at_once(logs, remote.env),
    )
    remote.run("rm", job)
    what = f"{FOLLOWERS} followers of {SHARE >> 20} MiB"
    return _figure("remote-sixteen", what, found["legwork"], found["ssh"], 1.5)


def _delay(runs: int, directory: Path, ssh: list[str], remote: serving.Remote) -> Figure:
    writer = directory / "writer.py"
    writer.write_text(WRITER)
    job = [str(Path("/usr/bin/env")), "python3", "-I", "-S", str(writer)]
    run = [str(tools.legwork()), "run", "--no-sync", "-q", *held.options(), "--", *job]
    found = alternate(
        runs,
        ssh=lambda: median_delay([*ssh, *job], dict(os.environ)),
        legwork=lambda: median_delay(run, remote.env),
    )
    ratio = found["legwork"].median / found["ssh"].median
    return Figure(
        name="remote-delay",
        what="delay of a line through `run` over mTLS, as a ratio to ssh over an open connection",
        legwork=found["legwork"],
        anchor=found["ssh"],
        anchor_name="ssh",
        unit="us",
        scale=1e6,
        bar="<= 1.5",
        value=ratio,
        holds=ratio <= 1.5,
    )


def _figure(name: str, what: str, own: Series, ssh: Series, bar: float) -> Figure:
    ratio = ssh.median / own.median
    return Figure(
        name=name,
        what=f"{what}; throughput as a ratio to ssh over an open connection",
        legwork=own,
        anchor=ssh,
        anchor_name="ssh",
        unit="s",
        bar=f">= {bar}",
        value=ratio,
        holds=ratio >= bar,
    )
