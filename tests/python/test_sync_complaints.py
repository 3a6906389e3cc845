"""What people complain of in other tools that mirror, one after the other."""

import contextlib
import os
import pty
import re
import shutil
import signal
import stat
import subprocess
import threading
import time
from pathlib import Path

import pytest
from harness import faults
from harness.host import Host
from harness.mirroring import Mirroring, content, same, the_tree
from harness.serving import Away
from harness.waiting import DEADLINE_S, until


def modes(root: Path) -> dict[str, str]:
    """The modes of all that is in a directory, as `ls` writes them."""
    paths = {str(path.relative_to(root)): path for path in root.rglob("*")}
    return {name: stat.filemode(path.lstat().st_mode) for name, path in paths.items()}


def calls(host: Host, kinds: str, *command: str) -> str:
    """What of these system calls a command makes, in all its threads."""
    log = host.tmp / f"calls-{os.urandom(4).hex()}"
    words = ["strace", "-f", "-qq", "-e", f"trace={kinds}", "-o", str(log), host.binary, *command]
    settings = {"cwd": host.project, "env": host.env, "capture_output": True, "check": False}
    done = subprocess.run(words, **settings, **host.user.popen_arguments())
    assert done.returncode == 0, done.stderr
    return log.read_text()


def is_long_ago(path: Path) -> bool:
    """Whether what a file looks like proves that it is what it was."""
    return time.time() - path.lstat().st_ctime > 2.5


TRACES = pytest.mark.skipif(faults.why_not() is not None, reason=str(faults.why_not()))


def test_01_the_client_wins_and_what_jobs_made_stays(host: Host) -> None:
    host.write("main.txt", "one\n")
    host.run("run", "-q", "--", "sh", "-c", "mkdir out; echo r > out/r; echo job > main.txt")
    host.write("main.txt", "two\n")
    host.write("new.txt", "new\n")
    # It never stops to ask, and never has a state that a person must resolve.
    told = host.run("sync").expect(0).error_text
    tree = the_tree(host)
    assert (tree / "main.txt").read_text() == "two\n"
    assert (tree / "out/r").read_text() == "r\n"
    assert "main.txt" in told and "trash" in told
    host.run("sync").expect(0)
    assert (tree / "out/r").exists()


def test_02_a_deleted_directory_goes_though_ignored_files_are_in_it(host: Host) -> None:
    host.write(".gitignore", "__pycache__/\n*.pyc\n")
    host.write("pkg/a.py", "a\n")
    host.write("pkg/sub/b.py", "b\n")
    host.write("keep.py", "k\n")
    script = "mkdir pkg/__pycache__; echo c > pkg/__pycache__/a.pyc; echo c > pkg/sub/b.pyc"
    host.run("run", "-q", "--", "sh", "-c", script).expect(0)
    shutil.rmtree(host.project / "pkg")
    listed = host.ok("run", "-q", "--", "find", ".", "-name", "*py*", "-not", "-name", ".git*")
    assert listed.split() == ["./keep.py"]


def test_03_a_command_sees_all_that_was_saved_and_does_not_wait_for_nothing(host: Host) -> None:
    for number in range(400):
        host.write(f"d{number % 9}/f{number}", f"{number}")
    count = "find . -type f | wc -l"
    assert host.ok("run", "-q", "--", "sh", "-c", count).strip() == "400"
    with Mirroring(host):
        for number in range(5):
            host.write(f"d0/g{number}", "g")
            seen = host.ok("run", "-q", "--", "sh", "-c", count).strip()
            assert seen == f"{401 + number}"
    # Beside a job that holds the tree, what changes nothing passes at once.
    job = host.ok("start", "--", "sh", "-c", "while ! test -e ../go; do sleep 0.01; done").strip()
    host.running(job)
    assert host.ok("run", "-q", "--", "sh", "-c", count).strip() == "405"
    # What changes something waits, says for what, and can be left.
    host.write("d0/late", "l")
    waiting = host.popen("run", "-q", "--", "true")
    host.ok("stop", job)
    waiting.communicate(timeout=DEADLINE_S)
    assert waiting.returncode == 0


def test_04_ignore_files_of_git_are_followed_nested_too(host: Host) -> None:
    for name, lines in (
        (".gitignore", "*.log\n/build/\n!important.log\n"),
        ("sub/.gitignore", "local\n!*.log\n"),
        ("sub/deep/.gitignore", "# nothing\n\\#odd\n*.[oa]\n"),
    ):
        host.write(name, lines)
    taken = ("a.txt", "important.log", "sub/x.log", "sub/build/kept", "sub/deep/x.c", "other/local")
    left = ("x.log", "build/out", "sub/local", "sub/deep/x.o", "sub/deep/#odd", "other/y.log")
    for name in taken + left:
        host.write(name, "x\n")
    host.ok("sync")
    there = {str(path.relative_to(the_tree(host))) for path in the_tree(host).rglob("*")}
    assert set(taken) <= there
    assert not set(left) & there


def test_05_it_does_not_delete_what_people_have(host: Host) -> None:
    for number in range(120):
        host.write(f"many/{number}", "x")
    host.write("mine", "m")
    host.ok("sync")
    # A source that is empty, as where a disk is not mounted; and one of which most is gone.
    aside = host.top / "aside"
    host.project.rename(aside)
    host.project.mkdir()
    host.user.owns(host.project)
    refused = host.run("sync", "--json").expect(1).error()
    assert refused["reason"] == "EMPTY_ROOT" or "empty" in refused["message"]
    host.project.rmdir()
    aside.rename(host.project)
    shutil.rmtree(host.project / "many")
    assert "--force-delete" in host.run("sync").expect(1).error_text
    listed = host.ok("sync", "--dry-run").splitlines()
    assert sum(line.startswith("delete") for line in listed) >= 120
    assert len(list((the_tree(host) / "many").iterdir())) == 120
    # And nothing that happens there comes back here by itself.
    host.run("run", "-q", "--no-sync", "--dir", str(the_tree(host)), "--", "rm", "mine").expect(0)
    host.run("sync", "--force-delete").expect(0)
    assert (host.project / "mine").read_text() == "m"
    assert (the_tree(host) / "mine").read_text() == "m"


@pytest.mark.once
@TRACES
def test_06_many_small_files_are_not_synced_to_disk_one_by_one(host: Host) -> None:
    for number in range(1500):
        host.write(f"d{number % 40}/{number}", f"small {number}")
    made = calls(host, "fsync,fdatasync,syncfs,sync,sync_file_range", "sync")
    assert content(the_tree(host)) == content(host.project)
    assert len(made.splitlines()) < 30, made


@pytest.mark.once
@TRACES
def test_07_nothing_changed_reads_no_file_however_large_the_tree_is(host: Host) -> None:
    for number in range(1200):
        path = host.write(f"d{number % 30}/file-{number}", f"{number}" * 50)
    until(lambda: is_long_ago(path), "what it looks like counts")
    for _ in range(2):
        host.ok("sync")
    index = next(the_tree(host).parent.glob("index"))
    until(lambda: is_long_ago(index), "and that of the mirror")
    host.ok("sync")
    opened = calls(host, "open,openat,openat2", "sync")
    assert "d17" in opened, "the directories are looked at"
    assert "file-" not in opened
    written = calls(host, "write,pwrite64,rename,renameat,renameat2,mkdirat,unlinkat", "sync")
    assert "file-" not in written


@pytest.mark.once
def test_08_a_new_name_sends_nothing(away: Away, laptop: Host) -> None:
    for number in range(60):
        laptop.write(f"old/d{number % 5}/{number}", os.urandom(9_000))
    assert laptop.json("sync")["sentFiles"] == 60
    (laptop.project / "old").rename(laptop.project / "new")
    shutil.copytree(laptop.project / "new/d1", laptop.project / "copy")
    told = laptop.json("sync")
    assert (told["sentFiles"], told["sentBytes"]) == (0, 0)
    assert content(the_tree(away.host)) == content(laptop.project)
    with Mirroring(laptop) as mirror:
        (laptop.project / "new/d2").rename(laptop.project / "d2")
        shutil.copy(laptop.project / "d2/2", laptop.tmp / "whole")
        (laptop.tmp / "whole").rename(laptop.project / "copied")
        same(laptop.project, the_tree(away.host))
        assert mirror.sent() == 0
        mirror.interrupt()


def test_09_permissions_are_those_that_people_expect(host: Host) -> None:
    old = os.umask(0o022)
    try:
        for name, mode in (("plain", 0o644), ("closed", 0o600), ("tool", 0o755), ("own", 0o700)):
            host.write(f"d/{name}", "#!/bin/sh\necho ran\n", mode)
        host.write("d/suid", "#!/bin/sh\n", 0o6755)
        host.ok("sync")
        found = modes(the_tree(host))
        assert host.ok("run", "-q", "--", "d/tool") == "ran\n"
        (host.project / "d/plain").chmod(0o755)
        (host.project / "d/tool").chmod(0o644)
        host.ok("sync")
        after = modes(the_tree(host))
    finally:
        os.umask(old)
    assert found == {
        "d": "drwxr-xr-x", "d/plain": "-rw-r--r--", "d/closed": "-rw-r--r--",
        "d/tool": "-rwxr-xr-x", "d/own": "-rwxr-xr-x", "d/suid": "-rwxr-xr-x",
    }  # fmt: skip
    assert (after["d/plain"], after["d/tool"]) == ("-rwxr-xr-x", "-rw-r--r--")


def test_10_times_make_no_build_too_large_or_too_small(host: Host) -> None:
    old = 1_500_000_000
    for name in ("a", "b"):
        os.utime(host.write(name, "aaaa\n"), (old, old))
    host.ok("sync")
    tree = the_tree(host)
    assert tree.joinpath("a").stat().st_mtime == old
    before = {name: (tree / name).stat() for name in ("a", "b")}
    # As old and as long as before, and another: newer there than what was built of the one before.
    built = time.time()
    os.utime(host.write("a", "bbbb\n"), (old, old))
    os.utime(host.project / "b", (old + 100, old + 100))
    host.ok("sync")
    assert (tree / "a").read_text() == "bbbb\n"
    assert (tree / "a").stat().st_mtime >= built - 1
    assert (tree / "b").stat().st_mtime_ns == before["b"].st_mtime_ns, "touched is not changed"
    assert (tree / "b").stat().st_ino == before["b"].st_ino


def test_11_one_bad_entry_stops_nothing(host: Host) -> None:
    host.write("good", "1")
    host.write("gone", "1")
    host.write("dir/old", "1")
    host.ok("sync")
    project = host.project
    for name, target in (
        ("abs", "/etc/passwd"),
        ("up", "../../../x"),
        ("dead", "no"),
        ("me", "me"),
    ):
        (project / name).symlink_to(target)
    os.mkfifo(project / "fifo")
    (project / "gone").unlink()
    host.write("good", "2")
    closed = host.write("closed", "secret")
    is_root = os.geteuid() == 0 and host.user.uid is None
    closed.chmod(0)
    (project / "dir").chmod(0o755 if is_root else 0)
    told = host.run("sync")
    (project / "dir").chmod(0o755)
    tree = the_tree(host)
    assert (tree / "good").read_text() == "2"
    assert not (tree / "gone").exists(), "what is gone elsewhere goes all the same"
    assert (tree / "dir/old").exists()
    assert (tree / "abs").readlink() == Path("/etc/passwd")
    assert "fifo" not in {path.name for path in tree.iterdir()}
    # A script can see that it is not complete.
    assert told.code == (0 if is_root else 1), told
    if not is_root:
        assert "closed" in told.error_text and "dir" in told.error_text
    closed.chmod(0o644)
    host.run("sync").expect(0)
    assert (tree / "closed").read_text() == "secret"


def test_12_a_watch_misses_no_new_directory_and_watches_none_that_is_ignored(host: Host) -> None:
    host.write(".gitignore", "node_modules/\n")
    for number in range(200):
        host.write(f"node_modules/m{number}/x", "x")
    host.write("a/b", "1")
    with Mirroring(host) as mirror:
        assert mirror.watched() <= 3
        for number in range(30):
            # Made and filled before anybody can have a watch on it.
            new = host.top / "aside"
            (new / "very/deep/er").mkdir(parents=True)
            (new / "very/deep/er/f").write_text(f"{number}")
            new.rename(host.project / f"new{number}")
            deep = host.project / f"at-once{number}/x/y"
            deep.mkdir(parents=True)
            (deep / "f").write_text(f"{number}")
        same(host.project, the_tree(host), (".git", "node_modules"))
        # And these are watched.
        host.write("new7/very/deep/er/f", "again")
        host.write("at-once7/x/y/f", "again")
        same(host.project, the_tree(host), (".git", "node_modules"))
        mirror.interrupt()


@pytest.mark.once
def test_13_it_shows_how_far_it_is_and_ends_when_told(away: Away, laptop: Host) -> None:
    laptop.write("large.bin", os.urandom(8 << 20))
    master, slave = pty.openpty()
    env = laptop.env | {"TERM": "xterm"}
    pushing = laptop.popen("sync", "--bwlimit", "300K", stderr=slave, env=env)
    os.close(slave)
    shown = bytearray()

    def read() -> None:
        # The last one who could write has gone.
        with contextlib.suppress(OSError):
            while piece := os.read(master, 4096):
                shown.extend(piece)

    reader = threading.Thread(target=read)
    reader.start()
    until(lambda: re.search(rb"\d+(\.\d+)? ?[KM]i?B", bytes(shown)), "bytes are shown")
    begun = time.monotonic()
    pushing.send_signal(signal.SIGINT)
    assert pushing.wait(timeout=DEADLINE_S) == 130
    assert time.monotonic() - begun < 2
    reader.join()
    os.close(master)
    assert not list(the_tree(away.host).iterdir()), "half of it is nowhere"


def test_14_only_what_is_asked_for_comes_back(host: Host) -> None:
    host.write("src", "s")
    script = (
        "mkdir -p target/debug dist/sub; echo big > target/debug/o; echo r > dist/app;"
        " echo r > dist/sub/x; echo l > Cargo.lock"
    )
    host.run("run", "-q", "--pull", "dist", "--", "sh", "-c", script).expect(0)
    here = {str(path.relative_to(host.project)) for path in host.project.rglob("*")}
    assert here == {"src", "dist", "dist/app", "dist/sub", "dist/sub/x"}


@pytest.mark.once
def test_15_what_a_server_turns_out_not_to_have_is_sent(away: Away, laptop: Host) -> None:
    whole = {f"d/{number}": os.urandom(40_000) for number in range(20)}
    for name, data in whole.items():
        laptop.write(name, data)
    laptop.write("large", large := os.urandom(3 << 20))
    laptop.ok("sync")
    tree = the_tree(away.host)
    # It knows them, and they are gone, changed, or changed without a trace.
    (tree / "d/1").unlink()
    (tree / "d/2").write_bytes(b"a job's")
    before = (tree / "d/3").stat()
    (tree / "d/3").write_bytes(os.urandom(40_000))
    os.utime(tree / "d/3", ns=(before.st_atime_ns, before.st_mtime_ns))
    (tree / "large").write_bytes(large[: 1 << 20] + os.urandom(2 << 20))
    (laptop.project / "d").rename(laptop.project / "e")
    laptop.write("large", b"!" + large)
    told = laptop.json("sync")
    assert 3 <= told["sentFiles"] <= 5
    for name, data in whole.items():
        assert (tree / name.replace("d/", "e/", 1)).read_bytes() == data
    assert (tree / "large").read_bytes() == b"!" + large
