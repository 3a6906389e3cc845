"""A network that carries nothing and says nothing: who notices, when, and what it costs."""

import time

import pytest
from harness.host import Host
from harness.serving import Away
from harness.waiting import DEADLINE_S, until
from harness.watching import PRINTS, goes_on, in_order, open_gate, watch

# What the client's heartbeat takes at most: silence for 10 s, and 10 s for an answer.
HEARTBEAT_S = 20
# The server gives a silent client up after twice the second it is set to, where usually it is twice
# twenty; the rest is for the growing pauses of whoever waits for that.
GIVEN_UP_S = 30


def _served_with(away: Away, limits: str) -> None:
    """Another server, with these limits."""
    settings = away.host.tmp / "server.toml"
    settings.write_text(f"[limits]\n{limits}")
    away.end()
    away.again("--config", settings)


def _has_to_wait_for_a_place(laptop: Host) -> float:
    """Ask for something while all places are taken; how long it took until it was answered."""
    begun = time.monotonic()
    said = laptop.run("ps").expect(0).error_text
    assert "contact with box lost" in said
    assert "which is as many as one identity may have here" in said
    assert "box is back" in said
    return time.monotonic() - begun


@pytest.mark.once
def test_a_short_silence_is_nothing(away: Away) -> None:
    watched = watch(away)
    away.relay.stall()
    watched.prints_on()
    away.relay.flow()
    assert b"contact" not in watched.ends()


@pytest.mark.once
def test_the_server_gives_up_who_is_silent_and_takes_it_back(away: Away, laptop: Host) -> None:
    _served_with(away, "connections_each = 3\nkeepalive_s = 1\n")
    watched = watch(away)
    away.relay.silence()
    assert _has_to_wait_for_a_place(laptop) < GIVEN_UP_S
    watched.prints_on()
    # From here on the clients hear that they were given up.
    away.relay.flow()
    err = watched.ends()
    assert err.count(b"contact with box lost") == 1
    assert err.count(b"box is back") == 1


@pytest.mark.once
def test_a_client_that_vanishes_without_a_word_leaves_its_place(away: Away, laptop: Host) -> None:
    _served_with(away, "connections_each = 1\nstreams_each = 1\nkeepalive_s = 1\n")
    words = ("run", "--no-sync", "--dir", away.host.tmp, "--", "sh", "-c", PRINTS)
    runner = laptop.popen(*words, bufsize=0)
    assert runner.stdout
    assert runner.stdout.readline() == b"0\n"
    away.relay.silence()
    runner.kill()
    runner.communicate(timeout=DEADLINE_S)
    assert _has_to_wait_for_a_place(laptop) < GIVEN_UP_S
    (job,) = laptop.json("ps")
    follower = laptop.popen("logs", "-f", job["id"])
    goes_on(away.host, job["id"])
    open_gate(away.host)
    out, err = follower.communicate(timeout=DEADLINE_S)
    assert follower.returncode == 0, err
    assert out == away.host.output(job["id"])
    in_order(out)
    laptop.run("wait", job["id"]).expect(9)


@pytest.mark.once
@pytest.mark.soak
@pytest.mark.parametrize("everything", [False, True], ids=["connections", "everything"])
def test_the_client_notices_silence_by_its_heartbeat(away: Away, everything: bool) -> None:
    watched = watch(away, "--connect-timeout", "2s")
    talking = away.relay.talking()
    begun = time.monotonic()
    if everything:
        # Nothing new comes through either, until somebody has tried.
        away.relay.stall()
        until(lambda: away.relay.waiting, "somebody connects anew", HEARTBEAT_S + 5)
        away.relay.flow()
    else:
        away.relay.silence()
    back = lambda: away.relay.talking() >= talking + 3  # noqa: E731
    until(back, "all three are back", HEARTBEAT_S + 10)
    assert time.monotonic() - begun > HEARTBEAT_S / 2
    watched.prints_on()
    err = watched.ends()
    assert b"does not answer any more" in err
    assert b"box is back" in err
