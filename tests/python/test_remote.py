"""The commands of one machine, for another one."""

import hashlib
import json
import os
import signal
from pathlib import Path

import pytest
from harness import processes
from harness.host import Host, Result
from harness.serving import Away
from harness.waiting import DEADLINE_S, until

RUN = ("run", "-q", "--no-sync", "--")


def _sh(laptop: Host, script: str, *options: str) -> Result:
    return laptop.run("run", "-q", *options, "--", "sh", "-c", script)


def test_a_command_runs_in_a_mirror_on_the_server(away: Away, laptop: Host) -> None:
    laptop.write("main.txt", "one\n")
    laptop.write("bin/tool", "#!/bin/sh\necho tool\n", 0o755)
    where, *rest = _sh(laptop, "pwd; cat main.txt; bin/tool").expect(0).text.splitlines()
    assert rest == ["one", "tool"]
    (tree,) = (away.host.state / "workspaces").glob("*/tree")
    assert Path(where) == tree
    laptop.write("main.txt", "two\n")
    (laptop.project / "bin/tool").unlink()
    assert _sh(laptop, "cat main.txt; test -e bin/tool || echo gone").text == "two\ngone\n"
    assert len(list((away.host.state / "workspaces").iterdir())) == 1
    assert not (laptop.state / "jobs").exists(), "nothing ran here"
    said = laptop.run("run", "--", "true").expect(0).error_text
    assert "box: job " in said


def test_exit_codes(away: Away, laptop: Host) -> None:
    for script, code in [("exit 0", 0), ("exit 3", 3), ("kill -9 $$", 137), ("exit 255", 255)]:
        job = laptop.shell(script)
        laptop.run("wait", job).expect(code)
        laptop.run(*RUN, "sh", "-c", script).expect(code)
    laptop.run(*RUN, "no-such-program-anywhere").expect(127)
    laptop.run(*RUN, "/etc").expect(126)
    laptop.run("run", "--no-sync", "--timeout", "100ms", "--", "sleep", "60").expect(124)
    laptop.run("run", "--no-sync", "--dir", "/nowhere/at/all", "--", "true").expect(125)
    error = laptop.run("run", "--json", "--in-place", "--", "true").expect(2).error()
    assert "another" in error["message"]
    away.end()
    error = laptop.run("run", "--json", "--no-sync", "--", "true").expect(125).error()
    assert error["reason"] == "UNREACHABLE"
    assert away.address in error["message"]
    assert error["retryable"]
    assert "is the server running" in error["hint"]


def test_both_streams_arrive_where_they_belong(away: Away, laptop: Host) -> None:
    result = laptop.run(*RUN, "sh", "-c", "echo out; echo err >&2; printf 'a\\000b\\377'")
    assert result.out == b"out\na\0b\xff"
    assert result.err == b"err\n"
    job = away.host.json("ps", "-a")[0]
    assert job["owner"] == "alice"


def test_the_environment_is_the_servers(away: Away, laptop: Host) -> None:
    laptop.env |= {"SECRET": "of the laptop", "PASSED": "on"}
    asked = ("--env", "A=b", "--env", "PASSED")
    result = laptop.run("run", "-q", "--no-sync", *asked, "--", "env").expect(0)
    env = dict(line.partition("=")[::2] for line in result.text.splitlines())
    assert env["A"] == "b"
    assert env["PASSED"] == "on"
    assert "SECRET" not in env
    assert env.get("HOME") != str(laptop.home)
    assert str(laptop.top / "data") not in result.text
    assert away.server.process.poll() is None


def test_standard_input_is_forwarded(away: Away, laptop: Host) -> None:
    data = os.urandom(3 << 20)
    result = laptop.run(*RUN, "cat", stdin=data).expect(0)
    assert hashlib.sha256(result.out).digest() == hashlib.sha256(data).digest()
    assert laptop.run(*RUN, "head", "-c", "5", stdin=data).expect(0).out == data[:5]
    assert laptop.run(*RUN, "cat", stdin=b"").expect(0).out == b""
    assert away.server.process.poll() is None


def test_results_come_back(away: Away, laptop: Host) -> None:
    laptop.write("in.txt", "x\n")
    script = "mkdir -p out/deep; tr x y < in.txt > out/deep/r; echo no > other"
    laptop.ok("run", "-q", "--pull", "out/**", "--", "sh", "-c", script)
    assert (laptop.project / "out/deep/r").read_text() == "y\n"
    assert not (laptop.project / "other").exists()
    (job,) = laptop.json("ps", "-a")
    into = laptop.tmp / "into"
    laptop.ok("pull", job["shortId"], "other", "--into", into)
    assert (into / "other").read_text() == "no\n"
    error = laptop.run("pull", "--json", job["shortId"], "nothing*").expect(1).error()
    assert error["reason"] == "NOTHING_MATCHED"
    laptop.ok("sync", "--workspace", "shared")
    laptop.ok("pull", "--workspace", "shared", "in.txt", "--into", into)
    assert (into / "in.txt").read_text() == "x\n"
    error = laptop.run("pull", "--json", "--workspace", "none", "*").expect(5).error()
    assert error["reason"] == "WORKSPACE_NOT_FOUND"
    assert away.host.json("ps") == []


def test_sync_sends_what_changed(away: Away, laptop: Host) -> None:
    for number in range(20):
        laptop.write(f"f{number}", f"{number}\n")
    assert laptop.json("sync", "--dry-run")["written"]["total"] == 20
    assert not list((away.host.state / "workspaces").glob("*/tree/f0"))
    assert laptop.json("sync")["sentFiles"] == 20
    laptop.write("f3", "changed\n")
    assert laptop.json("sync")["sentFiles"] == 1
    assert laptop.json("sync")["sentFiles"] == 0
    (changed,) = (away.host.state / "workspaces").glob("*/tree/f3")
    assert changed.read_text() == "changed\n"


def test_nothing_private_of_this_machine_travels(away: Away, laptop: Host) -> None:
    laptop.write("main.txt", "one\n")
    home = laptop.home
    (home / "file").write_text("mine\n")
    laptop.ok("run", "-q", "--whole", "--", "true", cwd=home)
    (tree,) = (path.parent for path in (away.host.state / "workspaces").glob("*/tree/file"))
    sent = {path.name for path in tree.rglob("*")}
    assert not sent & {"key.pem", "certificate.pem", "context.json"}


def test_detached_jobs(away: Away, laptop: Host) -> None:
    script = "echo begun; trap 'echo usr1' USR1; while ! test -e go; do sleep 0.02; done; exit 4"
    gate = ("--dir", str(away.host.tmp), "--name", "gated", "--label", "a=b")
    job = laptop.shell(script, gate)
    away.host.printed(job, b"begun\n")
    (seen,) = laptop.json("ps")
    assert seen["shortId"].startswith(job)
    assert seen["owner"] == "alice"
    told = laptop.status(job)
    assert told.pop("containment")["kind"] == "subreaper"
    assert seen == told
    assert job in laptop.ok("ps", "--label", "a=b")
    assert laptop.json("ps", "--label", "a=c") == []
    assert "running" in laptop.ok("status", job)
    assert laptop.run("logs", job).expect(0).out == b"begun\n"
    assert laptop.run("rm", "--json", job).expect(1).error()["reason"] == "JOB_RUNNING"
    laptop.ok("signal", job, "USR1")
    away.host.printed(job, b"usr1\n")
    follower = laptop.popen("logs", "-f", job)
    waiter = laptop.popen("wait", job)
    (away.host.tmp / "go").touch()
    assert follower.communicate(timeout=DEADLINE_S)[0] == b"begun\nusr1\n"
    waiter.communicate(timeout=DEADLINE_S)
    assert waiter.returncode == 4
    laptop.ok("rm", job)
    assert laptop.run("status", "--json", job).expect(5).error()["reason"] == "JOB_NOT_FOUND"
    assert laptop.json("ps", "-a") == []


def test_a_batch_is_started_at_once(away: Away, laptop: Host) -> None:
    jobs = laptop.ok("start", "--no-sync", "-c", "exit 1", "-c", "exit 2", "-c", "true").split()
    assert len(jobs) == 3
    laptop.run("wait", *reversed(jobs)).expect(2)
    seen = [job["shortId"][:8] for job in away.host.json("ps", "-a")]
    assert seen == list(reversed(jobs))


def test_a_job_is_stopped(away: Away, laptop: Host) -> None:
    job = laptop.shell("trap 'exit 7' TERM; echo up; while :; do sleep 0.02; done")
    away.host.printed(job, b"up\n")
    laptop.ok("stop", job)
    finish = laptop.status(job)["finish"]
    assert (finish["cause"], finish["code"]) == ("stopped", 7)
    assert finish["by"] == "alice"


def test_an_interrupt_stops_the_job_there(away: Away, laptop: Host) -> None:
    script = "echo up; exec sleep 60"
    runner = laptop.popen("run", "--no-sync", "--", "sh", "-c", script)
    assert runner.stdout
    assert runner.stdout.readline() == b"up\n"
    runner.send_signal(signal.SIGINT)
    runner.communicate(timeout=DEADLINE_S)
    assert runner.returncode == 128 + signal.SIGTERM
    assert away.host.json("ps") == []


def test_the_command_line_is_killed(away: Away, laptop: Host) -> None:
    script = "echo up; while ! test -e go; do sleep 0.02; done; echo done; exit 6"
    where = ("--dir", str(away.host.tmp))
    runner = laptop.popen("run", "--no-sync", *where, "--", "sh", "-c", script)
    assert runner.stdout
    assert runner.stdout.readline() == b"up\n"
    runner.kill()
    runner.communicate(timeout=DEADLINE_S)
    (job,) = laptop.json("ps")
    (away.host.tmp / "go").touch()
    laptop.run("wait", job["id"]).expect(6)
    assert laptop.run("logs", job["id"]).out == b"up\ndone\n"


def test_a_reader_that_goes_away_stops_the_job(away: Away, laptop: Host) -> None:
    with laptop.popen("run", "-q", "--no-sync", "--", "yes") as runner:
        assert runner.stdout
        assert runner.stdout.readline() == b"y\n"
        runner.stdout.close()
        runner.wait(timeout=DEADLINE_S)
    until(lambda: away.host.json("ps") == [], "the job is stopped")


def test_long_output_is_complete_while_small_calls_are_answered(away: Away, laptop: Host) -> None:
    job = laptop.shell("head -c 60000000 /dev/zero | tr '\\000' x; echo end")
    laptop.run("wait", job).expect(0)
    slow = laptop.popen("logs", "-f", job, bufsize=0)
    assert slow.stdout
    assert slow.stdout.read(10) == b"x" * 10
    # It is not read on, and fills whatever there is on the way; others go on.
    assert laptop.status(job)["state"] == "finished"
    out = b"x" * 10 + slow.communicate(timeout=DEADLINE_S)[0]
    assert len(out) == 60_000_004
    assert out.endswith(b"xend\n")
    assert away.server.process.poll() is None


def test_others_jobs_are_not_found(away: Away, laptop: Host, elsewhere: Host) -> None:
    away.join(elsewhere, "bob")
    laptop.write("main.txt", "one\n")
    secret = laptop.ok("start", "--", "sh", "-c", "echo secret; sleep 60").strip()
    away.host.printed(secret, b"secret")
    assert elsewhere.json("ps", "-a") == []
    whole = away.host.status(secret)["id"]
    for name in (secret, whole):
        for words in [
            ("status", name),
            ("logs", name),
            ("logs", "-f", name),
            ("wait", name),
            ("stop", name),
            ("signal", name, "KILL"),
            ("rm", name),
            ("pull", name, "main.txt"),
        ]:
            result = elsewhere.run(words[0], "--json", *words[1:]).expect(5)
            assert result.error()["reason"] == "JOB_NOT_FOUND"
            assert result.out == b""
    assert laptop.status(secret)["state"] == "running"
    # The same name is another mirror to somebody else.
    laptop.ok("sync", "--workspace", "w")
    error = elsewhere.run("pull", "--json", "--workspace", "w", "*").expect(5).error()
    assert error["reason"] == "WORKSPACE_NOT_FOUND"
    laptop.ok("stop", secret)


def test_who_may_only_read_changes_nothing(away: Away, laptop: Host, elsewhere: Host) -> None:
    away.join(elsewhere, "eve", "read")
    job = laptop.shell("echo up; sleep 60")
    away.host.printed(job, b"up\n")
    assert elsewhere.status(job)["owner"] == "alice"
    assert elsewhere.run("logs", job).expect(0).out == b"up\n"
    for words in [("stop", job), ("signal", job, "KILL"), ("rm", job), ("sync",)]:
        error = elsewhere.run(words[0], "--json", *words[1:]).expect(4).error()
        assert error["reason"] == "ROLE", words
    assert elsewhere.run("run", "--json", "--no-sync", "--", "true").expect(125).error()[
        "reason"
    ] == ("ROLE")
    laptop.ok("stop", job)


def test_who_is_revoked_is_out_at_once(away: Away, laptop: Host) -> None:
    job = laptop.shell(
        "echo up; while ! test -e go; do sleep 0.02; done", ("--dir", str(away.host.tmp))
    )
    follower = laptop.popen("logs", "-f", job, bufsize=0)
    assert follower.stdout
    assert follower.stdout.readline() == b"up\n"
    away.host.ok("revoke", "alice")
    _, err = follower.communicate(timeout=DEADLINE_S)
    assert follower.returncode == 4
    assert b"Traceback" not in err
    error = laptop.run("ps", "--json").expect(4).error()
    assert error["reason"] == "NOT_ENROLLED"
    assert "invite" in error["hint"]
    # Its job is nobody's business but the host's now, and goes on.
    assert away.host.status(job)["state"] == "running"
    (away.host.tmp / "go").touch()
    assert away.host.finished(job)["finish"]["exitCode"] == 0


def test_json_is_as_on_one_machine(away: Away, laptop: Host) -> None:
    result = laptop.run("run", "--json", "--no-sync", "--", "sh", "-c", "echo a; exit 3").expect(3)
    events = [json.loads(line) for line in result.out.splitlines()]
    assert [event["event"] for event in events] == ["started", "output", "finished"]
    assert events[-1]["job"]["finish"]["exitCode"] == 3
    assert processes.alive(away.server.process.pid)


@pytest.mark.once
def test_the_server_is_administered_from_afar(away: Away, elsewhere: Host) -> None:
    first = (away.host.state / "first-admin.invite").read_bytes()
    elsewhere.ok("join", "--name", "box", stdin=first)
    job = elsewhere.start("sleep", "60")
    assert elsewhere.status(job)["owner"] == "admin"
    other = away.laptop.start("sleep", "60")
    assert len(elsewhere.json("ps")) == 2
    elsewhere.ok("stop", job, other)


def test_mirrors_of_one_identity_have_a_bound_in_bytes(away: Away, laptop: Host) -> None:
    limited = away.host.tmp / "server.toml"
    limited.write_text("[limits]\nworkspace_bytes_each = 3072\n")
    away.end()
    away.again("--config", limited)
    laptop.write("kept", "k" * 2048)
    laptop.ok("sync")
    laptop.write("more", "m" * 1025)
    error = laptop.run("run", "--json", "--", "true").expect(125).error()
    assert error["reason"] == "TOO_MANY_BYTES"
    assert "hold 2 KiB and may hold 3 KiB" in error["message"]
    assert "ask the server's admin" in error["message"]
    # The user of the host, through the same server.
    away.host.write("large", "l" * 10_000)
    away.host.ok("sync")
    away.end(signal.SIGKILL)
    away.again("--config", limited)
    error = laptop.run("sync", "--json", "--workspace", "other").expect(1).error()
    assert error["reason"] == "TOO_MANY_BYTES"
    trees = {frozenset(path.name for path in tree.iterdir()) for tree in mirrors(away.host)}
    assert trees == {frozenset({"kept"}), frozenset({"large"}), frozenset()}
    (laptop.project / "kept").unlink()
    laptop.ok("sync")
    assert _sh(laptop, "echo *").expect(0).text == "more\n"


def test_a_file_may_be_as_large_as_the_admin_says(away: Away, laptop: Host) -> None:
    limited = away.host.tmp / "server.toml"
    limited.write_text("[limits]\nfile_bytes = 1000\npast_bytes = 0\n")
    away.end()
    away.again("--config", limited)
    laptop.write("kept", "k" * 1000)
    laptop.ok("sync")
    laptop.write("large", "l" * 1001)
    error = laptop.run("sync", "--json").expect(1).error()
    assert error["reason"] == "TOO_MUCH"
    assert "1000" in error["message"]
    assert "large" in error["message"]
    # What was replaced is not kept: it travels once more.
    (laptop.project / "large").unlink()
    laptop.write("kept", "K" * 1000)
    laptop.ok("sync")
    laptop.write("kept", "k" * 1000)
    assert laptop.json("sync")["sentBytes"] == 1000


def test_pieces_have_the_size_that_a_project_says(away: Away, laptop: Host) -> None:
    laptop.write("legwork.toml", '[sync]\nchunk = "16K"\nframe = "64K"\ncompress = "none"\n')
    laptop.write("large", os.urandom(1 << 20))
    laptop.ok("sync")
    laptop.write("large", b"!" + (laptop.project / "large").read_bytes())
    assert laptop.json("sync")["sentBytes"] <= 64 << 10
    laptop.write("legwork.toml", '[sync]\nchunk = "20K"\n')
    told = laptop.run("sync", "--json").expect(1).error()
    assert "16, 32, 64 or 128 KiB" in told["message"]
    laptop.write("legwork.toml", '[sync]\nchunks = "16K"\n')
    told = laptop.run("sync", "--json").expect(1).error()
    assert "`chunk`" in told["hint"]


def mirrors(host: Host) -> list[Path]:
    """The trees that a server keeps."""
    return list((host.state / "workspaces").glob("*/tree"))
