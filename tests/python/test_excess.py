"""What a user sees whose identity has as many connections as it may have."""

import pytest
from harness.host import Host
from harness.serving import Away
from harness.waiting import DEADLINE_S
from harness.watching import PRINTS, open_gate

TOLD = "alice has 1 connections to this server, which is as many as one identity may have here"


@pytest.mark.once
def test_a_command_beyond_the_limit_says_why_and_waits(away: Away, laptop: Host) -> None:
    settings = away.host.tmp / "server.toml"
    settings.write_text("[limits]\nconnections_each = 1\n")
    away.end()
    away.again("--config", settings)
    words = ("run", "--no-sync", "--dir", away.host.tmp, "--", "sh", "-c", PRINTS)
    runner = laptop.popen(*words, bufsize=0)
    assert runner.stdout
    assert runner.stdout.readline() == b"0\n"

    error = laptop.run("ps", "--json", "--reconnect", "0s").expect(1).error()
    assert error["reason"] == "TOO_MANY_CONNECTIONS"
    assert error["message"].startswith(TOLD)
    assert "end some of the commands" in error["message"]
    assert "connections_each" in error["message"]
    assert error["retryable"]
    # Nothing was started, and nobody doubts that.
    start = ("start", "--no-sync", "--dir", away.host.tmp, "--reconnect", "0s", "--", "true")
    refused = laptop.run(*start)
    assert refused.code not in (0, 255)
    assert TOLD in refused.error_text
    assert "unknown" not in refused.error_text

    waiting = laptop.popen("ps", "-a", "--reconnect", "60s", bufsize=0)
    assert waiting.stderr
    assert TOLD.encode() in waiting.stderr.readline()
    assert waiting.poll() is None
    open_gate(away.host)
    runner.communicate(timeout=DEADLINE_S)
    assert runner.returncode == 9
    listed, said = waiting.communicate(timeout=DEADLINE_S)
    assert waiting.returncode == 0
    assert b"box is back" in said
    assert b"sh -c" in listed
