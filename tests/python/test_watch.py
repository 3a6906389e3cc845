"""`sync --watch`: the mirror follows each save, whatever happens to server, network or tree."""

import fcntl
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness.host import Host
from harness.mirroring import Mirroring, content, same, the_tree
from harness.serving import Away
from harness.waiting import DEADLINE_S, until


@pytest.fixture
def project(host: Host) -> Iterator[Path]:
    """A small project with a build directory that is ignored."""
    host.write("main.txt", "one\n")
    host.write("src/deep/er/file.txt", "deep\n")
    host.write("build/out/object", "x")
    host.write(".gitignore", "/build/\n*.tmp\n")
    return host.project


def git(where: Path, *args: str) -> None:
    """Run git, as somebody without any settings."""
    who = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
    done = subprocess.run(
        ["git", "-c", f"safe.directory={where}", *who, *args],
        cwd=where,
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", "GIT_CONFIG_NOSYSTEM": "1"},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_a_save_travels_by_itself(host: Host, project: Path) -> None:
    with Mirroring(host) as mirror:
        tree = the_tree(host)
        host.write("main.txt", "two\n")
        update = mirror.event("updated")
        assert (tree / "main.txt").read_text() == "two\n"
        assert update["written"] == {"total": 1, "paths": ["main.txt"]}
        assert (update["sentFiles"], update["sentBytes"]) == (1, 4)
        assert 0 < update["ms"] < DEADLINE_S * 1000
        (project / "main.txt").unlink()
        assert mirror.event("updated")["deleted"]["paths"] == ["main.txt"]
        assert mirror.interrupt() < 1


def test_a_service_manager_ends_it_too(host: Host, project: Path) -> None:
    with Mirroring(host) as mirror:
        host.write("main.txt", "two\n")
        mirror.event("updated")
        mirror.process.send_signal(signal.SIGTERM)
        assert mirror.process.wait(timeout=DEADLINE_S) == 128 + signal.SIGTERM
    # What was committed is known: nothing is sent again.
    assert host.json("sync")["sentFiles"] == 0


def test_what_is_ignored_is_not_watched_and_says_nothing(host: Host, project: Path) -> None:
    with Mirroring(host) as mirror:
        assert mirror.watched() == 4, "the root, src, deep, er"
        host.write("build/out/object", "y")
        host.write("scratch.tmp", "z")
        host.write("main.txt", "two\n")
        mirror.event("updated")
        assert mirror.said("updated") == 1
        assert content(the_tree(host)).keys().isdisjoint({b"build", b"scratch.tmp"})
        # Rules may change while they are in force.
        host.write(".gitignore", "main.txt\n")
        until(lambda: (the_tree(host) / "build/out/object").exists(), "it is not ignored any more")
        until(lambda: not (the_tree(host) / "main.txt").exists(), "and this is")
        until(lambda: mirror.watched() == 6, "build and out are watched, too")


@pytest.mark.parametrize("options", [(), ("-q",)], ids=["told", "quiet"])
def test_lines_for_people_and_silence(host: Host, project: Path, options: tuple[str, ...]) -> None:
    host.ok("sync")
    tree = the_tree(host)
    # Also a name that would colour the terminal.
    new = host.write("new\x1b[31m", "0")
    with host.popen("sync", "--watch", *options) as process:
        try:
            until(lambda: (tree / new.name).exists(), "the first copy")

            def followed() -> bool:
                new.write_text(os.urandom(4).hex())
                return bool(until(lambda: (tree / new.name).read_text() == new.read_text(), "it"))

            # The second only after the first was told.
            for _ in range(2):
                until(followed, "a save travels")
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=DEADLINE_S)
        finally:
            process.kill()
    assert process.returncode == 130
    assert out == b""
    assert b"\x1b" not in err
    if options:
        assert err == b""
    else:
        assert b"Ctrl-C ends it" in err
        assert b"1 written (8 B), 0 deleted, in " in err


def test_a_second_watch_of_the_same_mirror_is_refused(host: Host, project: Path) -> None:
    with Mirroring(host) as mirror:
        refused = host.run("sync", "--watch", "--json").expect(1).error()
        assert refused["reason"] == "WATCHED"
        assert str(mirror.process.pid) in refused["message"]
        mirror.interrupt()
    with Mirroring(host) as again:
        again.interrupt()


def test_a_running_job_keeps_its_tree_and_the_change_waits(host: Host, project: Path) -> None:
    with Mirroring(host) as mirror:
        job = host.ok("start", "--", "sh", "-c", "until test -e go; do sleep 0.01; done").strip()
        host.running(job)
        host.write("main.txt", "two\n")
        waiting = mirror.event("waiting")
        assert job[:8] in waiting["message"]
        assert (the_tree(host) / "main.txt").read_text() == "one\n"
        (the_tree(host) / "go").touch()
        mirror.event("updated")
        assert (the_tree(host) / "main.txt").read_text() == "two\n"
        assert mirror.said("waiting") == 1
        host.finished(job)


def test_live_does_not_wait(host: Host, project: Path) -> None:
    with Mirroring(host, "--live") as mirror:
        script = "until grep -q two main.txt; do sleep 0.01; done; cat main.txt"
        job = host.ok("start", "--", "sh", "-c", script).strip()
        host.running(job)
        host.write("main.txt", "two\n")
        mirror.event("updated")
        host.finished(job)
        assert host.output(job) == b"two\n"
        assert mirror.said("waiting") == 0


def test_an_interrupt_ends_a_change_that_waits(host: Host, project: Path) -> None:
    with Mirroring(host) as mirror:
        job = host.ok("start", "--", "sleep", "600").strip()
        host.running(job)
        host.write("main.txt", "two\n")
        mirror.event("waiting")
        assert mirror.interrupt() < 1
        assert (the_tree(host) / "main.txt").read_text() == "one\n"
        host.ok("stop", job)


def test_a_run_after_a_save_is_never_stale(host: Host, project: Path) -> None:
    _save_and_run(host, 25)


@pytest.mark.soak
@pytest.mark.once
def test_thousands_of_runs_after_a_save_are_never_stale(host: Host, project: Path) -> None:
    _save_and_run(host, 2000)


def _save_and_run(host: Host, times: int) -> None:
    with Mirroring(host) as mirror:
        for number in range(times):
            text = f"{number}\n"
            if number % 3:
                host.write("main.txt", text)
            else:
                (host.project / "main.swp").write_text(text)
                host.user.owns(host.project / "main.swp")
                (host.project / "main.swp").rename(host.project / "main.txt")
            assert host.ok("run", "-q", "--", "cat", "main.txt") == text
        mirror.interrupt()
    same(host.project, the_tree(host), (".git", "build"))


def test_branches_are_switched_back_and_forth(host: Host, project: Path) -> None:
    git(project, "init", "-q", "-b", "one", ".")
    for number in range(30):
        host.write(f"lib/m{number % 5}/f{number}.txt", f"one {number}\n")
    git(project, "add", ".")
    git(project, "commit", "-qm", "one")
    git(project, "checkout", "-qb", "two")
    git(project, "mv", "lib", "moved")
    for number in range(20):
        host.write(f"moved/m{number % 5}/f{number}.txt", f"two {number}\n")
    host.write("src/deep/er/file.txt", "two\n", 0o755)
    git(project, "add", ".")
    git(project, "commit", "-qm", "two")
    with Mirroring(host, "--force-delete") as mirror:
        for branch in ["one", "two"] * 6:
            git(project, "checkout", "-q", branch)
        same(project, the_tree(host), (".git", "build"))
        git(project, "checkout", "-q", "one")
        same(project, the_tree(host), (".git", "build"))
        mirror.interrupt()


def test_a_mass_deletion_is_refused_once_and_the_watch_goes_on(host: Host, project: Path) -> None:
    for number in range(120):
        host.write(f"many/f{number}", "x")
    with Mirroring(host) as mirror:
        for number in range(119):
            (project / f"many/f{number}").unlink()
        refused = mirror.event("refused")
        assert "force-delete" in refused["message"]
        assert (the_tree(host) / "many/f7").exists()
        for number in range(119):
            host.write(f"many/f{number}", "x")
        host.write("main.txt", "goes on\n")
        until(lambda: (the_tree(host) / "main.txt").read_text() == "goes on\n", "it goes on")
        mirror.interrupt()


def test_a_burst_that_overflows_the_queue_loses_nothing(host: Host, project: Path) -> None:
    with Mirroring(host) as mirror:
        # Stopped, it reads no events; the kernel keeps so many and drops the rest.
        os.kill(mirror.process.pid, signal.SIGSTOP)
        kept = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
        assert kept <= 200_000, "this machine keeps too many for this test"
        paths = [host.write(f"burst/f{number}", "") for number in range(200)]
        for number in range(kept // len(paths) + 2):
            for path in paths:
                path.write_text(f"{number}")
        os.kill(mirror.process.pid, signal.SIGCONT)
        same(project, the_tree(host), (".git", "build"))
        mirror.interrupt()


def test_deep_directories_at_speed(host: Host, project: Path) -> None:
    with Mirroring(host) as mirror:
        for top in range(25):
            for depth in range(8):
                host.write("/".join([f"n{top}", *"abcdefgh"[:depth], "file"]), f"{top} {depth}")
        same(project, the_tree(host), (".git", "build"))
        # And all of it is watched.
        host.write("n24/a/b/c/d/e/f/g/file", "last")
        same(project, the_tree(host), (".git", "build"))
        mirror.interrupt()


def test_a_root_that_goes_and_comes_back(host: Host, project: Path) -> None:
    with Mirroring(host) as mirror:
        aside = project.with_name("aside")
        project.rename(aside)
        mirror.event("gone")
        aside.rename(project)
        mirror.event("back")
        host.write("main.txt", "after\n")
        same(project, the_tree(host), (".git", "build"))
        assert (the_tree(host) / "src/deep/er/file.txt").exists()
        mirror.interrupt()


def test_without_watches_it_is_slower_and_says_so(host: Host, project: Path) -> None:
    limited = ("unshare", "-U", "-r", "sh", "-c")
    lower = 'echo 2 > /proc/sys/user/max_inotify_watches && exec "$0" "$@"'
    probe = subprocess.run(
        [*limited, lower, "true"], capture_output=True, check=False, **host.user.popen_arguments()
    )
    if probe.returncode != 0:
        pytest.skip(f"no user namespace with limits of its own: {probe.stderr!r}")
    with Mirroring(host, before=(*limited, lower)) as mirror:
        assert "max_user_watches" in mirror.event("trouble")["message"]
        host.write("src/deep/er/file.txt", "by looking\n")
        until(
            lambda: (the_tree(host) / "src/deep/er/file.txt").read_text() == "by looking\n",
            "it is found by looking",
        )
        assert mirror.said("trouble") == 1
        mirror.interrupt()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["term", "kill"])
def test_a_server_that_dies_and_comes_back(away: Away, number: int) -> None:
    laptop = away.laptop
    laptop.write("a.txt", "1")
    laptop.write("d/b.txt", "1")
    with Mirroring(laptop) as mirror:
        tree = the_tree(away.host)
        for turn in range(3):
            away.end(number)
            laptop.write("a.txt", f"while away {turn}")
            laptop.write(f"d/new{turn}", "x")
            away.again()
            same(laptop.project, tree)
        assert "reconnecting" in mirror.log.read_text()
        laptop.write("d/b.txt", "in contact")
        same(laptop.project, tree)
        mirror.interrupt()


def test_a_server_that_dies_while_saves_go_on(away: Away) -> None:
    laptop = away.laptop
    for number in range(20):
        laptop.write(f"f{number}", "0")
    with Mirroring(laptop) as mirror:
        tree = the_tree(away.host)
        for turn in range(4):
            for number in range(20):
                laptop.write(f"f{number}", f"{turn} {number} " * 1000)
                if number == 10:
                    away.end(signal.SIGKILL)
            away.again()
        same(laptop.project, tree)
        mirror.interrupt()


def test_an_interrupt_while_the_server_is_away(away: Away) -> None:
    away.laptop.write("a.txt", "1")
    with Mirroring(away.laptop) as mirror:
        away.end(signal.SIGKILL)
        away.laptop.write("a.txt", "2")
        until(lambda: "reconnecting" in mirror.log.read_text(), "contact is lost")
        assert mirror.interrupt() < 1


def test_nobody_reads_the_lines(host: Host, project: Path) -> None:
    with host.popen("sync", "--watch", "--json") as process:
        try:
            assert process.stdout
            assert json.loads(process.stdout.readline())["event"] == "mirrored"
            process.stdout.close()

            def ended() -> bool:
                host.write("main.txt", os.urandom(4).hex())
                return process.poll() is not None

            until(ended, "it ends with its reader")
            assert process.returncode == 141
        finally:
            process.kill()


def test_a_reader_who_does_not_read_holds_up_no_mirror(host: Host, project: Path) -> None:
    with host.popen("sync", "--watch", "--json") as process:
        try:
            assert process.stdout
            assert json.loads(process.stdout.readline())["event"] == "mirrored"
            # Room for ten lines or less.
            fcntl.fcntl(process.stdout, fcntl.F_SETPIPE_SZ, 4096)
            saved = the_tree(host) / "main.txt"
            for number in range(40):
                host.write("main.txt", f"{number}\n")
                until(
                    lambda n=number: saved.read_text() == f"{n}\n", "nobody reads, and it is there"
                )
            # Whoever reads again finds them.
            told = [json.loads(process.stdout.readline()) for _ in range(40)]
            assert {line["event"] for line in told} == {"updated"}
            begun = time.monotonic()
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=DEADLINE_S) == 130
            assert time.monotonic() - begun < 1
        finally:
            process.kill()


@pytest.fixture
def shared(host: Host) -> Iterator[Path]:
    """Another directory of the same user, for the same mirror."""
    other = host.top / "other"
    other.mkdir()
    host.user.owns(other)
    (other / "theirs.txt").write_text("theirs\n")
    host.write("main.txt", "one\n")
    yield other


def test_another_directory_may_not_write_while_one_is_watched(host: Host, shared: Path) -> None:
    with Mirroring(host, "--workspace", "w") as mirror:
        tree = the_tree(host)
        for command in [("sync",), ("sync", "--watch"), ("run",)]:
            words = ("--", "true") if command == ("run",) else ()
            told = host.run(*command, "--json", "--workspace", "w", *words, cwd=shared).error()
            assert told["reason"] == "OTHER_WRITER"
            assert str(host.project) in told["message"]
            assert "--takeover" in told["hint"]
        assert not (tree / "theirs.txt").exists()
        # Whoever is in the same directory goes on.
        host.write("main.txt", "two\n")
        assert host.ok("run", "-q", "--workspace", "w", "--", "cat", "main.txt") == "two\n"
        assert mirror.interrupt() < 1
    # And with its end anybody does.
    host.ok("sync", "--workspace", "w", cwd=shared)
    assert (tree / "theirs.txt").exists()


def test_a_run_takes_over(host: Host, shared: Path) -> None:
    with Mirroring(host, "--workspace", "w") as mirror:
        words = ("run", "-q", "--workspace", "w", "--takeover", "--", "cat", "theirs.txt")
        assert host.ok(*words, cwd=shared) == "theirs\n"
        host.write("main.txt", "mine\n")
        assert mirror.process.wait(timeout=DEADLINE_S) == 1
        assert "OTHER_WRITER" in mirror.log.read_text()


def test_another_directory_takes_over(host: Host, shared: Path) -> None:
    with Mirroring(host, "--workspace", "w") as mirror:
        tree = the_tree(host)
        other = Mirroring(host, "--workspace", "w", "--takeover", cwd=shared)
        with other:
            host.write("main.txt", "mine\n")
            assert mirror.process.wait(timeout=DEADLINE_S) == 1
            told = mirror.log.read_text()
            assert "OTHER_WRITER" in told
            assert str(shared) in told
            (shared / "theirs.txt").write_text("new\n")
            host.user.owns(shared / "theirs.txt")
            other.event("updated")
            assert content(tree) == content(shared)
            other.interrupt()
