"""What a job may tell a terminal."""

import os
import pty
from pathlib import Path

import pytest
from harness.host import Host

PRINTED = "\\033]0;title\\007\\033[31mred\\033[0m\\033[6n\\n"
SHOWN = b"^[]0;title^G\x1b[31mred\x1b[0m^[[6n\r\n"
RAW = b"\x1b]0;title\x07\x1b[31mred\x1b[0m\x1b[6n\r\n"


def on_terminal(host: Host, *words: str) -> bytes:
    """What a terminal is told as standard output."""
    master, slave = pty.openpty()
    try:
        host.run(*words, stdout=slave).expect(0)
    finally:
        os.close(slave)
    told = b""
    try:
        while piece := os.read(master, 4096):
            told += piece
    except OSError:
        # The last one who could write has gone.
        pass
    os.close(master)
    return told


@pytest.mark.parametrize(("option", "shown"), [((), SHOWN), (("--raw-escapes",), RAW)])
def test_a_terminal_is_told_text_and_colours(
    host: Host, option: tuple[str, ...], shown: bytes
) -> None:
    run = ("run", "--no-sync", *option, "--", "printf", PRINTED)
    assert on_terminal(host, *run) == shown
    (job,) = host.json("ps", "-a")
    assert on_terminal(host, "logs", *option, job["id"]) == shown


def test_what_is_no_terminal_gets_every_byte(host: Host, tmp_path: Path) -> None:
    job = host.run("run", "--no-sync", "--", "printf", PRINTED).expect(0)
    assert job.out == RAW.replace(b"\r\n", b"\n")
    (told,) = host.json("ps", "-a")
    with (tmp_path / "file").open("wb") as file:
        host.run("logs", told["id"], stdout=file.fileno()).expect(0)
    assert (tmp_path / "file").read_bytes() == RAW.replace(b"\r\n", b"\n")
