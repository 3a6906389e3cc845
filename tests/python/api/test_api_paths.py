"""A mirror's client that lies: paths that lead elsewhere, false contents, and others' ids."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from harness.api import Client
from harness.mirror import Commit, Tree, commit, root
from harness.world import World

pytestmark = pytest.mark.once

BAD_PATHS = {
    "parent": b"..",
    "above": b"../x",
    "within": b"a/../../x",
    "absolute": b"/etc/legwork-was-here",
    "nul": b"a\0b",
    "empty": b"",
    "two separators": b"a//b",
    "ends in one": b"a/",
    "dot": b"./a",
    "long name": b"n" * 256,
    "very long name": b"n" * 5000,
    "long path": b"/".join([b"n" * 100] * 50),
    "deep": b"/".join([b"d"] * 300),
    "the mirror's own": b".legwork-tmp.x",
}


def everything(place: Path) -> set[Path]:
    return {path for path in place.rglob("*") if "/jobs/" not in str(path)}


def tried(client: Client, fill: Callable[[Commit], None], claimed: bytes = b"\7" * 32) -> None:
    """One commit by hand, to its end."""
    talk = Commit(client)
    talk.hello()
    talk.until("manifest")
    talk.say(rebase=talk.sync.Rebase())
    fill(talk)
    talk.end(claimed)
    while True:
        kind, _ = talk.next()
        assert kind != "committed"
        if kind == "need":
            # What came is not what was claimed: it is to be sent again.
            talk.close()


@pytest.mark.parametrize("path", BAD_PATHS.values(), ids=BAD_PATHS)
def test_a_path_that_leads_elsewhere_is_refused(world: World, path: bytes) -> None:
    alice = world.join("alice")
    commit(alice, {b"kept": b"1"})
    before = everything(world.host.top)

    def put(talk: Commit) -> None:
        talk.say(delta=talk.sync.Delta(puts=[talk.put(path, b"x")]))

    def delete(talk: Commit) -> None:
        talk.say(delta=talk.sync.Delta(deletes=[path]))

    for fill in (put, delete):
        with alice.refused("BAD_PATH"):
            tried(alice, fill)
    assert not Path("/etc/legwork-was-here").exists()
    grown = everything(world.host.top) - before
    assert not [found for found in grown if found.name.startswith(("x", "n", "etc", "legwork-was"))]
    assert commit(alice, {b"kept": b"1"}).entries == 1


def test_names_that_are_only_strange_are_kept_as_they_are(world: World) -> None:
    jobs = world.stubs.jobs
    alice = world.join("alice")
    tree: Tree = {
        b"new\nline": b"1",
        b"\xff\xfe": b"2",
        b"\x1b[31m": b"3",
        b"-rf": b"4",
        b" ": b"5",
        b"a..": b"6",
        b"n" * 255: b"7",
    }
    commit(alice, tree)
    place = jobs.Place(workspace=jobs.WorkspaceRef(name="w"), require_root=root(tree))
    job = world.start(alice, world.shell('cat -- *; printf "[%s]" *', place=place))
    assert world.ended(alice, job.id).finish.exit_code == 0
    output = world.output(alice, job.id)
    assert sorted(output[:7]) == sorted(b"1234567")
    assert all(b"[" + name + b"]" in output for name in tree)


def test_links_are_not_ways_out(world: World) -> None:
    alice = world.join("alice")
    outside = world.host.tmp / "outside"
    outside.mkdir()

    def through(talk: Commit) -> None:
        sync = talk.sync
        link = sync.Node(symlink=sync.SymbolicLink(target=str(outside).encode()))
        puts = [sync.Put(path=b"link", node=link), talk.put(b"link/x", b"1")]
        talk.say(delta=sync.Delta(puts=puts))
        talk.say(data=sync.Data(pieces=[sync.Piece(file=0, offset=0, len=1)], bytes=b"1"))

    with alice.refused("BAD_PATH", "SYNC_PROTOCOL"):
        tried(alice, through)
    assert list(outside.iterdir()) == []


def test_content_that_is_not_what_it_claims(world: World) -> None:
    alice = world.join("alice")

    def piece(**fields: int) -> Callable[[Commit], None]:
        def fill(talk: Commit) -> None:
            sync = talk.sync
            talk.say(delta=sync.Delta(puts=[talk.put(b"x", b"12345")]))
            at = {"file": 0, "offset": 0, "len": 5} | fields
            talk.say(data=sync.Data(pieces=[sync.Piece(**at)], bytes=b"12345"))

        return fill

    for wrong in (
        {"file": 1},
        {"file": 2**32 - 1},
        {"offset": 1},
        {"offset": 2**64 - 1},
        {"len": 4},
        {"len": 6},
        {"len": 0},
        {"len": 2**32 - 1},
    ):
        with alice.refused("SYNC_PROTOCOL", "TOO_MUCH", "MALFORMED"):
            tried(alice, piece(**wrong), root({b"x": b"12345"}))

    def too_large(talk: Commit) -> None:
        sync = talk.sync
        content = bytes((1 << 20) + 1)
        talk.say(delta=sync.Delta(puts=[talk.put(b"x", content)]))
        at = sync.Piece(file=0, offset=0, len=len(content))
        talk.say(data=sync.Data(pieces=[at], bytes=content))

    with alice.refused("SYNC_PROTOCOL", "TOO_MUCH"):
        tried(alice, too_large)

    def too_many(talk: Commit) -> None:
        puts = [talk.put(b"f%d" % number, b"") for number in range(257)]
        talk.say(delta=talk.sync.Delta(puts=puts))

    with alice.refused("SYNC_PROTOCOL", "TOO_MUCH"):
        tried(alice, too_many)

    def huge(talk: Commit) -> None:
        put = talk.put(b"x", b"")
        put.node.file.size = 2**64 - 1
        talk.say(delta=talk.sync.Delta(puts=[put]))

    with alice.refused("TOO_MANY_BYTES"):
        tried(alice, huge)
    lying = Commit(alice)
    lying.hello()
    lying.until("manifest")
    lying.say(rebase=lying.sync.Rebase())
    with alice.refused("HASH_MISMATCH"):
        for _ in range(10):
            put = lying.put(b"x", b"claimed")
            lying.say(delta=lying.sync.Delta(puts=[put]))
            at = lying.sync.Piece(file=lying.files, offset=0, len=7)
            lying.files += 1
            lying.say(data=lying.sync.Data(pieces=[at], bytes=b"another"))
            lying.end(root({b"x": b"claimed"}))
            lying.until("need")
    assert commit(alice, {b"x": b"12345"}).generation == 1


def test_forged_references_reach_nothing(world: World) -> None:
    jobs = world.stubs.jobs
    alice, bob = world.join("alice"), world.join("bob")
    commit(alice, {b"secret": b"alice's\n"})

    def started(**place: Any) -> Any:
        spec = world.shell("cat secret", place=jobs.Place(**place))
        (result,) = world.start_all(bob, [spec])
        return result

    # The same name is another workspace, and its root is not there.
    forged = started(
        workspace=jobs.WorkspaceRef(name="w"),
        require_root=root({b"secret": b"alice's\n"}),
        root_wait_ms=0,
    )
    assert forged.refusal.reason == "ROOT_NOT_COMMITTED"
    for length in (0, 17, 31, 33):
        short = started(workspace=jobs.WorkspaceRef(name="w"), require_root=b"r" * length)
        assert short.refusal.reason == "MALFORMED", length
    for reference in (jobs.WorkspaceRef(), jobs.WorkspaceRef(name="../" * 8 + "etc")):
        assert started(workspace=reference).refusal.reason in ("MALFORMED", "BAD_NAME")
    outside = started(workspace=jobs.WorkspaceRef(name="w"), dir=b"../../..")
    assert outside.refusal.reason == "DIR_OUTSIDE"
    origin = jobs.WorkspaceOrigin(machine_id="m" * 100_000, root=b"\0/../" * 1000)
    job = started(workspace=jobs.WorkspaceRef(origin=origin)).job
    finish = world.ended(bob, job.id).finish
    assert (finish.exit_code, finish.not_started.step) == (125, "lease")
    assert "nothing was ever committed" in finish.why
    for forged_id in ("", "x", "0" * 32, "00000000-0000-0000-0000-00000000000", "é" * 18):
        (result,) = world.start_all(bob, [world.shell("true", id=forged_id)])
        if result.WhichOneof("result") == "job":
            world.ended(bob, result.job.id)
            assert result.job.id == "00000000-0000-0000-0000-000000000000"
        else:
            assert result.refusal.reason == "MALFORMED", forged_id
