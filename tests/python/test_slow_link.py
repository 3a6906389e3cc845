"""A link on which nothing comes through any more, in the middle of a large file."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from harness.host import Host, Word
from harness.relay import DOWN, UP
from harness.serving import Away
from harness.terminal import Terminal
from harness.waiting import DEADLINE_S, until

LARGE_BYTES = 64 << 20
HELD_AFTER = 3 << 20


@pytest.fixture
def large(laptop: Host) -> Path:
    """A file that does not get smaller by compression."""
    return laptop.write("large", os.urandom(LARGE_BYTES))


def _interrupted(away: Away, laptop: Host, direction: int, *words: Word) -> str:
    """Interrupt a command when the link is held up in the middle of its transfer; what it said."""
    away.relay.hold_next(HELD_AFTER, direction)
    with laptop.popen(*words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            held = lambda: any(link.was_held for link in away.relay.links)  # noqa: E731
            until(held, "the link is held up")
            began = time.monotonic()
            process.send_signal(signal.SIGINT)
            _, told = process.communicate(timeout=DEADLINE_S)
            assert time.monotonic() - began < 1
            assert process.returncode == 130, told
        finally:
            process.kill()
            away.relay.flow()
    return told.decode()


def _mirrored(away: Away) -> list[Path]:
    return list((away.host.state / "workspaces").glob("*/tree/*"))


def test_a_sync_is_interrupted_within_a_second(away: Away, laptop: Host, large: Path) -> None:
    told = _interrupted(away, laptop, UP, "sync")
    assert "sync again" in told
    assert _mirrored(away) == []
    laptop.ok("sync")
    (copy,) = _mirrored(away)
    assert copy.read_bytes() == large.read_bytes()


def test_a_run_is_interrupted_while_it_mirrors(away: Away, laptop: Host, large: Path) -> None:
    told = _interrupted(away, laptop, UP, "run", "--", "touch", str(away.host.tmp / "ran"))
    assert "nothing runs" in told
    assert not (away.host.tmp / "ran").exists()


@pytest.mark.parametrize("words", [("pull", "ID"), ("run", "--pull")], ids=["pull", "run"])
def test_a_pull_is_interrupted_and_leaves_no_halves(
    away: Away, laptop: Host, words: tuple[str, str]
) -> None:
    made = ("sh", "-c", f"echo small > small; head -c {LARGE_BYTES} /dev/urandom > large")
    if words[0] == "run":
        command: list[Word] = ["run", "--pull", "*", "--", *made]
    else:
        job = laptop.ok("start", "--", *made).strip()
        laptop.finished(job)
        command = ["pull", job, "*"]
    told = _interrupted(away, laptop, DOWN, *command)
    assert "pull again" in told
    assert {path.name for path in laptop.project.iterdir()} <= {"small"}


def _with_a_terminal(laptop: Host) -> dict[str, str]:
    return laptop.env | {"TERM": "xterm"}


def test_what_has_travelled_is_shown(away: Away, laptop: Host, large: Path) -> None:
    away.relay.hold_next(HELD_AFTER, UP)
    with Terminal(laptop, "sync", env=_with_a_terminal(laptop)) as terminal:
        terminal.shows(b"mirroring")
        shown = terminal.shows(b"MiB sent")
        assert b"/s" in shown
        terminal.type(b"\x03")
        assert terminal.ends() == 130
    away.relay.flow()


def test_what_has_come_is_shown(away: Away, laptop: Host) -> None:
    made = f"head -c {LARGE_BYTES} /dev/urandom > large"
    job = laptop.ok("start", "--", "sh", "-c", made).strip()
    laptop.finished(job)
    away.relay.hold_next(HELD_AFTER, DOWN)
    words = ("pull", job, "large")
    with Terminal(laptop, *words, env=_with_a_terminal(laptop)) as terminal:
        terminal.shows(b"pulling")
        terminal.shows(b"MiB received")
        terminal.type(b"\x03")
        assert terminal.ends() == 130
    away.relay.flow()
