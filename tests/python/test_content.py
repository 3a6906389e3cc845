"""What of a mirror's content travels: as little as there must, over a network that breaks too."""

import os
import shutil

import pytest
from harness.host import Host
from harness.relay import UP
from harness.serving import Away
from harness.waiting import DEADLINE_S, until

pytestmark = pytest.mark.once

FRAMES = 2 * 650_000
"""Bytes of a frame for each of the client's two workers, with what is around them."""


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


def test_the_users_file_settles_what_no_option_says(away: Away, laptop: Host) -> None:
    config = laptop.home / "config/legwork/config.toml"
    joined = config.read_text()
    assert "current" in joined
    for how, packed in (("zstd", True), ("none", False)):
        config.write_text(f'{joined}\n[sync]\ncompress = "{how}"\n')
        laptop.write("text", f"{how} the same words again and again\n" * 60_000)
        told = sync(laptop)
        assert (told["wireBytes"] < told["sentBytes"]) == packed
    laptop.write("text", "words and words\n" * 60_000)
    told = sync(laptop, "--compress", "zstd")
    assert told["wireBytes"] < told["sentBytes"] / 10
    # Another setting leaves it alone.
    laptop.ok("context", "use", "local")
    assert 'compress = "none"' in config.read_text()
    config.write_text('[sync]\ncompress = "much"\n')
    assert "compress" in laptop.run("sync", "-C", "box").expect(1).error_text


@pytest.mark.parametrize("large", [False, True], ids=["small", "large"])
def test_after_a_break_what_had_arrived_is_not_sent_again(
    away: Away, laptop: Host, large: bool
) -> None:
    size, count = (16 << 20, 1) if large else (100_000, 160)
    sync(laptop)
    (staging,) = (away.host.state / "workspaces").glob("*/staging")

    def arrived() -> int:
        files = [path for name in ("new", "cut") for path in (staging / name).rglob("*")]
        return sum(path.stat().st_size for path in files if path.is_file())

    for tenths in (3, 6, 9):
        whole = 0
        for number in range(count):
            data = os.urandom(size)
            whole += len(data)
            laptop.write(f"data/{number}", data)
        place = whole * tenths // 10
        before = len(away.relay.links)
        away.relay.hold_next(place, direction=UP)
        sender = laptop.popen("sync", "-q", "--compress", "none")
        # All of it is with the server, but for the beginning of a frame that each worker sends.
        until(lambda least=place - FRAMES: arrived() >= least, "it arrived")
        there = arrived()
        away.relay.links[before].reset()
        out, err = sender.communicate(timeout=DEADLINE_S)
        assert sender.returncode == 0, (out, err)
        second = sum(link.passed[UP] for link in away.relay.links[before + 1 :])
        assert second < (whole - there) * 1.02 + FRAMES, (place, there, second)
        (tree,) = (away.host.state / "workspaces").glob("*/tree")
        for number in range(count):
            mine, theirs = (where / f"data/{number}" for where in (laptop.project, tree))
            assert mine.read_bytes() == theirs.read_bytes()
        assert [path.name for path in staging.iterdir()] in ([], ["past"])
