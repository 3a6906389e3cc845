"""A client that is killed as soon as its job was accepted, or before it has heard so."""

import json
import subprocess
from pathlib import Path

import pytest
from harness.host import Host
from harness.relay import DOWN
from harness.serving import Away
from harness.waiting import DEADLINE_S, until
from harness.watching import PRINTS, goes_on, in_order, open_gate

pytestmark = pytest.mark.once

# A few bytes of what follows the handshake, which are no whole message.
SOME = 8
WAYS = pytest.mark.parametrize("mirror", [False, True], ids=["plain", "mirror"])


def _words(away: Away, mirror: bool) -> list[str | Path]:
    script = f"cd {away.host.tmp}; echo ran >> runs; {PRINTS}"
    return [*(() if mirror else ("--no-sync",)), "--", "sh", "-c", script]


def _as_any_other(away: Away, laptop: Host, elsewhere: Host, job: str) -> None:
    """What can be done with a job can be done with this one, by its owner and by an admin."""
    admin = (away.host.state / "first-admin.invite").read_bytes()
    elsewhere.ok("join", "--name", "box", stdin=admin)
    followers = [place.popen("logs", "-f", job) for place in (laptop, elsewhere)]
    waiter = laptop.popen("wait", job)
    goes_on(away.host, job)
    assert laptop.status(job)["owner"] == "alice"
    assert elsewhere.status(job)["state"] == "running"
    open_gate(away.host)
    waiter.communicate(timeout=DEADLINE_S)
    assert waiter.returncode == 9
    whole = away.host.output(job)
    in_order(whole)
    for follower in followers:
        assert follower.communicate(timeout=DEADLINE_S)[0] == whole
        assert follower.returncode == 0
    assert (away.host.tmp / "runs").read_text() == "ran\n"


@WAYS
def test_a_client_is_killed_when_it_has_heard_of_its_job(
    away: Away, laptop: Host, elsewhere: Host, mirror: bool
) -> None:
    laptop.write("main.txt", "one\n")
    runner = laptop.popen("run", "--json", *_words(away, mirror))
    assert runner.stdout
    job = json.loads(runner.stdout.readline())["job"]["id"]
    runner.kill()
    runner.communicate(timeout=DEADLINE_S)
    _as_any_other(away, laptop, elsewhere, job)


def _unheard(away: Away, laptop: Host, *words: str | Path) -> subprocess.Popen[bytes]:
    """Give a command whose answers are held up."""
    before = len(away.relay.links)
    laptop.ok("ps")
    greeting = away.relay.links[before].greeted[DOWN]
    away.relay.hold_next(greeting + SOME, DOWN)
    return laptop.popen(*words)


@pytest.mark.parametrize("command", ["run", "start"])
def test_a_client_is_killed_before_it_hears_of_its_job(
    away: Away, laptop: Host, elsewhere: Host, command: str
) -> None:
    client = _unheard(away, laptop, command, *_words(away, mirror=False))
    (job,) = until(lambda: away.host.json("ps"), "the job is there")
    client.kill()
    out, _ = client.communicate(timeout=DEADLINE_S)
    assert out == b""
    _as_any_other(away, laptop, elsewhere, job["id"])


def test_a_job_that_nobody_has_heard_of_is_stopped(
    away: Away, laptop: Host, elsewhere: Host
) -> None:
    away.join(elsewhere, "root", "admin")
    for place in (laptop, elsewhere):
        client = _unheard(away, laptop, "start", "--no-sync", "--", "sleep", "60")
        (job,) = until(lambda: away.host.json("ps"), "the job is there")
        client.kill()
        client.communicate(timeout=DEADLINE_S)
        place.ok("stop", job["id"])
        finish = laptop.status(job["id"])["finish"]
        assert finish["cause"] == "stopped"
        assert finish["by"] == ("alice" if place is laptop else "root")


def test_a_job_that_ends_before_its_client_hears_of_it(away: Away, laptop: Host) -> None:
    runs = away.host.tmp / "runs"
    script = f"echo ran >> {runs}; echo said; echo no >&2; exit 3"
    client = _unheard(away, laptop, "run", "--no-sync", "--", "sh", "-c", script)
    (job,) = until(lambda: away.host.json("ps", "-a"), "the job is there")
    away.host.finished(job["id"])
    away.relay.links[-1].reset()
    away.relay.flow()
    out, err = client.communicate(timeout=DEADLINE_S)
    assert client.returncode == 3, err
    assert out == b"said\n"
    assert err.endswith(b"no\n")
    assert b"box is back" in err
    assert runs.read_text() == "ran\n"
    assert len(away.host.json("ps", "-a")) == 1
