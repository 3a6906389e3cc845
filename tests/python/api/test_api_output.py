"""Output and input by a foreign client: bytes at offsets, past and live."""

import random
import threading
from collections.abc import Iterator
from queue import Queue
from typing import Any

import pytest
from harness.api import Client
from harness.waiting import DEADLINE_S, until
from harness.world import World, read

pytestmark = pytest.mark.once


class Typed:
    """The request side of an input stream, message by message."""

    def __init__(self, client: Client) -> None:
        """Open the stream."""
        self.queue: Queue[Any] = Queue()
        self.request = client.stubs.jobs.InputRequest
        self.answers = client.jobs.Input(iter(self.queue.get, None), timeout=DEADLINE_S)

    def send(self, **fields: Any) -> Any:
        """Send one message; its answer."""
        self.queue.put(self.request(**fields))
        return next(self.answers)

    def half_close(self) -> list[Any]:
        """Say that nothing more comes; what is still answered."""
        self.queue.put(None)
        return list(self.answers)


def test_output_past_and_live_with_its_end(world: World) -> None:
    alice = world.join("alice")
    job = world.start(
        alice, world.shell("echo one; while ! test -e go; do sleep 0.01; done; echo two; exit 6")
    )
    stream = world.logs(alice, job.id, follow=True)
    first = next(stream)
    assert (first.chunk.offset, first.chunk.data) == (0, b"one\n")
    past, end = read(world.logs(alice, job.id))
    assert past == b"one\n"
    assert not end.HasField("job"), "it has not finished"
    live = world.logs(alice, job.id, live=True, follow=True)
    (world.host.tmp / "go").touch()
    rest, end = read(stream)
    assert (rest, end.offset, end.job.finish.exit_code) == (b"two\n", 8, 6)
    heard, end = read(live)
    assert b"one\ntwo\n".endswith(heard)
    assert end.job.finish.exit_code == 6


def test_any_offset_gives_the_rest(world: World) -> None:
    alice = world.join("alice")
    job = world.start(alice, world.shell("seq 200000"))
    whole = b"".join(b"%d\n" % number for number in range(1, 200001))
    finish = world.ended(alice, job.id).finish
    assert (finish.output_end, finish.output_dropped) == (len(whole), 0)
    assert world.output(alice, job.id) == whole
    generator = random.Random(7)
    for offset in [0, 1, len(whole) - 1, len(whole), *generator.sample(range(len(whole)), 10)]:
        assert world.output(alice, job.id, offset=offset) == whole[offset:], offset
    assert world.output(alice, job.id, offset=len(whole) + 5) == b""
    for lines in (0, 1, 3, 5000, 10**9):
        tail = b"".join(whole.splitlines(keepends=True)[-lines:]) if lines else b""
        assert world.output(alice, job.id, tail_lines=lines) == tail, lines


def test_a_follower_that_comes_and_goes_loses_nothing(world: World) -> None:
    alice = world.join("alice")
    job = world.start(
        alice, world.shell("i=0; while ! test -e go; do echo $i; i=$((i+1)); done; exit 3")
    )
    data, comings = b"", 0
    while True:
        stream = world.logs(alice, job.id, offset=len(data), follow=True)
        end = None
        for number, message in enumerate(stream):
            if message.WhichOneof("event") == "end":
                end = message.end
                break
            assert message.chunk.offset == len(data)
            data += message.chunk.data
            if number == 2 and comings < 20:
                stream.cancel()
                break
        comings += 1
        if end:
            break
        if comings == 20:
            (world.host.tmp / "go").touch()
    lines = data.split()
    assert lines == [b"%d" % number for number in range(len(lines))]
    assert (end.offset, end.job.finish.exit_code) == (len(data), 3)


def test_the_streams_are_told_apart(world: World) -> None:
    jobs = world.stubs.jobs
    alice = world.join("alice")
    wait = "while ! test -e {}; do sleep 0.01; done"
    script = f"echo out; {wait.format('go1')}; echo err >&2; {wait.format('go2')}; echo out2"
    job = world.start(alice, world.shell(script))
    # What comes on both streams at once has no order that anybody could know.
    for line, gate in ((b"out\n", "go1"), (b"err\n", "go2")):
        world.host.printed(job.id, line)
        (world.host.tmp / gate).touch()
    world.ended(alice, job.id)
    assert world.output(alice, job.id, stream=jobs.LOG_STREAM_STDOUT) == b"out\nout2\n"
    assert world.output(alice, job.id, stream=jobs.LOG_STREAM_STDERR) == b"err\n"
    runs = [run for m in world.logs(alice, job.id) for run in m.chunk.runs]
    assert [run.stream for run in runs] == [
        jobs.LOG_STREAM_STDOUT,
        jobs.LOG_STREAM_STDERR,
        jobs.LOG_STREAM_STDOUT,
    ]
    assert all(run.time_us for run in runs)


def test_what_was_not_kept_is_a_gap(world: World) -> None:
    alice = world.join("alice")
    job = world.start(alice, world.shell("seq 100000", output_limit=100_000))
    finish = world.ended(alice, job.id).finish
    assert finish.output_dropped > 0
    at = dropped = 0
    for message in world.logs(alice, job.id):
        kind = message.WhichOneof("event")
        event = getattr(message, kind)
        assert event.offset == at
        if kind == "gap":
            dropped += event.length
            at += event.length
        elif kind == "chunk":
            at += len(event.data)
    assert (at, dropped) == (finish.output_end, finish.output_dropped)


def test_a_search_says_where_it_is_and_goes_on_there(world: World) -> None:
    jobs = world.stubs.jobs
    alice = world.join("alice")
    job = world.start(alice, world.shell("seq 1 300000; echo '2 errors' >&2"))
    world.ended(alice, job.id)

    def search(pattern: str, **how: Any) -> list[Any]:
        more = {key: how.pop(key) for key in ("stdout_from", "stderr_from") if key in how}
        wanted = jobs.LogFilter(pattern=pattern, **more)
        return list(world.logs(alice, job.id, filter=wanted, **how))

    first, *messages, end = search("[27]$|errors")
    assert first.WhichOneof("event") == "found"
    assert (first.found.data, list(first.found.lines), first.found.stdout_next) == (b"", [], 0)
    assert end.WhichOneof("event") == "end"
    whole = world.output(alice, job.id)
    expected = [n for n in range(1, 300_001) if n % 5 == 2]
    seen = []
    for message in messages:
        data = message.found.data
        for line in message.found.lines:
            printed, data = data[: line.length], data[line.length :]
            assert whole[line.offset :].startswith(printed) if len(seen) < 9 else line.time_us
            seen.append(printed)
    assert [line for line in seen if line != b"2 errors\n"] == [b"%d\n" % n for n in expected]
    assert len(seen) == len(expected) + 1

    then = messages[0].found
    rest = search(
        "[27]$|errors",
        offset=min(then.stdout_next, then.stderr_next),
        stdout_from=then.stdout_next,
        stderr_from=then.stderr_next,
    )
    assert b"".join(m.found.data for m in rest) == b"".join(seen[len(then.lines) :])
    for pattern in ("(", "(a{1000}){1000}"):
        with alice.refused("BAD_PATTERN"):
            search(pattern)


def test_input_by_offset_with_repeats_and_an_end(world: World) -> None:
    jobs = world.stubs.jobs
    alice = world.join("alice")
    job = world.start(alice, world.shell("cat; exit 4", stdin=jobs.STDIN_PIPE))
    typed = Typed(alice)
    assert typed.send(id=job.id, data=b"hello ").taken == 6
    assert typed.send(offset=6, data=b"wor").taken == 9
    assert typed.half_close() == [], "a half close leaves the input open"
    again = Typed(alice)
    assert again.send(id=job.id, offset=6, data=b"world").taken == 11
    assert again.send(offset=0, data=b"hello world").taken == 11
    assert again.send(offset=11, data=b"\n", end=True).taken == 12
    assert world.ended(alice, job.id).finish.exit_code == 4
    assert world.output(alice, job.id) == b"hello world\n"
    late = Typed(alice).send(id=job.id, offset=12, data=b"x")
    assert late.closed


def test_input_that_cannot_be_is_refused(world: World) -> None:
    jobs = world.stubs.jobs
    alice = world.join("alice")
    job = world.start(alice, world.shell("cat", stdin=jobs.STDIN_PIPE))
    assert Typed(alice).send(id=job.id, data=b"x").taken == 1
    with alice.refused("MALFORMED"):
        Typed(alice).send(id=job.id, offset=2**64 - 1, data=b"xx")
    typed = Typed(alice)
    typed.queue.put(None)
    assert list(typed.answers) == []
    deaf = world.start(alice, world.shell("exec sleep 60"))
    assert Typed(alice).send(id=deaf.id, data=b"x").closed
    alice.jobs.Stop(jobs.StopRequest(id=deaf.id))
    assert Typed(alice).send(id=job.id, offset=1, data=b"y", end=True).taken == 2
    world.ended(alice, job.id)
    assert world.output(alice, job.id) == b"xy"


def test_a_job_that_does_not_read_holds_its_input_up_and_nobody_else(world: World) -> None:
    jobs = world.stubs.jobs
    alice = world.join("alice")
    script = "while ! test -e go; do sleep 0.01; done; wc -c"
    job = world.start(alice, world.shell(script, stdin=jobs.STDIN_PIPE))
    piece, count = b"x" * 65536, 64

    def pieces() -> Iterator[Any]:
        for number in range(count):
            yield jobs.InputRequest(
                id=job.id, offset=number * len(piece), data=piece, end=number == count - 1
            )

    taken: list[int] = []
    stream = alice.jobs.Input(pieces(), timeout=DEADLINE_S)
    reader = threading.Thread(target=lambda: taken.extend(answer.taken for answer in stream))
    reader.start()
    other = world.start(alice, world.shell("exit 2"))
    assert world.ended(alice, other.id).finish.exit_code == 2
    assert len(taken) < count
    (world.host.tmp / "go").touch()
    world.ended(alice, job.id)
    reader.join(DEADLINE_S)
    assert taken[-1] == count * len(piece)
    assert int(world.output(alice, job.id)) == count * len(piece)


def test_many_follow_one_job(world: World) -> None:
    alice = world.join("alice")
    script = "while ! test -e go; do sleep 0.01; done; seq 20000"
    job = world.start(alice, world.shell(script))
    heard: dict[int, tuple[bytes, Any]] = {}

    def follow(number: int) -> None:
        heard[number] = read(world.logs(alice, job.id, follow=True))

    followers = [threading.Thread(target=follow, args=(number,)) for number in range(16)]
    for follower in followers:
        follower.start()
    (world.host.tmp / "go").touch()
    for follower in followers:
        follower.join(DEADLINE_S)
    until(lambda: len(heard) == 16, "all have heard the end")
    whole = b"".join(b"%d\n" % number for number in range(1, 20001))
    assert {data for data, _ in heard.values()} == {whole}
