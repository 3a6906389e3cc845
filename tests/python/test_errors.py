"""Each thing that can go wrong has an exit code, a reason and words that help."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness.host import SELF_UID, Host

RUN = ("run", "--no-sync")


def test_no_such_program_is_127(host: Host) -> None:
    result = host.run(*RUN, "--", "no-such-program-anywhere").expect(127)
    assert b"no-such-program-anywhere" in result.err
    assert host.run("--json", *RUN, "--", "no-such-program-anywhere").error()["reason"] == (
        "PROGRAM_NOT_FOUND"
    )


def test_no_such_path_is_127(host: Host) -> None:
    host.run(*RUN, "--", "/nowhere/program").expect(127)
    host.run(*RUN, "--", "./program").expect(127)


def test_not_executable_is_126(host: Host) -> None:
    path = host.tmp / "script"
    path.write_text("#!/bin/sh\n")
    path.chmod(0o644)
    result = host.run("--json", *RUN, "--", path).expect(126)
    assert result.error()["reason"] == "NOT_EXECUTABLE"
    host.run(*RUN, "--", str(host.tmp)).expect(126)


def test_a_script_whose_interpreter_is_missing(host: Host) -> None:
    path = host.tmp / "script"
    path.write_text("#!/nowhere/interpreter\n")
    path.chmod(0o755)
    # The kernel says "not found" of a file that is there; the words must not only repeat that.
    assert host.run(*RUN, "--", path).code in (126, 127)


def test_a_missing_directory_is_125(host: Host) -> None:
    result = host.run("--json", *RUN, "--dir", "/nowhere/at/all", "--", "true").expect(125)
    assert result.error()["reason"] == "DIR_NOT_USABLE"
    assert "/nowhere/at/all" in result.error()["message"]


def test_such_jobs_are_recorded(host: Host) -> None:
    host.run(*RUN, "--name", "lame", "--", "no-such-program-anywhere").expect(127)
    (job,) = host.json("ps", "-a")
    assert job["finish"]["cause"] == "not_started"
    assert job["finish"]["exitCode"] == 127
    assert job["finish"]["notStarted"]["step"] == "exec"
    host.run("wait", job["id"]).expect(127)


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "--no-such-option", "--", "true"),
        ("run",),
        ("run", "--timeout", "soon", "--", "true"),
        ("run", "--env", "=x", "--", "true"),
        ("run", "--no-sync", "--in-place", "--", "true"),
        ("start",),
        ("stop",),
        ("signal", "aaaaaaaa", "NOSUCH"),
        ("logs", "aaaaaaaa", "--tail", "-1"),
        ("no-such-command",),
        (),
    ],
    ids=lambda arguments: " ".join(arguments) or "nothing",
)
def test_wrong_usage_is_2(host: Host, arguments: tuple[str, ...]) -> None:
    result = host.run(*arguments).expect(2)
    assert result.out == b""
    assert result.err


def test_wrong_usage_as_json(host: Host) -> None:
    result = host.run("run", "--json", "--timeout", "soon", "--", "true").expect(2)
    assert result.error()["reason"] == "USAGE"


def test_an_ambiguous_id(host: Host) -> None:
    seen: dict[str, str] = {}
    for _ in range(40):
        for job in host.ok("start", "--no-sync", *["-c", "true"] * 10).split():
            if job[0] in seen:
                result = host.run("status", "--json", job[0])
                assert result.code in (1, 2, 5)
                assert result.error()["reason"] == "JOB_AMBIGUOUS"
                return
            seen[job[0]] = job
    pytest.fail("no two ids begin alike")


def test_an_unreadable_file_in_the_project(host: Host) -> None:
    if host.user.uid is None and os.geteuid() == 0:
        pytest.skip("root can read everything")
    host.write("fine.txt", "fine\n")
    host.write("closed.txt", "x", mode=0o000)
    result = host.run("run", "--", "cat", "fine.txt").expect(0)
    assert result.out == b"fine\n"
    assert b"closed.txt" in result.err
    seen = json.loads(host.run("sync", "--json").expect(1).text)
    assert [path["path"] for path in seen["unreadable"]] == ["closed.txt"]


def test_a_missing_project(host: Host) -> None:
    host.run("sync", "/nowhere/at/all").expect(1)


def test_pull_of_nothing(host: Host) -> None:
    host.write("a", "a")
    job = host.ok("start", "--", "true").strip()
    host.finished(job)
    result = host.run("pull", "--json", job, "no-such-*").expect(1)
    assert result.error()["reason"] == "NOTHING_MATCHED"


def test_a_pattern_that_is_none(host: Host) -> None:
    host.write("a", "a")
    host.run("run", "--pull", "[", "--", "true").expect(2)


def test_a_state_directory_of_a_newer_version(host: Host) -> None:
    host.ok("ps")
    (host.state / "version").write_text("999999\n")
    result = host.run("ps", "--json").expect(1)
    assert result.error()["reason"] == "STATE_NEWER"
    assert "999999" in result.error()["message"]
    host.run(*RUN, "--", "true").expect(125)


def test_a_state_directory_of_another_user(host: Host) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can make a directory of another user")
    host.state.mkdir(mode=0o777)
    host.state.chmod(0o777)
    os.chown(host.state, SELF_UID + 4242, SELF_UID + 4242)
    result = host.run("ps", "--json")
    assert result.code in (1, 4)
    assert result.error()["reason"] == "STATE_OTHER_USER"
    host.run(*RUN, "--", "true").expect(125)
    assert list(host.state.iterdir()) == []


def test_a_state_directory_that_is_a_file(host: Host) -> None:
    host.state.write_text("")
    result = host.run("ps", "--json").expect(1)
    assert str(host.state) in result.error()["message"]


def test_a_state_directory_that_cannot_be_made(host: Host) -> None:
    host.run("--state", "/proc/legwork", "ps").expect(1)
    host.run("--state", "/proc/legwork", *RUN, "--", "true").expect(125)


def test_the_state_directory_is_private(host: Host) -> None:
    host.run(*RUN, "--", "true").expect(0)
    assert host.state.stat().st_mode & 0o777 == 0o700


@pytest.fixture
def small_disk(host: Host) -> Iterator[Path]:
    """A file system of 4 MiB that the state directory lies on."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small file system")
    mount = host.top / "small"
    mount.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", mount], check=False, capture_output=True
    )
    if done.returncode != 0:
        pytest.skip(f"cannot mount a tmpfs here: {done.stderr.decode().strip()}")
    host.user.owns(mount)
    yield mount
    subprocess.run(["umount", "-l", mount], check=True)


def test_a_full_disk_does_not_stop_a_job(host: Host, small_disk: Path) -> None:
    host.env["LEGWORK_STATE"] = str(small_disk / "state")
    script = "head -c 20000000 /dev/zero; echo end >&2; exit 3"
    result = host.run(*RUN, "--", "sh", "-c", script)
    result.expect(3)
    assert b"not kept" in result.err or b"disk" in result.err
    (job,) = host.json("ps", "-a")
    assert int(job["finish"]["outputDropped"]) > 0


def test_a_full_disk_before_the_start_is_125(host: Host, small_disk: Path) -> None:
    host.env["LEGWORK_STATE"] = str(small_disk / "state")
    host.run(*RUN, "--", "true").expect(0)
    filler = small_disk / "filler"
    with filler.open("wb", buffering=0) as file, _ignored_full():
        while True:
            file.write(b"x" * 4096)
    result = host.run(*RUN, "--json", "--", "true").expect(125)
    assert result.error()["reason"] == "NO_SPACE"
    filler.unlink()
    host.run(*RUN, "--", "true").expect(0)


def test_a_disk_that_cannot_be_written_is_named(host: Host, small_disk: Path) -> None:
    host.env["LEGWORK_STATE"] = str(small_disk / "state")
    host.run(*RUN, "--", "echo", "kept").expect(0)
    remount = ("mount", "-o", "remount,ro", small_disk)
    subprocess.run(remount, check=True)
    for words, code in ((("ps",), 1), ((*RUN, "--", "true"), 125), (("run", "--", "true"), 125)):
        error = host.run(*words[:1], "--json", *words[1:]).expect(code).error()
        assert "Read-only file system" in error["message"]
        assert str(small_disk) in error["message"]
    subprocess.run(("mount", "-o", "remount,rw", small_disk), check=True)
    (job,) = host.json("ps", "-a")
    assert host.ok("logs", job["id"]) == "kept\n"


def test_a_mirror_that_does_not_fit(host: Host, small_disk: Path) -> None:
    host.env["LEGWORK_STATE"] = str(small_disk / "state")
    host.write("large", os.urandom(8 << 20))
    result = host.run("run", "--json", "--", "true").expect(125)
    assert result.error()["reason"] == "NO_SPACE"
    (host.project / "large").unlink()
    host.write("small", "x")
    host.run("run", "-q", "--", "cat", "small").expect(0)


class _ignored_full:  # noqa: N801
    """Swallows the error of a full disk."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: object, trace: object) -> bool:
        return isinstance(error, OSError)


def test_a_damaged_job_directory_does_not_hide_the_others(host: Host) -> None:
    good, bad = host.ok("start", "--no-sync", "-c", "exit 3", "-c", "exit 4").split()
    host.finished(good)
    host.finished(bad)
    directory = host.job_dir(bad)
    host.journal(bad).replace("exit", '{"exit":{ not json}')
    for name in host.state.glob("index.db*"):
        name.unlink()
    host.run("wait", good).expect(3)
    result = host.run("wait", bad)
    assert result.code not in (0, 4)
    shutil.rmtree(directory)
    assert [job["id"] for job in host.json("ps", "-a")] == [host.status(good)["id"]]
