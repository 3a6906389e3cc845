"""Run: a start and the output from its first byte, in one call."""

import json
from typing import Any

import grpc
import pytest
from harness.api import Client
from harness.waiting import DEADLINE_S, until
from harness.world import World

pytestmark = pytest.mark.once


def run(world: World, who: Client, spec: object) -> grpc.Call:
    return who.jobs.Run(world.stubs.jobs.RunRequest(spec=spec), timeout=DEADLINE_S)


def test_the_job_comes_first_then_its_output_and_at_last_its_end(world: World) -> None:
    alice = world.join("alice")
    spec = world.shell("echo one; echo two >&2; exit 3")
    for _again in range(2):
        events = list(run(world, alice, spec))
        kinds = [event.WhichOneof("event") for event in events]
        assert (kinds[0], kinds[-1]) == ("started", "end")
        assert set(kinds[1:-1]) == {"chunk"}
        assert events[0].started.id == spec.id
        assert b"".join(event.chunk.data for event in events) == b"one\ntwo\n"
        assert events[-1].end.job.finish.exit_code == 3
    logged = until(lambda: [line for line in lines(world) if line["subject"] == spec.id], "a line")
    assert logged[0]["method"].endswith("JobService/Run")
    assert logged[0]["code"] == "Ok"


def lines(world: World) -> list[dict[str, Any]]:
    return [json.loads(line) for line in world.access.read_text().splitlines()]


def test_what_comes_is_told_as_it_comes(world: World) -> None:
    alice = world.join("alice")
    gate = world.host.tmp / "gate"
    spec = world.shell(f"echo before; until [ -e {gate} ]; do sleep 0.02; done; echo after")
    events = run(world, alice, spec)
    assert next(events).started.state == world.stubs.jobs.JOB_STATE_RUNNING
    assert next(events).chunk.data == b"before\n"
    gate.touch()
    rest = list(events)
    assert b"".join(event.chunk.data for event in rest) == b"after\n"
    assert rest[-1].end.job.finish.exit_code == 0


def test_what_is_refused_fails_the_call_and_what_was_not_started_has_no_output(
    world: World,
) -> None:
    jobs = world.stubs.jobs
    alice = world.join("alice")
    for reason, spec in [
        ("INVALID_JOB", world.spec()),
        ("MALFORMED", world.shell("exit 0", id="no uuid")),
        ("DIR_RELATIVE", world.shell("true", place=jobs.Place(dir=b"relative"))),
        ("MALFORMED", None),
    ]:
        with alice.refused(reason):
            next(run(world, alice, spec))
    (only,) = run(world, alice, world.spec("there/is/no/such/program"))
    finish = only.started.finish
    assert (finish.cause, finish.exit_code) == (jobs.CAUSE_NOT_STARTED, 127)
    theirs = world.shell("true")
    world.start(world.join("bob"), theirs)
    with alice.refused("ID_TAKEN"):
        next(run(world, alice, theirs))


def test_a_job_does_not_depend_on_who_looks(world: World) -> None:
    alice = world.join("alice")
    gate = world.host.tmp / "gate"
    spec = world.shell(f"until [ -e {gate} ]; do sleep 0.02; done; echo after; exit 4")
    events = run(world, alice, spec)
    next(events)
    events.cancel()
    gate.touch()
    assert world.ended(alice, spec.id).finish.exit_code == 4
    assert world.output(alice, spec.id) == b"after\n"
