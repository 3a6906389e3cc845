"""Standard input: forwarded, half-closed, and not waited for."""

import os
import subprocess
import time

from harness.host import Host
from harness.waiting import DEADLINE_S

RUN = ("run", "--no-sync", "-q")


def test_it_is_forwarded_to_its_end(host: Host) -> None:
    data = os.urandom(3_000_000)
    assert host.run(*RUN, "--", "cat", stdin=data).expect(0).out == data


def test_the_end_of_input_is_not_the_end_of_output(host: Host) -> None:
    script = "cat >/dev/null; echo after; sleep 0.2; echo later"
    result = host.run(*RUN, "--", "sh", "-c", script, stdin=b"x" * 1000).expect(0)
    assert result.out == b"after\nlater\n"


def test_input_and_output_are_interleaved(host: Host) -> None:
    process = host.popen(*RUN, "--", "cat", stdin=subprocess.PIPE)
    assert process.stdin
    assert process.stdout
    for word in (b"one\n", b"two\n"):
        process.stdin.write(word)
        process.stdin.flush()
        assert process.stdout.readline() == word
    process.stdin.close()
    assert process.stdout.read() == b""
    assert process.wait(DEADLINE_S) == 0


def test_a_job_that_does_not_read_still_ends(host: Host) -> None:
    result = host.run(*RUN, "--", "true", stdin=b"y" * 5_000_000)
    assert result.code == 0


def test_a_job_that_reads_a_little_still_ends(host: Host) -> None:
    result = host.run(*RUN, "--", "head", "-c", "5", stdin=b"12345" + b"y" * 5_000_000)
    assert (result.code, result.out) == (0, b"12345")


def test_an_open_input_does_not_keep_run_alive(host: Host) -> None:
    read, write = os.pipe()
    process = host.popen(*RUN, "--", "echo", "done", stdin=read)
    os.close(read)
    out, _ = process.communicate(timeout=DEADLINE_S)
    os.close(write)
    assert (out, process.returncode) == (b"done\n", 0)


def test_nothing_is_forwarded_from_dev_null(host: Host) -> None:
    began = time.monotonic()
    assert host.run(*RUN, "--", "cat").expect(0).out == b""
    assert time.monotonic() - began < 40


def test_a_started_job_reads_nothing(host: Host) -> None:
    job = host.start("cat")
    assert host.finished(job)["finish"]["exitCode"] == 0
