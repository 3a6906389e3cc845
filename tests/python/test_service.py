"""`legwork service`: what it would install, what it refuses, and the process that keeps jobs."""

import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

import pytest
from harness.host import Host
from harness.serving import is_root

INSTALL = ("service", "install")
SYSTEMD = Path("/run/systemd/system").is_dir()


def _units(host: Host, *args: str) -> dict[str, str]:
    told = host.json(*INSTALL, "--print", "--state", "/srv/legwork", *args)
    return {Path(unit["path"]).name: unit["text"] for unit in told["units"]}


@pytest.mark.once
def test_the_agents_unit_can_be_seen_by_anybody(host: Host) -> None:
    told = host.json(*INSTALL, "--print", "--agent", "--every", "1s")["units"]
    (unit,) = told
    assert unit["path"] == "/etc/systemd/system/legwork-agent.service"
    assert " agent --context server --every 1s --stream process\n" in unit["text"]
    assert "\nDynamicUser=yes\n" in unit["text"]
    assert host.run(*INSTALL, "--agent", "--allow-root").code == 2
    assert host.run(*INSTALL, "--every", "1s", "--allow-root").code == 2


@pytest.mark.once
def test_the_units_can_be_seen_by_anybody(host: Host) -> None:
    units = _units(host, "--user", "nobody", "--listen", "127.0.0.1:7005")
    server, jobs = units["legwork.service"], units["legwork-jobs.service"]
    assert "--listen 127.0.0.1:7005" in server
    assert "ReadWritePaths=/srv/legwork\n" in server
    for unit in (server, jobs):
        assert "\nUser=nobody\n" in unit
        assert f"ExecStart={host.binary} " in unit
    assert "\nDelegate=yes\n" in jobs
    assert "Delegate" not in server
    # What a job inherits takes nothing from it.
    for taken in ("NoNewPrivileges", "Protect", "Private", "Restrict", "SystemCall", "Capab"):
        assert taken not in jobs.split("[Service]")[1], taken
    text = host.run("service", "install", "--print", "--allow-root").expect(0).text
    assert "# /etc/systemd/system/legwork.service\n" in text
    assert "--allow-root" in text


@pytest.mark.once
@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_understands_them(host: Host, top: Path) -> None:
    for name, text in _units(host, "--allow-root").items():
        (top / name).write_text(text)
    paths = [top / "legwork-jobs.service", top / "legwork.service"]
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *paths], capture_output=True, check=False
    )
    ours = [line for line in done.stderr.splitlines() if b"legwork" in line]
    assert ours == [], ours


def test_what_cannot_be_installed_is_refused_with_the_next_step(host: Host) -> None:
    def refused(*args: str, code: int = 1) -> tuple[str, str]:
        error = host.run("--json", *INSTALL, *args).expect(code).error()
        assert error["hint"]
        return error["reason"], error["message"]

    assert refused() == ("ROOT", "as root, this server would run everybody's jobs as root")
    assert refused("--user", "nosuchuser")[0] == "USER_UNKNOWN"
    assert refused("--user", "nobody", "--allow-root", code=2)[0] == "USAGE"
    assert refused("--allow-root", "--listen", "nowhere at all", code=2)[0] == "USAGE"
    assert refused("--allow-root", "--state", "/tmp/x")[0] == "STATE_PLACE"
    if not SYSTEMD:
        reason, message = refused("--allow-root")
        assert (reason, message) == ("NO_SYSTEMD", "this host is not run by systemd")
        assert host.run("service", "status").expect(1).err
    elif not is_root(host):
        assert refused("--allow-root", code=4)[0] == "NOT_ROOT"


def test_a_keeper_starts_jobs_for_servers_that_come_and_go(host: Host) -> None:
    with tempfile.TemporaryDirectory(prefix="legwork-keeper-") as made:
        top = host.user.owns(Path(made))
        keeper, notified = top / "keeper", top / "notify"
        told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        told.settimeout(20)
        told.bind(str(notified))
        notified.chmod(0o777)
        variables = host.env | {"NOTIFY_SOCKET": str(notified)}
        keep = host.popen("service", "keep", keeper, env=variables)
        assert told.recv(999).startswith(b"READY=1\nSTATUS=0 jobs")
        serve = ("serve", "--keeper", keeper, *(("--allow-root",) if is_root(host) else ()))
        server = host.popen(*serve, env=variables)
        assert told.recv(999).startswith(b"READY=1\nSTATUS=listening on ")
        job = host.shell("trap 'echo over; exit 3' TERM; echo begun; sleep 100 & wait")
        host.printed(job, b"begun")
        assert told.recv(999) == b"STATUS=1 job, without control groups"
        server.terminate()
        assert told.recv(999).startswith(b"STOPPING=1")
        server.wait(20)
        server = host.popen(*serve, env=variables)
        assert told.recv(999).startswith(b"READY=1")
        assert host.json("status", job)["state"] == "running"
        # Its end is the jobs' end, each by its own rules.
        keep.terminate()
        keep.wait(20)
        finish = host.json("status", job)["finish"]
        assert (finish["cause"], finish["code"]) == ("stopped", 3)
        assert host.output(job) == b"begun\nover\n"
        refused = host.run("--json", "start", "--no-sync", "--", "true").expect(125).error()
        assert refused["reason"] == "KEEPER_AWAY"
        assert refused["hint"]
        server.terminate()
        server.wait(20)
