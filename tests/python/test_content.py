"""What of a mirror's content travels: as little as there must, over a network that breaks too."""

import os
import shutil

import pytest
from harness.host import Host
from harness.relay import UP
from harness.serving import Away

pytestmark = pytest.mark.once

FRAME = 600_000
"""Bytes of the largest frame that a client sends."""
WORKERS = 2
ON_THE_WAY = 2 << 20
"""What a reset may take along that had passed the network and no server has read."""


def sync(laptop: Host, *options: str) -> dict[str, int]:
    """Mirror; what the command tells."""
    return laptop.json("sync", *options)


def test_no_change_takes_next_to_nothing(away: Away, laptop: Host) -> None:
    for number in range(300):
        laptop.write(f"d{number % 7}/{number}", f"file {number}")
    sync(laptop)
    # Just written files are read once more.
    sync(laptop)
    before = len(away.relay.links)
    assert sync(laptop)["sentBytes"] == 0
    (link,) = away.relay.links[before:]
    # Two certificates of these are most of it.
    assert sum(link.passed) < 8_000


def test_what_is_there_is_not_sent_again(away: Away, laptop: Host) -> None:
    for number in range(40):
        laptop.write(f"dir/sub{number % 4}/{number}", os.urandom(20_000))
    large = os.urandom(4 << 20)
    laptop.write("dir/large", large)
    assert sync(laptop)["sentFiles"] == 41
    before = len(away.relay.links)
    shutil.move(laptop.project / "dir", laptop.project / "moved")
    shutil.copy(laptop.project / "moved/sub1/1", laptop.project / "copied")
    told = sync(laptop)
    assert (told["sentFiles"], told["sentBytes"], told["reusedFiles"]) == (0, 0, 42)
    laptop.write("moved/large", b"!" + large)
    told = sync(laptop)
    assert told["sentBytes"] < 600_000
    assert told["sentBytes"] + told["reusedBytes"] == len(large) + 1
    assert sum(link.passed[UP] for link in away.relay.links[before:]) < 700_000
    (tree,) = (away.host.state / "workspaces").glob("*/tree")
    assert (tree / "moved/large").read_bytes() == b"!" + large
    assert (tree / "copied").read_bytes() == (laptop.project / "copied").read_bytes()
    assert not (tree / "dir").exists()


def test_text_is_compressed_where_that_is_asked_for(away: Away, laptop: Host) -> None:
    for how, most in (("zstd", 0.2), ("none", 1.2)):
        laptop.write(f"text-{how}", f"{how} the same words again and again\n" * 60_000)
        size = (laptop.project / f"text-{how}").stat().st_size
        before = len(away.relay.links)
        told = sync(laptop, "--compress", how)
        assert told["sentBytes"] == size
        passed = sum(link.passed[UP] for link in away.relay.links[before:])
        assert passed < size * most
        assert (passed > size) == (how == "none")


@pytest.mark.parametrize("large", [False, True], ids=["small", "large"])
def test_after_a_break_what_had_arrived_is_not_sent_again(
    away: Away, laptop: Host, large: bool
) -> None:
    size, count = (16 << 20, 1) if large else (100_000, 160)
    sync(laptop)
    for tenths in (3, 6, 9):
        whole = 0
        for number in range(count):
            data = os.urandom(size)
            whole += len(data)
            laptop.write(f"data/{number}", data)
        before = len(away.relay.links)
        away.relay.cut_next(whole * tenths // 10, direction=UP)
        laptop.ok("sync", "-q")
        links = away.relay.links[before:]
        assert links[0].was_reset
        passed = sum(link.passed[UP] for link in links)
        assert passed < whole * 1.02 + WORKERS * FRAME + ON_THE_WAY, (tenths, whole, passed)
        (tree,) = (away.host.state / "workspaces").glob("*/tree")
        for number in range(count):
            mine, theirs = (where / f"data/{number}" for where in (laptop.project, tree))
            assert mine.read_bytes() == theirs.read_bytes()
        (staging,) = (away.host.state / "workspaces").glob("*/staging")
        assert not any(path.is_file() for path in staging.rglob("*"))
