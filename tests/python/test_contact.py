"""What becomes of those who watch when their server dies, comes back, or never does."""

import os
import re
import signal
import subprocess

import pytest
from harness.host import Host
from harness.serving import LISTEN, Away, Serving
from harness.waiting import DEADLINE_S, until
from harness.watching import PRINTS, Watched, in_order, open_gate, watch

DEATHS = pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["term", "kill"])


@DEATHS
def test_those_who_watch_go_on_by_themselves(away: Away, number: int) -> None:
    watched = watch(away)
    away.end(number)
    watched.prints_on()
    away.again()
    watched.prints_on()
    err = watched.ends()
    assert b"contact with box lost" in err
    assert b"box is back" in err
    assert b"close_notify" not in err


@DEATHS
@pytest.mark.once
def test_a_job_that_ends_while_the_server_is_away(away: Away, number: int) -> None:
    watched = watch(away)
    away.end(number)
    open_gate(away.host)
    away.host.finished(watched.job)
    away.again()
    watched.ends()


@pytest.mark.once
def test_many_deaths_in_one_run(away: Away) -> None:
    watched = watch(away)
    for number in [signal.SIGKILL, signal.SIGTERM, signal.SIGKILL]:
        away.end(number)
        away.again()
        watched.prints_on()
    watched.ends(timeout_s=DEADLINE_S)


def test_input_goes_on_too(away: Away, laptop: Host) -> None:
    runner = laptop.popen("run", "--no-sync", "--", "cat", stdin=subprocess.PIPE, bufsize=0)
    assert runner.stdin
    assert runner.stdout
    runner.stdin.write(b"before\n")
    assert runner.stdout.readline() == b"before\n"
    away.end(signal.SIGKILL)
    runner.stdin.write(b"meanwhile\n")
    away.again()
    assert runner.stdout.readline() == b"meanwhile\n"
    out, err = runner.communicate(b"after\n", timeout=DEADLINE_S)
    assert (runner.returncode, out) == (0, b"after\n"), err


def test_a_server_that_never_comes_back(away: Away) -> None:
    away.laptop.env["LEGWORK_RECONNECT"] = "300ms"
    watched = watch(away)
    away.end(signal.SIGKILL)
    advice = []
    for watcher in (watched.runner, watched.follower, watched.waiter):
        _, err = watcher.communicate(timeout=DEADLINE_S)
        assert watcher.returncode == 255, err
        assert b"outcome unknown" in err
        assert b"close_notify" not in err
        advice.append(_advice(err.decode()))
    assert away.host.status(watched.job)["state"] == "running"
    away.again()
    _goes_on_as_told(watched, advice)


def _advice(said: str) -> list[list[str]]:
    """The commands that are to be given now."""
    return [command.split() for command in re.findall(r"`legwork ([^`]*)`", said)]


def _goes_on_as_told(watched: Watched, advice: list[list[list[str]]]) -> None:
    """Do what those were told who gave up."""
    laptop = watched.away.laptop
    for commands in advice:
        assert [words[:-1] for words in commands] == [["logs", "-f"], ["wait"]]
        assert all(watched.job in laptop.status(words[-1])["id"] for words in commands)
    given = [laptop.popen(*words) for words in advice[0]]
    watched.prints_on()
    open_gate(watched.away.host)
    follower, waiter = given
    out, err = follower.communicate(timeout=DEADLINE_S)
    assert follower.returncode == 0, err
    assert out == watched.away.host.output(watched.job)
    in_order(out)
    waiter.communicate(timeout=DEADLINE_S)
    assert waiter.returncode == 9


@pytest.mark.once
@pytest.mark.parametrize("how", ["refused", "silent"])
def test_a_cut_that_outlasts_patience(away: Away, how: str) -> None:
    watched = watch(away, "--reconnect", "1s", "--connect-timeout", "2s")
    if how == "refused":
        away.relay.refuses = True
    else:
        # Who seeks contact gets no answer.
        away.relay.stall()
    for link in away.relay.links:
        link.reset()
    advice = []
    for watcher in (watched.runner, watched.follower, watched.waiter):
        _, err = watcher.communicate(timeout=DEADLINE_S)
        assert watcher.returncode == 255, err
        told = err.decode().splitlines()[-2]
        assert "contact lost, outcome unknown" in told
        assert (f"{away.address}: no answer" if how == "silent" else away.address) in told
        advice.append(_advice(err.decode()))
    away.relay.refuses = False
    away.relay.flow()
    _goes_on_as_told(watched, advice)


@pytest.mark.once
def test_a_cut_that_patience_outlasts(away: Away) -> None:
    watched = watch(away, "--reconnect", "60s", "--connect-timeout", "2s")
    away.relay.stall()
    for link in away.relay.links:
        link.reset()
    until(lambda: away.relay.waiting, "somebody seeks contact")
    watched.prints_on()
    away.relay.flow()
    assert b"box is back" in watched.ends()


def test_a_network_that_breaks_in_the_middle(away: Away, laptop: Host) -> None:
    data = os.urandom(2 << 20)
    laptop.write("big", data)
    away.relay.cut_next(300_000, 600_000, 900_000)
    result = laptop.run("run", "--pull", "copy", "--", "sh", "-c", "cp big copy").expect(0)
    assert result.error_text.count("contact with box lost") == 3
    assert result.error_text.count("box is back") == 3
    assert (laptop.project / "copy").read_bytes() == data
    (job,) = laptop.json("ps", "-a")
    into = laptop.tmp / "into"
    away.relay.cut_next(500_000, 100)
    laptop.ok("pull", job["id"], "copy", "--into", into)
    assert (into / "copy").read_bytes() == data
    job = laptop.ok("start", "--no-sync", "-c", "seq 1 30000").strip()
    away.relay.cut_next(30_000, 0, 10, 60_000)
    assert laptop.run("logs", "-f", job).expect(0).out == b"".join(
        b"%d\n" % number for number in range(1, 30001)
    )
    laptop.run("wait", job).expect(0)


@pytest.mark.once
def test_how_long_to_try_is_a_flag(away: Away, laptop: Host) -> None:
    laptop.env["LEGWORK_RECONNECT"] = "10m"
    watched = watch(away, "--reconnect", "200ms")
    away.end(signal.SIGKILL)
    for watcher in (watched.runner, watched.follower, watched.waiter):
        watcher.communicate(timeout=DEADLINE_S)
        assert watcher.returncode == 255
    open_gate(away.host)
    away.host.finished(watched.job)
    laptop.run("ps", "--reconnect", "soon").expect(2)
    laptop.env["LEGWORK_RECONNECT"] = "soon"
    error = laptop.run("ps", "--json").expect(2).error()
    assert "LEGWORK_RECONNECT" in error["message"]
    away.again()
    for forever in ("forever", ""):
        laptop.env["LEGWORK_RECONNECT"] = forever
        assert len(laptop.json("ps", "-a")) == 1


@pytest.mark.once
def test_a_server_that_is_away_at_the_beginning(away: Away, laptop: Host) -> None:
    job = laptop.shell("exit 3")
    laptop.run("wait", job).expect(3)
    away.end()
    for words, code in [
        (("wait", job), 255),
        (("status", job), 1),
        (("logs", job), 1),
        (("ps",), 1),
    ]:
        error = laptop.run(words[0], "--json", *words[1:]).expect(code).error()
        assert error["reason"] == "UNREACHABLE"
        assert away.address in error["message"]


def _workspaces(host: Host) -> set[str]:
    return {path.name for path in (host.state / "workspaces").iterdir()}


def test_the_same_mirror_with_a_server_and_without(host: Host) -> None:
    host.write("main.txt", "one\n")
    access = host.tmp / "access.log"

    def in_mirror(expected: str) -> None:
        result = host.run("run", "-q", "--", "sh", "-c", "cat main.txt; echo x >> made; cat made")
        assert result.expect(0).text == expected

    in_mirror("one\nx\n")
    mirrors = _workspaces(host)
    assert not access.exists()
    with Serving(host, *LISTEN, "--init", "--access-log", access) as server:
        in_mirror("one\nx\nx\n")
        host.write("main.txt", "two\n")
        in_mirror("two\nx\nx\nx\n")
        assert server.end() == 0
    in_mirror("two\nx\nx\nx\nx\n")
    assert _workspaces(host) == mirrors
    assert len(mirrors) == 1
    assert len({job["owner"] for job in host.json("ps", "-a")}) == 1
    methods = access.read_text()
    assert "/legwork.v1.SyncService/Commit" in methods
    assert "/legwork.v1.JobService/Run" in methods


def test_a_server_of_this_machine_comes_and_goes(host: Host) -> None:
    # Whoever began without a server goes on with one, and the other way round.
    where = ("--dir", str(host.tmp))
    alone = host.popen("run", "--no-sync", *where, "--", "sh", "-c", PRINTS)
    (first,) = until(lambda: host.json("ps"), "the job is there")
    with Serving(host, *LISTEN, "--init") as server:
        served = host.popen("run", "--no-sync", *where, "--", "sh", "-c", PRINTS)
        two = until(lambda: (seen := host.json("ps")) and len(seen) == 2 and seen, "both are there")
        (second,) = (job for job in two if job["id"] != first["id"])
        host.printed(second["id"], b"\n20\n")
        server.end(signal.SIGKILL)
    open_gate(host)
    for runner, job in ((alone, first), (served, second)):
        out, err = runner.communicate(timeout=DEADLINE_S)
        assert runner.returncode == 9, err
        assert out == host.output(job["id"])
    host.ok("ps")
