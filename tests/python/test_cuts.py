"""A connection that breaks after any number of bytes: what was asked for is done once."""

import os
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from harness.host import Host, Result
from harness.relay import DOWN, UP
from harness.serving import Away
from harness.waiting import DEADLINE_S, until
from harness.watching import open_gate

pytestmark = pytest.mark.once

# Signatures differ in length by a few bytes from one handshake to the next.
UNSURE = 16
DIRECTIONS = pytest.mark.parametrize("direction", [UP, DOWN], ids=["up", "down"])
# How many places: some in the handshake, and the others in what follows.
PLACES = pytest.mark.parametrize(
    "count", [8, pytest.param(60, marks=pytest.mark.soak)], ids=["few", "many"]
)


@dataclass
class Sweep:
    """A command that is given again and again, and cut at another place each time."""

    away: Away
    direction: int
    # The command; it is told how often it was given before.
    command: Callable[[int], Result]
    # What it exits with, also when its connection broke.
    code: int
    # The same when there was none to begin with, and nothing was done.
    without: int

    def goes(self, count: int) -> int:
        """Cut at so many places; how many of the connections broke after their handshake."""
        relay = self.away.relay
        before = len(relay.links)
        self.command(0).expect(self.code)
        (whole,) = relay.links[before:]
        # Up to here there can be no connection, and from there on there is one. Between the two a
        # client may learn of the loss before it has asked for anything, or after.
        none = whole.greeted[self.direction] - UNSURE
        one = whole.answered[self.direction] + UNSURE
        end = whole.passed[self.direction]
        early = range(0, none, max(1, none * 4 // count))
        late = range(none, end, max(1, (end - none) // count))
        broken = 0
        for number, place in enumerate([*early, *late], 1):
            before = len(relay.links)
            relay.cut_next(place, direction=self.direction)
            result = self.command(number)
            allowed = {self.without} if place < none else {self.code}
            if none <= place < one:
                allowed.add(self.without)
            assert result.code in allowed, (place, none, one, end, result)
            broken += relay.links[before].was_reset and result.code == self.code
        return broken


@PLACES
@DIRECTIONS
def test_a_start_is_made_once(away: Away, laptop: Host, direction: int, count: int) -> None:
    def command(number: int) -> Result:
        runs = away.host.tmp / f"runs-{number}"
        script = f"echo ran >> {runs}; echo said; exit 3"
        result = laptop.run("run", "--no-sync", "--", "sh", "-c", script)
        if result.code == 3:
            assert (result.out, runs.read_text()) == (b"said\n", "ran\n")
        else:
            assert "cannot talk to the server" in result.error_text
            assert not runs.exists()
        return result

    broken = Sweep(away, direction, command, 3, 125).goes(count)
    assert broken >= count // 2
    ran = list(away.host.tmp.glob("runs-*"))
    assert len(away.host.json("ps", "-a")) == len(ran)
    assert {path.read_text() for path in ran} == {"ran\n"}


@PLACES
def test_a_batch_is_started_once(away: Away, laptop: Host, count: int) -> None:
    def command(number: int) -> Result:
        scripts = [f"echo {part} >> runs-{number}-{part}" for part in range(3)]
        given = [word for script in scripts for word in ("-c", script)]
        result = laptop.run("start", "--no-sync", "--dir", away.host.tmp, *given)
        if result.code == 0:
            jobs = result.text.split()
            assert len(jobs) == 3
            away.host.ok("wait", *jobs)
        return result

    assert Sweep(away, DOWN, command, 0, 125).goes(count) >= count // 2
    ran = list(away.host.tmp.glob("runs-*"))
    assert len(away.host.json("ps", "-a")) == len(ran)
    assert all(path.read_text() == f"{path.name[-1]}\n" for path in ran)


@PLACES
@DIRECTIONS
def test_a_mirror_is_committed_and_its_job_started_once(
    away: Away, laptop: Host, direction: int, count: int
) -> None:
    def command(number: int) -> Result:
        data = os.urandom(30_000)
        for name in ("one", "two", "deep/three"):
            laptop.write(name, data + name.encode())
        runs = away.host.tmp / f"runs-{number}"
        script = f"echo ran >> {runs}; cat one two deep/three; exit 3"
        result = laptop.run("run", "--", "sh", "-c", script)
        assert "trash" not in result.error_text
        if result.code == 3:
            assert result.out == b"".join(data + n for n in (b"one", b"two", b"deep/three"))
            assert runs.read_text() == "ran\n"
        else:
            assert not runs.exists()
        return result

    assert Sweep(away, direction, command, 3, 125).goes(count) >= count // 2
    (workspace,) = (away.host.state / "workspaces").iterdir()
    assert not [path for path in workspace.glob("trash/**/*") if path.is_file()]
    names = {path.name for path in (workspace / "tree").rglob("*")}
    assert names == {"one", "two", "deep", "three"}


@PLACES
@DIRECTIONS
def test_a_pull_brings_everything_once(
    away: Away, laptop: Host, direction: int, count: int
) -> None:
    script = "mkdir made; for n in 1 2 3; do head -c 40000 /dev/urandom > made/$n; done"
    job = laptop.ok("start", "--", "sh", "-c", script).strip()
    away.host.finished(job)
    (made,) = (away.host.state / "workspaces").glob("*/tree/made")
    expected = {path.name: path.read_bytes() for path in made.iterdir()}

    def command(number: int) -> Result:
        into = laptop.tmp / f"into-{number}"
        result = laptop.run("pull", job, "made/**", "--into", into)
        if result.code == 0:
            found = {path.name: path.read_bytes() for path in (into / "made").iterdir()}
            assert found == expected
            assert [path.name for path in into.iterdir()] == ["made"]
        return result

    assert Sweep(away, direction, command, 0, 1).goes(count) >= count // 2


@PLACES
@DIRECTIONS
def test_a_wait_is_answered(away: Away, laptop: Host, direction: int, count: int) -> None:
    job = laptop.shell("exit 4")
    assert Sweep(away, direction, lambda _: laptop.run("wait", job), 4, 255).goes(count) > 0


def test_a_wait_that_is_cut_while_the_job_runs(away: Away, laptop: Host) -> None:
    where = ("--dir", str(away.host.tmp))
    job = laptop.shell("while ! test -e go; do sleep 0.01; done; exit 4", where)
    before = away.relay.talking()
    waiter = laptop.popen("wait", job)
    for cuts in range(1, 4):
        until(lambda cuts=cuts: away.relay.talking() == before + cuts, "it is in contact")
        away.relay.links[-1].reset()
    open_gate(away.host)
    _, err = waiter.communicate(timeout=DEADLINE_S)
    assert waiter.returncode == 4
    assert b"box is back" in err
