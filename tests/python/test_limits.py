"""Limits: what holds a job in, what is refused, and how it is told."""

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import processes
from harness.groups import Groups, mounted
from harness.host import Host
from harness.serving import LISTEN, Serving, is_root
from harness.waiting import until

BURN = "while :; do :; done"


@pytest.fixture
def groups(host: Host) -> Iterator[Groups]:
    """A group that belongs to the user of the test."""
    with mounted(host.user) as made:
        yield made


def test_every_process_carries_its_limits(host: Host) -> None:
    script = "ulimit -n; ulimit -Hn; ulimit -c; ulimit -s; cut -d' ' -f19 /proc/self/stat"
    limits = ("--nofile", "50", "--rlimit", "core=0", "--rlimit", "stack=2M:unlimited")
    run = ("run", "--no-sync", *limits, "--nice", "3", "--", "sh", "-c", script)
    assert host.ok(*run).split() == ["50", "50", "0", "2048", "3"]
    (job,) = host.json("ps", "-a")
    told = host.status(job["id"])
    assert told["limits"] == {
        "nice": 3,
        "rlimits": [
            {"resource": "core", "soft": 0, "hard": 0},
            {"resource": "stack", "soft": 2 << 20},
            {"resource": "nofile", "soft": 50, "hard": 50},
        ],
    }
    assert told["containment"] == {"kind": "subreaper", "settings": [], "leftOut": []}
    assert "limits" not in job, "a list does not tell them"
    shown = host.ok("status", job["id"])
    assert "rlimit stack=2097152:unlimited" in shown
    assert "held by    subreaper" in shown


def test_a_job_keeps_to_its_processors(host: Host) -> None:
    allowed = min(os.sched_getaffinity(0))
    script = "grep Cpus_allowed_list /proc/self/status"
    run = ("run", "--no-sync", "--cpuset", str(allowed), "--oom-score", "500", "--")
    assert host.ok(*run, "sh", "-c", script).split()[1] == str(allowed)
    assert host.ok(*run, "cat", "/proc/self/oom_score_adj").strip() == "500"


def test_a_file_that_grows_too_large_ends_its_writer(host: Host) -> None:
    write = ("dd", "if=/dev/zero", f"of={host.tmp}/file", "bs=4096", "count=4")
    limits = ("--file-size", "8K", "--rlimit", "core=0")
    host.run("run", "--no-sync", *limits, "--", *write).expect(128 + 25)
    assert (host.tmp / "file").stat().st_size == 8192


def test_processor_time_is_a_limit_of_the_whole_job(host: Host) -> None:
    script = f"({BURN}) & ({BURN}) & wait"
    run = ("run", "--no-sync", "--json", "--cpu-time", "400ms", "--", "sh", "-c", script)
    error = host.run(*run).expect(124).error()
    assert error["reason"] == "CPU_TIME"
    (job,) = host.json("ps", "-a")
    assert job["finish"]["cause"] == "cpu_time"
    used = job["finish"]["usage"]["userUs"] + job["finish"]["usage"]["systemUs"]
    assert 300_000 < used < 10_000_000
    assert "processor time, killed by SIGTERM" in host.ok("ps", "-a")


def test_a_workspace_that_takes_too_much_disk_ends_its_job(host: Host) -> None:
    (host.project / "there").write_bytes(bytes(3 << 20))
    script = "i=0; while :; do i=$((i+1)); head -c 65536 /dev/zero > out$i; done"
    run = ("run", "--json", "--disk", "8M", "--", "sh", "-c", script)
    error = host.run(*run).expect(124).error()
    assert error["reason"] == "DISK"
    (job,) = host.json("ps", "-a")
    assert job["finish"]["cause"] == "disk"
    assert job["finish"]["usage"]["diskBytes"] > 8 << 20
    shown = host.ok("status", job["id"])
    assert "disk 8.00 MiB (measured)" in shown
    assert "taken by its directory" in shown
    assert "disk limit, killed by SIGTERM" in host.ok("ps", "-a")
    # What is there already counts, and whoever stays below is not touched.
    host.run("run", "--json", "--disk", "1M", "--", "sleep", "600").expect(124)
    host.ok("run", "--disk", "1G", "--", "true")
    assert host.run("run", "--disk", "0", "--", "true").expect(125)


@pytest.mark.once
def test_below_the_floor_no_job_starts(host: Host) -> None:
    config = host.tmp / "server.toml"
    config.write_text('[jobs]\ndisk_floor = "1000000G"\n')
    with Serving(host, "--config", config):
        error = host.run("run", "--no-sync", "--json", "--", "true").expect(125).error()
    assert error["reason"] == "NO_SPACE"
    assert "no job is started below" in error["message"]


@pytest.mark.parametrize(
    ("limit", "name", "instead"),
    [
        (("--memory", "1G"), "memory", "--rlimit as=SIZE"),
        (("--memory-high", "1G"), "memory-high", None),
        (("--swap", "0"), "swap", None),
        (("--cpus", "0.5"), "cpus", "--cpuset LIST"),
        (("--cpu-weight", "10"), "cpu-weight", "--nice N"),
        (("--pids", "5"), "pids", None),
        (("--io-max", "/:rbps=1M"), "io-max", None),
        (("--cpuset", "1023"), "cpuset", None),
    ],
)
def test_what_cannot_be_applied_is_refused_with_what_could_be(
    host: Host, limit: tuple[str, str], name: str, instead: str | None
) -> None:
    command = ("run", "--no-sync", *limit)
    error = host.run(*command, "--json", "--", "touch", f"{host.tmp}/ran").expect(125).error()
    assert error["reason"] == "LIMIT_UNAVAILABLE"
    assert f"the limit {name} cannot be applied here" in error["message"]
    assert (instead or "") in error["hint"]
    assert "--limits best-effort" in error["hint"]
    assert host.json("ps", "-a") == []
    done = host.run(*command, "--limits", "best-effort", "--", "echo", "ran").expect(0)
    assert done.text == "ran\n"
    assert f"to {name}: it runs without" in done.error_text
    (job,) = host.json("ps", "-a")
    assert host.status(job["id"])["containment"]["leftOut"] == [name]
    assert f"not held   {name}" in host.ok("status", job["id"])
    detached = host.run("start", *command[1:], "--limits", "best-effort", "--", "true").expect(0)
    assert f"to {name}: it runs without" in detached.error_text
    assert not (host.tmp / "ran").exists()


def test_what_the_kernel_refuses_is_told_by_its_name(host: Host) -> None:
    limit = ("--nofile", "99999999999")
    run = ("run", "--no-sync", "--json", *limit, "--", "touch", f"{host.tmp}/ran")
    error = host.run(*run).expect(125).error()
    assert error["reason"] == "LIMIT_UNAVAILABLE"
    assert "cannot apply the limit rlimit nofile" in error["message"]
    assert not (host.tmp / "ran").exists()
    (job,) = host.json("ps", "-a")
    assert job["finish"]["notStarted"]["step"] == "limit"


@pytest.mark.once
@pytest.mark.parametrize(
    ("limit", "why"),
    [
        (("--memory", "0"), "a limit of no memory"),
        (("--cpus", "0.001"), "outside of 10"),
        (("--cpu-weight", "0"), "outside of 1"),
        (("--nice", "20"), "outside of -20 to 19"),
        (("--rlimit", "files=3"), "no resource limit"),
        (("--rlimit", "core=2:1"), "above its hard limit"),
        (("--rlimit", "core=2", "--rlimit", "core=1"), "given twice"),
        (("--io-max", "dev:rbps=1"), "not an absolute path"),
    ],
)
def test_limits_that_make_no_sense_are_refused(
    host: Host, limit: tuple[str, ...], why: str
) -> None:
    error = host.run("run", "--no-sync", "--json", *limit, "--", "true").expect(125).error()
    assert error["reason"] == "INVALID_JOB"
    assert why in error["message"]


@pytest.mark.once
def test_two_ways_to_say_the_same_are_one_too_many(host: Host) -> None:
    both = ("--nofile", "5", "--rlimit", "nofile=6")
    result = host.run("run", "--no-sync", *both, "--", "true").expect(2)
    assert "say the same" in result.error_text


def test_a_paused_job_stands_still_and_goes_on(host: Host) -> None:
    job = host.shell(
        "(while :; do echo deep; sleep 0.01; done) & while :; do echo up; sleep 0.01; done"
    )
    host.printed(job, b"deep")
    paused = host.json("pause", job)
    assert paused["state"] == "paused"
    assert 0 <= time.time() - paused["pausedAtMs"] / 1000 < 60
    assert host.status(job)["state"] == "paused"
    assert [seen["state"] for seen in host.json("ps")] == ["paused"]
    assert host.json("ps", "--state", "paused")[0]["id"] == paused["id"]

    def is_still() -> bool:
        before = host.output(job)
        time.sleep(0.2)
        return host.output(job) == before

    until(is_still, "everything of it is still")
    assert host.json("pause", job)["state"] == "paused"
    assert host.json("resume", job)["state"] == "running"
    assert host.json("resume", job)["state"] == "running"
    before = len(host.output(job))
    until(lambda: len(host.output(job)) > before, "it goes on")
    host.ok("pause", job)
    assert host.json("stop", job)["finish"]["signal"] == 15
    error = host.run("pause", "--json", job).expect(1).error()
    assert error["reason"] == "JOB_FINISHED"


def test_a_killed_shim_takes_a_paused_job_with_it(host: Host) -> None:
    job = host.shell("setsid sleep 100 & echo up; sleep 100")
    host.printed(job, b"up")
    host.ok("pause", job)
    processes.kill(host.claim(job)["shim_pid"])
    lost = host.finished(job)
    assert (lost["finish"]["cause"], lost["finish"]["exitCode"]) == ("lost", 255)


def test_what_a_command_leaves_behind_is_waited_for_on_request(host: Host) -> None:
    script = "(sleep 0.3; echo late) & echo early"
    run = ("run", "--no-sync", "--on-exit")
    assert host.ok(*run, "wait", "--", "sh", "-c", script) == "early\nlate\n"
    script = "(sleep 100; echo late) >/dev/null & echo early"
    assert host.ok(*run, "kill", "--", "sh", "-c", script) == "early\n"


@pytest.mark.once
def test_every_job_has_a_group_of_its_own(host: Host, groups: Groups) -> None:
    host.env["LEGWORK_CGROUP_ROOT"] = str(groups.path / "jobs")
    job = host.shell("grep ^0:: /proc/self/cgroup; exec sleep 100")
    host.printed(job, b"\n")
    told = host.status(job)
    assert told["containment"]["kind"] == "cgroup"
    assert told["containment"]["cgroup"] == str(groups.path / "jobs" / told["id"])
    assert host.output(job).decode().strip().endswith(f"/jobs/{told['id']}")
    shim = host.claim(job)["shim_pid"]
    assert told["id"] not in Path(f"/proc/{shim}/cgroup").read_text()
    assert groups.below("jobs") == [told["id"]]
    host.ok("stop", job)
    assert groups.below("jobs") == []
    usage = host.status(job)["finish"]["usage"]
    assert usage["exact"]
    assert "at least" not in host.ok("status", job)
    assert host.json("doctor")["containment"] == "cgroup"


@pytest.mark.once
def test_nobody_hides_from_a_group(host: Host, groups: Groups) -> None:
    host.env["LEGWORK_CGROUP_ROOT"] = str(groups.path / "jobs")
    # Another session, another parent, and nothing in its environment that tells whose it is.
    script = "(setsid env -i sleep 100 &); (setsid env -i sleep 100 &); echo up; exec sleep 100"
    for end in ("stop", "shim", "main"):
        job = host.shell(script)
        host.printed(job, b"up")
        group = Path(host.status(job)["containment"]["cgroup"])
        members = until(
            lambda group=group: (
                len(found := (group / "cgroup.procs").read_text().split()) == 3 and found
            ),
            "all of it is there",
        )
        claim = host.claim(job)
        if end == "stop":
            host.ok("stop", job, "--grace", "100ms")
        else:
            processes.kill(claim["shim_pid"] if end == "shim" else claim["pid"])
        assert host.finished(job)["finish"]["cause"] == (
            "lost" if end == "shim" else "stopped" if end == "stop" else "self"
        )
        pids = list(map(int, members))
        until(lambda pids=pids: not any(map(processes.alive, pids)), f"all are gone: {end}")
        assert groups.below("jobs") == [], end


def test_a_group_that_was_delegated_is_used_without_a_word(host: Host, groups: Groups) -> None:
    # As `systemd-run --scope -p Delegate=yes` would start it.
    host.env["LEGWORK_CGROUP_ROOT"] = "auto"
    if host.user.uid is None:
        os.setxattr(groups.path, "trusted.delegate", b"1")
    run = (host.binary, "run", "--no-sync", "--", "grep", "^0::", "/proc/self/cgroup")
    entered = groups.entered_by(host.user, *run)
    shown = subprocess.run(entered, env=host.env, cwd=host.project, capture_output=True, check=True)
    host.env["LEGWORK_CGROUP_ROOT"] = "none"
    (job,) = host.json("ps", "-a")
    assert shown.stdout.decode().strip().endswith(f"/jobs/{job['id']}")
    assert groups.below() == ["jobs", "legwork"]


@pytest.mark.once
def test_a_place_that_holds_no_groups_is_told(host: Host) -> None:
    host.env["LEGWORK_CGROUP_ROOT"] = str(host.tmp)
    error = host.run("ps", "--json").expect(1).error()
    assert error["reason"] == "NO_CGROUPS"
    assert "not in a control group file system" in error["message"]
    host.env["LEGWORK_CGROUP_ROOT"] = "none"
    assert host.json("ps") == []


@pytest.mark.once
def test_a_server_gives_groups_and_says_so(host: Host, laptop: Host, groups: Groups) -> None:
    root = groups.path / "jobs"
    with Serving(host, *LISTEN, "--init", "--cgroup-root", str(root)) as server:
        assert server.address
        laptop.ok(
            "join", "--name", "box", stdin=host.ok("invite", "alice", "--role", "run").encode()
        )
        shown = laptop.ok("run", "--no-sync", "--", "grep", "^0::", "/proc/self/cgroup")
        (job,) = laptop.json("ps", "-a")
        assert shown.strip().endswith(f"/jobs/{job['id']}")
        command = ("run", "--no-sync", "--json", "--pids", "3", "--", "true")
        error = laptop.run(*command).expect(125).error()
        assert error["reason"] == "LIMIT_UNAVAILABLE"
        job = laptop.start("sleep", "100", options=("--nice", "4"))
        assert laptop.json("pause", job)["state"] == "paused"
        assert laptop.status(job)["limits"] == {"nice": 4}
        assert laptop.json("stop", job)["finish"]["cause"] == "stopped"
    assert groups.below("jobs") == []


def test_what_a_running_job_consumes_is_told(host: Host) -> None:
    job = host.shell(f"({BURN}) & sleep 100")
    idle = host.start("sleep", "100")

    def used() -> int:
        (stats,) = host.json("stats", job)
        return stats["usage"]["userUs"] + stats["usage"]["systemUs"]

    until(lambda: used() > 100_000, "it has used a tenth of a second")
    stats = {one["shortId"][: len(job)]: one for one in host.json("stats")}
    assert set(stats) == {job, idle}
    assert stats[job]["processes"] >= 3
    assert stats[job]["memoryBytes"] > stats[idle]["memoryBytes"] > 0
    assert not stats[job]["usage"]["exact"]
    table = host.ok("stats").splitlines()
    assert table[0].split()[:4] == ["ID", "STATE", "TIME", "CPU"]
    assert "~" in table[1]
    host.ok("stop", job, idle, "--grace", "0s")
    (ended,) = host.json("stats", job)
    assert ended["state"] == "finished"
    assert ended["usage"]["userUs"] > 0
    assert host.json("stats") == []
    host.run("stats", "00000000").expect(5)


@pytest.mark.once
def test_the_kernel_counts_for_a_group(host: Host, groups: Groups) -> None:
    host.env["LEGWORK_CGROUP_ROOT"] = str(groups.path / "jobs")
    # Nobody waits for these, so nothing but the kernel sees what they used.
    burn = "i=0; while [ $i -lt 400000 ]; do i=$((i+1)); done"
    job = host.shell(f"trap '' CHLD; sh -c '{burn}' & sleep 100")

    def used() -> int:
        (stats,) = host.json("stats", job)
        assert stats["usage"]["exact"]
        return stats["usage"]["userUs"]

    until(lambda: used() > 100_000, "it has used some")
    (stats,) = host.json("stats", job)
    assert stats["memoryBytes"] > 0
    assert "~" not in host.ok("stats")
    host.ok("stop", job, "--grace", "0s")


RULES = """
[jobs.default]
nofile = 100
[jobs.max]
nofile = 200
timeout = "10m"
cpu_time = "5s"
[jobs.admin.max]
nofile = 400
"""


@pytest.mark.once
def test_a_server_holds_identities_to_its_rules(host: Host, laptop: Host) -> None:
    config = host.tmp / "server.toml"
    config.write_text(RULES)
    run = ("run", "--no-sync")
    shown = ("--", "sh", "-c", "ulimit -n")
    with Serving(host, *LISTEN, "--init", "--config", config) as server:
        assert server.address
        for name, most in (("run", 200), ("admin", 400)):
            invite = host.ok("invite", name, "--role", name).encode()
            laptop.ok("join", "--name", name, stdin=invite)
            box = ("-C", name)
            assert laptop.ok(*box, *run, *shown) == "100\n"
            job = laptop.json("ps", *box, "-a")[0]["id"]
            told = laptop.json("status", *box, job)["limits"]
            assert told["cpuTimeMs"] == 5000
            assert laptop.ok(*box, *run, "--nofile", str(most), *shown) == f"{most}\n"
            over = (*box, *run, "--json", "--nofile", str(most + 1), *shown)
            error = laptop.run(*over).expect(125).error()
            assert error["reason"] == "LIMIT_TOO_HIGH"
            assert f"at most {most}" in error["message"]
        error = laptop.run(*run, "--json", "--timeout", "11m", *shown).expect(125).error()
        assert error["reason"] == "LIMIT_TOO_HIGH"
        # Whoever may open the state directory is not held to anything.
        assert host.ok(*run, "--nofile", "300", *shown) == "300\n"


@pytest.mark.once
def test_a_server_with_rules_that_it_cannot_apply_does_not_start(host: Host) -> None:
    config = host.tmp / "server.toml"
    config.write_text('[jobs.run.max]\nmemory = "1G"\n')
    root = ("--allow-root",) if is_root(host) else ()
    serve = ("serve", "--json", *root, "--cgroup-root", "none", "--config", config)
    error = host.run(*serve).expect(1).error()
    assert error["reason"] == "RULES_NOT_APPLICABLE"
    assert "the limit memory cannot be applied here" in error["message"]
    config.write_text('[jobs.max]\nmemory = "plenty"\n')
    error = host.run(*serve).expect(1).error()
    assert error["reason"] == "BAD_CONFIG"
    assert "plenty" in error["message"]
