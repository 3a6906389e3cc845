"""Detached jobs: start, status, ps, wait, signal, rm."""

import json
import os
import re
import subprocess
import time

import pytest
from harness.host import Host
from harness.waiting import DEADLINE_S

ID = re.compile(r"[0-9a-z]{8,}\n")


def test_start_returns_at_once_and_prints_an_id(host: Host) -> None:
    began = time.monotonic()
    printed = host.ok("start", "--no-sync", "--", "sleep", "60")
    assert time.monotonic() - began < 40, "less than the job takes"
    assert ID.fullmatch(printed)
    host.ok("stop", printed.strip())


def test_command_substitution_is_not_held_open(host: Host) -> None:
    # The job must not inherit the pipe of `$(…)`, nor any other descriptor.
    began = time.monotonic()
    script = 'x=$("$0" start --no-sync -- sleep 60); echo "$x"'
    with host.popen("version") as process:
        process.communicate()
    done = subprocess.run(
        ["sh", "-c", script, host.binary],
        env=host.env,
        cwd=host.project,
        capture_output=True,
        timeout=DEADLINE_S,
        check=True,
        **host.user.popen_arguments(),
    )
    assert time.monotonic() - began < 40, "less than the job takes"
    host.ok("stop", done.stdout.decode().strip())


def test_several_shell_commands_in_one_call(host: Host) -> None:
    printed = host.ok("start", "--no-sync", "-c", "exit 3", "-c", "echo $((1+1))", "-c", "true")
    jobs = printed.split()
    assert len(set(jobs)) == 3
    assert [host.finished(job)["finish"]["exitCode"] for job in jobs] == [3, 0, 0]
    assert host.ok("logs", jobs[1]) == "2\n"


def test_status_tells_the_life_of_a_job(host: Host) -> None:
    gate = host.tmp / "gate"
    os.mkfifo(gate)
    job = host.shell("read line < gate; exit 5", options=["--dir", str(host.tmp), "--name", "n"])
    assert host.running(job)["name"] == "n"
    gate.write_text("go on\n")
    assert host.finished(job)["finish"]["exitCode"] == 5


def test_status_of_a_running_job(host: Host) -> None:
    job = host.shell("echo up; sleep 60", options=["--name", "sleeper", "--label", "a=b"])
    host.printed(job, b"up")
    seen = host.status(job)
    assert seen["state"] == "running"
    assert seen["name"] == "sleeper"
    assert seen["labels"] == {"a": "b"}
    assert seen["argv"] == ["sh", "-c", "echo up; sleep 60"]
    assert seen["pid"] > 1
    assert seen["shortId"].startswith(job) or job == seen["id"]
    assert "finish" not in seen
    assert "sleeper" in host.ok("status", job)
    host.ok("stop", job)


def test_status_of_a_finished_job(host: Host) -> None:
    job = host.shell("echo four; exit 4")
    seen = host.finished(job)
    finish = seen["finish"]
    assert finish["cause"] == "self"
    assert finish["code"] == 4
    assert finish["exitCode"] == 4
    assert int(finish["outputEnd"]) == 5
    assert int(finish["endedAtMs"]) >= int(seen["startedAtMs"]) >= int(seen["createdAtMs"]) > 0
    assert "pid" not in seen


def test_unique_prefixes_of_an_id_are_enough(host: Host) -> None:
    job = host.start("true")
    host.finished(job)
    assert host.status(job[:4])["id"] == host.status(job)["id"]
    uuid = host.status(job)["id"]
    assert host.status(uuid)["id"] == uuid


def test_an_unknown_id_is_5(host: Host) -> None:
    for command in ("status", "logs", "wait", "stop", "rm"):
        result = host.run(command, "zzzzzzzz", "--json").expect(5)
        assert result.error()["reason"] == "JOB_NOT_FOUND"


def test_ps_shows_what_runs_and_with_a_what_ran(host: Host) -> None:
    done = host.start("true")
    host.finished(done)
    runs = host.start("sleep", "60")
    assert [job["shortId"] for job in host.json("ps")] == [host.status(runs)["shortId"]]
    every = [job["id"] for job in host.json("ps", "-a")]
    assert every == [host.status(runs)["id"], host.status(done)["id"]]
    assert host.json("ls", "-a") == host.json("list", "-a")
    host.ok("stop", runs)
    assert host.json("ps") == []


def test_ps_filters(host: Host) -> None:
    red = host.start("true", options=["--label", "colour=red"])
    host.start("true", options=["--label", "colour=blue"])
    runs = host.start("sleep", "60", options=["--label", "colour=red"])
    ids = {job["id"] for job in host.json("ps", "-a", "--label", "colour=red")}
    assert ids == {host.status(red)["id"], host.status(runs)["id"]}
    host.finished(red)
    found = host.json("ps", "-a", "--state", "finished", "--label", "colour=red")
    assert [job["id"] for job in found] == [host.status(red)["id"]]
    host.ok("stop", runs)


def test_ps_as_a_table_has_a_line_for_each(host: Host) -> None:
    jobs = host.ok("start", "--no-sync", "-c", "exit 3", "-c", "exit 4").split()
    for job in jobs:
        host.finished(job)
    lines = host.ok("ps", "-a").splitlines()
    assert len(lines) == 3
    for job in jobs:
        assert any(line.startswith(job) for line in lines[1:])


def test_wait_gives_the_code(host: Host) -> None:
    job = host.shell("sleep 0.3; exit 9")
    host.run("wait", job).expect(9)
    host.run("wait", job).expect(9)


def test_wait_of_many_is_the_first_that_is_not_zero(host: Host) -> None:
    jobs = host.ok("start", "--no-sync", "-c", "true", "-c", "sleep 0.4; exit 3", "-c", "exit 4")
    host.run("wait", *jobs.split()).expect(3)


def test_wait_any_returns_with_the_first(host: Host) -> None:
    slow, quick = host.ok("start", "--no-sync", "-c", "sleep 60", "-c", "exit 6").split()
    host.run("wait", "--any", slow, quick).expect(6)
    host.ok("stop", slow)


def test_signal_reaches_the_main_process(host: Host) -> None:
    job = host.shell("trap 'echo hup; exit 8' HUP; echo ready; while :; do sleep 0.05; done")
    host.printed(job, b"ready")
    host.ok("signal", job, "HUP")
    assert host.finished(job)["finish"]["exitCode"] == 8
    assert host.output(job) == b"ready\nhup\n"


@pytest.mark.parametrize("name", ["USR1", "SIGUSR1", "10"])
def test_signals_have_several_names(host: Host, name: str) -> None:
    job = host.start("sleep", "60")
    host.running(job)
    host.ok("signal", job, name)
    finish = host.finished(job)["finish"]
    assert (finish["signal"], finish["exitCode"]) == (10, 138)


def test_rm_forgets_a_finished_job_only(host: Host) -> None:
    job = host.start("sleep", "60")
    directory = host.job_dir(job)
    refused = host.run("rm", job, "--json").expect(1)
    assert refused.error()["reason"] == "JOB_RUNNING"
    host.ok("stop", job)
    host.ok("rm", job)
    assert not directory.exists()
    host.run("status", job).expect(5)
    assert json.loads(host.ok("ps", "-a", "--json")) == []
