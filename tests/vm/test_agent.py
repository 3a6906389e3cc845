"""The agent as a service: what it may do, what it sees, and what becomes of it."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from guest.phases import Phase
from guest.serving import BINARY, Server
from guest.systemd import Unit, run
from guest.told import tell
from guest.waiting import until

AGENT = Unit("legwork-agent")
LISTEN = ("--allow-root", "--listen", "127.0.0.1:7005")
# Of linux/capability.h.
SYS_PTRACE = 1 << 19


def _install(server: Server) -> dict[str, Any]:
    """Have it join by an invite, and start it. Another server's keys would be kept."""
    for place in ("/var/lib/legwork-agent", "/var/lib/private/legwork-agent"):
        run("rm", "-rf", place)
    invite = run(BINARY, "--state", server.state, "invite", "node", "--role", "report")
    words = [BINARY, "--json", "service", "install", "--agent", "--every", "500ms"]
    done = subprocess.run(words, input=invite, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done
    return json.loads(done.stdout)


def _at(server: Server, time: str = "now") -> dict[str, Any]:
    return json.loads(server.call("records", "at", "--json", time))


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _reports(server: Server) -> dict[str, Any]:
    """Wait for a snapshot of this boot, and for another one behind it."""

    def newer(than: str) -> dict[str, Any] | None:
        table = _at(server)
        return table if table["host"]["boot"] == _boot() and table["time"] > than else None

    first = until(lambda: newer(""), "a snapshot")
    return until(lambda: newer(first["time"]), "another one")


def _words(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def test_it_sees_all_and_may_do_nothing_else() -> None:
    with Server("reported", *LISTEN) as server:
        told = _install(server)
        assert told == {"written": [str(AGENT.path)], "started": True, "joined": True}
        # Root's own commands are for this machine, as before.
        assert json.loads(run(BINARY, "--state", "/var/tmp/own", "ps", "--json")) == []
        try:
            with subprocess.Popen(["sleep", "600"], user="nobody") as other:
                table = _reports(server)
                rows = {row["pid"]: row for row in _reports(server)["processes"]}
                other.kill()
            # The program of others, too: of root, and of somebody else.
            assert rows[1]["exe"].endswith("/systemd")
            assert rows[1]["cgroup"] == "/init.scope"
            assert rows[other.pid]["exe"].endswith("/sleep")
            assert rows[other.pid]["user"] == "nobody"
            assert not table["host"].get("hidden")
            assert not table["host"].get("unreadable")
            status = _words(AGENT.main_pid)
            assert status["Uid"].split()[0] != "0"
            assert int(status["CapEff"], 16) == int(status["CapBnd"], 16) == SYS_PTRACE
            assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
            exposed = run("systemd-analyze", "security", "--no-pager", AGENT.name)
            tell(exposed.splitlines()[-1])
            # A job is told by its group.
            job = server.start("sleep", "600")

            def found() -> bool:
                rows = _at(server)["processes"]
                return any(row.get("job", "").startswith(job) for row in rows)

            until(found, "its job")
            server.call("stop", "--grace", "0s", job)
        except AssertionError:
            print(AGENT.journal()[-6000:])
            raise
        finally:
            run(BINARY, "service", "uninstall", "--agent")
        assert not AGENT.path.exists()


def test_it_goes_on_after_a_kill_and_a_reboot(phase: Phase) -> None:
    server = Server("reporting", *LISTEN)
    if phase.number == 0:
        server.__enter__()
        _install(server)
        _reports(server)
        os.kill(AGENT.main_pid, 9)
        until(lambda: AGENT.show("NRestarts") == "1", "systemd starts it again")
        phase.kept["table"] = _reports(server)
        phase.reboot(clean=True)
    try:
        server.up()
        before = phase.kept["table"]
        table = _reports(server)
        assert table["host"]["boot"] != before["host"]["boot"]
        again = _at(server, before["time"])
        assert again["processes"] == before["processes"]
    except AssertionError:
        print(AGENT.journal()[-6000:])
        raise
    run(BINARY, "service", "uninstall", "--agent")
    server.__exit__(None, None, None)
