"""A root server and the users as whom it runs the jobs of others."""

import grp
import json
import os
import pwd
import shutil
import signal
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import processes
from harness.foreign import Identity
from harness.host import Host, Word
from harness.waiting import DEADLINE_S, until

ALICE = pwd.getpwnam("daemon")
DEFAULT = pwd.getpwnam("games")
IS_ROOT = os.geteuid() == 0
needs_root = pytest.mark.skipif(not IS_ROOT, reason="SKIPPED: needs root")
pytestmark = pytest.mark.once
LISTEN = ("--listen", "127.0.0.1:0", "--init")


class Serving:
    """A `serve` with users of its own, and what it said at its beginning."""

    def __init__(self, host: Host, *args: Word) -> None:
        """Start it and wait until it listens."""
        log = host.tmp / "serve.log"
        with log.open("wb") as out:
            self.process = host.popen("serve", "--json", *args, stderr=out)
        assert self.process.stdout
        line = self.process.stdout.readline()
        assert line, log.read_text()
        (self.address,) = json.loads(line)["addresses"]

    def end(self) -> None:
        """Let it end in order."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(timeout=DEADLINE_S) == 0
        assert self.process.stdout
        self.process.stdout.close()


@pytest.fixture
def serving(host: Host) -> Iterator[Serving]:
    """A server whose `alice` is one user, and everybody else another."""
    if not IS_ROOT:
        pytest.skip("SKIPPED: needs root")
    settings = host.tmp / "server.toml"
    settings.write_text(f'[run]\nuser = "{DEFAULT.pw_name}"\nusers.alice = "{ALICE.pw_name}"\n')
    host.env["OF_THE_SERVER"] = "secret"
    server = Serving(host, *LISTEN, "--config", settings)
    del host.env["OF_THE_SERVER"]
    yield server
    server.end()


@pytest.fixture
def join(
    host: Host, serving: Serving, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], Identity]]:
    """Make somebody known to the server."""
    stubs = tmp_path_factory.getbasetemp() / "stubs"
    stubs.mkdir(exist_ok=True)
    joined: list[Identity] = []

    def join(name: str) -> Identity:
        joined.append(Identity(host, serving.address, name, stubs))
        return joined[-1]

    yield join
    for identity in joined:
        identity.channel.close()


def fields(text: str) -> dict[str, str]:
    """The lines ``name: value`` of a text."""
    parts = (line.partition(":") for line in text.splitlines())
    return {name: value.strip() for name, _, value in parts}


@pytest.mark.parametrize(("name", "account"), [("alice", ALICE), ("bob", DEFAULT)])
def test_a_job_is_its_user_and_nothing_more(
    host: Host, join: Callable[[str], Identity], name: str, account: pwd.struct_passwd
) -> None:
    script = "cat /proc/self/status; echo cwd:$PWD; echo pwd:`pwd`; umask | sed s/^/umask:/"
    job, printed = join(name).run("sh", "-c", script)
    seen = fields(printed)
    assert seen["Uid"].split() == [str(account.pw_uid)] * 4
    assert seen["Gid"].split() == [str(account.pw_gid)] * 4
    groups = os.getgrouplist(account.pw_name, account.pw_gid)
    assert sorted(map(int, seen["Groups"].split())) == sorted(groups)
    assert seen["NoNewPrivs"] == "1"
    for kind in ("Inh", "Prm", "Eff", "Amb"):
        assert int(seen[f"Cap{kind}"], 16) == 0, kind
    home = account.pw_dir if Path(account.pw_dir).is_dir() else "/"
    assert seen["cwd"] == seen["pwd"] == home
    assert seen["umask"] == f"{_umask():04o}"
    assert job.user == account.pw_name
    assert host.json("status", job.id)["user"] == account.pw_name
    (listed,) = host.json("ps", "-a")
    assert listed["user"] == account.pw_name
    assert f"runs as    {account.pw_name}\n" in host.ok("status", job.id)


def _umask() -> int:
    now = os.umask(0o022)
    os.umask(now)
    return now


def test_the_environment_is_a_clean_one_of_the_user(join: Callable[[str], Identity]) -> None:
    alice = join("alice")
    asked = [alice.jobs.EnvVar(name=b"ASKED", value=b"for")]
    job, printed = alice.run("env", env=asked)
    seen = dict(line.split("=", 1) for line in printed.splitlines())
    home = ALICE.pw_dir if Path(ALICE.pw_dir).is_dir() else "/"
    assert seen == {
        "ASKED": "for",
        "HOME": ALICE.pw_dir,
        "LANG": "C.UTF-8",
        "LEGWORK_JOB": job.id,
        "LOGNAME": ALICE.pw_name,
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "PWD": home,
        "SHELL": ALICE.pw_shell,
        "USER": ALICE.pw_name,
    }


def _everything_below(path: Path) -> list[Path]:
    return [Path(at) / name for at, dirs, files in os.walk(path) for name in [*dirs, *files]]


def test_a_job_sees_nothing_of_the_state_directory(
    host: Host, join: Callable[[str], Identity]
) -> None:
    host.write("file", "of root's project")
    host.ok("run", "--", "true")
    other = join("bob").start("sleep", "60").job
    claim = host.claim(other.id)
    alice = join("alice")
    paths = [str(path) for path in _everything_below(host.state)]
    for part in ("identity.db", "ca/", "index.db", "/journal", "/control", "/tree/file", "invite"):
        assert any(part in path for path in paths), f"{part} is not among what is tried"
    script = """
        for path; do
            if test -r "$path" || test -w "$path"; then echo "opens $path"; fi
        done
        for dir in "$STATE" "$STATE/workspaces" "$STATE/jobs"; do
            if ls "$dir" >/dev/null 2>&1; then echo "lists $dir"; fi
            if touch "$dir/new" 2>/dev/null; then echo "writes in $dir"; fi
        done
        for pid in $PIDS; do
            if kill -0 $pid 2>/dev/null; then echo "signals $pid"; fi
            if cat /proc/$pid/environ >/dev/null 2>&1; then echo "reads $pid"; fi
        done
        for fd in /proc/self/fd/*; do
            case `readlink $fd` in "$STATE"*) echo "has $fd";; esac
        done
        echo done
    """
    values = {"STATE": str(host.state), "PIDS": f"{claim['pid']} {claim['shim_pid']}"}
    env = [alice.jobs.EnvVar(name=k.encode(), value=v.encode()) for k, v in values.items()]
    _, printed = alice.run("sh", "-c", script, "sh", *paths, env=env)
    # The way to the mirrors can be passed, and is no file to be read or written.
    assert printed == "done\n"
    for path in host.state.iterdir():
        if path.name != "workspaces":
            assert stat.S_IMODE(path.lstat().st_mode) & 0o077 == 0, path
    assert stat.S_IMODE(host.state.stat().st_mode) == 0o711
    host.ok("stop", other.id)


def test_a_setuid_program_gains_nothing(host: Host, join: Callable[[str], Identity]) -> None:
    program = host.tmp / "setuid-id"
    shutil.copyfile(shutil.which("id") or "/usr/bin/id", program)
    program.chmod(0o4755)
    become = {"user": ALICE.pw_uid, "group": ALICE.pw_gid, "extra_groups": []}
    without = subprocess.run([program, "-u"], **become, capture_output=True, check=True)
    if without.stdout != b"0\n":
        pytest.skip("setuid programs gain nothing here anyway")
    _, printed = join("alice").run(str(program), "-u")
    assert printed == f"{ALICE.pw_uid}\n"


def test_a_job_dies_with_its_shim_though_it_is_another_user(
    host: Host, join: Callable[[str], Identity]
) -> None:
    job = join("alice").start("sleep", "60").job
    claim = host.claim(job.id)
    processes.kill(claim["shim_pid"])
    until(lambda: not processes.alive(claim["pid"]), "the payload is dead")
    assert host.finished(job.id)["finish"]["cause"] == "lost"


def test_what_the_user_cannot_enter_is_told(host: Host, join: Callable[[str], Identity]) -> None:
    closed = host.tmp / "closed"
    closed.mkdir(mode=0o700)
    alice = join("alice")
    place = alice.jobs.Place(dir=str(closed).encode())
    job = alice.start("true", place=place).job
    assert job.finish.not_started.step == "dir"
    assert str(closed) in job.finish.why


@needs_root
def test_who_is_here_runs_jobs_as_before(host: Host, serving: Serving) -> None:
    host.write("file", "of root's project")
    assert serving.process.poll() is None
    assert host.ok("run", "--", "sh", "-c", "id -u; echo $HOME") == f"0\n{host.home}\n"
    (job,) = host.json("ps", "-a")
    assert job["user"] == "root"
    assert stat.S_IMODE(host.state.stat().st_mode) == 0o711


@needs_root
def test_without_a_user_for_somebody_they_are_refused(
    host: Host, tmp_path_factory: pytest.TempPathFactory
) -> None:
    settings = host.tmp / "server.toml"
    settings.write_text(f'[run.users]\nalice = "{ALICE.pw_name}"\n')
    stubs = tmp_path_factory.getbasetemp() / "stubs"
    stubs.mkdir(exist_ok=True)
    server = Serving(host, *LISTEN, "--config", settings, "--allow-root")
    bob = Identity(host, server.address, "bob", stubs)
    refusal = bob.start("true").refusal
    assert refusal.reason == "NO_RUN_USER"
    assert "[run.users]" in refusal.message
    bob.channel.close()
    server.end()


def refused(host: Host, *args: Word, **options: Any) -> dict[str, Any]:
    """The error of a server that does not start."""
    return host.run("serve", "--json", *args, **options).expect(1).error()


@needs_root
def test_root_needs_a_user_or_has_to_mean_it(host: Host) -> None:
    error = refused(host)
    assert error["reason"] == "ROOT"
    for way in ("--run-user", "[run]", "--allow-root"):
        assert way in error["hint"]
    assert not host.state.exists()
    error = refused(host, "--run-user", "root")
    assert error["reason"] == "ROOT_USER"
    assert "--allow-root" in error["message"]


@needs_root
def test_a_user_that_is_not_there_is_named_with_its_key(host: Host) -> None:
    settings = host.tmp / "server.toml"
    missing = "no-such-user"
    for text, args, key in [
        (f'run.user = "{missing}"', (), "run.user"),
        ("", ("--run-user", missing), "run.user"),
        (f'run.users.alice = "{missing}"', ("--run-user", ALICE.pw_name), "run.users.alice"),
    ]:
        settings.write_text(text)
        error = refused(host, "--config", settings, *args)
        assert error["reason"] == "USER_UNKNOWN"
        assert key in error["message"]
        assert missing in error["message"]
    settings.write_text(f'run.user = "{missing}"')
    host.env["LEGWORK_RUN_USER"] = "nor-this-one"
    assert "nor-this-one" in refused(host, "--config", settings)["message"]


@needs_root
def test_a_state_directory_that_the_user_cannot_reach_is_refused(host: Host) -> None:
    host.tmp.chmod(0o700)
    host.env["LEGWORK_STATE"] = str(host.tmp / "state")
    error = refused(host, "--run-user", ALICE.pw_name)
    assert error["reason"] == "STATE_UNREACHABLE"
    assert f"{host.tmp} is closed" in error["message"]


@needs_root
def test_another_user_needs_root(host: Host) -> None:
    nobody = pwd.getpwnam("nobody")
    group = grp.getgrgid(nobody.pw_gid).gr_gid
    for path in (host.top, host.tmp, host.home):
        os.chown(path, nobody.pw_uid, group)
    become = {"user": nobody.pw_uid, "group": group, "extra_groups": []}
    error = refused(host, "--run-user", ALICE.pw_name, **become)
    assert error["reason"] == "NOT_ROOT"
    assert "run.user" in error["message"]
    assert "nobody" in error["message"]
    with host.popen("serve", "--json", "--run-user", "nobody", **become) as process:
        assert process.stdout
        assert json.loads(process.stdout.readline())["event"] == "listening"
        process.terminate()
        process.communicate(timeout=DEADLINE_S)
        assert process.returncode == 0
