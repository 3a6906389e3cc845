"""legwork as services: what befalls the server, its program and the host, and what jobs notice."""

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

from guest.cgroup import Cgroup
from guest.phases import Phase
from guest.serving import BINARY, JOBS, SERVER, Counting, Server, put
from guest.systemd import run
from guest.told import tell
from guest.waiting import until

KEPT = {"cpu", "io", "memory", "pids"}


def _told() -> list[dict[str, Any]]:
    return json.loads(run(BINARY, "--json", "service", "status"))["units"]


def _restarts(verb: str) -> None:
    before = SERVER.main_pid
    SERVER.act(verb)
    assert SERVER.main_pid != before


def _refused(*args: str, code: int = 1) -> str:
    done = subprocess.run([BINARY, "--json", *args], capture_output=True, text=True, check=False)
    assert done.returncode == code, done
    return json.loads(done.stderr)["reason"]


def test_what_is_refused_changes_nothing() -> None:
    put()
    install = ("service", "install", "--allow-root")
    assert _refused("service", "install") == "ROOT"
    assert _refused("service", "install", "--user", "nosuch") == "USER_UNKNOWN"
    assert _refused(*install, "--state", "/tmp/state") == "STATE_PLACE"
    assert _refused("service", "uninstall") == "NOT_INSTALLED"
    SERVER.path.write_text("[Service]\nExecStart=/bin/true\n")
    assert _refused(*install) == "FOREIGN_UNIT"
    SERVER.path.unlink()
    assert not JOBS.path.exists()


def test_a_fresh_machine_has_a_server_after_one_command() -> None:
    with Server("fresh", "--allow-root", "--listen", "127.0.0.1:0") as server:
        server_told, jobs_told = _told()
        for unit in (server_told, jobs_told):
            assert (unit["active"], unit["enabled"], unit["restarts"]) == ("active", True, 0), unit
        assert server_told["says"].startswith("listening on 127.0.0.1:"), server_told
        assert jobs_told["says"] == "0 jobs"
        info = json.loads(server.call("doctor", "--json"))
        assert set(info["controllers"]) >= KEPT, info
        # A second time, nothing is written, and only the server starts anew.
        again = server.install()
        assert again["written"] == []
        assert again["invite"] == str(server.state / "first-admin.invite")
        now = [unit["pid"] for unit in _told()]
        assert now[0] != server_told["pid"]
        assert now[1] == jobs_told["pid"]
        exposed = run("systemd-analyze", "security", "--no-pager", "legwork.service")
        tell(exposed.splitlines()[-1])
    assert not SERVER.path.exists()
    assert not JOBS.path.exists()


def test_a_job_has_its_limits_and_all_that_a_login_has() -> None:
    with Server("limited") as server:
        limits = ("--memory", "32M", "--pids", "50", "--cpus", "0.5")
        job = server.start("sleep", "600", limits=limits)
        group = Cgroup(Path(server.status(job)["containment"]["cgroup"]))
        assert group.path.parent == JOBS.cgroup.path / "jobs"
        read = [group.read(name) for name in ("memory.max", "pids.max", "cpu.max")]
        assert read == [str(32 << 20), "50", "50000 100000"]
        server.call("stop", "--grace", "0s", job)
        assert not group.path.exists()
        # One that is out of memory is no affair of the unit's, nor of the others.
        hog = "held = bytearray(300 << 20)"
        other = Counting(server)
        server.run("python3", "-c", hog, limits=limits, code=137)
        other.prints_on()
        assert JOBS.show("ActiveState") == "active"
        look = "grep -E '^(CapBnd|Seccomp|NoNewPrivs):' /proc/self/status; readlink /proc/self/ns/*"
        here = subprocess.run(["sh", "-c", look], capture_output=True, text=True, check=True)
        assert server.run("sh", "-c", look) == here.stdout
        assert server.run("sh", "-c", "ulimit -Sn; ulimit -Hn").split()[0] == "1024"
        other.ends()


def test_jobs_go_on_whatever_becomes_of_the_server() -> None:
    with Server("restarted") as server:
        counting = Counting(server)
        counting.prints_on()
        keeper = JOBS.main_pid
        for _ in range(2):
            _restarts("restart")
            counting.prints_on()
        SERVER.act("stop")
        assert SERVER.cgroup.path.exists() is False
        SERVER.act("start")
        counting.prints_on()
        before = SERVER.main_pid
        os.kill(before, signal.SIGKILL)
        until(lambda: SERVER.main_pid != before, "systemd starts it again")
        server.up()
        counting.prints_on()
        assert SERVER.show("NRestarts") == "1"
        for act in ("daemon-reload", "daemon-reexec"):
            run("systemctl", act)
            _restarts("restart")
            counting.prints_on()
        assert JOBS.main_pid == keeper
        assert JOBS.cgroup.enabled() >= KEPT
        assert JOBS.cgroup.pids() == []
        assert SERVER.cgroup.pids() == [SERVER.main_pid]
        counting.ends()
        for words in ("left-over", "219/CGROUP"):
            assert words not in SERVER.journal(), SERVER.journal()


def test_a_server_that_hangs_is_replaced() -> None:
    quick = SERVER.path.with_name(f"{SERVER.path.name}.d") / "quick.conf"
    with Server("hung") as server:
        counting = Counting(server)
        counting.prints_on()
        quick.parent.mkdir()
        quick.write_text("[Service]\nWatchdogSec=10s\n")
        run("systemctl", "daemon-reload")
        _restarts("restart")
        before = SERVER.main_pid
        # It lives, and does nothing any more: nobody but the watchdog can know.
        os.kill(before, signal.SIGSTOP)
        until(lambda: SERVER.main_pid != before, "systemd puts another in its place")
        server.up()
        assert "Watchdog timeout" in SERVER.journal()
        counting.prints_on()
        counting.ends()
        quick.unlink()
        quick.parent.rmdir()
        run("systemctl", "daemon-reload")


def test_an_upgrade_restarts_the_server_only() -> None:
    with Server("upgraded") as server:
        counting = Counting(server)
        counting.prints_on()
        keeper, inode = JOBS.main_pid, BINARY.stat().st_ino
        put(b"another version\n")
        told = server.install()
        assert (told["written"], told["awaitedJobs"]) == ([], 0)
        exe = Path(f"/proc/{SERVER.main_pid}/exe").stat().st_ino
        assert exe != inode
        assert exe == BINARY.stat().st_ino
        assert JOBS.main_pid == keeper
        # The keeper is of the earlier version, and starts shims for the new one.
        assert server.run("echo", "new").strip() == "new"
        counting.prints_on()
        counting.ends()


def test_a_stop_of_the_jobs_unit_is_told() -> None:
    with Server("stopped") as server:
        assert _refused("service", "uninstall", "--stop-jobs", "--no-such", code=2) == "USAGE"
        counting = Counting(server)
        counting.prints_on()
        assert _refused("service", "uninstall") == "JOBS_RUN"
        JOBS.act("stop")
        assert SERVER.show("ActiveState") == "active"
        finish = server.status(counting.job)["finish"]
        tell(f"its end: {finish}")
        assert finish["cause"] == "stopped"
        at = ("-H", f"unix://{server.state}/sock", "start", "--no-sync", "--dir", "/", "--", "true")
        assert _refused(*at, code=125) == "KEEPER_AWAY"
        # The server goes on with a new one.
        JOBS.act("start")
        assert server.run("echo", "again", limits=("--pids", "9")).strip() == "again"


def test_a_user_of_the_host_serves_with_limits_and_without_rights() -> None:
    run("useradd", "--system", "--create-home", "builder")
    with Server("users", "--user", "builder") as server:
        assert server.run("id", "-un", limits=("--memory", "64M")).strip() == "builder"
        job = server.start("sleep", "600", limits=("--memory", "32M", "--pids", "5"))
        group = Cgroup(Path(server.status(job)["containment"]["cgroup"]))
        assert (group.read("memory.max"), group.read("pids.max")) == (str(32 << 20), "5")
        status = Path(f"/proc/{SERVER.main_pid}/status").read_text()
        assert "CapBnd:\t0000000000000000" in status
        assert server.state.owner() == "builder"
        _restarts("restart")
        assert server.status(job)["state"] == "running"
        assert SERVER.cgroup.pids() == [SERVER.main_pid]
        server.call("stop", "--grace", "0s", job)
        assert not group.path.exists()
        server.run("python3", "-c", "bytearray(300 << 20)", limits=("--memory", "64M"), code=137)


def _after_reboot(phase: Phase, name: str, *, clean: bool) -> dict[str, Any]:
    """Run a job until a reboot; what is said of its end afterwards."""
    server = Server(name)
    if phase.number == 0:
        server.__enter__()
        # The installed services are there after a crash; what the server writes is its own affair.
        os.sync()
        counting = Counting(server)
        counting.prints_on()
        phase.kept["job"] = counting.job
        phase.kept["boot"] = _boot()
        phase.reboot(clean=clean)
    assert phase.kept["boot"] != _boot()
    # Nobody has started it here.
    server.up()
    status = server.status(phase.kept["job"])
    assert status["state"] == "finished"
    assert server.call("ps", "--json").strip() in ("", "[]")
    tell(f"its end: {status['finish']}")
    assert server.run("echo", "on", limits=("--memory", "64M")).strip() == "on"
    server.__exit__(None, None, None)
    return status["finish"]


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text()


def test_a_job_is_lost_when_the_host_crashes(phase: Phase) -> None:
    finish = _after_reboot(phase, "crashed", clean=False)
    assert finish["cause"] == "lost"
    assert "the host was rebooted" in str(finish)
    assert finish["exitCode"] == 255


def test_a_job_is_stopped_when_the_host_is_rebooted(phase: Phase) -> None:
    # Its unit is stopped, and lets it be stopped by its own rules before it is killed.
    finish = _after_reboot(phase, "rebooted", clean=True)
    assert finish["cause"] == "stopped"
    assert finish.get("exitCode") != 0
