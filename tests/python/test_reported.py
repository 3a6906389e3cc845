"""What users of other tools have reported of their output, tried here one by one.

Each test names the reports that it is about, as project#number.
"""

import base64
import json
import os
import subprocess

import pytest
from harness import processes
from harness.host import Host
from harness.waiting import until

RUN = ("run", "--no-sync", "-q")


def text_of(event: dict[str, object]) -> bytes:
    """The bytes of an event of output."""
    data = event["data"]
    if isinstance(data, dict):
        return base64.b64decode(data["base64"])
    assert isinstance(data, str)
    return data.encode()


@pytest.mark.once
def test_the_tail_of_a_quick_job_is_there(host: Host) -> None:
    # docker/compose#10658, moby#43860, podman#2692, nerdctl#5009, systemd#7531: in 19 of 100 runs.
    for number in range(100):
        result = host.run(*RUN, "--", "sh", "-c", f"printf {number}; exit {number}")
        assert (result.out, result.code) == (str(number).encode(), number)


@pytest.mark.once
def test_no_byte_is_lost_where_one_file_of_output_ends(host: Host) -> None:
    # nomad#4159, nomad#11653: lost when a file was rotated under its reader. nomad#1048: cut lines.
    script = "seq -f '{\"line\":%.0f}' 1500000"
    script = f"while ! test -e {host.tmp}/go; do sleep 0.02; done; {script}"
    job = host.shell(script, options=["--output-limit", "32MiB"])
    follower = host.popen("logs", "-f", "--json", job)
    (host.tmp / "go").touch()
    printed = bytearray()
    expected = 0
    assert follower.stdout
    for line in follower.stdout:
        event = json.loads(line)
        if event["event"] == "output":
            assert event["offset"] == expected
            printed += text_of(event)
            expected = len(printed)
    assert follower.wait(30) == 0
    assert len(list(host.job_dir(job).glob("output.*"))) > 1
    assert [json.loads(line)["line"] for line in printed.splitlines()] == [*range(1, 1_500_001)]
    found = host.ok("logs", "--grep", '"line":[0-9]*99999}', job).splitlines()
    assert [json.loads(line)["line"] for line in found] == [*range(99_999, 1_500_000, 100_000)]


def test_following_begins_with_what_was_printed_and_ends_with_the_job(host: Host) -> None:
    # nomad#18550: nothing at first. nomad#4663, nomad#18369, nomad#26693: it never ends.
    job = host.shell(f"echo early; while ! test -e {host.tmp}/go; do sleep 0.02; done; exit 3")
    host.printed(job, b"early\n")
    follower = host.popen("logs", "-f", job)
    assert follower.stdout
    assert follower.stdout.readline() == b"early\n"
    assert follower.poll() is None
    (host.tmp / "go").touch()
    assert follower.stdout.read() == b""
    assert follower.wait(20) == 0
    assert host.run("wait", job).code == 3


def test_who_keeps_the_pipe_does_not_keep_the_job(host: Host) -> None:
    # haskell/process#70, bun#37286, crabbox#1097: a process that was left behind hangs the runner.
    script = "sleep 600 & setsid sh -c 'echo $$; exec sleep 600' & echo done; exit 4"
    result = host.run(*RUN, "--", "sh", "-c", script)
    assert result.code == 4
    assert b"done\n" in result.out
    (job,) = host.json("ps", "-a")
    assert processes.of_job(job["id"]) == []


@pytest.mark.once
def test_who_reads_slowly_or_not_at_all_holds_nobody(host: Host) -> None:
    # moby#22502, moby#41827, crio#7945, nomad#11278: the job blocks in write(2) for ever.
    job = host.shell(
        f"while ! test -e {host.tmp}/go; do sleep 0.02; done; head -c 50000000 /dev/zero"
    )
    stuck = [host.popen("logs", "-f", job) for _ in range(3)]
    (host.tmp / "go").touch()
    assert host.finished(job)["finish"]["outputEnd"] == 50_000_000
    for follower in stuck:
        # Who comes back has lost nothing, and nothing was dropped without a word.
        out, err = follower.communicate(timeout=60)
        assert (len(out), err, follower.returncode) == (50_000_000, b"", 0)


@pytest.mark.once
def test_characters_are_not_cut_where_a_piece_ends(host: Host) -> None:
    # actions/runner#4552, buildbuddy#8287, dagster#33362: replacement characters at the borders.
    (host.tmp / "text").write_text("€uro 漢字 🦀\n" * 100_000)
    host.user.owns(host.tmp / "text")
    job = host.start("cat", str(host.tmp / "text"))
    host.finished(job)
    events = [json.loads(line) for line in host.ok("logs", "--json", job).splitlines()]
    pieces = [event["data"] for event in events if event["event"] == "output"]
    assert len(pieces) > 2
    assert all(isinstance(piece, str) for piece in pieces)
    assert "".join(pieces) == "€uro 漢字 🦀\n" * 100_000


def test_an_offset_is_in_the_bytes_that_were_printed(host: Host) -> None:
    # agi-cli#589: it drifts by what was encoded anew.
    raw = bytes(range(256)) * 40
    (host.tmp / "raw").write_bytes(raw)
    host.user.owns(host.tmp / "raw")
    job = host.start("cat", str(host.tmp / "raw"))
    host.finished(job)
    for offset in (0, 1, 127, 129, 200, 5000, len(raw) - 1, len(raw)):
        assert host.run("logs", "--offset", str(offset), job).expect(0).out == raw[offset:]
        events = host.ok("logs", "--json", "--offset", str(offset), job).splitlines()
        told = b"".join(text_of(e) for e in map(json.loads, events) if e["event"] == "output")
        assert told == raw[offset:]


@pytest.mark.once
def test_a_line_that_is_drawn_anew_and_never_ends_is_output_like_any_other(host: Host) -> None:
    # dagu#462, determined#3945: progress bars swell logs, or stall them.
    script = "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); printf '%06d done\\r' $i; done; exit 2"
    result = host.run(*RUN, "--", "sh", "-c", script).expect(2)
    assert len(result.out) == 100_000 * 12
    (job,) = host.json("ps", "-a")
    assert host.run("logs", "--tail", "1", job["id"]).out == result.out
    found = host.run("logs", "--grep", "^000001 done", job["id"])
    # What has no end is searched and shown in pieces of 1 MiB.
    assert (found.code, found.out) == (0, result.out[: 1 << 20] + b"\n")


def test_input_that_nobody_reads_keeps_nobody_waiting(host: Host) -> None:
    # pueue's `send` writes while it holds the lock of the whole state.
    process = host.popen(*RUN, "--", "sleep", "600", stdin=subprocess.PIPE)
    assert process.stdin
    os.set_blocking(process.stdin.fileno(), False)

    def is_full() -> bool:
        assert process.stdin
        try:
            return os.write(process.stdin.fileno(), bytes(1 << 20)) == 0
        except BlockingIOError:
            return True

    until(is_full, "nobody reads what is written")
    (job,) = until(lambda: host.json("ps"), "the job runs")
    assert host.ok(*RUN, "--", "echo", "other") == "other\n"
    assert host.status(job["id"])["state"] == "running"
    host.ok("stop", job["id"])
    assert process.wait(20) == 128 + 15
    process.communicate()


def test_two_streams_are_kept_apart_and_in_order(host: Host) -> None:
    # nomad#2123, nomad#1810, pueue#239, pm2#807.
    script = "for i in 1 2 3; do echo out$i; sleep 0.1; echo err$i >&2; sleep 0.1; done"
    job = host.shell(script)
    host.finished(job)
    both = "".join(f"out{n}\nerr{n}\n" for n in (1, 2, 3))
    assert host.ok("logs", "--stream", "raw", job) == both
    assert host.ok("logs", "--stream", "stderr", job) == "err1\nerr2\nerr3\n"
    result = host.run("logs", job).expect(0)
    assert (result.out, result.err) == (b"out1\nout2\nout3\n", b"err1\nerr2\nerr3\n")


def test_a_command_that_was_mistyped_is_told_at_once(host: Host) -> None:
    # pueue#134, pueue#592.
    result = host.run("start", "--no-sync", "--", "mkae")
    assert result.code == 127
    assert b"mkae" in result.err
