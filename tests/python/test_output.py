"""`logs`: the very bytes, by stream, from anywhere, past and live, and the exit last."""

import hashlib
import json
import re
import time

import pytest
from harness.host import Host
from harness.waiting import DEADLINE_S, until

BINARY = bytes(range(256)) * 64


def in_turn(host: Host, *lines: bytes, code: int = 0) -> str:
    """A job that prints each line when the one before has been kept; each second on standard error.

    What comes on both streams at once has no order that anybody could know.
    """
    script = "".join(
        f"echo {line.decode().strip()} >&{1 + number % 2}; "
        f"while ! test -e go{number}; do sleep 0.01; done; "
        for number, line in enumerate(lines)
    )
    job = host.shell(f"{script} exit {code}", options=["--dir", str(host.tmp)])
    for number, line in enumerate(lines):
        host.printed(job, line)
        _touch(host, f"go{number}")
    host.finished(job)
    return job


def test_bytes_are_never_touched(host: Host) -> None:
    path = host.tmp / "blob"
    path.write_bytes(BINARY)
    job = host.start("cat", path)
    host.finished(job)
    assert host.run("logs", job).expect(0).out == BINARY
    assert host.run("run", "--no-sync", "-q", "--", "cat", path).expect(0).out == BINARY


def test_a_large_output_arrives_whole(host: Host) -> None:
    # 64 MiB, told by its checksum; more than any buffer on the way.
    script = "head -c 67108864 /dev/zero | tr '\\0' 'x'"
    result = host.run("run", "--no-sync", "-q", "--", "sh", "-c", script).expect(0)
    assert len(result.out) == 67108864
    assert hashlib.sha256(result.out).digest() == hashlib.sha256(b"x" * 67108864).digest()


def test_streams_are_told_apart(host: Host) -> None:
    job = in_turn(host, b"o1\n", b"e1\n", b"o2\n")
    assert host.run("logs", "--stream", "raw", job).expect(0).out == b"o1\ne1\no2\n"
    assert host.run("logs", "--stream", "stdout", job).expect(0).out == b"o1\no2\n"
    only_errors = host.run("logs", "--stream", "stderr", job).expect(0)
    assert only_errors.out + only_errors.err == b"e1\n"


def test_no_newline_at_the_end_is_kept(host: Host) -> None:
    job = host.start("printf", "a\\nb")
    host.finished(job)
    assert host.run("logs", job).out == b"a\nb"


def test_tail_counts_lines(host: Host) -> None:
    job = host.start("seq", "1", "1000")
    host.finished(job)
    assert host.run("logs", "--tail", "3", job).out == b"998\n999\n1000\n"
    assert host.run("logs", "--tail", "0", job).out == b""
    assert len(host.run("logs", "--tail", "5000", job).out.splitlines()) == 1000


def test_tail_counts_a_line_without_end(host: Host) -> None:
    job = host.start("printf", "a\\nb\\nc")
    host.finished(job)
    assert host.run("logs", "--tail", "2", job).out == b"b\nc"


@pytest.mark.parametrize(("offset", "rest"), [(0, b"0123456789"), (4, b"456789"), (10, b"")])
def test_offset_is_in_bytes(host: Host, offset: int, rest: bytes) -> None:
    job = host.start("printf", "0123456789")
    host.finished(job)
    assert host.run("logs", "--offset", str(offset), job).expect(0).out == rest


def test_timestamps_begin_each_line(host: Host) -> None:
    job = host.shell("echo one; echo two")
    host.finished(job)
    lines = host.ok("logs", "--timestamps", job).splitlines()
    assert [line.rpartition(" ")[2] for line in lines] == ["one", "two"]
    assert all(
        re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+(Z|[+-]\d\d:?\d\d) ", x) for x in lines
    )


def test_following_shows_past_then_live_then_ends(host: Host) -> None:
    job = host.shell(
        "echo past; while ! test -e go; do sleep 0.02; done; echo live; exit 3",
        options=["--dir", str(host.tmp)],
    )
    host.printed(job, b"past")
    follower = host.popen("logs", "-f", job)
    assert follower.stdout
    assert follower.stdout.readline() == b"past\n"
    host.user.owns(_touch(host, "go"))
    assert follower.stdout.readline() == b"live\n"
    assert follower.stdout.read() == b""
    follower.communicate(timeout=DEADLINE_S)
    assert follower.returncode == 0


def _touch(host: Host, name: str):  # noqa: ANN202
    path = host.tmp / name
    path.touch()
    return path


def test_a_line_is_shown_when_it_is_printed(host: Host) -> None:
    script = "for i in 1 2 3; do echo $i; while ! test -e go$i; do sleep 0.01; done; done"
    where = ("--dir", str(host.tmp))
    process = host.popen("run", "--no-sync", "-q", *where, "--", "sh", "-c", script, bufsize=0)
    assert process.stdout
    for number in (1, 2, 3):
        # The job does not go on before it has been seen.
        assert process.stdout.readline() == b"%d\n" % number
        _touch(host, f"go{number}")
    process.communicate(timeout=DEADLINE_S)


def test_many_followers_see_the_same(host: Host) -> None:
    script = "while ! test -e go; do sleep 0.02; done; seq 1 50000; exit 1"
    job = host.shell(script, options=["--dir", str(host.tmp)])
    followers = [host.popen("logs", "-f", job) for _ in range(12)]
    _touch(host, "go")
    expected = "".join(f"{n}\n" for n in range(1, 50001)).encode()
    for follower in followers:
        out, _ = follower.communicate(timeout=DEADLINE_S)
        assert out == expected


def test_a_stuck_follower_stops_nobody(host: Host) -> None:
    script = "while ! test -e go; do sleep 0.02; done; head -c 20000000 /dev/zero; exit 2"
    job = host.shell(script, options=["--dir", str(host.tmp)])
    stuck = host.popen("logs", "-f", job)
    reads = host.popen("logs", "-f", job)
    _touch(host, "go")
    out, _ = reads.communicate(timeout=DEADLINE_S)
    assert len(out) == 20000000
    assert host.finished(job)["finish"]["exitCode"] == 2
    stuck.kill()
    stuck.communicate()


def test_the_tail_is_never_lost(host: Host) -> None:
    # The last bytes come from a grandchild at the very end.
    for _ in range(20):
        result = host.run(
            "run", "--no-sync", "-q", "--", "sh", "-c", "(echo a; echo b) | cat; exit 5"
        )
        assert (result.out, result.code) == (b"a\nb\n", 5)


def test_followed_events_as_json_end_with_the_exit(host: Host) -> None:
    begun = time.time()
    job = in_turn(host, b"one\n", b"two\n", code=3)
    ended = time.time()
    events = [json.loads(line) for line in host.ok("logs", "-f", "--json", job).splitlines()]
    assert [event["event"] for event in events] == ["output", "output", "end"]
    assert [(e["stream"], e["data"], e["offset"]) for e in events[:-1]] == [
        ("stdout", "one\n", 0),
        ("stderr", "two\n", 4),
    ]
    times = [event["timeUs"] / 1e6 for event in events[:-1]]
    assert begun - 1 < times[0] < times[1] < ended + 1
    assert events[-1]["offset"] == 8
    assert events[-1]["job"]["finish"]["exitCode"] == 3


def test_the_output_limit_keeps_head_and_tail_and_says_so(host: Host) -> None:
    job = host.start("seq", "1", "200000", options=["--output-limit", "64KiB"])
    finish = host.finished(job)["finish"]
    dropped = int(finish["outputDropped"])
    assert dropped > 0
    assert finish["exitCode"] == 0
    assert int(finish["outputEnd"]) == len("".join(f"{n}\n" for n in range(1, 200001)))
    result = host.run("logs", job).expect(0)
    assert result.out.startswith(b"1\n2\n3\n")
    assert result.out.endswith(b"199999\n200000\n")
    assert len(result.out) <= 70000
    assert str(dropped).encode() in result.err or b"not kept" in result.err


def test_output_is_a_plain_file(host: Host) -> None:
    job = host.shell("echo plain")
    host.finished(job)
    until(lambda: host.output(job) == b"plain\n", "the segment holds the bytes")
