"""The trash and the list of mirrors, here and on a server."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness.host import Host
from harness.serving import Away
from harness.waiting import until

pytestmark = pytest.mark.once


@pytest.fixture(params=["here", "there"])
def somebody(request: pytest.FixtureRequest, host: Host) -> Iterator[Host]:
    """Somebody's place, from which jobs run here or on a server."""
    if request.param == "here":
        yield host
        return
    away: Away = request.getfixturevalue("away")
    yield away.laptop


@pytest.fixture
def me(somebody: Host) -> Host:
    somebody.write("a.txt", "one\n")
    somebody.write("d/b.txt", "one\n")
    return somebody


def displaced(me: Host) -> str:
    """Have two files give way, of which one is changed here again; the id of what did."""
    me.run("run", "-q", "--", "sh", "-c", "echo job >> a.txt; echo job > d/new.txt").expect(0)
    me.write("a.txt", "two\n")
    me.write("d/new.txt", "mine\n")
    me.run("sync").expect(0)
    (listed,) = me.json("trash", "list")
    assert listed["paths"] == {"total": 2, "paths": ["a.txt", "d/new.txt"]}
    assert listed["bytes"] == len("one\njob\n") + len("job\n")
    return listed["id"]


def cat(me: Host, *names: str) -> str:
    """Files as a job sees them, without mirroring before."""
    tree = me.json("workspaces")[0]["tree"]
    return me.run("run", "-q", "--no-sync", "--dir", tree, "--", "cat", *names).expect(0).text


def test_what_gave_way_comes_back_and_overwrites_nothing(me: Host) -> None:
    number = displaced(me)
    text = me.ok("trash", "list")
    assert number in text and "2 paths" in text and "a.txt, d/new.txt" in text
    assert me.ok("trash", "list", str(int(number))).splitlines()[1:] == ["  a.txt", "  d/new.txt"]
    refused = me.run("trash", "restore", number, "a.txt").expect(1)
    assert "something else is there now: a.txt" in refused.error_text
    assert cat(me, "a.txt") == "two\n"
    done = me.run("trash", "restore", number, "./a.txt", "--force").expect(0)
    assert "restored a.txt" in done.error_text
    assert "what was there is in the trash now: a.txt" in done.error_text
    assert cat(me, "a.txt", "d/new.txt") == "one\njob\nmine\n"
    # Pulled before the next sync, it is ours again.
    me.run("pull", *(workspace(me)), "a.txt", "--force").expect(0)
    assert (me.project / "a.txt").read_text() == "one\njob\n"


def workspace(me: Host) -> tuple[str]:
    """The last job in the mirror of this directory, for a pull."""
    jobs = [job for job in me.json("ps", "-a") if job.get("workspace")]
    return (jobs[-1]["id"],)


def test_what_is_not_there_is_told(me: Host) -> None:
    assert me.run("trash", "list", "--json").expect(5).error()["reason"] == "WORKSPACE_NOT_FOUND"
    me.run("sync").expect(0)
    assert me.json("trash", "list") == []
    for name in ("7", "no-number", "0000000007"):
        refused = me.run("trash", "restore", name, "--json").expect(5)
        assert refused.error()["reason"] == "TRASH_NOT_FOUND"


def test_mirrors_are_listed_and_removed_unless_a_job_runs_there(me: Host) -> None:
    me.run("sync").expect(0)
    me.run("sync", "--workspace", "named").expect(0)
    found = {entry["name"]: entry for entry in me.json("workspaces")}
    assert set(found) == {None, "named"}
    assert found[None]["origin"]["root"] == str(me.project)
    assert [found[name]["entries"] for name in found] == [3, 3]
    assert [found[name]["bytes"] for name in found] == [8, 8]
    table = me.ok("workspaces")
    assert str(me.project) in table and "named" in table
    job = me.ok("start", "--workspace", "named", "--", "sleep", "60").strip()
    refused = me.run("workspaces", "rm", "named", "--json").expect(1)
    assert refused.error()["reason"] == "WORKSPACE_BUSY"
    assert Path(found["named"]["tree"]).is_dir()
    me.run("stop", job).expect(0)
    until(lambda: me.run("workspaces", "rm", "named").code == 0, "the job has let go of its mirror")
    assert not Path(found["named"]["tree"]).parent.exists()
    me.run("workspaces", "rm", found[None]["id"][:8]).expect(0)
    assert me.json("workspaces") == []
    assert me.run("workspaces", "rm", "named", "--json").expect(5).error()["reason"] == (
        "WORKSPACE_NOT_FOUND"
    )
    # It is made anew when it is needed again.
    assert me.run("run", "-q", "--", "cat", "a.txt").expect(0).text == "one\n"


def test_nobody_sees_or_removes_anothers(away: Away, elsewhere: Host) -> None:
    alice = away.laptop
    alice.write("a", "1\n")
    alice.run("sync", "--workspace", "w").expect(0)
    (mine,) = alice.json("workspaces")
    away.join(elsewhere, "bob", role="admin")
    assert elsewhere.json("workspaces") == []
    for which in ("w", mine["id"]):
        refused = elsewhere.run("workspaces", "rm", which, "--json").expect(5)
        assert refused.error()["reason"] == "WORKSPACE_NOT_FOUND"
    refused = elsewhere.run("trash", "list", "--workspace", "w", "--json").expect(5)
    assert json.dumps(refused.error())
    assert len(alice.json("workspaces")) == 1
