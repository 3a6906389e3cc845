"""`stop`: the signal, the grace, the whole tree, and what is recorded of it."""

import random
import signal
import time

from harness import processes
from harness.host import Host
from harness.waiting import DEADLINE_S, until


def test_stop_waits_and_says_how_it_ended(host: Host) -> None:
    job = host.shell("trap 'echo bye; exit 3' TERM; echo up; while :; do sleep 0.05; done")
    host.printed(job, b"up")
    stopped = host.json("stop", job)
    assert stopped["state"] == "finished"
    assert stopped["finish"]["cause"] == "stopped"
    assert stopped["finish"]["code"] == 3
    assert stopped["finish"]["by"]
    assert host.output(job) == b"up\nbye\n"


def test_a_job_that_ignores_term_is_killed_after_the_grace(host: Host) -> None:
    job = host.shell("trap '' TERM; echo up; while :; do sleep 0.05; done")
    host.printed(job, b"up")
    began = time.monotonic()
    host.ok("stop", job, "--grace", "300ms")
    assert 0.25 < time.monotonic() - began < 40
    finish = host.finished(job)["finish"]
    assert (finish["cause"], finish["signal"]) == ("stopped", 9)


def test_the_signal_can_be_chosen(host: Host) -> None:
    job = host.shell("trap 'exit 11' INT; echo up; while :; do sleep 0.05; done")
    host.printed(job, b"up")
    host.ok("stop", job, "--signal", "INT")
    assert host.finished(job)["finish"]["code"] == 11


def test_the_stop_signal_of_the_job_is_the_default(host: Host) -> None:
    script = "trap 'exit 12' USR2; echo up; while :; do sleep 0.05; done"
    job = host.shell(script, options=["--stop-signal", "USR2"])
    host.printed(job, b"up")
    host.ok("stop", job)
    assert host.finished(job)["finish"]["code"] == 12


def test_daemons_of_the_job_die_with_it(host: Host) -> None:
    # Own sessions, a double fork, an ignored TERM, and an empty environment. Nobody else on this
    # machine sleeps for so long.
    times = [f"{number}.{random.randrange(10**9):09}" for number in (61, 62, 63)]
    script = (
        "setsid sleep {} & (setsid sh -c 'trap \"\" TERM; sleep {} & wait' &) ; "
        "env -i setsid sleep {} & echo up; wait"
    )
    job = host.shell(script.format(*times))
    host.printed(job, b"up")
    main = host.status(job)["pid"]
    tree = until(lambda: len(t := _below(main, times)) >= 4 and t, "the whole tree is up")
    host.ok("stop", job, "--grace", "200ms")
    assert [pid for pid in tree if processes.alive(pid)] == []


def _below(main: int, times: list[str]) -> list[int]:
    """The job's processes that are not the shim: those whose words say which sleep they are."""
    found = [main]
    for pid in processes.pids():
        words = processes.describe(pid)
        if any(f"sleep {time}" in words for time in times) and pid != main:
            found.append(pid)
    return found


def test_stopping_a_finished_job_changes_nothing(host: Host) -> None:
    job = host.shell("exit 7")
    before = host.finished(job)
    host.run("stop", job)
    assert host.status(job) == before


def test_stop_of_several(host: Host) -> None:
    jobs = host.ok("start", "--no-sync", "-c", "sleep 60", "-c", "sleep 60").split()
    host.ok("stop", *jobs)
    assert {host.status(job)["finish"]["cause"] for job in jobs} == {"stopped"}


def test_two_stops_at_once(host: Host) -> None:
    job = host.shell("trap '' TERM; echo up; while :; do sleep 0.05; done")
    host.printed(job, b"up")
    both = [host.popen("stop", job, "--grace", "300ms") for _ in range(2)]
    for process in both:
        process.communicate(timeout=DEADLINE_S)
        assert process.returncode == 0
    assert host.status(job)["finish"]["cause"] == "stopped"


def test_an_interrupt_at_any_moment_says_what_is_true(host: Host) -> None:
    for wait_ms in range(30):
        name = f"at-{wait_ms}"
        words = ("run", "--no-sync", "--name", name, "--", "sleep", "60")
        runner = host.popen(*words)
        # The moment is what this is about: it sweeps over the whole start.
        time.sleep(wait_ms / 1000)
        runner.send_signal(signal.SIGINT)
        _, err = runner.communicate(timeout=DEADLINE_S)
        jobs = [job for job in host.json("ps", "-a") if job.get("name") == name]
        if b"nothing runs" in err:
            assert not jobs, err
        else:
            assert all(job["state"] == "finished" for job in jobs), err
