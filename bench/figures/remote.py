"""Short jobs over mTLS on loopback, against ssh to this machine and against task-spooler.

A fresh process each time on our side; ssh has an open connection (ControlMaster), or makes a new
one. Both encrypt, both run a program as the same user; legwork also has a shim, a directory and a
durable exit record for each job. Eight at a time are eight such processes side by side. The figures
on one connection are taken by the client library's example `pace`.
"""

import os
import re
import statistics
import subprocess
from collections.abc import Callable
from pathlib import Path

from kit import held, place, serving, sshd, tools
from kit.measure import Figure, Series, alternate, seconds
from kit.spooler import spooler

REPEATS = 10
AT_ONCE = 8
EACH = 10
JOBS = 200


def measure(runs: int) -> list[Figure]:
    """All of them."""
    with place.scratch() as directory, sshd.server(directory) as cold:
        place.settled(directory)
        with serving.server(directory) as remote:
            return [*_single(runs, directory, cold, remote), *_pace(runs, directory, remote)]


def _single(runs: int, directory: Path, cold: list[str], remote: serving.Remote) -> list[Figure]:
    null = os.open("/dev/null", os.O_WRONLY)

    def once(words: list[str]) -> None:
        code = place.spawn(words, remote.env, null)
        assert code == 0, f"{words[0]}: exit {code}"

    def timed(words: list[str], repeats: int) -> Callable[[], float]:
        return lambda: statistics.median(seconds(lambda: once(words)) for _ in range(repeats))

    def together(words: list[str]) -> Callable[[], float]:
        return lambda: AT_ONCE * EACH / seconds(lambda: _together(words, remote.env, null))

    legwork = [str(tools.legwork()), "run", "--no-sync", *held.options(), "--", "/bin/true"]
    with sshd.master(cold, directory) as warm:
        found = alternate(
            runs,
            warm=timed([*warm, "/bin/true"], REPEATS),
            cold=timed([*cold, "/bin/true"], 1),
            legwork=timed(legwork, REPEATS),
            warm8=together([*warm, "/bin/true"]),
            legwork8=together(legwork),
        )
    os.close(null)
    wait = place.disk_wait(directory) * 1e6
    disk = f"one wait for the disk, of which a job has two and ssh none: {wait:.0f} us"
    return [
        _times("remote-warm", "an open", found["legwork"], found["warm"], 0.9, disk),
        _times("remote-cold", "a new", found["legwork"], found["cold"], 0.05, disk),
        _rates(
            "remote-eight",
            f"/bin/true, {AT_ONCE} at a time",
            "ssh over an open connection",
            (found["legwork8"], found["warm8"]),
            1.3,
        ),
    ]


def _together(words: list[str], env: dict[str, str], null: int) -> None:
    """Keep eight of them running until all have been."""
    actions = [(os.POSIX_SPAWN_DUP2, null, 1)]
    left, running = AT_ONCE * EACH, 0
    while left or running:
        if left and running < AT_ONCE:
            os.posix_spawn(words[0], words, env, file_actions=actions)
            left, running = left - 1, running + 1
            continue
        _, status = os.waitpid(-1, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        running -= 1


def _pace(runs: int, directory: Path, remote: serving.Remote) -> list[Figure]:
    tsp = tools.need("tsp")
    example = tools.example("legwork-client", "pace")
    with spooler(directory, AT_ONCE) as env:

        def spooled() -> float:
            took = seconds(lambda: _spool(tsp, env))
            subprocess.run([tsp, "-C"], env=env, check=True)
            return JOBS / took

        taken: dict[str, Series] = {}

        def pace(*names: str) -> None:
            words = [str(example), str(remote.context), remote.address, *names]
            done = subprocess.run(words, check=True, capture_output=True, text=True)
            for name, value in re.findall(r"^(\w+) ([\d.]+)$", done.stdout, re.MULTILINE):
                taken.setdefault(name, Series()).values.append(float(value))

        def paced() -> float:
            pace("burst")
            return statistics.median(taken["burst_jobs_s"].values[-5:])

        found = alternate(runs, anchor=spooled, legwork=paced)
        # Not in between: thousands of jobs leave much to be written to the disk, beside whatever
        # is measured next.
        for _ in range(runs):
            pace("connect", "batch", "accepted")
    burst = _rates(
        "remote-burst",
        f"{JOBS} short jobs on one connection, {AT_ONCE} at a time",
        "tsp",
        (found["legwork"], found["anchor"]),
        1.2,
    )
    return [
        burst,
        _batch(taken),
        _alone("remote-connect", "connection and first answer", taken["connect_ms"], None, "ms"),
    ]


def _batch(taken: dict[str, Series]) -> Figure:
    what = "a call that hands over 1,000 jobs, answered when all are durable"
    figure = _alone("remote-batch", what, taken["accepted_s"], 2000, "")
    figure.notes = [
        f"from the call to the end of all {taken['accepted_ended_ms'].text('ms')}",
        f"starting all before the answer {taken['batch_starts_s'].text('/s')}",
    ]
    return figure


def _spool(tsp: str, env: dict[str, str]) -> None:
    with Path("/dev/null").open("wb") as null:
        for _ in range(JOBS):
            place.spawn([tsp, "/bin/true"], env, null.fileno())
        place.spawn([tsp, "-w"], env, null.fileno())


def _times(name: str, how: str, own: Series, ssh: Series, bar: float, disk: str) -> Figure:
    ratio = own.median / ssh.median
    return Figure(
        name=name,
        what=f"one /bin/true over mTLS, time as a ratio to ssh over {how} connection",
        legwork=own,
        anchor=ssh,
        anchor_name="ssh",
        unit="ms",
        scale=1000,
        bar=f"<= {bar}",
        value=ratio,
        holds=ratio <= bar,
        notes=[disk],
    )


def _rates(name: str, what: str, other: str, sides: tuple[Series, Series], bar: float) -> Figure:
    own, anchor = sides
    ratio = own.median / anchor.median
    return Figure(
        name=name,
        what=f"{what}; rate as a ratio to {other}",
        legwork=own,
        anchor=anchor,
        anchor_name=other.partition(" ")[0],
        unit="/s",
        bar=f">= {bar}",
        value=ratio,
        holds=ratio >= bar,
    )


def _alone(name: str, what: str, own: Series, least: float | None, unit: str) -> Figure:
    value = own.median
    return Figure(
        name=name,
        what=what,
        legwork=own,
        anchor=None,
        anchor_name="",
        unit=unit or "/s",
        bar=f">= {least} /s" if least else "<= 3 ms",
        value=value,
        holds=value >= least if least else value <= 3,
    )
