"""The server dies under load and comes back: nothing is lost, and nothing is done twice."""

import signal
import threading
from typing import Any

import grpc
import pytest
from harness.api import Client
from harness.waiting import DEADLINE_S, until
from harness.world import World

pytestmark = pytest.mark.once

JOBS = 6
# Prints numbers until it is told, then ends with its own number.
SCRIPT = """i=0; while ! test -e go; do echo $i; i=$((i+1)); sleep 0.001; done; exit %d"""


class Follower:
    """Follows a job through every death of the server, by offset."""

    def __init__(self, world: World, client: Client, job: str) -> None:
        """Begin at once."""
        self.world, self.client, self.job = world, client, job
        self.data = b""
        self.cuts = 0
        self.end: Any = None
        self.thread = threading.Thread(target=self._follow, daemon=True)
        self.thread.start()

    def _follow(self) -> None:
        while self.end is None:
            try:
                stream = self.world.logs(self.client, self.job, offset=len(self.data), follow=True)
                for message in stream:
                    if message.WhichOneof("event") == "end":
                        self.end = message.end
                    else:
                        assert message.chunk.offset == len(self.data)
                        self.data += message.chunk.data
            except grpc.RpcError as error:
                assert error.code() == grpc.StatusCode.UNAVAILABLE, error
                self.cuts += 1
                ready = grpc.channel_ready_future(self.client.channel)
                ready.result(DEADLINE_S)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["kill", "term"])
def test_followers_go_on_where_they_were(world: World, number: int) -> None:
    # A client that finds nobody asks again soon.
    alice = world.join("alice")
    clients = [world.client("alice") for _ in range(JOBS)]
    specs = [world.shell(SCRIPT % (10 + n)) for n in range(JOBS)]
    for result in world.start_all(alice, specs):
        assert result.WhichOneof("result") == "job"
    followers = [
        Follower(world, client, spec.id) for client, spec in zip(clients, specs, strict=True)
    ]
    for deaths in (1, 2):
        seen = [len(f.data) for f in followers]
        until(
            lambda: all(len(f.data) > n for f, n in zip(followers, seen, strict=True)),  # noqa: B023
            "all followers hear something",
        )
        world.serving.end(number)
        until(lambda: all(f.cuts >= deaths for f in followers), "all are cut off")  # noqa: B023
        world.again()
    # What was started before is answered as before, and not started again.
    for spec, result in zip(specs, world.start_all(alice, specs), strict=True):
        assert result.job.id == spec.id
        assert result.job.state == world.stubs.jobs.JOB_STATE_RUNNING
    (world.host.tmp / "go").touch()
    for number_, follower in enumerate(followers):
        follower.thread.join(DEADLINE_S)
        assert follower.end is not None, "it has not ended"
        assert follower.end.job.finish.exit_code == 10 + number_
        lines = follower.data.split()
        assert lines == [b"%d" % n for n in range(len(lines))]
        assert follower.end.offset == len(follower.data)
        assert world.output(alice, specs[number_].id) == follower.data


def test_a_start_is_repeated_after_a_death(world: World) -> None:
    alice = world.join("alice")
    specs = [
        world.shell(
            "echo ran >> runs-$0",
        )
        for _ in range(50)
    ]
    for number, spec in enumerate(specs):
        spec.argv.append(b"%d" % number)
    call = alice.jobs.Start.future(world.stubs.jobs.StartRequest(specs=specs))
    until(lambda: any((world.host.state / "jobs").glob("*/journal")), "it has begun")
    world.serving.end(signal.SIGKILL)
    with pytest.raises(grpc.RpcError):
        # Answered before the end, or never.
        call.result(DEADLINE_S)
        raise grpc.RpcError
    world.again()
    grpc.channel_ready_future(alice.channel).result(DEADLINE_S)
    for result in world.start_all(alice, specs):
        assert result.WhichOneof("result") == "job", result
    for number, spec in enumerate(specs):
        finish = world.ended(alice, spec.id).finish
        runs = world.host.tmp / f"runs-{number}"
        if finish.cause == world.stubs.jobs.CAUSE_SELF:
            assert (finish.exit_code, runs.read_text()) == (0, "ran\n")
        else:
            assert finish.exit_code in (125, 255)
            assert not runs.exists() or runs.read_text() == "ran\n"


def test_a_wait_and_a_commit_are_told_to_come_again(world: World) -> None:
    jobs, sync = world.stubs.jobs, world.stubs.sync
    alice = world.join("alice")
    spec = world.shell("while ! test -e go; do sleep 0.01; done; exit 3")
    world.start(alice, spec)
    waiting = alice.jobs.Wait.future(jobs.WaitRequest(id=spec.id))
    hello = sync.CommitRequest(workspace=jobs.WorkspaceRef(name="w"), hello=sync.Hello(version=1))
    hold = threading.Event()

    def requests() -> Any:
        yield hello
        hold.wait(DEADLINE_S)

    commit = alice.sync.Commit(requests())
    assert next(commit).HasField("welcome")
    world.serving.process.send_signal(signal.SIGTERM)
    assert waiting.result(DEADLINE_S).job.state == jobs.JOB_STATE_RUNNING
    with alice.refused("SHUTTING_DOWN") as told:
        list(commit)
    hold.set()
    assert told[0].code == grpc.StatusCode.UNAVAILABLE
    assert world.serving.process.wait(DEADLINE_S) == 0
    world.again()
    grpc.channel_ready_future(alice.channel).result(DEADLINE_S)
    (world.host.tmp / "go").touch()
    assert world.ended(alice, spec.id).finish.exit_code == 3
