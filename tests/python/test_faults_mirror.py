"""Mirrors whose server or client is killed at any system call: nothing is half, nothing lost."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from harness import faults
from harness.faults import Fault, places
from harness.host import Host, Word
from harness.mirroring import content, the_tree
from harness.mortal import LASTING, Mortal
from harness.relay import Relay
from harness.serving import LISTEN, Away, Serving
from harness.waiting import DEADLINE_S

pytestmark = [
    pytest.mark.once,
    pytest.mark.skipif(faults.why_not() is not None, reason=str(faults.why_not())),
]

EXTENT = pytest.mark.parametrize(
    "most", [1, pytest.param(1 << 30, marks=pytest.mark.soak)], ids=["some", "all"]
)
# What a client does that lasts, or that somebody hears of.
CLIENTS = (*LASTING, "sendto", "sendmsg", "shutdown", "close", "connect", "statx")


def change(host: Host, number: int, large: bytes) -> None:
    """Do something of every kind: edit, make, remove, move, copy; also in a large file, a link."""
    project = host.project
    host.write("edited", f"{number}\n" * 300)
    host.write(f"deep/er/new-{number}", f"{number}")
    (project / f"deep/er/new-{number - 1}").unlink(missing_ok=True)
    if (project / f"moved-{number - 1}").exists():
        (project / f"moved-{number - 1}").rename(project / f"moved-{number}")
    else:
        host.write(f"moved-{number}/inside", b"y" * 300_000)
        host.write(f"moved-{number}/small", "small")
    host.write("large", b"%d" % number + large)
    host.write("back", ("one", "two")[number % 2] * 500)
    host.write(
        "copied", (project / f"moved-{number}/small").read_bytes(), (0o644, 0o755)[number % 2]
    )
    (project / "link").unlink(missing_ok=True)
    (project / "link").symlink_to(("edited", "large")[number % 2])


def found(root: Path, text: str) -> bool:
    """Whether a file below that directory has this in it."""
    return any(path.read_bytes() == text.encode() for path in root.rglob("*") if path.is_file())


def nothing_is_staged(host: Host) -> None:
    """Fail if something waits for a commit that has been made."""
    (staging,) = (host.state / "workspaces").glob("*/staging")
    left = [path for name in ("new", "cut") for path in (staging / name).rglob("*")]
    assert not left, left


@pytest.fixture
def site(host: Host, laptop: Host) -> Iterator[Mortal]:
    """A server with a directory of its admin's choosing, to which the laptop may write."""
    path = host.top / "srv/site"
    path.mkdir(parents=True)
    config = host.tmp / "server.toml"
    config.write_text(f'[workspace.site]\npath = "{path}"\nwriters = ["anna"]\n')
    with Relay() as relay:
        options: tuple[Word, ...] = ("--config", config)
        server = Serving(host, *LISTEN, "--init", "--advertise", relay.address, *options)
        relay.lead_to(server.address)
        away = Away(host, laptop, server, relay)
        try:
            away.join(laptop, "anna")
            yield Mortal(away, laptop, options)
        finally:
            away.server.__exit__()


@EXTENT
def test_an_exact_mirror_of_a_directory_of_the_admins(site: Mortal, most: int) -> None:
    laptop, path = site.laptop, site.away.host.top / "srv/site"
    large = os.urandom(400_000)
    words = ("sync", "--workspace", "site", "--delete", "exact", "--compress", "zstd")

    def round_(*these: Fault) -> None:
        number = next(site.numbers)
        change(laptop, number, large)
        # What others put there, and what they made of what is the mirror's.
        lost = [f"theirs {number}", f"defaced {number}"] if number else []
        if number:
            (path / f"upload-{number}/in").mkdir(parents=True)
            (path / f"upload-{number}/in/file").write_text(lost[0])
            (path / "edited").write_text(lost[1])
        told = site.asked(lambda: laptop.popen(*words), *these)
        if told.code:
            # There was no connection yet, or it was lost for good.
            told = laptop.run(*words).expect(0)
        assert content(path) == content(laptop.project), told
        assert laptop.json(*words)["sentFiles"] == 0
        store = path.with_name(".legwork-site")
        for text in lost:
            assert found(store / "trash", text), f"{text} is lost"

    site.dies(most, round_)


@EXTENT
def test_what_is_taken_out_of_the_trash(away: Away, laptop: Host, most: int) -> None:
    mortal = Mortal(away, laptop)
    laptop.write("a", "begin")
    laptop.ok("sync")
    tree = the_tree(away.host)

    def round_(*these: Fault) -> None:
        number = next(mortal.numbers)
        for name in ("a", "d/e"):
            (tree / name).parent.mkdir(exist_ok=True)
            (tree / name).write_text(f"a job's {name} {number}")
            laptop.write(name, f"mine {number}")
        laptop.ok("sync")
        newest = max(laptop.json("trash", "list"), key=lambda one: int(one["id"]))
        (laptop.project / "d/e").unlink()
        laptop.ok("sync")
        words = ("trash", "restore", "--force", newest["id"])
        mortal.asked(lambda: laptop.popen(*words), *these)
        # Again: whatever was done of it is done.
        laptop.run(*words)
        for name in ("a", "d/e"):
            text = f"a job's {name} {number}"
            here = (tree / name).exists() and (tree / name).read_text() == text
            assert here or found(tree.parent / "trash", text), f"{text} is lost"
        laptop.ok("sync")
        assert (tree / "a").read_text() == f"mine {number}"

    mortal.dies(most, round_)


def killed_everywhere(
    host: Host, words: tuple[Word, ...], most: int, judge: Callable[[int], None]
) -> None:
    """Give a command again and again after changes; kill it at each of its calls, or at some."""
    large = os.urandom(400_000)
    log = host.tmp / "client.log"
    for number in range(2):
        change(host, number, large)
        assert faults.traced(host, log, *words) == 0
        judge(number)
    calls = faults.counts(log)
    assert calls["openat"] > 3
    chosen = [Fault(kind, when) for kind in CLIENTS for when in places(calls.get(kind, 0), most)]
    met = 0
    for number, fault in enumerate(chosen, 2):
        change(host, number, large)
        faults.traced(host, log, *words, faults=[fault])
        met += faults.was_met(log)
        host.run(*words, timeout_s=DEADLINE_S).expect(0)
        judge(number)
    assert met > len(chosen) // 2


@EXTENT
def test_a_client_elsewhere_is_killed_at_any_call(away: Away, laptop: Host, most: int) -> None:
    def judge(number: int) -> None:
        assert content(the_tree(away.host)) == content(laptop.project), number
        assert laptop.json("sync")["sentFiles"] == 0

    killed_everywhere(laptop, ("sync", "--compress", "zstd"), most, judge)
    nothing_is_staged(away.host)


@EXTENT
def test_both_ends_in_one_process_are_killed_at_any_call(host: Host, most: int) -> None:
    def judge(number: int) -> None:
        assert content(the_tree(host)) == content(host.project), number
        assert host.json("sync", "--delete", "exact")["written"]["total"] == 0

    killed_everywhere(host, ("sync", "--delete", "exact"), most, judge)
    nothing_is_staged(host)
