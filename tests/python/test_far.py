"""A server that was far away the last time: the tree is looked at while the connection is made."""

from pathlib import Path

import pytest
from harness.host import Host
from harness.serving import Away


@pytest.fixture
def distance(away: Away, laptop: Host) -> Path:
    """What the client remembers of it, after a first mirror."""
    laptop.write("file", "one")
    laptop.ok("sync")
    (memory,) = (laptop.state / "servers").iterdir()
    return memory / "distance"


def _mirrored(away: Away) -> str:
    (copy,) = (away.host.state / "workspaces").glob("*/tree/file")
    return copy.read_text()


@pytest.mark.parametrize("word", ["far", "between", "no word\n", "\0\xff"])
def test_what_is_remembered_makes_no_difference_to_what_is_done(
    away: Away, laptop: Host, distance: Path, word: str
) -> None:
    for content in ("two", "three"):
        distance.write_text(word)
        laptop.write("file", content)
        ran = laptop.run("run", "-q", "--", "cat", "file").expect(0)
        assert ran.text == content
        laptop.write("file", content * 2)
        distance.write_text(word)
        laptop.ok("sync")
        assert _mirrored(away) == content * 2
        distance.write_text(word)
        assert laptop.run("run", "-q", "--no-sync", "--", "echo", "ran").expect(0).text == "ran\n"
    # What is asked for in full is told in full, however far that is.
    laptop.write("file", "four")
    told = laptop.json("sync")
    assert told["written"]["paths"] == ["file"]


def test_a_server_that_is_gone_is_told_as_ever(away: Away, laptop: Host, distance: Path) -> None:
    away.end()
    for words, code in [
        (("sync",), 1),
        (("run", "--", "true"), 125),
        (("start", "--", "true"), 125),
    ]:
        for word in ("far", "between", None):
            distance.unlink(missing_ok=True)
            if word is not None:
                distance.write_text(word)
            name, *rest = words
            error = laptop.run(name, "--json", *rest).expect(code).error()
            assert error["reason"] == "UNREACHABLE", word
            assert away.address in error["message"]
            assert "is the server running" in error["hint"]
