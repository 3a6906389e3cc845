"""What a foreign client does with its workspaces beside mirroring: lists, removal, the trash."""

import pytest
from harness.api import Client
from harness.mirror import Commit, commit, root
from harness.world import World

pytestmark = pytest.mark.once


def named(world: World, name: str = "w"):  # noqa: ANN201 (a generated class)
    return world.stubs.jobs.WorkspaceRef(name=name)


def workspaces(client: Client) -> list:
    """All pages."""
    found, token = [], ""
    while True:
        page = client.sync.ListWorkspaces(client.stubs.sync.ListWorkspacesRequest(page_token=token))
        found += page.workspaces
        token = page.next_page_token
        if not token:
            return found


def displaced(world: World, client: Client) -> str:
    """Commit over what a job changed; the name of what gave way."""
    commit(client, {b"a": b"1", b"b": b"1"})
    place = world.stubs.jobs.Place(workspace=named(world))
    job = world.start(client, world.shell("echo job > a", place=place))
    world.ended(client, job.id)
    return commit(client, {b"a": b"2", b"b": b"1"}).trash


def test_workspaces_are_listed_by_the_page_and_removed(world: World) -> None:
    alice, bob = world.join("alice"), world.join("bob", "admin")
    for number in range(52):
        commit(alice, {b"x": b"12"}, f"w{number}")
    found = workspaces(alice)
    assert {entry.by.name for entry in found} == {f"w{number}" for number in range(52)}
    assert [entry.id for entry in found] == sorted({entry.id for entry in found})
    assert all((entry.entries, entry.bytes, entry.generation) == (1, 2, 1) for entry in found)
    assert workspaces(bob) == []
    sync = world.stubs.sync
    for which in ("w0", found[0].id, found[0].id[:6], "", "../w0", "w"):
        with bob.refused("WORKSPACE_NOT_FOUND"):
            bob.sync.RemoveWorkspace(sync.RemoveWorkspaceRequest(which=which))
    with alice.refused("WORKSPACE_NOT_FOUND"):
        alice.sync.RemoveWorkspace(sync.RemoveWorkspaceRequest(which=""))
    removed = alice.sync.RemoveWorkspace(sync.RemoveWorkspaceRequest(which="w7"))
    assert not (world.host.state / "workspaces" / removed.id).exists()
    alice.sync.RemoveWorkspace(sync.RemoveWorkspaceRequest(which=found[0].id))
    assert len(workspaces(alice)) in (50, 51)
    # It counts for nothing any more, and is made anew by the next commit.
    assert commit(alice, {b"x": b"1"}, "w7").generation == 1


def test_what_gave_way_is_listed_and_restored(world: World) -> None:
    alice, bob = world.join("alice"), world.join("bob", "admin")
    sync = world.stubs.sync
    name = displaced(world, alice)
    (listed,) = alice.sync.ListTrash(sync.ListTrashRequest(workspace=named(world))).trash
    assert (listed.id, list(listed.paths.paths), listed.bytes) == (name, [b"a"], 4)
    restore = sync.RestoreTrashRequest(workspace=named(world), id=name)
    done = alice.sync.RestoreTrash(restore)
    assert (list(done.restored.paths), list(done.in_the_way.paths)) == ([], [b"a"])
    restore.force = True
    done = alice.sync.RestoreTrash(restore)
    assert (list(done.restored.paths), list(done.displaced.paths)) == ([b"a"], [b"a"])
    for who, workspace, number, reason in (
        (alice, named(world), "99", "TRASH_NOT_FOUND"),
        (alice, named(world), "../index", "TRASH_NOT_FOUND"),
        (alice, named(world, "other"), name, "WORKSPACE_NOT_FOUND"),
        (bob, named(world), name, "WORKSPACE_NOT_FOUND"),
        (alice, None, name, "MALFORMED"),
    ):
        asked = {"workspace": workspace, "id": number}
        with who.refused(reason):
            who.sync.ListTrash(sync.ListTrashRequest(**asked))
        with who.refused(reason):
            who.sync.RestoreTrash(sync.RestoreTrashRequest(**asked))
    with alice.refused("BAD_PATH"):
        alice.sync.RestoreTrash(
            sync.RestoreTrashRequest(workspace=named(world), id=name, paths=[b"../index"])
        )


def test_a_running_job_keeps_its_workspace(world: World) -> None:
    alice = world.join("alice")
    sync, jobs = world.stubs.sync, world.stubs.jobs
    name = displaced(world, alice)
    place = jobs.Place(workspace=named(world))
    job = world.start(alice, world.shell("exec sleep 60", place=place))
    with alice.refused("WORKSPACE_BUSY"):
        alice.sync.RemoveWorkspace(sync.RemoveWorkspaceRequest(which="w"))
    with alice.refused("WORKSPACE_BUSY"):
        alice.sync.RestoreTrash(sync.RestoreTrashRequest(workspace=named(world), id=name))
    alice.jobs.Stop(jobs.StopRequest(id=job.id))
    world.ended(alice, job.id)


def test_an_exact_commit_takes_away_what_others_left_but_not_what_is_unread(world: World) -> None:
    alice = world.join("alice")
    commit(alice, {b"a": b"1", b"d": None, b"d/x": b"1"})
    place = world.stubs.jobs.Place(workspace=named(world))
    job = world.start(alice, world.shell("echo > made; echo > d/made; echo job > d/x", place=place))
    world.ended(alice, job.id)
    before = commit(alice, {b"a": b"1", b"d": None, b"d/x": b"2"})
    exact = world.stubs.sync.DELETE_POLICY_EXACT

    def push(**end: list[bytes]) -> list[bytes]:
        talk = Commit(alice)
        talk.hello(before.root, delete=exact)
        talk.say(end=talk.sync.End(root=root({b"a": b"1", b"d": None, b"d/x": b"2"}), **end))
        return list(talk.until("committed").displaced.paths)

    assert push(unread=[b""]) == []
    assert push(unread=[b"d"]) == [b"made"]
    assert push(unread=[b"elsewhere"]) == [b"d/made"]
    assert push() == []


def test_who_may_not_mirror_may_not_look_either(world: World) -> None:
    sync = world.stubs.sync
    for who in (world.join("eve", "read"), world.join("log", "report")):
        with who.refused("ROLE"):
            who.sync.ListWorkspaces(sync.ListWorkspacesRequest())
        with who.refused("ROLE"):
            who.sync.RemoveWorkspace(sync.RemoveWorkspaceRequest(which="w"))
        with who.refused("ROLE"):
            who.sync.ListTrash(sync.ListTrashRequest(workspace=named(world)))
        with who.refused("ROLE"):
            who.sync.RestoreTrash(sync.RestoreTrashRequest(workspace=named(world), id="1"))
