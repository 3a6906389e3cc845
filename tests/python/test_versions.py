"""Jobs of an older and of a newer legwork, on the command line and on a server."""

import json

import pytest
from harness.host import Host
from harness.serving import Serving
from harness.standin import NEWER_EXIT, PAUSE, STOP, UNHEARD, Standin
from harness.waiting import until

pytestmark = pytest.mark.once

NEWER = {"spec": {"version": 2, "stdin": "terminal", "meta": {"created_at_ms": 5, "name": "new"}}}


@pytest.fixture
def host(host: Host) -> Host:
    """A place in which there was a job already."""
    host.ok("run", "--no-sync", "--", "true")
    return host


def _refused(host: Host, reason: str, *args: str) -> str:
    result = host.run(args[0], "--json", *args[1:])
    assert result.code != 0
    error = result.error()
    assert error["reason"] == reason, error
    return error["message"]


def test_a_newer_one_is_shown_and_left_alone(host: Host) -> None:
    with Standin(host.state, **NEWER, replies={PAUSE: UNHEARD}, exit=NEWER_EXIT) as newer:
        newer.prints(b"hello\n")
        before = newer.content()
        assert "unknown (newer version)" in host.ok("ps")
        (listed,) = host.json("ps", "--state", "unknown")
        assert (listed["id"], listed["name"], listed["argv"]) == (newer.id, "new", ["make", "test"])
        status = host.ok("status", newer.id)
        assert "version 2" in status
        assert "left alone" in status
        assert host.ok("logs", newer.id) == "hello\n"
        assert "upgrade" in _refused(host, "JOB_NEWER", "pause", newer.id)
        assert "older legwork" in _refused(host, "SHIM_TOO_OLD", "resume", newer.id)
        assert "upgrade" in _refused(host, "JOB_NEWER", "rm", newer.id)
        assert "stop it first" in _refused(host, "JOB_RUNNING", "rm", "--force", newer.id)
        host.ok("signal", newer.id, "USR1")
        host.ok("doctor", "--rebuild")
        assert host.status(newer.id)["state"] == "unknown"
        assert newer.content() == before
        waiter = host.popen("wait", newer.id)
        assert "unknown" in host.ok("stop", newer.id)
        assert newer.heard[-1] == STOP
        _, err = waiter.communicate(timeout=20)
        assert waiter.returncode == 255
        assert b"cannot be told how job" in err
        _refused(host, "JOB_NEWER", "rm", newer.id)
        host.ok("rm", "--force", newer.id)
        assert not newer.directory.exists()


def test_a_newer_one_stays_whatever_is_kept(host: Host) -> None:
    config = host.tmp / "server.toml"
    config.write_text("[retention]\njobs = 1\n")
    host.ok("run", "--no-sync", "--", "true")
    with Standin(host.state, **NEWER) as newer:
        before = newer.content()
        newer.dies()
        with Serving(host, "--config", config) as server:
            until(lambda: len(host.json("ps", "-a")) == 2, "one that was understood is gone")
            assert host.status(newer.id)["state"] == "unknown"
            assert server.end() == 0
        assert newer.content() == before


def test_an_older_one_is_found_again_and_told_what_it_cannot_do(host: Host) -> None:
    with Standin(host.state) as older:
        older.prints(b"hello\n")
        for _ in range(2):
            with Serving(host) as server:
                assert host.status(older.id)["state"] == "running"
                message = _refused(host, "SHIM_TOO_OLD", "pause", older.id)
                assert "wait for it or stop it" in message
                assert server.end() == 0
        follower = host.popen("logs", "-f", older.id)
        assert json.loads(host.ok("stop", "--json", older.id))["finish"]["cause"] == "stopped"
        out, err = follower.communicate(timeout=20)
        assert (follower.returncode, out) == (0, b"hello\n"), err
        assert [job["id"] for job in host.json("ps", "-a")].count(older.id) == 1


def test_a_cause_of_a_later_version_is_told_by_its_word(host: Host) -> None:
    later = {
        "version": 1, "cause": {"evicted": {"for": "another"}}, "status": {"code": 0},
        "started_at_ms": 5, "ended_at_ms": 9, "output_end": 0,
    }  # fmt: skip
    with Standin(host.state, exit=later) as job:
        assert "evicted" in host.ok("stop", job.id)
        finish = host.status(job.id)["finish"]
        assert (finish["cause"], finish["why"], finish["exitCode"]) == ("other", "evicted", 255)
        result = host.run("wait", job.id).expect(255)
        assert b"a reason that this legwork does not know: evicted" in result.err
        host.ok("rm", job.id)
