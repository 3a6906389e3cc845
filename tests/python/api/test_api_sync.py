"""SyncService by a foreign client: a tree goes in by hand-made messages, and results come back."""

import os
import threading
from pathlib import Path
from queue import Queue
from typing import Any

import grpc
import pytest
from harness.api import Client
from harness.mirror import Commit, Tree, commit, root
from harness.waiting import DEADLINE_S
from harness.world import World

pytestmark = pytest.mark.once

BIG = os.urandom(3_000_000)
TREE: Tree = {
    b"a.txt": b"small\n",
    b"big": BIG,
    b"dir": None,
    b"dir/empty": b"",
    b"dir/sub": None,
    b"dir/sub/deep": b"deep\n",
    b"dir.txt": b"sorted after the directory's content\n",
} | {b"many%03d" % number: b"%d\n" % number for number in range(200)}


def tree_of(world: World, workspace: str) -> Path:
    return world.host.state / "workspaces" / workspace / "tree"


def workspace_of(world: World, client: Client, name: str = "w") -> str:
    """The id that a job in it shows."""
    place = world.stubs.jobs.Place(workspace=world.stubs.jobs.WorkspaceRef(name=name))
    job = world.start(client, world.spec("true", place=place))
    return world.ended(client, job.id).workspace


def pull(client: Client, source: dict[str, Any], *globs: str) -> dict[bytes, bytes | None]:
    """Bring what matches."""
    sync = client.stubs.sync
    queue: Queue[Any] = Queue()
    answers = client.sync.Pull(iter(queue.get, None), timeout=DEADLINE_S)
    ask = sync.Ask(version=1, globs=globs)
    queue.put(sync.PullRequest(source=sync.PullSource(**source), ask=ask))
    entries, contents, done = [], {}, False
    for answer in answers:
        kind = answer.WhichOneof("message")
        if kind == "offer":
            entries += answer.offer.entries
            if answer.offer.last:
                files = [n for n, e in enumerate(entries) if e.node.WhichOneof("kind") == "file"]
                want = sync.Want(files=range(len(files)), last=True)
                queue.put(sync.PullRequest(want=want))
        elif kind == "data":
            at = 0
            for piece in answer.data.pieces:
                held = contents.setdefault(piece.file, bytearray())
                assert piece.offset == len(held)
                held += answer.data.bytes[at : at + piece.len]
                at += piece.len
            assert at == len(answer.data.bytes)
        elif kind == "done":
            done = True
            queue.put(None)
    assert done
    numbers = iter(range(len(entries)))
    found: dict[bytes, bytes | None] = {}
    for entry in entries:
        if entry.node.WhichOneof("kind") == "file":
            found[entry.path] = bytes(contents.get(next(numbers), b""))
        else:
            found[entry.path] = None
    return found


def test_a_tree_goes_in_and_results_come_back(world: World) -> None:
    jobs = world.stubs.jobs
    alice = world.join("alice")
    summary = commit(alice, TREE)
    assert (summary.root, summary.generation, summary.entries) == (root(TREE), 1, len(TREE))
    assert summary.written_bytes == sum(len(content or b"") for content in TREE.values())
    place = jobs.Place(workspace=jobs.WorkspaceRef(name="w"), require_root=root(TREE))
    script = "cat a.txt dir/sub/deep; wc -c < big; mkdir out; cp big out/copy; pwd"
    job = world.start(alice, world.shell(script, place=place))
    ended = world.ended(alice, job.id)
    assert ended.finish.exit_code == 0
    tree = tree_of(world, ended.workspace)
    expected = f"small\ndeep\n{len(BIG)}\n{tree}\n".encode()
    assert world.output(alice, job.id) == expected
    for source in ({"job": job.id}, {"workspace": jobs.WorkspaceRef(name="w")}):
        assert pull(alice, source, "out/**", "a.*")[b"out/copy"] == BIG
        assert pull(alice, source, "a.*") == {b"a.txt": b"small\n"}
        assert pull(alice, source, "nothing/*") == {}


def test_an_unchanged_tree_is_one_round_trip_and_an_edit_sends_itself(world: World) -> None:
    alice = world.join("alice")
    before = commit(alice, TREE)
    same = Commit(alice)
    same.hello(before.root)
    same.end(before.root)
    kind, welcome = same.next()
    assert (kind, welcome.base_known, welcome.generation) == ("welcome", True, 1)
    assert same.next() == (
        "committed",
        same.sync.Summary(
            root=before.root,
            generation=1,
            entries=len(TREE),
            written=same.sync.Listing(),
            deleted=same.sync.Listing(),
            displaced=same.sync.Listing(),
            kept=same.sync.Listing(),
        ),
    )
    edited = TREE | {b"a.txt": b"edited\n"}
    del edited[b"many007"]
    talk = Commit(alice)
    talk.hello(before.root)
    talk.delta({b"a.txt": b"edited\n"}, (b"many007",))
    talk.end(root(edited))
    after = talk.until("committed")
    assert (list(after.written.paths), list(after.deleted.paths)) == ([b"a.txt"], [b"many007"])
    assert after.generation == 2


def test_what_the_server_lacks_is_asked_for(world: World) -> None:
    alice = world.join("alice")
    summary = commit(alice, {b"kept": b"1\n", b"lost": b"2\n"})
    (tree_of(world, workspace_of(world, alice)) / "lost").unlink()
    talk = Commit(alice)
    talk.hello(summary.root)
    talk.end(summary.root)
    need = talk.until("need")
    assert (list(need.paths), need.last) == ([b"lost"], True)
    talk.delta({b"lost": b"2\n"})
    talk.end(summary.root)
    assert list(talk.until("committed").written.paths) == [b"lost"]


def test_a_dry_run_only_says(world: World) -> None:
    alice = world.join("alice")
    talk = Commit(alice)
    talk.hello(dry_run=True)
    talk.until("manifest")
    talk.say(rebase=talk.sync.Rebase())
    talk.say(delta=talk.sync.Delta(puts=[talk.put(b"x", b"1")]))
    talk.end(root({b"x": b"1"}))
    assert list(talk.until("planned").written.paths) == [b"x"]
    assert list(tree_of(world, workspace_of(world, alice)).iterdir()) == []


def test_commits_that_are_refused(world: World) -> None:
    alice = world.join("alice")
    summary = commit(alice, {b"f%d" % n: b"x" for n in range(200)})

    def tried(tree: Tree, claimed: bytes, deletes: tuple[bytes, ...] = (), **more: Any) -> None:
        talk = Commit(alice)
        talk.hello(summary.root, **more)
        talk.delta(tree, deletes)
        talk.end(claimed)
        talk.until("committed")

    gone = tuple(sorted(b"f%d" % n for n in range(200)))
    with alice.refused("ROOT_MISMATCH") as told:
        tried({b"x": b"1"}, b"\7" * 32)
    assert told[0].code == grpc.StatusCode.INVALID_ARGUMENT
    with alice.refused("EMPTY_ROOT") as told:
        tried({}, root({}), gone)
    assert told[0].metadata["tracked"] == "200"
    with alice.refused("MASS_DELETE"):
        tried({}, root({b"f0": b"x"}), gone[1:])
    with alice.refused("SYNC_VERSION"):
        tried({}, summary.root, version=0)
    assert commit(alice, {b"f%d" % n: b"x" for n in range(200)}).generation == summary.generation


def test_a_conversation_that_is_none_is_refused(world: World) -> None:
    alice = world.join("alice")
    sync, jobs = world.stubs.sync, world.stubs.jobs
    for name in ("../x", "", "a/b", "a b", "n" * 101, "\0"):
        with alice.refused("BAD_NAME"):
            Commit(alice, name).hello() or commit(alice, {}, name)
    for requests in [
        [],
        [sync.CommitRequest(hello=sync.Hello(version=1))],
        [sync.CommitRequest(workspace=jobs.WorkspaceRef())],
        [sync.CommitRequest(workspace=jobs.WorkspaceRef(name="w"))],
    ]:
        with alice.refused("MALFORMED"):
            list(alice.sync.Commit(iter(requests)))
    for bad in [
        {"end": sync.End(root=b"x" * 31)},
        {"end": sync.End(root=b"x" * 33)},
        {"delta": sync.Delta(puts=[sync.Put(path=b"x")])},
        {},
    ]:
        talk = Commit(alice)
        talk.hello()
        talk.until("welcome")
        talk.say(**bad)
        with alice.refused("MALFORMED"):
            talk.until("committed")
    cut = Commit(alice)
    cut.hello()
    cut.close()
    with alice.refused("MALFORMED"):
        cut.until("committed")
    talk = Commit(alice)
    talk.say(end=sync.End(root=b"x" * 32))
    with alice.refused("SYNC_PROTOCOL"):
        talk.until("committed")


def test_pulls_that_are_refused(world: World) -> None:
    sync, jobs = world.stubs.sync, world.stubs.jobs
    alice, bob = world.join("alice"), world.join("bob")
    commit(alice, {b"x": b"secret"})
    job = world.start(alice, world.shell("true"))
    world.ended(alice, job.id)
    with bob.refused("WORKSPACE_NOT_FOUND"):
        pull(bob, {"workspace": jobs.WorkspaceRef(name="w")}, "*")
    with bob.refused("JOB_NOT_FOUND"):
        pull(bob, {"job": job.id}, "*")
    with alice.refused("NO_WORKSPACE"):
        pull(alice, {"job": job.id}, "*")
    with alice.refused("BAD_PATH"):
        pull(alice, {"workspace": jobs.WorkspaceRef(name="w")}, "[")
    with alice.refused("MALFORMED"):
        list(alice.sync.Pull(iter([])))
    with alice.refused("MALFORMED"):
        list(alice.sync.Pull(iter([sync.PullRequest(ask=sync.Ask(version=1))])))
    for who in (world.join("eve", "read"), world.join("log", "report")):
        with who.refused("ROLE"):
            pull(who, {"workspace": jobs.WorkspaceRef(name="w")}, "*")
        with who.refused("ROLE"):
            commit(who, {})


def test_a_change_waits_for_the_job_and_names_it(world: World) -> None:
    jobs = world.stubs.jobs
    alice = world.join("alice")
    summary = commit(alice, {b"x": b"1"})
    place = jobs.Place(workspace=jobs.WorkspaceRef(name="w"), require_root=summary.root)
    job = world.start(alice, world.shell("exec sleep 60", place=place))
    talk = Commit(alice)
    talk.hello(summary.root)
    talk.delta({b"x": b"2"})
    talk.end(root({b"x": b"2"}))
    waiting = talk.until("waiting")
    assert waiting.reason == world.stubs.sync.WAITING_FOR_LEASE
    assert [name[:8] for name in waiting.jobs] == [job.short_id[:8]]
    alice.jobs.Stop(jobs.StopRequest(id=job.id))
    assert talk.until("committed").root == root({b"x": b"2"})
    place = jobs.Place(
        workspace=jobs.WorkspaceRef(name="w"), require_root=summary.root, root_wait_ms=0
    )
    (late,) = world.start_all(alice, [world.shell("true", place=place)])
    assert late.refusal.reason == "ROOT_NOT_COMMITTED"


def test_a_job_starts_when_the_root_it_needs_is_there(world: World) -> None:
    jobs = world.stubs.jobs
    alice = world.join("alice")
    tree: Tree = {b"x": b"needed\n"}
    place = jobs.Place(workspace=jobs.WorkspaceRef(name="w"), require_root=root(tree))
    spec = world.shell("cat x", place=place)
    started: list[Any] = []
    waiting = threading.Thread(target=lambda: started.append(world.start(alice, spec)))
    waiting.start()
    commit(alice, tree)
    waiting.join(DEADLINE_S)
    assert started
    world.ended(alice, spec.id)
    assert world.output(alice, spec.id) == b"needed\n"
