"""Much of everything at once, and for long: nothing is lost, and nothing grows that should not."""

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from harness import processes
from harness.api import Client
from harness.waiting import until
from harness.wire import descriptors, memory_bytes
from harness.world import World, read

pytestmark = pytest.mark.once

WIDE = "[limits]\njobs_each = 30000\nstreams_each = 1000\n"


def long_form(some: int, all_of_them: int) -> Any:
    """A few in every run of the tests, and as many as there should be when there is time."""
    values = [some, pytest.param(all_of_them, marks=pytest.mark.soak)]
    return pytest.mark.parametrize("many", values)


class Gate:
    """Holds jobs until all are to go on: each reads a line of a pipe that is empty."""

    def __init__(self, path: Path) -> None:
        """Closed."""
        os.mkfifo(path)
        path.chmod(0o666)
        self._pipe = os.open(path, os.O_RDWR)

    def open(self, many: int) -> None:
        """Let so many of them go on, whether they are here already or not."""
        os.write(self._pipe, b"\n" * many)

    def close(self) -> None:
        """Nobody is held any more."""
        os.close(self._pipe)


def start_in_batches(world: World, client: Client, specs: list[Any]) -> list[str]:
    """Start them a hundred to a call; their ids."""
    ids = []
    for first in range(0, len(specs), 100):
        results = world.start_all(client, specs[first : first + 100])
        assert [result.WhichOneof("result") for result in results] == ["job"] * len(results)
        ids += [result.job.id for result in results]
    return ids


@long_form(60, 1000)
def test_many_jobs_print_at_once(serve: Callable[..., World], many: int) -> None:
    world = serve(WIDE)
    alice = world.join("alice")
    server = world.serving.process.pid
    begun = descriptors(server)
    gate = Gate(world.host.tmp / "gate")
    scripts = [f"read x < gate; seq {n} {n + 5000}; exit {n % 100}" for n in range(many)]
    ids = start_in_batches(world, alice, [world.shell(script) for script in scripts])
    gate.open(many)

    def judge(number: int) -> None:
        finish = world.ended(alice, ids[number]).finish
        assert finish.exit_code == number % 100
        expected = b"".join(b"%d\n" % n for n in range(number, number + 5001))
        assert world.output(alice, ids[number]) == expected

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(judge, range(many)))
    gate.close()
    until(lambda: descriptors(server) <= begun + 8, "it has closed what it had opened for them")
    for job in ids[:: max(1, many // 20)]:
        assert processes.of_job(job) == []
    assert memory_bytes(server) < 256 << 20


@long_form(24, 200)
def test_many_follow_one_job_and_some_of_them_are_dead_or_stuck(
    serve: Callable[..., World], many: int
) -> None:
    world = serve(WIDE)
    alice = world.join("alice")
    server = world.serving.process.pid
    gate = Gate(world.host.tmp / "gate")
    job = world.start(alice, world.shell("read x < gate; seq 200000; exit 5"))
    expected = b"".join(b"%d\n" % n for n in range(1, 200_001))
    stuck = [world.logs(world.client("alice"), job.id, follow=True) for _ in range(many // 8)]
    dead = [world.client("alice") for _ in range(many // 8)]
    for client in dead:
        world.logs(client, job.id, follow=True)
    all_there = threading.Barrier(many + 1)

    def follow(_number: int) -> None:
        stream = world.logs(alice, job.id, follow=True)
        all_there.wait(60)
        data, end = read(stream)
        assert data == expected
        assert end.job.finish.exit_code == 5

    with ThreadPoolExecutor(many) as pool:
        followers = [pool.submit(follow, number) for number in range(many)]
        all_there.wait(60)
        for client in dead:
            client.channel.close()
        gate.open(1)
        assert world.ended(alice, job.id).finish.exit_code == 5
        for follower in followers:
            follower.result(timeout=120)
        gate.close()
    assert memory_bytes(server) < 256 << 20
    # Whoever did not read until now has missed nothing.
    for stream in stuck:
        data, end = read(stream)
        assert (data, end.job.finish.exit_code) == (expected, 5)


@long_form(400, 20_000)
def test_short_jobs_leave_nothing_behind(serve: Callable[..., World], many: int) -> None:
    keep = 1000
    world = serve(f"{WIDE}\n[retention]\njobs = {keep}\n")
    alice = world.join("alice")
    server = world.serving.process.pid

    def run(count: int) -> None:
        for _ in range(0, count, 50):
            specs = [world.spec("/bin/true") for _ in range(50)]
            for job in start_in_batches(world, alice, specs):
                assert world.ended(alice, job).finish.exit_code == 0

    # What is there after the first ones is there for good: caches and threads.
    run(many // 4)
    files, memory = descriptors(server), memory_bytes(server)
    run(many - many // 4)
    until(lambda: descriptors(server) <= files + 4, "it has no more open files")
    assert memory_bytes(server) < memory * 1.25 + (8 << 20)
    assert processes.of_state(world.host.state) in ([], [server])
    if many > keep:
        jobs = world.host.state / "jobs"
        bound = keep + keep // 16 + 100
        until(lambda: len(list(jobs.iterdir())) <= bound, "old jobs are gone", deadline_s=120)
