"""Batches that are only accepted: the server may die after the answer, and every job runs once."""

import signal
import subprocess
from pathlib import Path
from typing import Any

import grpc
import pytest
from harness.api import Client
from harness.host import Host
from harness.waiting import DEADLINE_S, until
from harness.world import World

pytestmark = pytest.mark.once

JOBS = 300


def accept(world: World, client: Client, specs: list[Any]) -> list[Any]:
    request = world.stubs.jobs.StartRequest(specs=specs, accept=True)
    return list(client.jobs.Start(request, timeout=DEADLINE_S).results)


def noting(world: World, count: int) -> list[Any]:
    """Jobs that each leave a line in a file of its own."""
    specs = [world.shell("echo ran >> runs-$0; exit 3") for _ in range(count)]
    for number, spec in enumerate(specs):
        spec.argv.append(b"%d" % number)
    return specs


def runs(directory: Path) -> list[str]:
    return [path.read_text() for path in directory.glob("runs-*")]


def batches(host: Host) -> list[Path]:
    return list((host.state / "accepted").glob("*"))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["kill", "term"])
def test_every_job_runs_once_whatever_becomes_of_the_server(world: World, number: int) -> None:
    jobs = world.stubs.jobs
    alice = world.join("alice")
    specs = noting(world, JOBS)
    results = accept(world, alice, specs)
    world.serving.end(number)
    assert [result.job.id for result in results] == [spec.id for spec in specs]
    assert {result.job.state for result in results} == {jobs.JOB_STATE_PENDING}
    assert all(result.job.why for result in results)
    assert len(batches(world.host)) == 1

    # Whoever looks without a server is told that nobody starts them.
    waiting = world.host.json("ps", "--state", "pending")
    assert waiting, "the server had time for all of them: take more"
    assert "legwork serve" in waiting[0]["why"]
    assert world.host.status(waiting[0]["id"])["state"] == "pending"
    error = world.host.run("signal", waiting[0]["id"], "INT", "--json").error()
    assert error["reason"] == "JOB_PENDING"

    for _ in range(2):
        world.again()
        world.serving.end(signal.SIGKILL)
    world.again()
    grpc.channel_ready_future(alice.channel).result(DEADLINE_S)
    for spec in specs:
        assert world.ended(alice, spec.id).finish.exit_code == 3
    assert runs(world.host.tmp) == ["ran\n"] * JOBS
    until(lambda: not batches(world.host), "the batch is done")
    # What is repeated is answered, and not run again.
    for again in accept(world, alice, specs):
        assert again.job.state == jobs.JOB_STATE_FINISHED
    assert runs(world.host.tmp) == ["ran\n"] * JOBS


def test_what_is_stopped_or_removed_meanwhile_stays_so(world: World) -> None:
    jobs = world.stubs.jobs
    alice = world.join("alice")
    specs = noting(world, JOBS)
    accept(world, alice, specs)
    world.serving.end(signal.SIGKILL)
    waiting = [job["id"] for job in world.host.json("ps", "--state", "pending")]
    done = {job["id"] for job in world.host.json("ps", "--state", "finished")}
    stopped = waiting[:5]
    for job in stopped:
        world.host.ok("stop", job)
        assert world.host.status(job)["finish"]["cause"] == "stopped"
    removed = [*sorted(done)[:5], stopped[0]]
    world.host.ok("rm", *removed)

    world.again()
    grpc.channel_ready_future(alice.channel).result(DEADLINE_S)
    until(lambda: not batches(world.host), "the batch is done")
    for spec in specs:
        if spec.id in removed:
            with alice.refused("JOB_NOT_FOUND"):
                alice.jobs.Get(jobs.GetRequest(id=spec.id))
            continue
        finish = world.ended(alice, spec.id).finish
        if spec.id in stopped:
            assert (finish.cause, finish.WhichOneof("status")) == (jobs.CAUSE_STOPPED, None)
        else:
            assert finish.exit_code == 3
    assert runs(world.host.tmp) == ["ran\n"] * (JOBS - len(stopped))


def test_a_mirror_cannot_be_promised(world: World) -> None:
    jobs = world.stubs.jobs
    alice = world.join("alice")
    named = jobs.WorkspaceRef(name="w")
    specs = [
        world.shell("exit 3"),
        world.shell("exit 4", place=jobs.Place(workspace=named)),
        world.shell("exit 5", place=jobs.Place(dir=b"/", require_root=b"0" * 32)),
        world.shell("exit 6", id="no uuid"),
        world.shell("exit 7"),
    ]
    results = accept(world, alice, specs)
    told = [result.refusal.reason for result in results]
    assert told == ["", "ACCEPT_WORKSPACE", "ACCEPT_WORKSPACE", "MALFORMED", ""]
    assert results[1].refusal.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    codes = [world.ended(alice, specs[number].id).finish.exit_code for number in (0, 4)]
    assert codes == [3, 7]
    (taken,) = accept(world, world.join("bob"), specs[:1])
    assert taken.refusal.reason == "ID_TAKEN"


def test_an_end_is_waited_for_and_output_followed_from_the_answer_on(world: World) -> None:
    alice = world.join("alice")
    specs = [world.shell("echo $0; exit 3") for _ in range(50)]
    accept(world, alice, specs)
    last = specs[-1].id
    follow = ("logs", "-f", last)
    follower = world.host.popen(*follow, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert world.ended(alice, last).finish.exit_code == 3
    assert world.output(alice, last, follow=True) == b"sh\n"
    assert follower.communicate(timeout=DEADLINE_S)[0] == b"sh\n"
