"""A server as a service: what its restart, its upgrade and the host's reboot do to jobs."""

import os
from pathlib import Path
from typing import Any

from guest.phases import Phase
from guest.serving import Counting, Server
from guest.told import tell


def _restart(server: Server) -> None:
    before = server.main_pid
    assert server.restart() == 0
    server.up()
    assert server.main_pid != before


def test_a_job_survives_the_restart_of_its_server() -> None:
    with Server("restarted") as server:
        counting = Counting(server)
        counting.prints_on()
        for _ in range(2):
            _restart(server)
            assert server.status(counting.job)["state"] == "running"
            counting.prints_on()
        counting.ends()


def test_a_job_survives_the_upgrade_of_its_server() -> None:
    with Server("upgraded") as server:
        counting = Counting(server)
        counting.prints_on()
        inode = server.binary.stat().st_ino
        server.upgrade()
        _restart(server)
        assert Path(f"/proc/{server.main_pid}/exe").stat().st_ino != inode
        counting.prints_on()
        counting.ends()


def test_a_job_stays_in_the_control_group_of_its_server() -> None:
    # KillMode=process alone leaves it there; systemd finds it at the next start, and lets it be.
    with Server("left-over") as server:
        counting = Counting(server)
        counting.prints_on()
        before = {pid: _name(pid) for pid in server.cgroup.pids()}
        _restart(server)
        counting.prints_on()
        left = {pid: name for pid, name in before.items() if pid in server.cgroup.pids()}
        assert "legwork-shim" in left.values()
        tell(f"of the job are in the server's group after its restart: {sorted(left.values())}")
        for line in server.journal().splitlines():
            if "left-over process" in line:
                tell(line)
        counting.ends()


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return "gone"


def _after_reboot(phase: Phase, name: str, *, clean: bool) -> dict[str, Any]:
    """Run a job until a reboot; what is said of its end afterwards."""
    server = Server(name)
    if phase.number == 0:
        # What this test wrote is there after a crash; what the server writes is its own affair.
        os.sync()
        server.__enter__()
        counting = Counting(server)
        counting.prints_on()
        phase.kept["job"] = counting.job
        phase.kept["boot"] = _boot()
        phase.reboot(clean=clean)
    assert phase.kept["boot"] != _boot()
    # The server is not there yet: this is what the reboot has left.
    left = sorted(server.state.joinpath("jobs").glob("*/*"))
    for path in filter(Path.is_file, left):
        tell(f"{path.name}: {path.read_bytes()[-400:]!r}")
    tell(f"accepted: {[path.name for path in server.state.joinpath('accepted').glob('*')]}")
    with server:
        status = server.status(phase.kept["job"])
        assert status["state"] == "finished"
        assert server.call("ps", "--json").strip() in ("", "[]")
        tell(f"its end: {status['finish']}")
        return status["finish"]


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text()


def test_a_job_is_lost_when_the_host_crashes(phase: Phase) -> None:
    finish = _after_reboot(phase, "crashed", clean=False)
    assert finish["cause"] == "lost"
    assert "the host was rebooted" in str(finish)
    assert finish["exitCode"] == 255


def test_a_job_has_not_succeeded_when_the_host_is_rebooted(phase: Phase) -> None:
    # Its shim may hear of the reboot before it is ended, and then says how the job ended.
    finish = _after_reboot(phase, "rebooted", clean=True)
    assert finish["cause"] in ("lost", "stopped")
    assert finish.get("exitCode") != 0
