"""What depends on a terminal: Ctrl-C, progress, silence."""

import os

from harness.host import Host
from harness.terminal import Terminal
from harness.waiting import until

RUN = ("run", "--no-sync")
CTRL_C = b"\x03"


def test_ctrl_c_stops_the_job_and_waits(host: Host) -> None:
    script = "trap 'echo bye; exit 5' TERM; echo up; while :; do sleep 0.05; done"
    with Terminal(host, *RUN, "--", "sh", "-c", script) as terminal:
        terminal.shows(b"up")
        terminal.type(CTRL_C)
        assert terminal.ends() == 5
        assert b"bye" in terminal.seen
    (job,) = host.json("ps", "-a")
    assert job["finish"]["cause"] == "stopped"


def test_ctrl_c_twice_detaches(host: Host) -> None:
    script = "trap '' TERM; echo up; while ! test -e go; do sleep 0.05; done; exit 6"
    with Terminal(host, *RUN, "--dir", str(host.tmp), "--", "sh", "-c", script) as terminal:
        terminal.shows(b"up")
        terminal.type(CTRL_C)
        terminal.shows(b"again")
        terminal.type(CTRL_C)
        assert terminal.ends() == 130
        (job,) = host.json("ps")
        assert job["shortId"][:8].encode() in terminal.seen
    # It was asked to stop before: its end comes with the grace at the latest.
    (host.tmp / "go").touch()
    host.finished(job["id"])


def test_ctrl_c_in_logs_only_stops_looking(host: Host) -> None:
    job = host.shell("echo up; sleep 60")
    with Terminal(host, "logs", "-f", job) as terminal:
        terminal.shows(b"up")
        terminal.type(CTRL_C)
        assert terminal.ends() == 130
    assert host.status(job)["state"] == "running"
    host.ok("stop", job)


def test_ctrl_c_in_wait_only_stops_looking(host: Host) -> None:
    job = host.shell("echo up; sleep 60")
    host.printed(job, b"up")
    with Terminal(host, "wait", job) as terminal:
        # Nothing is shown; it waits once it has asked for the job.
        until(lambda: terminal.process.poll() is None and _waits(terminal), "wait waits")
        terminal.type(CTRL_C)
        assert terminal.ends() == 130
    assert host.status(job)["state"] == "running"
    host.ok("stop", job)


def _waits(terminal: Terminal) -> bool:
    with open(f"/proc/{terminal.process.pid}/status") as status:  # noqa: PTH123
        caught = next(int(x.split()[1], 16) for x in status if x.startswith("SigCgt"))
    return bool(caught & (1 << 1))


def test_without_a_terminal_nothing_is_decorated(host: Host) -> None:
    host.write("file", "x" * 1_000_000)
    result = host.run("run", "--", "echo", "done").expect(0)
    assert result.out == b"done\n"
    assert b"\x1b" not in result.err
    assert b"\r" not in result.err


def test_quiet_says_nothing(host: Host) -> None:
    host.write("file", "x")
    result = host.run("run", "-q", "--", "true").expect(0)
    assert (result.out, result.err) == (b"", b"")
    with Terminal(host, "run", "-q", "--", "true") as terminal:
        assert terminal.ends() == 0
        assert terminal.seen == b""


def test_errors_are_said_even_when_quiet(host: Host) -> None:
    assert host.run("-q", *RUN, "--", "no-such-program-anywhere").expect(127).err


def test_no_color_is_honoured(host: Host) -> None:
    env = host.env | {"NO_COLOR": "1", "TERM": "xterm-256color"}
    with Terminal(host, "ps", "-a", env=env) as terminal:
        assert terminal.ends() == 0
        assert b"\x1b[3" not in terminal.seen


def test_progress_is_shown_on_a_terminal(host: Host) -> None:
    for number in range(3000):
        host.write(f"data/{number % 50}/{number}", os.urandom(3000))
    with Terminal(host, "run", "--", "echo", "done") as terminal:
        assert terminal.ends(180) == 0
        assert b"3000" in terminal.seen or b"3,000" in terminal.seen
        assert b"done" in terminal.seen


def test_a_name_cannot_drive_the_terminal(host: Host) -> None:
    host.finished(host.start("echo", "a\x1b[2Jb\rc"))
    with Terminal(host, "ps", "-a") as terminal:
        assert terminal.ends() == 0
        assert b"echo" in terminal.seen
        assert b"\x1b[2J" not in terminal.seen
