"""What a mirror keeps of a tree, and that incremental builds in it stay right."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from harness.host import Host
from harness.mirroring import content, the_tree


def disk(path: Path) -> int:
    """Bytes that a file takes on the disk."""
    return path.stat().st_blocks * 512


def holed(path: Path, size: int, *data: int) -> None:
    """Write a file of that size that has a little data at some places, and holes elsewhere."""
    with path.open("wb") as file:
        for at in data:
            file.seek(at)
            file.write(b"data")
        file.truncate(size)


def test_holes_take_no_space_in_the_mirror_nor_in_what_comes_back(host: Host) -> None:
    size = 48 << 20
    holed(host.project / "image", size, 0, 20 << 20, 47 << 20)
    host.user.owns(host.project / "image")
    host.ok("sync")
    mirrored = the_tree(host) / "image"
    assert mirrored.read_bytes() == (host.project / "image").read_bytes()
    assert disk(mirrored) < 2 << 20
    job = host.ok("start", "--", "true").strip()
    host.finished(job)
    back = host.top / "back"
    back.mkdir()
    host.user.owns(back)
    host.ok("pull", job, "image", "--into", str(back))
    assert (back / "image").stat().st_size == size
    assert disk(back / "image") < 2 << 20


def test_a_tree_of_odd_things_arrives_as_it_is(host: Host) -> None:
    project = host.project
    host.write("plain", "p")
    host.write("tool", "t", 0o755)
    host.write("empty", "")
    (project / "hollow/in/side").mkdir(parents=True)
    top = os.fsencode(project)
    for name in (b"\xff\xfe", b"new\nline", b"tab\t", b"\x1b[31mred", b" ", b"*", b"-rf", b"a\\b"):
        with open(top + b"/" + name, "wb") as file:  # noqa: PTH123
            file.write(name)
    for name, target in (
        ("abs", "/nowhere"),
        ("up", "../../.."),
        ("loop", "loop"),
        ("to", "hollow"),
    ):
        (project / name).symlink_to(target)
    (project / "bytes").symlink_to(os.fsdecode(b"\xfe\xff"))
    _own(host)
    told = host.run("sync").expect(0)
    assert b"\x1b" not in told.err
    assert content(the_tree(host)) == content(project)
    assert (the_tree(host) / "hollow/in/side").is_dir()
    # What is listed is shown without doing anything to the terminal.
    for name in (b"\xff\xfe", b"\x1b[31mred"):
        os.unlink(top + b"/" + name)  # noqa: PTH108
    listed = host.run("sync", "--dry-run").expect(0)
    assert b"\x1b" not in listed.out
    assert b"delete" in listed.out
    host.ok("sync")
    assert content(the_tree(host)) == content(project)


def _own(host: Host) -> None:
    for directory, names, files in os.walk(os.fsencode(host.project)):
        for name in names + files:
            path = os.path.join(directory, name)  # noqa: PTH118
            if host.user.uid is not None:
                os.chown(path, host.user.uid, host.user.gid or -1, follow_symlinks=False)


def test_an_edit_that_keeps_size_and_time_is_seen(host: Host) -> None:
    path = host.write("main.txt", "aaaa\n")
    before = path.stat()
    host.ok("sync")
    host.ok("sync")
    path.write_text("bbbb\n")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    host.ok("sync")
    assert (the_tree(host) / "main.txt").read_text() == "bbbb\n"


def test_a_file_that_changes_all_the_time_does_not_harm_the_others(host: Host) -> None:
    host.write("still", "1")
    host.write("busy", "0")
    script = "while :; do date +%N > busy; done"
    with subprocess.Popen(
        ["sh", "-c", script], cwd=host.project, **host.user.popen_arguments()
    ) as writer:
        try:
            for number in range(10):
                host.write("still", f"{number}")
                host.ok("sync")
                assert (the_tree(host) / "still").read_text() == f"{number}"
        finally:
            writer.kill()
    host.ok("sync")
    assert content(the_tree(host)) == content(host.project)


MAKEFILE = """\
all: a.out b.out
%.out: %.in
\t@echo made $@
\t@cp $< $@
"""


def test_make_rebuilds_what_was_edited_and_nothing_else(host: Host) -> None:
    host.write("Makefile", MAKEFILE)
    host.write("a.in", "a\n")
    host.write("b.in", "b\n")
    host.write(".gitignore", "*.out\n")

    def made() -> list[str]:
        lines = host.ok("run", "-q", "--", "make", "-s").splitlines()
        return sorted(line for line in lines if line.startswith("made"))

    assert made() == ["made a.out", "made b.out"]
    assert made() == []
    host.write("a.in", "edited\n")
    assert made() == ["made a.out"]
    assert made() == []
    # Touched, and moved away and back: the content is the same, so nothing is made.
    os.utime(host.project / "b.in")
    assert made() == []
    # An older file in the place of a newer one is an edit like any other.
    old = host.write("old.in", "older\n")
    os.utime(old, (1_000_000_000, 1_000_000_000))
    old.rename(host.project / "b.in")
    assert "made b.out" in made()
    assert (the_tree(host) / "b.out").read_text() == "older\n"
    # And back and forth between two versions.
    for text in ["one\n", "two\n", "one\n", "two\n"]:
        host.write("a.in", text)
        assert made() == ["made a.out"]
        assert (the_tree(host) / "a.out").read_text() == text


@pytest.mark.once
def test_cargo_rebuilds_what_was_edited_and_nothing_else(host: Host) -> None:
    cargo = shutil.which("cargo")
    assert cargo, "this project is built with it"
    found = subprocess.run(
        ["rustc", "--print", "sysroot"], capture_output=True, check=True, text=True
    )
    tools = Path(found.stdout.strip()) / "bin"
    host.write("Cargo.toml", '[package]\nname = "p"\nversion = "0.1.0"\nedition = "2021"\n')
    host.write("src/main.rs", 'mod part;\nfn main() { println!("{}", part::word()); }\n')

    def part(word: str) -> None:
        host.write("src/part.rs", f'pub fn word() -> &\'static str {{ "{word}" }}\n')

    def ran() -> tuple[str, bool]:
        env = ("--env", f"PATH={tools}:/usr/bin:/bin", "--env", f"CARGO_HOME={host.tmp}/cargo")
        done = host.run("run", *env, "--", "cargo", "run", "--offline").expect(0)
        return done.text.strip(), b"Compiling" in done.err

    part("one")
    assert ran() == ("one", True)
    assert ran() == ("one", False)
    part("two")
    assert ran() == ("two", True)
    assert ran() == ("two", False)
    os.utime(host.project / "src/part.rs")
    assert ran() == ("two", False)
    for word in ["one", "two", "one"]:
        part(word)
        assert ran() == (word, True)
    assert ran() == ("one", False)
    # What cargo wrote, it keeps: the lock file and the build are the job's.
    assert (the_tree(host) / "target").is_dir()
    assert not (host.project / "target").exists()
