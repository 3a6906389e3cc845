"""Records on the command line: what is sent is told line by line, kept, and found again."""

import fcntl
import json
import signal
import subprocess
from pathlib import Path

import pytest
from harness import processes
from harness.host import Host
from harness.serving import Away, Serving
from harness.waiting import DEADLINE_S, until


def exported(host: Host, *options: str) -> list[dict]:
    """What clients sent."""
    text = host.ok("records", "export", "--data", *options)
    return [json.loads(line) for line in text.splitlines()]


def test_arrays_objects_and_lines_are_sent(host: Host) -> None:
    host.ok("records", "send", stdin=b'{"n":1}\n{"n": 2}\n')
    host.ok("records", "send", "-", stdin=b'[{"n":3},\n{"n":4}]')
    path = host.write("one.json", '{\n  "n": 5\n}\n')
    host.ok("records", "send", path)
    host.ok("records", "send", stdin=b"")
    assert [record["n"] for record in exported(host)] == [1, 2, 3, 4, 5]
    tail = host.ok("records", "tail", "-n", "2").splitlines()
    assert [line.split(" ", 2)[2] for line in tail] == ['{"n":4}', '{"n":5}']
    whole = [json.loads(line) for line in host.ok("records", "export").splitlines()]
    assert [line["seq"] for line in whole] == [1, 2, 3, 4, 5]
    assert all(line["client"].startswith("local:") for line in whole)


def test_what_is_refused_is_told_with_its_line(host: Host) -> None:
    text = b'{"n":1}\n{"n":NaN}\n{"a":1,"a":2}\n\xff\n{"n":5}\n{"n":'
    result = host.run("records", "send", "-s", "app", stdin=text).expect(1)
    told = [line for line in result.error_text.splitlines() if "is refused" in line]
    assert [line.split()[2] for line in told] == ["2", "3", "4", "6"]
    assert "BAD_NUMBER at /n" in told[0]
    assert "2 records are in app (durable)" in result.error_text
    assert [record["n"] for record in exported(host, "-s", "app")] == [1, 5]
    result = host.run("records", "--json", "send", "-s", "app", stdin=text).expect(1)
    *refused, summary = [json.loads(line) for line in result.text.splitlines()]
    assert [one["refused"]["line"] for one in refused] == [2, 3, 4, 6]
    assert (summary["accepted"], summary["refused"], summary["last"]) == (2, 4, 4)
    host.run("records", "send", "nowhere.json").expect(1)
    host.run("records", "tail", "-s", "other").expect(5)


def test_lines_are_found_by_time_sender_number_and_filter(host: Host) -> None:
    text = "".join(json.dumps({"n": n, "even": n % 2 == 0}) + "\n" for n in range(50))
    host.ok("records", "send", stdin=text.encode())
    assert len(exported(host, "--since", "1h")) == 50
    assert exported(host, "--until", "2020-01-01T00:00:00Z") == []
    assert exported(host, "--client", "nobody") == []
    found = exported(host, "--where", ".data.even and .data.n > 45")
    assert [record["n"] for record in found] == [46, 48]
    tail = host.ok("records", "tail", "-n", "2", "--where", ".data.even").splitlines()
    assert [json.loads(line.split(" ", 2)[2])["n"] for line in tail] == [46, 48]
    tail = host.ok("records", "--json", "tail", "--seq", "49").splitlines()
    assert [json.loads(line)["seq"] for line in tail] == [49, 50]
    for bad in ("((", ".x | nothing_like_it"):
        error = host.run("records", "--json", "tail", "--where", bad).expect(2).error()
        assert error["reason"] == "BAD_FILTER"
    host.run("records", "tail", "--since", "yesterday").expect(2)


@pytest.mark.once
@pytest.mark.parametrize(
    "hostile", ["[range(1e12)]", "def f: 1 + f; f", '"x" * 3000000000 | length']
)
def test_a_filter_that_takes_too_much_is_told_in_words(host: Host, hostile: str) -> None:
    host.ok("records", "send", stdin=b'{"n":1}\n{"n":2}\n')
    result = host.run("records", "--json", "tail", "--where", hostile).expect(1)
    error = result.error()
    assert error["reason"] == "FILTER_FAILED"
    assert "more memory than the 1024 MiB" in error["message"]
    assert error["hint"]
    assert result.out == b""
    # What a filter says of a line is not a screen full, and does nothing to the screen.
    long = json.dumps({"x": "\x1b[2J" + "y" * 5000})
    host.ok("records", "send", "-s", "odd", stdin=long.encode())
    result = host.run("records", "tail", "-s", "odd", "--where", ".data.x | error").expect(0)
    assert "the filter failed on 1 lines" in result.error_text
    assert len(result.err) < 1000
    assert b"\x1b" not in result.err


@pytest.mark.once
def test_a_filter_ends_with_its_command(host: Host) -> None:
    host.ok("records", "send", stdin=b'{"n":1}\n')
    process = host.popen("records", "tail", "-f", "--where", "def f: f; f")

    def filters() -> list[str]:
        path = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        return path.read_text().split()

    until(filters, "the filter is at work")
    (child,) = filters()
    process.kill()
    process.communicate()

    until(lambda: processes.state(int(child)) in (None, "Z"), "the filter is gone")


@pytest.mark.once
def test_a_log_that_somebody_holds_is_told(host: Host) -> None:
    host.ok("records", "send", stdin=b'{"n":1}\n')
    (lock,) = host.state.glob("records/*/log/lock")
    with lock.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        senders = [
            host.popen("records", "--json", "send", stdin=subprocess.PIPE),
            host.popen("records", "--json", "tail"),
        ]
        for process in senders:
            _, err = process.communicate(
                b'{"n":2}\n' if process.stdin else None, timeout=DEADLINE_S
            )
            assert process.returncode == 1
            error = json.loads(err.splitlines()[-1])
            assert (error["reason"], error["retryable"]) == ("STREAM_BUSY", True)
            assert "legwork serve" in error["message"]
    host.ok("records", "send", stdin=b'{"n":3}\n')
    assert [record["n"] for record in exported(host)] == [1, 3]


@pytest.mark.once
def test_a_filter_without_an_end_hurts_only_its_command(host: Host) -> None:
    with Serving(host) as server:
        host.ok("records", "send", stdin=b'{"n":1}\n')
        for endless in ("def f: f; f", "[repeat(1)] | length"):
            process = host.popen("records", "tail", "--where", endless)
            assert host.ok("records", "send", stdin=b'{"n":2}\n') == ""
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=DEADLINE_S)
            assert process.returncode in (-2, 1, 130, -6), err
        assert server.process.poll() is None
        assert len(exported(host)) == 3


def test_two_commands_share_a_log_without_a_server(host: Host) -> None:
    host.ok("records", "send", stdin=b'{"n":0}\n')
    with host.popen("records", "tail", "-f", "--data") as follower:
        assert follower.stdout
        assert follower.stdout.readline() == b'{"n":0}\n'
        for number in range(1, 4):
            host.ok("records", "send", stdin=b'{"n":%d}\n' % number)
            assert follower.stdout.readline() == b'{"n":%d}\n' % number
        follower.send_signal(signal.SIGINT)
        assert follower.wait(timeout=DEADLINE_S) == 130


def test_what_comes_slowly_is_sent_as_it_comes(host: Host) -> None:
    with host.popen("records", "send", stdin=subprocess.PIPE) as sender:
        assert sender.stdin
        for number in range(3):
            sender.stdin.write(b'{"n":%d}\n' % number)
            sender.stdin.flush()

            def there(count: int = number + 1) -> bool:
                result = host.run("records", "export", "--data")
                return len(result.out.splitlines()) == count

            until(there, f"{number} is there")
        sender.send_signal(signal.SIGINT)
        assert sender.wait(timeout=DEADLINE_S) == 130
        _, err = sender.communicate(timeout=DEADLINE_S)
        assert b"3 records are in default (durable)" in err
        assert b"interrupted" in err


@pytest.mark.once
def test_input_of_any_length_is_sent_as_it_is_read(host: Host) -> None:
    line = b'{"n":1,"x":"' + b"x" * 200 + b'"}\n'
    with host.popen("records", "--json", "send", stdin=subprocess.PIPE) as sender:
        assert sender.stdin
        for _ in range(60):
            sender.stdin.write(line * 1000)
        # A line that nobody could hold.
        sender.stdin.write(b'{"x":"')
        for _ in range(100):
            sender.stdin.write(b"x" * 1_000_000)
        sender.stdin.write(b'"}\n{"n":2}\n')
        sender.stdin.close()
        sender.stdin = None
        status = Path(f"/proc/{sender.pid}/status")

        def peak() -> int:
            with status.open() as file:
                found = [line for line in file if line.startswith("VmHWM")]
            return int(found[0].split()[1]) if found else 0

        seen = 0
        while sender.poll() is None:
            try:
                seen = max(seen, peak())
            except OSError:
                break
        out, err = sender.communicate(timeout=DEADLINE_S)
    *refused, summary = [json.loads(line) for line in out.splitlines()]
    assert [one["refused"]["reason"] for one in refused] == ["TOO_LARGE"], err
    assert refused[0]["refused"]["line"] == 60_001
    assert summary["accepted"] == 60_001
    assert 0 < seen < 120 << 10, f"{seen} KiB"
    assert host.ok("records", "export", "--data").count("\n") == 60_001


def test_fsck_and_stats_tell_how_logs_are(host: Host) -> None:
    for number in range(3):
        host.ok("records", "send", stdin=b'{"n":%d}\n' % number)
    (listed,) = host.json("records", "stats")
    assert (listed["name"], listed["first"], listed["next"]) == ("default", 1, 4)
    stats = host.json("records", "stats", "-s", "default")
    assert (stats["durability"], stats["segments"]) == ("durable", 1)
    assert "durable" in host.ok("records", "stats", "-s", "default")
    report = host.json("records", "fsck")
    assert (report["lines"], report["total"]) == (3, 0)
    (segment,) = host.state.glob("records/*/log/*.jsonl")
    text = bytearray(segment.read_bytes())
    text[len(text) // 2] ^= 1
    segment.write_bytes(bytes(text))
    result = host.run("records", "--json", "fsck").expect(1)
    found = json.loads(result.text)
    assert found["total"] >= 1
    assert found["problems"][0]["kind"] in ("DAMAGED", "UNFINISHED", "MISSING")
    # It opens nevertheless, and tells of the hole.
    assert len(exported(host)) == 2
    assert "!lost" in host.ok("records", "tail")
    # What clients say is never a path.
    host.ok("records", "send", "-s", "../../up", stdin=b"{}")
    assert {path.name for path in (host.state / "records").iterdir()} > {segment.parents[1].name}
    assert not list(host.top.glob("up*"))


def test_a_sender_elsewhere_goes_on_after_the_server_was_away(away: Away) -> None:
    laptop = away.laptop
    with laptop.popen("records", "send", "-s", "app", stdin=subprocess.PIPE) as sender:
        assert sender.stdin
        for number in range(30):
            sender.stdin.write(b'{"n":%d}\n' % number)
            sender.stdin.flush()
            if number % 10 == 9:
                until(
                    lambda count=number + 1: len(exported(away.host, "-s", "app")) == count,
                    f"{number} is there",
                )
                away.end(signal.SIGKILL)
                away.again()
        sender.stdin.close()
        sender.stdin = None
        _, err = sender.communicate(timeout=DEADLINE_S)
        assert sender.returncode == 0, err
    assert [record["n"] for record in exported(away.host, "-s", "app")] == list(range(30))
    assert [record["n"] for record in exported(laptop, "-s", "app")] == list(range(30))
