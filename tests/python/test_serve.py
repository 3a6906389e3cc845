"""The server as a process: how it begins, who may ask it, how it ends, and what its death costs."""

import json
import os
import signal
import socket
import stat
import urllib.request
from pathlib import Path

import pytest
from harness.host import Host
from harness.serving import LISTEN, Serving, is_root
from harness.waiting import DEADLINE_S, until


def test_the_first_invite_waits_in_a_private_file(host: Host, serving: Serving) -> None:
    assert serving.told["event"] == "listening"
    (address,) = serving.told["addresses"]
    name, port = address.rsplit(":", 1)
    socket.create_connection((name, int(port)), timeout=10).close()
    assert stat.S_IMODE(Path(serving.told["socket"]).stat().st_mode) == 0o600
    invite = host.state / "first-admin.invite"
    assert stat.S_IMODE(invite.stat().st_mode) == 0o600
    token = invite.read_text().strip()
    assert token.startswith("lw1.")
    assert token not in serving.log.read_text()
    assert str(invite) in serving.log.read_text()
    assert serving.end() == 0
    invite.unlink()
    with Serving(host, *LISTEN, "--init") as again:
        assert again.end(signal.SIGINT) == 0
    assert not invite.exists(), "there is one first time"


def test_invites_and_revocations_with_a_server_and_without(host: Host, serving: Serving) -> None:
    def roundtrip(name: str) -> None:
        invited = host.json("invite", name, "--role", "read", "--ttl", "5m")
        assert invited["token"].startswith("lw1.")
        known = {known["name"]: known for known in host.json("identities")}
        assert known[name]["roles"] == ["read"]
        assert known["admin"]["roles"] == ["admin"]
        assert host.json("revoke", name)["revokedAtS"] > 0
        assert name not in host.ok("identities")
        assert name in host.ok("identities", "--all")
        assert host.run("revoke", "--json", "nobody").expect(5).error()["reason"] == (
            "IDENTITY_NOT_FOUND"
        )
        assert host.run("invite", "--json", "x y").expect(1).error()["reason"] == "BAD_NAME"

    roundtrip("alice")
    assert serving.end() == 0
    roundtrip("bob")


def test_a_second_server_is_refused(host: Host, serving: Serving) -> None:
    root = ("--allow-root",) if is_root(host) else ()
    error = host.run("serve", "--json", *root).expect(1).error()
    assert error["reason"] == "SERVER_RUNNING"
    assert str(serving.process.pid) in error["message"]


def test_a_socket_of_a_dead_server_is_replaced(host: Host, serving: Serving) -> None:
    serving.end(signal.SIGKILL)
    assert (host.state / "sock").exists()
    host.ok("identities")
    with Serving(host, *LISTEN) as again:
        host.ok("identities")
        assert again.end() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["term", "kill"])
def test_a_job_prints_while_its_server_is_gone(host: Host, serving: Serving, number: int) -> None:
    script = "i=0; while ! test -e go; do echo $i; i=$((i+1)); sleep 0.005; done; exit 9"
    job = host.shell(script, options=("--dir", str(host.tmp)))
    host.printed(job, b"5\n")
    serving.end(number)
    with Serving(host, *LISTEN) as again:
        seen = host.output(job)
        until(lambda: len(host.output(job)) > len(seen), "it goes on printing")
        (host.tmp / "go").touch()
        assert host.finished(job)["finish"]["exitCode"] == 9
        lines = host.ok("logs", job).split()
        assert lines == [str(number) for number in range(len(lines))]
        assert again.end() == 0


@pytest.mark.once
def test_root_has_to_mean_it(host: Host) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    error = host.run("serve", "--json").expect(1).error()
    assert error["reason"] == "ROOT"
    assert "--allow-root" in error["hint"]


def test_an_address_needs_an_authority(host: Host) -> None:
    root = ("--allow-root",) if is_root(host) else ()
    error = host.run("serve", "--json", *root, *LISTEN).expect(1).error()
    assert error["reason"] == "NOT_INITIALISED"
    assert "--init" in error["message"]


def test_settings_come_from_flags_then_environment_then_file(host: Host) -> None:
    settings = host.tmp / "server.toml"
    access = host.tmp / "access.log"
    settings.write_text(f'listen = ["127.0.0.1:0", "127.0.0.1:0"]\n[log]\naccess = "{access}"\n')
    named = ("--init", "--config", settings)
    for env, flags, count in [
        ({}, (), 2),
        ({"LEGWORK_LISTEN": "127.0.0.1:0,127.0.0.1:0,127.0.0.1:0"}, (), 3),
        ({"LEGWORK_LISTEN": "127.0.0.1:0,127.0.0.1:0,127.0.0.1:0"}, LISTEN, 1),
    ]:
        host.env |= env
        with Serving(host, *named, *flags) as server:
            assert len(server.told["addresses"]) == count
            host.ok("identities")
            assert server.end() == 0
    lines = [json.loads(line) for line in access.read_text().splitlines()]
    assert [line["method"] for line in lines] == ["/legwork.v1.EnrollService/ListIdentities"] * 3
    assert {line["code"] for line in lines} == {"Ok"}
    settings.write_text("lisen = []\n")
    error = host.run("serve", "--json", *named).expect(1).error()
    assert error["reason"] == "BAD_CONFIG"
    assert error["hint"] == "did you mean `listen`?"


def test_metrics_are_told_on_loopback_when_asked_for(host: Host) -> None:
    with Serving(host, *LISTEN, "--init") as server:
        assert server.told["metrics"] is None
        assert server.end() == 0
    host.env["LEGWORK_METRICS"] = "127.0.0.1:0"
    with Serving(host, *LISTEN) as server:
        host.ok("identities")

        with urllib.request.urlopen(server.told["metrics"], timeout=DEADLINE_S) as page:
            text = page.read().decode()
        assert 'legwork_jobs{state="running"} 0\n' in text
        assert 'method="EnrollService/ListIdentities",code="OK"} 1\n' in text
        assert server.end() == 0
    root = ("--allow-root",) if is_root(host) else ()
    for address, reason in [("0.0.0.0:0", "NOT_LOOPBACK"), ("localhost", "USAGE")]:
        refused = host.run("serve", "--json", *root, "--metrics", address)
        assert refused.error()["reason"] == reason


def test_logs_are_rotated(host: Host) -> None:
    access = host.tmp / "logs" / "access.log"
    access.parent.mkdir()
    access.parent.chmod(0o777)
    settings = host.tmp / "server.toml"
    settings.write_text(f'[log]\naccess = "{access}"\nrotate_bytes = 1000\nkeep = 2\n')
    with Serving(host, "--init", "--config", settings) as server:
        for _ in range(20):
            host.ok("identities")
        assert server.end() == 0
    files = sorted(access.parent.iterdir())
    assert [file.name for file in files] == ["access.log", "access.log.1", "access.log.2"]
    for file in files:
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert file.stat().st_size < 2000
        assert all(json.loads(line)["code"] for line in file.read_text().splitlines())
    settings.write_text(f'[log]\naccess = "{access}/no"\n')
    root = ("--allow-root",) if is_root(host) else ()
    error = host.run("serve", "--json", *root, "--config", settings).expect(1).error()
    assert error["reason"] == "LOG"


def test_secrets_are_in_no_log(host: Host) -> None:
    access = host.tmp / "access.log"
    logged = ("--access-log", access, "--log-level", "trace")
    with Serving(host, *LISTEN, "--init", *logged) as server:
        token = host.ok("invite", "alice").strip()
        assert server.end() == 0
    first = (host.state / "first-admin.invite").read_text().strip()
    for log in (access, server.log):
        for secret in (token, first):
            assert secret not in log.read_text()
    assert '"subject":"alice"' in access.read_text()
