"""What dies around a job, and what is left of it: the promises of the README's table."""

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import time

import pytest
from harness import processes
from harness.host import Host
from harness.waiting import DEADLINE_S, until

GATED = "echo begun; while ! test -e go; do sleep 0.02; done; echo ended; exit 21"


def _open_gate(host: Host) -> None:
    (host.tmp / "go").touch()


def _started_by_run(host: Host) -> tuple[subprocess.Popen[bytes], str]:
    """A `run` that waits at the gate, and its job's id."""
    options = ("--no-sync", "-q", "--dir", str(host.tmp))
    process = host.popen("run", *options, "--", "sh", "-c", GATED, start_new_session=True)
    assert process.stdout
    assert process.stdout.readline() == b"begun\n"
    (job,) = host.json("ps")
    return process, job["id"]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGHUP], ids=["kill", "hangup"])
def test_the_command_line_is_killed(host: Host, number: int) -> None:
    process, job = _started_by_run(host)
    process.send_signal(number)
    process.communicate(timeout=DEADLINE_S)
    assert host.status(job)["state"] == "running"
    follower = host.popen("logs", "-f", job)
    _open_gate(host)
    out, _ = follower.communicate(timeout=DEADLINE_S)
    assert out == b"begun\nended\n"
    host.run("wait", job).expect(21)


def test_the_whole_session_of_the_command_line_is_killed(host: Host) -> None:
    process, job = _started_by_run(host)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=DEADLINE_S)
    _open_gate(host)
    host.run("wait", job).expect(21)
    assert host.output(job) == b"begun\nended\n"


def test_the_shim_is_killed(host: Host) -> None:
    script = "setsid sleep 71 & (setsid sleep 72 &); echo up; sleep 73"
    waiter = host.popen("run", "--no-sync", "--", "sh", "-c", script)
    assert waiter.stdout
    assert waiter.stdout.readline() == b"up\n"
    (job,) = host.json("ps")
    tree = until(lambda: len(t := processes.of_job(job["id"])) >= 4 and t, "the tree is up")
    os.kill(host.claim(job["id"])["shim_pid"], signal.SIGKILL)
    _, err = waiter.communicate(timeout=DEADLINE_S)
    assert waiter.returncode == 255
    assert b"unknown" in err
    seen = host.status(job["id"])
    assert seen["finish"]["cause"] == "lost"
    assert seen["finish"]["exitCode"] == 255
    assert "code" not in seen["finish"]
    host.run("wait", job["id"]).expect(255)
    assert host.run("logs", job["id"]).expect(0).out == b"up\n"
    until(lambda: not any(map(processes.alive, tree)), "payload and descendants are gone")


def test_the_shim_is_killed_and_nobody_looks_until_later(host: Host) -> None:
    job = host.shell("setsid sleep 74 & echo up; sleep 75")
    host.printed(job, b"up")
    tree = processes.of_job(host.status(job)["id"])
    os.kill(host.claim(job)["shim_pid"], signal.SIGKILL)
    main = host.claim(job)["pid"]
    until(lambda: not processes.alive(main), "the payload dies with its shim")
    # Whoever opens the directory next sweeps the rest before it says so.
    assert host.status(job)["finish"]["cause"] == "lost"
    until(lambda: not any(map(processes.alive, tree)), "those that were killed are gone")


def test_two_terminals_tell_the_same(host: Host) -> None:
    jobs = host.ok("start", "--no-sync", "-c", "exit 3", "-c", "sleep 60").split()
    host.finished(jobs[0])
    host.running(jobs[1])
    both = [host.popen("ps", "-a", "--json") for _ in range(2)]
    first, second = (json.loads(process.communicate(timeout=DEADLINE_S)[0]) for process in both)
    assert first == second
    assert {job["state"] for job in first} == {"running", "finished"}
    host.ok("stop", jobs[1])


def test_after_a_restart_of_the_machine_a_job_is_lost(host: Host) -> None:
    # A reboot is simulated: the claim names another boot, and the shim is gone without a record.
    job = host.shell("echo up; exec sleep 60")
    host.printed(job, b"up")
    journal, claim = host.journal(job), host.claim(job)
    os.kill(claim["shim_pid"], signal.SIGKILL)
    until(lambda: not processes.alive(claim["pid"]), "the payload dies with its shim")
    claim["boot_id"] = "00000000-0000-4000-8000-000000000000"
    journal.forge("launch", claim)
    seen = journal.directory / "index"
    os.utime(seen, (time.time() + 3600,) * 2)
    finish = host.status(job)["finish"]
    assert finish["cause"] == "lost"
    assert "restart" in finish["why"] or "boot" in finish["why"]
    assert finish["outputEnd"] == len("up\n")
    assert finish["endedAtMs"] == seen.stat().st_mtime_ns // 1_000_000
    assert f"{'last seen':<10} " in host.ok("status", job)
    host.run("wait", job).expect(255)
    assert host.run("logs", job).out == b"up\n"


def test_a_claim_of_another_boot_is_not_believed_for_its_pids(host: Host) -> None:
    # After a reboot the recorded pids belong to strangers: nothing may be killed by them.
    stranger = subprocess.Popen(["sleep", "60"], **host.user.popen_arguments())
    job = host.start("sleep", "60")
    host.running(job)
    journal, claim = host.journal(job), host.claim(job)
    os.kill(claim["shim_pid"], signal.SIGKILL)
    until(lambda: not processes.alive(claim["pid"]), "the payload dies with its shim")
    forged = claim | {"boot_id": "other", "pid": stranger.pid, "shim_pid": stranger.pid}
    journal.forge("launch", forged)
    host.status(job)
    host.run("stop", job)
    host.run("signal", job, "KILL")
    assert stranger.poll() is None
    stranger.kill()
    stranger.wait()


def _index_files(host: Host) -> list[str]:
    return [p.name for p in host.state.iterdir() if p.name.startswith("index.db")]


@pytest.mark.parametrize("damage", ["removed", "log removed", "garbage", "truncated", "empty"])
def test_the_index_is_rebuilt(host: Host, damage: str) -> None:
    done, runs = host.ok("start", "--no-sync", "-c", "echo x; exit 5", "-c", "sleep 60").split()
    host.finished(done)
    host.running(runs)
    before = host.json("ps", "-a")
    for name in _index_files(host):
        path = host.state / name
        if damage == "log removed" and name == "index.db":
            continue
        if damage == "removed" or name != "index.db":
            path.unlink()
        elif damage == "garbage":
            path.write_bytes(os.urandom(path.stat().st_size))
        else:
            os.truncate(path, 1000 if damage == "truncated" else 0)
    assert host.json("ps", "-a") == before
    host.run("wait", done).expect(5)
    host.ok("stop", runs)


def test_doctor_rebuilds_the_index(host: Host) -> None:
    job = host.shell("exit 5")
    host.finished(job)
    before = host.json("ps", "-a")
    host.ok("doctor", "--rebuild")
    assert host.json("ps", "-a") == before


def test_doctor_names_the_jobs_whose_files_are_damaged(host: Host) -> None:
    good, bad = (host.finished(host.shell("exit 0")) for _ in range(2))
    directory = host.job_dir(bad["id"])
    journal = host.journal(bad["id"])
    journal.replace("spec", '{"spec":{}')
    seen = host.json("doctor", "--rebuild")
    assert (seen["rebuiltJobs"], seen["damagedJobs"]) == (1, [bad["id"]])
    assert directory.name in host.ok("doctor", "--rebuild")
    del good["containment"]  # Lists do not tell it.
    assert host.json("ps", "-a") == [good]
    assert '{"exit":' in journal.path.read_text()


@pytest.mark.once
def test_the_index_holds_nothing_that_is_nowhere_else(host: Host) -> None:
    job = host.shell("exit 5", options=["--name", "n", "--label", "a=b"])
    seen = host.finished(job)
    with sqlite3.connect(host.state / "index.db") as index:
        tables = index.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        assert tables
    index.close()
    for name in _index_files(host):
        (host.state / name).unlink()
    assert host.status(job) == seen


def test_the_binary_is_replaced_while_a_job_runs(host: Host) -> None:
    job = host.shell(GATED, options=["--dir", str(host.tmp)])
    host.printed(job, b"begun")
    for shim in (host.state / "bin").iterdir():
        shim.unlink()
    _open_gate(host)
    host.run("wait", job).expect(21)
    host.run("run", "--no-sync", "--", "true").expect(0)


def test_an_exit_is_recorded_once(host: Host) -> None:
    job = host.shell("exit 6")
    host.finished(job)
    journal = host.journal(job)
    record = journal.path.read_bytes()
    waiters = [host.popen("wait", job) for _ in range(6)]
    for waiter in waiters:
        waiter.communicate(timeout=DEADLINE_S)
        assert waiter.returncode == 6
    assert journal.path.read_bytes() == record
    assert record.count(b"\n") == len(journal.lines()) == 3


def test_a_launcher_that_died_before_the_shim_ran(host: Host) -> None:
    # What it leaves: a journal with a spec and a free lock, and nothing that says more.
    job = host.status(host.start("true"))["id"]
    host.finished(job)
    host.journal(job).keep("spec")
    for name in _index_files(host):
        (host.state / name).unlink()
    (seen,) = host.json("ps", "-a")
    assert seen["finish"]["cause"] == "not_started"
    host.run("wait", job).expect(125)
    host.ok("status", job)


@pytest.mark.soak
@pytest.mark.once
def test_hundreds_of_killed_command_lines_lose_nothing(host: Host) -> None:
    for number in range(200):
        process = host.popen("run", "--no-sync", "--name", f"n{number}", "--", "sh", "-c", "exit 9")
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(number % 25 / 1000)
        process.kill()
        process.communicate()
    until(lambda: host.json("ps") == [], "all have ended")
    # Killed before its program ran, a job may have failed to start; it may not be lost.
    codes = {job["finish"]["exitCode"] for job in host.json("ps", "-a")}
    assert 9 in codes
    assert codes <= {9, 125}
