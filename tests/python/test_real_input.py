"""The mirror on what people have: releases of a large project, a kernel's tree, git and a watch."""

import hashlib
import os
import random
import shutil
import stat
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from typing import Any

import pytest
from harness.host import Host
from harness.mirroring import Mirroring, same, the_tree

pytestmark = [pytest.mark.once, pytest.mark.soak]

RELEASES = ("3.2", "4.0", "4.0.10", "4.1", "4.1.13", "4.2", "4.2.20", "5.0", "5.1", "5.2")
"""Of Django, whose source has some 6,800 files, in the order in which they came."""
LONG_S = 900.0


def fetched(command: list[str], where: Path) -> None:
    """Let an ordinary client bring something, or skip."""
    done = subprocess.run(command, cwd=where, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"SKIPPED: {command[0]} brings nothing: {done.stderr.strip()[-300:]}")


@pytest.fixture(scope="module")
def releases(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The unpacked releases."""
    top = tmp_path_factory.mktemp("releases")
    pip = [sys.executable, "-m", "pip", "-q", "download", "--no-binary", ":all:", "--no-deps"]
    unpacked = []
    for release in RELEASES:
        place = top / release
        place.mkdir()
        fetched([*pip, "--no-build-isolation", "-d", str(place), f"django=={release}"], top)
        (archive,) = place.glob("*.tar.gz")
        with tarfile.open(archive) as packed:
            packed.extractall(place, filter="tar")
        archive.unlink()
        (source,) = place.iterdir()
        unpacked.append(source)
    return unpacked


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source of the distribution's kernel."""
    top = tmp_path_factory.mktemp("kernel")
    top.chmod(0o755)
    for tool in ("apt-get", "dpkg-deb"):
        if not shutil.which(tool):
            pytest.skip(f"SKIPPED: there is no {tool}")
    fetched(["sh", "-c", "apt-get download $(apt-cache depends -i linux-source | "
             "sed -n 's/.*Depends: //p')"], top)  # fmt: skip
    (package,) = top.glob("linux-source-*.deb")
    fetched(["dpkg-deb", "-x", str(package), str(top / "package")], top)
    (archive,) = (top / "package").glob("usr/src/*.tar.xz")
    fetched(["tar", "-xJf", str(archive), "-C", str(top)], top)
    shutil.rmtree(top / "package")
    package.unlink()
    (source,) = (path for path in top.iterdir() if path.is_dir())
    return source


def become(project: Path, source: Path) -> None:
    """Make the project what this tree is, as unpacking an archive over the old one's place does."""
    for path in project.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    shutil.copytree(source, project, symlinks=True, dirs_exist_ok=True)


def synced(host: Host, *options: str) -> dict[str, Any]:
    """Mirror; what was told, and how long it took."""
    begun = time.monotonic()
    told = host.json("sync", *options, timeout_s=LONG_S)
    told["seconds"] = time.monotonic() - begun
    return told


def shown(what: str, told: dict[str, Any]) -> None:
    """Say what a session came to."""
    numbers = {
        name: told[name] for name in ("sentFiles", "sentBytes", "reusedFiles", "reusedBytes")
    }
    print(f"{what}: {told['seconds']:.2f} s, {numbers}")


def hashed(root: Path) -> dict[bytes, Any]:
    """All that is in a directory: exec bits, links, and what files hold, by a hash."""
    found: dict[bytes, Any] = {}
    top = os.fsencode(root)
    for directory, names, files in os.walk(top):
        for name in names + files:
            path = os.path.join(directory, name)  # noqa: PTH118
            look = os.lstat(path)
            what: Any = stat.S_IFMT(look.st_mode)
            if stat.S_ISLNK(look.st_mode):
                what = os.readlink(path)  # noqa: PTH115
            elif stat.S_ISREG(look.st_mode):
                with open(path, "rb") as file:  # noqa: PTH123
                    what = (look.st_mode & 0o100, hashlib.file_digest(file, "blake2b").digest())
            found[os.path.relpath(path, top)] = what
    return found


def identical(host: Host) -> None:
    """Fail unless mirror and project are the same: names, bytes, exec bits, links."""
    mine, theirs = hashed(host.project), hashed(the_tree(host))
    assert mine.keys() == theirs.keys(), sorted(mine.keys() ^ theirs.keys())[:20]
    differ = [path for path, what in mine.items() if theirs[path] != what]
    assert not differ, differ[:20]


def test_ten_releases_of_a_large_project_in_a_row(host: Host, releases: list[Path]) -> None:
    # What a release ignores of itself is mirrored too: it is all there is.
    (host.home / "config/legwork").mkdir(parents=True)
    (host.home / "config/legwork/config.toml").write_text('[sync]\ninclude = ["**"]\n')
    sent = []
    for source in releases:
        become(host.project, source)
        told = synced(host, "--force-delete")
        shown(source.name, told)
        identical(host)
        sent.append(told["sentBytes"])
        assert synced(host)["written"]["total"] == 0
    # What is there already does not come again.
    assert sent[0] > 10_000_000
    assert max(sent[1:]) < sent[0] * 0.8
    # And back: what was replaced last is still with the server.
    become(host.project, releases[-2])
    told = synced(host, "--force-delete")
    shown("back", told)
    identical(host)
    assert told["sentBytes"] == 0


def test_a_release_becomes_the_next_under_a_watch(host: Host, releases: list[Path]) -> None:
    become(host.project, releases[0])
    with Mirroring(host, "--force-delete") as mirror:
        for source in releases[1:4]:
            become(host.project, source)
            host.run("sync", "--force-delete", timeout_s=LONG_S)
            same(host.project, the_tree(host), ())
        mirror.interrupt()


def another_branch(project: Path, seed: int) -> None:
    """Change a tree as switching to a branch far away does: edits, new files, moves, removals."""
    chance = random.Random(seed)
    files = sorted(path for path in project.rglob("*.[ch]") if not path.is_symlink())
    for path in chance.sample(files, len(files) // 20):
        path.write_bytes(path.read_bytes() + b"/* of another branch */\n")
    for number in range(500):
        new = project / f"samples/branch/{number % 20}/{number}.c"
        new.parent.mkdir(parents=True, exist_ok=True)
        new.write_text(f"int branch_{number};\n" * 40)
    (project / "drivers/net/ethernet").rename(project / "drivers/ethernet")
    shutil.rmtree(project / "sound/pci")


def test_the_kernels_tree(host: Host, kernel: Path) -> None:
    project = host.top / "kernel"
    subprocess.run(["cp", "-a", str(kernel), str(project)], check=True)
    host.project.rmdir()
    project.rename(host.project)
    everything = ("--include", "**")
    shown("first", synced(host, *everything))
    identical(host)
    shown("again", synced(host, *everything))
    told = synced(host, *everything)
    shown("no change", told)
    assert (told["sentBytes"], told["written"]["total"]) == (0, 0)
    another_branch(host.project, 1)
    shown("a branch", synced(host, *everything, "--force-delete"))
    identical(host)
    subprocess.run(["rsync", "-a", "--delete", f"{kernel}/", f"{host.project}/"], check=True)
    told = synced(host, *everything, "--force-delete")
    shown("and back", told)
    identical(host)
    assert told["sentBytes"] < 50_000_000


def git(where: Path, *args: str) -> None:
    """Run git, as somebody without any settings."""
    who = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "gc.auto=0")
    env = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "GIT_CONFIG_NOSYSTEM": "1"}
    subprocess.run(["git", *who, *args], cwd=where, env=env, capture_output=True, check=True)


SUMS = """
find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum
find . -type l -printf '%p %l\\n' | LC_ALL=C sort
"""
"""Tells every file of a directory with what is in it, and every link."""


def sees_all_of_it(host: Host) -> None:
    """Fail unless a job sees exactly what is in the project, git's own files left out."""
    job = host.run("run", "-q", "--force-delete", "--", "sh", "-c", SUMS, timeout_s=LONG_S)
    job.expect(0)
    sums = SUMS.replace("find .", "find . -path ./.git -prune -o")
    mine = subprocess.run(["sh", "-c", sums], cwd=host.project, capture_output=True, check=True)
    theirs, ours = job.out.splitlines(), mine.stdout.splitlines()
    assert theirs == ours, sorted(set(theirs) ^ set(ours))[:20]


def test_git_switches_between_releases_while_a_watch_runs(host: Host, releases: list[Path]) -> None:
    project = host.project
    git(project, "init", "-q", "-b", "begin", ".")
    names = [f"r{number}" for number in range(4)]
    for name, source in zip(names, releases[::3], strict=True):
        for path in project.iterdir():
            if path.name != ".git":
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        shutil.copytree(source, project, symlinks=True, dirs_exist_ok=True)
        git(project, "checkout", "-qb", name)
        git(project, "add", "-A", "-f", ".")
        git(project, "commit", "-qm", name)
    with Mirroring(host, "--force-delete") as mirror:
        for name in [*names, *reversed(names), "r1", "r3", "r1", "r3"]:
            git(project, "checkout", "-q", name)
            # At once: the watch may be in the midst of it.
            sees_all_of_it(host)
            same(project, the_tree(host))
        # And faster than anybody can follow.
        for name in names * 3:
            git(project, "checkout", "-q", name)
        sees_all_of_it(host)
        same(project, the_tree(host))
        mirror.interrupt()
