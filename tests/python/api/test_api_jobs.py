"""JobService by a foreign client: starting, looking, waiting, stopping, removing."""

import signal
import time

import grpc
import pytest
from harness.api import Client
from harness.waiting import DEADLINE_S, until
from harness.world import World, job_id

pytestmark = pytest.mark.once

NOBODYS = "01900000-0000-7000-8000-000000000000"


def test_a_batch_starts_what_can_be_and_says_why_the_rest_cannot(world: World) -> None:
    jobs = world.stubs.jobs
    alice = world.join("alice")
    specs = [
        world.shell("exit 3", name="three", labels={"kind": "batch"}),
        world.spec(),
        world.spec("there/is/no/such/program"),
        world.shell("exit 0", id="no uuid"),
        world.shell("exit 4"),
        world.shell("true", place=jobs.Place(dir=b"relative")),
    ]
    results = world.start_all(alice, specs)
    told = [result.WhichOneof("result") for result in results]
    assert told == ["job", "refusal", "job", "refusal", "job", "refusal"]
    assert [result.refusal.reason for result in results[1::2]] == [
        "INVALID_JOB",
        "MALFORMED",
        "DIR_RELATIVE",
    ]
    invalid = grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert {result.refusal.code for result in results[1::2]} == {invalid}
    assert [world.ended(alice, specs[i].id).finish.exit_code for i in (0, 4)] == [3, 4]
    missing = results[2].job
    assert missing.state == jobs.JOB_STATE_FINISHED
    assert (missing.finish.cause, missing.finish.exit_code) == (jobs.CAUSE_NOT_STARTED, 127)
    assert missing.finish.not_started.step == "exec"
    listed = alice.jobs.List(jobs.ListRequest(labels={"kind": "batch"}))
    assert [job.name for job in listed.jobs] == ["three"]


def test_a_repeated_start_gives_the_first_answer(world: World) -> None:
    alice = world.join("alice")
    spec = world.shell("echo ran >> runs; exit 7")
    for _ in range(3):
        assert world.start(alice, spec).id == spec.id
        assert world.ended(alice, spec.id).finish.exit_code == 7
    assert (world.host.tmp / "runs").read_text() == "ran\n"
    twice = world.start_all(alice, [other := world.shell("echo two >> runs"), other])
    assert {result.job.id for result in twice} == {other.id}
    world.ended(alice, other.id)
    assert (world.host.tmp / "runs").read_text() == "ran\ntwo\n"
    (taken,) = world.start_all(world.join("bob"), [spec])
    assert taken.refusal.reason == "ID_TAKEN"


def test_a_list_is_paged_and_filtered(world: World) -> None:
    jobs = world.stubs.jobs
    alice = world.join("alice")
    specs = [world.shell("true", labels={"n": str(n % 2)}, name=f"j{n}") for n in range(7)]
    world.start_all(alice, specs)
    for spec in specs:
        world.ended(alice, spec.id)
    found, token, pages = [], "", 0
    while True:
        page = alice.jobs.List(jobs.ListRequest(page_size=3, page_token=token))
        found += [job.id for job in page.jobs]
        token, pages = page.next_page_token, pages + 1
        if not token:
            break
    assert (found, pages) == ([spec.id for spec in reversed(specs)], 3)

    def names(client: Client, **how: object) -> list[str]:
        listed = client.jobs.List(jobs.ListRequest(**how)).jobs
        return sorted(job.name for job in listed)

    assert names(alice, labels={"n": "1"}) == ["j1", "j3", "j5"]
    assert names(alice, name="j4") == ["j4"]
    assert names(alice, states=[jobs.JOB_STATE_RUNNING]) == []
    assert len(names(alice, states=[jobs.JOB_STATE_FINISHED])) == 7
    assert len(names(world.admin, owner="alice")) == 7
    assert names(world.admin, owner="admin") == []
    assert names(world.join("bob")) == []
    with alice.refused("MALFORMED"):
        alice.jobs.List(jobs.ListRequest(page_token="x"))
    with alice.refused("MALFORMED"):
        alice.jobs.List(jobs.ListRequest(page_token=f"-1.{NOBODYS}"))


def test_a_job_is_found_by_a_prefix_and_waited_for(world: World) -> None:
    jobs = world.stubs.jobs
    alice = world.join("alice")
    spec = world.shell("while ! test -e go; do sleep 0.01; done; exit 9")
    started = world.start(alice, spec)
    assert alice.jobs.Get(jobs.GetRequest(id=started.short_id[:8])).job.id == spec.id
    begun = time.monotonic()
    unfinished = alice.jobs.Wait(jobs.WaitRequest(id=spec.id, max_wait_ms=50)).job
    assert unfinished.state != jobs.JOB_STATE_FINISHED
    assert time.monotonic() - begun < DEADLINE_S
    waiting = alice.jobs.Wait.future(jobs.WaitRequest(id=spec.id))
    (world.host.tmp / "go").touch()
    ended = waiting.result(DEADLINE_S).job
    assert (ended.finish.cause, ended.finish.code, ended.owner) == (jobs.CAUSE_SELF, 9, "alice")


def test_what_does_not_exist_or_is_somebody_elses_is_not_found(world: World) -> None:
    jobs = world.stubs.jobs
    alice, bob = world.join("alice"), world.join("bob")
    theirs = world.start(alice, world.shell("exec sleep 60")).id
    for id_, reason in [
        (theirs, "JOB_NOT_FOUND"),
        (NOBODYS, "JOB_NOT_FOUND"),
        ("", "NOT_AN_ID"),
        ("../../etc", "NOT_AN_ID"),
        ("nul\0", "NOT_AN_ID"),
        ("x" * 100_000, "NOT_AN_ID"),
        ("é" * 16, "NOT_AN_ID"),
    ]:
        calls = [
            lambda: bob.jobs.Get(jobs.GetRequest(id=id_)),  # noqa: B023
            lambda: bob.jobs.Wait(jobs.WaitRequest(id=id_)),  # noqa: B023
            lambda: bob.jobs.Stop(jobs.StopRequest(id=id_)),  # noqa: B023
            lambda: bob.jobs.Signal(jobs.SignalRequest(id=id_, signal=9)),  # noqa: B023
            lambda: bob.jobs.Pause(jobs.PauseRequest(id=id_)),  # noqa: B023
            lambda: bob.jobs.Resume(jobs.ResumeRequest(id=id_)),  # noqa: B023
            lambda: bob.jobs.Stats(jobs.StatsRequest(ids=[id_])),  # noqa: B023
            lambda: bob.jobs.Remove(jobs.RemoveRequest(id=id_)),  # noqa: B023
            lambda: list(bob.jobs.Logs(jobs.LogsRequest(id=id_))),  # noqa: B023
            lambda: list(bob.jobs.Input(iter([jobs.InputRequest(id=id_)]))),  # noqa: B023
        ]
        for call in calls:
            with bob.refused(reason):
                call()
    assert world.admin.jobs.Get(jobs.GetRequest(id=theirs)).job.owner == "alice"
    alice.jobs.Stop(jobs.StopRequest(id=theirs))


def test_a_reader_sees_all_and_changes_nothing(world: World) -> None:
    jobs = world.stubs.jobs
    alice, eve = world.join("alice"), world.join("eve", "read")
    spec = world.start(alice, world.shell("echo seen; exec sleep 60"))
    assert next(world.logs(eve, spec.id, follow=True)).chunk.data == b"seen\n"
    for call, request in [
        (eve.jobs.Stop, jobs.StopRequest(id=spec.id)),
        (eve.jobs.Signal, jobs.SignalRequest(id=spec.id, signal=9)),
        (eve.jobs.Pause, jobs.PauseRequest(id=spec.id)),
        (eve.jobs.Resume, jobs.ResumeRequest(id=spec.id)),
        (eve.jobs.Remove, jobs.RemoveRequest(id=spec.id)),
        (eve.jobs.Start, jobs.StartRequest()),
    ]:
        with eve.refused("ROLE") as told:
            call(request)
        assert told[0].code == grpc.StatusCode.PERMISSION_DENIED
        assert told[0].metadata["needs"] == "admin,run"
    alice.jobs.Stop(jobs.StopRequest(id=spec.id))


def test_signals_reach_the_job(world: World) -> None:
    jobs = world.stubs.jobs
    alice = world.join("alice")
    job = world.start(
        alice, world.shell("trap 'echo usr1; exit 5' USR1; touch up; while :; do sleep 0.01; done")
    )
    until((world.host.tmp / "up").exists, "the trap is set")
    for wrong in (0, -1, 65, 2**31 - 1):
        with alice.refused("BAD_SIGNAL"):
            alice.jobs.Signal(jobs.SignalRequest(id=job.id, signal=wrong))
    alice.jobs.Signal(jobs.SignalRequest(id=job.id, signal=signal.SIGUSR1))
    assert world.ended(alice, job.id).finish.code == 5
    assert world.output(alice, job.id) == b"usr1\n"
    with alice.refused("JOB_FINISHED"):
        alice.jobs.Signal(jobs.SignalRequest(id=job.id, signal=signal.SIGUSR1))


def test_limits_are_told_applied_and_refused(world: World) -> None:
    jobs = world.stubs.jobs
    alice = world.join("alice")
    limits = jobs.Limits(
        nice=2, oom_score_adj=100, rlimits=[jobs.Rlimit(resource="nofile", soft=40, hard=50)]
    )
    spec = world.shell("ulimit -n; ulimit -Hn; cat /proc/self/oom_score_adj", limits=limits)
    world.start(alice, spec)
    assert world.ended(alice, spec.id).finish.exit_code == 0
    assert world.output(alice, spec.id) == b"40\n50\n100\n"
    told = alice.jobs.Get(jobs.GetRequest(id=spec.id)).job
    assert told.limits == limits
    assert told.containment.kind == "subreaper"
    (listed,) = alice.jobs.List(jobs.ListRequest()).jobs
    assert not listed.HasField("limits")
    memory = jobs.Limits(memory=1 << 30)
    specs = [
        world.shell("true", limits=memory),
        world.shell("true", limits=jobs.Limits(nice=20)),
        world.shell("true", limits=jobs.Limits(cpuset=[70_000])),
        world.shell("true", limits=jobs.Limits(rlimits=[jobs.Rlimit(resource="no such")])),
        world.shell("true", limits=memory, limits_mode=jobs.LIMITS_MODE_BEST_EFFORT),
    ]
    *refused, started = world.start_all(alice, specs)
    reasons = [result.refusal.reason for result in refused]
    assert reasons == ["LIMIT_UNAVAILABLE", "INVALID_JOB", "INVALID_JOB", "INVALID_JOB"]
    assert refused[0].refusal.metadata["limit"] == "memory"
    assert "--rlimit as" in refused[0].refusal.metadata["instead"]
    held = alice.jobs.Get(jobs.GetRequest(id=started.job.id)).job.containment
    assert list(held.left_out) == ["memory"]


def test_processor_time_ends_a_job_by_its_own_cause(world: World) -> None:
    jobs = world.stubs.jobs
    alice = world.join("alice")
    spec = world.shell("while :; do :; done", limits=jobs.Limits(cpu_time_ms=200))
    world.start(alice, spec)
    finish = world.ended(alice, spec.id).finish
    assert (finish.cause, finish.exit_code) == (jobs.CAUSE_CPU_TIME, 124)
    assert finish.usage.user_us + finish.usage.system_us > 100_000


def test_what_is_left_behind_is_waited_for_on_request(world: World) -> None:
    alice = world.join("alice")
    spec = world.shell("(sleep 0.3; echo late) & echo early", on_exit=world.stubs.jobs.ON_EXIT_WAIT)
    world.start(alice, spec)
    assert world.ended(alice, spec.id).finish.exit_code == 0
    assert world.output(alice, spec.id) == b"early\nlate\n"


def test_a_job_is_held_still_and_goes_on(world: World) -> None:
    jobs = world.stubs.jobs
    alice = world.join("alice")
    job = world.start(alice, world.shell("exec sleep 60"))
    for _ in range(2):
        paused = alice.jobs.Pause(jobs.PauseRequest(id=job.id)).job
        assert paused.state == jobs.JOB_STATE_PAUSED
        assert paused.pid == job.pid
        assert paused.paused_at_ms >= job.started_at_ms
    listing = jobs.ListRequest(states=[jobs.JOB_STATE_PAUSED])
    assert [seen.id for seen in alice.jobs.List(listing).jobs] == [job.id]
    for _ in range(2):
        resumed = alice.jobs.Resume(jobs.ResumeRequest(id=job.id)).job
        assert resumed.state == jobs.JOB_STATE_RUNNING
    alice.jobs.Stop(jobs.StopRequest(id=job.id))
    with alice.refused("JOB_FINISHED"):
        alice.jobs.Pause(jobs.PauseRequest(id=job.id))
    with alice.refused("JOB_FINISHED"):
        alice.jobs.Resume(jobs.ResumeRequest(id=job.id))


def test_what_jobs_consume_is_told_to_who_may_know_of_them(world: World) -> None:
    jobs = world.stubs.jobs
    alice, bob, eve = world.join("alice"), world.join("bob"), world.join("eve", "read")
    job = world.start(alice, world.shell("exec sleep 60"))
    other = world.start(bob, world.shell("exec sleep 60"))

    def told(client: Client, *ids: str) -> list[str]:
        request = jobs.StatsRequest(ids=ids)
        return [one.job.id for one in client.jobs.Stats(request).jobs]

    assert told(alice) == [job.id]
    assert told(alice, job.id, job.short_id) == [job.id, job.id]
    assert told(eve) == [other.id, job.id]
    (stats,) = bob.jobs.Stats(jobs.StatsRequest()).jobs
    assert stats.processes == 1
    assert stats.memory_bytes > 0
    with alice.refused("MALFORMED"):
        alice.jobs.Stats(jobs.StatsRequest(ids=[job.id] * 501))
    alice.jobs.Stop(jobs.StopRequest(id=job.id))
    bob.jobs.Stop(jobs.StopRequest(id=other.id))
    assert told(eve) == []


def test_stopping_says_who_and_how(world: World) -> None:
    jobs = world.stubs.jobs
    alice = world.join("alice")
    stubborn = world.shell("trap '' TERM; touch up; while :; do sleep 0.01; done")
    job = world.start(alice, stubborn)
    until((world.host.tmp / "up").exists, "the trap is set")
    with alice.refused("JOB_RUNNING"):
        alice.jobs.Remove(jobs.RemoveRequest(id=job.id))
    finish = world.admin.jobs.Stop(jobs.StopRequest(id=job.id, grace_ms=50)).job.finish
    assert (finish.cause, finish.by, finish.signal) == (jobs.CAUSE_STOPPED, "admin", signal.SIGKILL)
    assert finish.exit_code == 128 + signal.SIGKILL
    again = alice.jobs.Stop(jobs.StopRequest(id=job.id)).job.finish
    assert again == finish, "a repeat is harmless"


def test_a_removed_job_is_gone(world: World) -> None:
    jobs = world.stubs.jobs
    alice = world.join("alice")
    spec = world.shell("echo x")
    world.start(alice, spec)
    world.ended(alice, spec.id)
    alice.jobs.Remove(jobs.RemoveRequest(id=spec.id))
    for call in (alice.jobs.Get, alice.jobs.Remove):
        with alice.refused("JOB_NOT_FOUND"):
            call(
                jobs.GetRequest(id=spec.id)
                if call is alice.jobs.Get
                else jobs.RemoveRequest(id=spec.id)
            )
    assert not (world.host.state / "jobs" / spec.id).exists()


def test_a_time_limit_ends_a_job(world: World) -> None:
    alice = world.join("alice")
    job = world.start(alice, world.shell("exec sleep 60", timeout_ms=100))
    finish = world.ended(alice, job.id).finish
    assert (finish.cause, finish.exit_code) == (world.stubs.jobs.CAUSE_TIMEOUT, 124)


def test_numbers_at_their_ends_are_refused_or_harmless(world: World) -> None:
    jobs = world.stubs.jobs
    alice = world.join("alice")
    most = 2**64 - 1
    for more in [{"timeout_ms": most}, {"stop_grace_ms": most}, {"output_limit": most}]:
        (result,) = world.start_all(alice, [world.shell("exit 2", **more)])
        if result.WhichOneof("result") == "job":
            assert world.ended(alice, result.job.id).finish.exit_code == 2, more
        else:
            assert result.refusal.reason == "INVALID_JOB", more
    job = world.start(alice, world.shell("echo x; exec sleep 60"))
    world.host.printed(job.id, b"x\n")
    alice.jobs.Wait(jobs.WaitRequest(id=job.id, max_wait_ms=0))
    ended = alice.jobs.Stop(jobs.StopRequest(id=job.id, grace_ms=most)).job
    assert ended.finish.signal == signal.SIGTERM
    assert world.output(alice, job.id, tail_lines=most) == b"x\n"
    assert world.output(alice, job.id, offset=most) == b""
    with alice.refused("MALFORMED", "INVALID_JOB"):
        many = [world.shell("true", id=job_id()) for _ in range(1001)]
        world.start_all(alice, many)
