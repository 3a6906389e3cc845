"""`run` without a mirror: exit codes, streams, environment, directory, time limit."""

import os
import time
from pathlib import Path

import pytest
from harness.host import Host, Result
from harness.waiting import DEADLINE_S

RUN = ("run", "--no-sync")


def run(host: Host, script: str, *options: str, **more: object) -> Result:
    """Run a shell script in the foreground."""
    return host.run(*RUN, *options, "--", "sh", "-c", script, **more)


@pytest.mark.parametrize("code", [0, 1, 2, 7, 125, 255])
def test_exits_with_the_jobs_code(host: Host, code: int) -> None:
    run(host, f"exit {code}").expect(code)


@pytest.mark.parametrize(("name", "code"), [("TERM", 143), ("KILL", 137), ("USR1", 138)])
def test_a_signal_is_128_and_its_number(host: Host, name: str, code: int) -> None:
    run(host, f"kill -{name} $$").expect(code)


def test_streams_stay_apart(host: Host) -> None:
    result = run(host, "echo out; echo err >&2", "-q").expect(0)
    assert result.out == b"out\n"
    assert result.err == b"err\n"


def test_what_legwork_says_is_on_standard_error(host: Host) -> None:
    assert run(host, "echo out").expect(0).out == b"out\n"


def test_merge_keeps_the_order(host: Host) -> None:
    script = "for i in 1 2 3 4 5; do echo o$i; echo e$i >&2; done"
    result = run(host, script, "--merge", "-q").expect(0)
    assert result.out == b"".join(b"o%d\ne%d\n" % (i, i) for i in range(1, 6))
    assert result.err == b""


def test_arguments_arrive_as_bytes(host: Host) -> None:
    words = [b"", b"two words", b"gr\xc3\xbcn", b"\xff\xfe", b"--help", b"-c", b"'\"$x"]
    result = host.run(*RUN, "-q", "--", "printf", "%s\\n", *words).expect(0)
    assert result.out == b"".join(word + b"\n" for word in words)


def test_the_end_of_options_is_the_command(host: Host) -> None:
    assert host.run(*RUN, "-q", "echo", "--json", "-q").expect(0).out == b"--json -q\n"


def test_environment_is_the_callers_and_more(host: Host) -> None:
    env = host.env | {"KEPT": "kept", "GIVEN": "given"}
    script = 'echo "$KEPT $GIVEN $SET"; test -n "$LEGWORK_JOB"'
    options = ("-q", "--env", "GIVEN", "--env", "SET=a=b")
    assert run(host, script, *options, env=env).expect(0).out == b"kept given a=b\n"


def test_dir_is_where_it_runs(host: Host) -> None:
    assert run(host, "pwd", "-q", "--dir", str(host.tmp)).expect(0).text.strip() == str(host.tmp)


def test_in_place_runs_here(host: Host) -> None:
    host.write("file", "here")
    result = host.run("run", "--in-place", "-q", "--", "sh", "-c", "cat file; pwd").expect(0)
    assert result.text == f"here{host.project}\n"


def test_time_limit_is_124(host: Host) -> None:
    began = time.monotonic()
    result = run(host, "echo begun; sleep 60", "--timeout", "2s", "-q").expect(124)
    assert result.out == b"begun\n"
    assert time.monotonic() - began < 40


def test_time_limit_takes_the_whole_tree(host: Host) -> None:
    # The fixture fails the test if the setsid sleep survives.
    script = "setsid sleep 60 & trap '' TERM; sleep 60 & wait; wait"
    run(host, script, "--timeout", "300ms", "--stop-grace", "200ms").expect(124)


def test_what_the_main_process_leaves_is_killed(host: Host) -> None:
    began = time.monotonic()
    run(host, "setsid sleep 60 & echo done").expect(0)
    assert time.monotonic() - began < 40


def test_detach_prints_an_id(host: Host) -> None:
    job = host.run(*RUN, "-d", "--", "true").expect(0).text.strip()
    assert host.finished(job)["finish"]["exitCode"] == 0


def test_it_ends_when_its_reader_leaves(host: Host) -> None:
    read, write = os.pipe()
    process = host.popen(*RUN, "-q", "--", "yes", stdout=write)
    os.close(write)
    os.read(read, 10)
    os.close(read)
    process.communicate(timeout=DEADLINE_S)
    # Stopped, as a broken pipe would have stopped it.
    assert process.returncode == 143


def test_the_working_directory_of_the_caller_may_be_gone(host: Host) -> None:
    gone: Path = host.tmp / "gone"
    gone.mkdir()
    host.user.owns(gone)
    with host.popen(
        "run", "--no-sync", "--dir", "/", "--", "true", cwd=gone, preexec_fn=gone.rmdir
    ) as process:
        process.communicate(timeout=DEADLINE_S)
    assert process.returncode in (0, 125)


def test_pwd_is_where_the_job_is(host: Host) -> None:
    words = ("-q", "--dir", host.tmp, "--", "printenv", "PWD")
    assert host.ok(*RUN, *words, env={**host.env, "OLDPWD": "/"}).strip() == str(host.tmp)
    host.run(*RUN, "--", "printenv", "OLDPWD", env={**host.env, "OLDPWD": "/"}).expect(1)
    mirrored = host.ok("run", "-q", "--", "sh", "-c", "printenv PWD; pwd -P").split()
    assert mirrored[0] == mirrored[1] != str(host.project)
    assert host.ok(*RUN, "-q", "--env", "PWD=/z", "--", "printenv", "PWD") == "/z\n"


def test_output_that_cannot_be_written_stops_the_job_and_says_so(host: Host) -> None:
    script = "while :; do echo line; sleep 0.02; done"
    with Path("/dev/full").open("wb") as full:
        result = host.run(*RUN, "--", "sh", "-c", script, stdout=full)
    result.expect(1)
    assert b"No space left" in result.err
    assert b"the job was stopped" in result.err
    (job,) = host.json("ps", "-a")
    assert job["state"] == "finished"


def test_a_start_that_cannot_be_told_names_how_to_find_the_job(host: Host) -> None:
    for words in [
        ("run", "--no-sync", "-d"),
        ("run", "--no-sync", "--json"),
        ("start", "--no-sync"),
    ]:
        with Path("/dev/full").open("wb") as full:
            result = host.run(*words, "--", "true", stdout=full)
        result.expect(1)
        assert b"goes on" in result.err, words


def test_output_that_cannot_be_written_of_a_job_that_ends_by_itself(host: Host) -> None:
    with Path("/dev/full").open("wb") as full:
        result = host.run(*RUN, "--", "echo", "once", stdout=full)
    result.expect(1)
    assert b"No space left" in result.err
    (job,) = host.json("ps", "-a")
    assert host.ok("logs", job["id"]) == "once\n"
