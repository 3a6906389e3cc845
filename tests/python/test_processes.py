"""Snapshots of processes: what is sent is what `ps` shows of processes that the test started."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import agents, processes
from harness.host import Host
from harness.serving import is_root
from harness.waiting import until

SLEEP = "/bin/sleep"
THREADS = """
import threading, time
for _ in range(3):
    threading.Thread(target=time.sleep, args=(600,)).start()
print(flush=True)
time.sleep(600)
"""
ZOMBIE = "import os,time; child=os.fork() or os._exit(0); print(child,flush=True); time.sleep(600)"


@contextlib.contextmanager
def running(*argv: str | bytes | Path, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is there until it is not needed any more."""
    with subprocess.Popen(argv, stdout=subprocess.PIPE, **options) as process:
        try:
            yield process
        finally:
            process.kill()


def snapshot(host: Host, *args: str) -> dict[int, dict[str, Any]]:
    """What the host's list says now, by process."""
    host.ok("records", "send", "--processes", *args)
    return {process["pid"]: process for process in agents.at(host)["processes"]}


def ps(pid: int, field: str) -> str:
    """What `ps` says."""
    words = ["ps", "-ww", "-o", f"{field}=", "-p", str(pid)]
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()


def children(pid: int) -> list[int]:
    """Those of a process."""
    words = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(word) for word in words]


def test_what_is_sent_is_what_ps_shows(host: Host) -> None:
    with (
        running(SLEEP, "600") as plain,
        running("nice", "-n", "7", SLEEP, "601", start_new_session=True) as nice,
        running(sys.executable, "-c", THREADS) as threads,
        running(sys.executable, "-c", ZOMBIE) as parent,
    ):
        assert threads.stdout
        assert parent.stdout
        threads.stdout.readline()
        dead = int(parent.stdout.readline())
        until(lambda: ps(nice.pid, "comm") == "sleep", "nice has executed it")
        until(lambda: processes.state(dead) == "Z", "a zombie")
        found = snapshot(host)
        for pid in (plain.pid, nice.pid, threads.pid, parent.pid):
            row = found[pid]
            # It prints line feeds as spaces.
            assert row["cmdline"].split() == ps(pid, "args").split()
            assert row["comm"] == ps(pid, "comm")
            assert row["state"] == ps(pid, "s")
            assert [row[name] for name in ("ppid", "pgrp", "session", "nice", "threads")] == [
                int(ps(pid, name)) for name in ("ppid", "pgid", "sess", "ni", "nlwp")
            ]
            assert (row["uid"], row["euid"]) == (int(ps(pid, "ruid")), int(ps(pid, "euid")))
            assert row["user"] == ps(pid, "euser:64")
            assert row.get("tty", "?") == ps(pid, "tname")
            assert row["rss_kb"] == pytest.approx(int(ps(pid, "rss")), rel=0.5)
            assert row["vsize_kb"] == pytest.approx(int(ps(pid, "vsz")), rel=0.5)
            # Those of others show it to root only.
            exe = str(Path(f"/proc/{pid}/exe").readlink()) if host.user.uid is None else None
            assert row.get("exe") == exe
            stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            assert row["start"] == int(stat[19])
        assert found[dead]["state"] == "Z"
        assert found[dead]["ppid"] == parent.pid
        assert "cmdline" not in found[dead]
        assert "exe" not in found[dead]
        assert found[threads.pid]["threads"] == 4
    assert plain.pid not in snapshot(host)


def test_names_may_be_strange(host: Host) -> None:
    """Brackets, line feeds and bytes that are no text, in names and words."""
    names = [b"a) R 1 (b", b"two\nlines", b"no \xff\xfe text", b"((", b"))"]
    with contextlib.ExitStack() as stack:
        pids = {}
        for name in names:
            program = os.fsencode(host.tmp) + b"/" + name
            Path(os.fsdecode(program)).write_bytes(Path(SLEEP).read_bytes())
            Path(os.fsdecode(program)).chmod(0o755)
            process = stack.enter_context(running(program, b"600"))
            comm = Path(f"/proc/{process.pid}/comm")
            until(lambda at=comm, is_=name: at.read_bytes() == is_ + b"\n", "it is executed")
            pids[name] = process.pid
        found = snapshot(host)
        for name, pid in pids.items():
            text = name.decode(errors="replace")
            assert found[pid]["comm"] == text
            assert found[pid]["cmdline"].endswith(f"/{text} 600")
        table = host.ok("records", "at", "now")
        assert "two\\nlines" in table
        assert len(table.splitlines()) == len(found) + 1


def test_secrets_are_not_sent_unless_asked_for(host: Host) -> None:
    script = "import time; time.sleep(600)"
    words = ["--password=S3CR3T", "--token", "S3CR3T", "https://me:S3CR3T@host/"]
    with running(sys.executable, "-c", script, *words) as process:
        until(lambda: b"S3CR3T" in processes.cmdline(process.pid), "it is executed")
        shown = snapshot(host)[process.pid]["cmdline"]
        assert shown.endswith("--password=*** --token *** https://me:***@host/")
        for log in (host.state / "records").rglob("*.jsonl"):
            assert b"S3CR3T" not in log.read_bytes()
        assert snapshot(host, "--no-redact")[process.pid]["cmdline"].endswith(" ".join(words))
        row = snapshot(host, "--no-cmdline")[process.pid]
        assert "cmdline" not in row
        assert row["comm"]


def test_a_job_is_named(host: Host) -> None:
    job = host.shell("sleep 600 & wait")
    host.running(job)

    def found() -> list[dict[str, Any]]:
        rows = [row for row in snapshot(host).values() if row.get("job", "").startswith(job)]
        names = {row["comm"] for row in rows}
        return rows if {"legwork-shim", "sh", "sleep"} <= names else []

    until(found, "the shim and all below it are of the job")
    host.ok("stop", job)
    assert not any(row.get("job", "").startswith(job) for row in snapshot(host).values())


@pytest.mark.once
def test_a_list_of_ones_own_is_as_good(host: Host) -> None:
    """What somebody's script makes of `ps aux` is sent as any other records."""
    lines = subprocess.run(["ps", "aux"], check=True, capture_output=True, text=True).stdout
    head, *rows = lines.splitlines()
    names = [name.lower().strip("%") for name in head.split()]
    listed = [dict(zip(names, row.split(None, len(names) - 1), strict=True)) for row in rows]
    text = json.dumps(listed, indent=2).encode()
    told = host.run("records", "--json", "send", "-s", "mine", stdin=text).expect(0)
    assert json.loads(told.out)["accepted"] == len(listed)
    kept = host.ok("records", "export", "-s", "mine", "--data").splitlines()
    assert [json.loads(line) for line in kept] == listed
    refused = host.run("records", "--json", "at", "now", "-s", "mine").expect(5)
    assert refused.error()["reason"] == "NO_SNAPSHOT"


@pytest.mark.once
def test_sorts_and_a_tree(host: Host) -> None:
    with running("sh", "-c", f"{SLEEP} 600; true") as parent:
        (child,) = until(lambda: children(parent.pid), "a child")
        snapshot(host)
        rows = host.ok("records", "at", "now", "--tree").splitlines()
        of = {int(row.split()[1]): row for row in rows[1:]}
        depth = [of[pid].index(word) for pid, word in ((parent.pid, "sh -c"), (child, SLEEP))]
        assert depth[1] == depth[0] + 2
        order = list(of)
        assert order.index(child) == order.index(parent.pid) + 1
        processes.kill(child)
    by_memory = agents.at(host, "now", "--sort", "mem")["processes"]
    sizes = [row["rss_kb"] for row in by_memory]
    assert sizes == sorted(sizes, reverse=True)
    used = [
        int(row.split()[1])
        for row in host.ok("records", "at", "now", "--sort", "cpu").splitlines()[1:]
    ]
    assert sorted(used) == sorted(row["pid"] for row in by_memory)


@pytest.mark.once
def test_users_see_what_is_theirs_where_others_are_hidden(host: Host) -> None:
    """With `hidepid`, the snapshot says that there is more than it has."""
    if not is_root(host):
        pytest.skip("only root can mount another /proc")
    script = (
        "mount -t proc -o hidepid=2 proc /proc && "
        'exec setpriv --reuid=65534 --regid=65534 --clear-groups "$0" "$@"'
    )
    host.user.owns(host.top)
    for path in (host.top, host.home, host.project, host.tmp):
        os.chown(path, 65534, 65534)
    command = ["unshare", "-m", "sh", "-c", script, str(host.binary)]
    made = subprocess.run(
        [*command, "records", "send", "--processes"],
        env=host.env,
        cwd=host.project,
        capture_output=True,
        check=False,
    )
    if b"mount" in made.stderr:
        pytest.skip(f"cannot mount: {made.stderr.decode()}")
    assert made.returncode == 0, made.stderr
    told = subprocess.run(
        [*command, "records", "--json", "at", "now"],
        env=host.env,
        cwd=host.project,
        capture_output=True,
        check=True,
    )
    table = json.loads(told.stdout)
    assert table["host"]["hidden"]
    assert {row["uid"] for row in table["processes"]} == {65534}
