"""A job that prints until it is told to end, and those who watch it from elsewhere."""

import subprocess
from dataclasses import dataclass

from harness.host import Host
from harness.serving import Away
from harness.waiting import DEADLINE_S, until

PRINTS = "i=0; while ! test -e go; do echo $i; i=$((i+1)); sleep 0.002; done; exit 9"
"""Prints numbers in the directory where the gate is, and ends with 9."""


@dataclass
class Watched:
    """The job, and those who watch it."""

    away: Away
    job: str
    runner: subprocess.Popen[bytes]
    follower: subprocess.Popen[bytes]
    waiter: subprocess.Popen[bytes]

    def prints_on(self) -> None:
        """Wait until the job has printed more."""
        goes_on(self.away.host, self.job)

    def ends(self, timeout_s: float = DEADLINE_S) -> bytes:
        """Open the gate: all have seen everything once, in order, and the end. What `run` said."""
        open_gate(self.away.host)
        out, err = self.runner.communicate(timeout=timeout_s)
        assert self.runner.returncode == 9, err
        assert out == self.away.host.output(self.job)
        in_order(out)
        assert b"0\n" + self.follower.communicate(timeout=timeout_s)[0] == out
        assert self.follower.returncode == 0
        self.waiter.communicate(timeout=timeout_s)
        assert self.waiter.returncode == 9
        return err


def watch(away: Away, *flags: str) -> Watched:
    """Start the job by `run`, and let `logs -f` and `wait` watch it, all in contact."""
    laptop = away.laptop
    where = ("--dir", str(away.host.tmp))
    runner = laptop.popen("run", *flags, "--no-sync", *where, "--", "sh", "-c", PRINTS)
    (seen,) = until(lambda: laptop.json("ps"), "the job is there")
    job = seen["id"]
    away.host.printed(job, b"\n20\n")
    talking = away.relay.talking()
    follower = laptop.popen("logs", "-f", job, *flags, bufsize=0)
    waiter = laptop.popen("wait", job, *flags)
    assert follower.stdout
    assert follower.stdout.readline() == b"0\n"
    until(lambda: away.relay.talking() == talking + 2, "both are in contact")
    return Watched(away, job, runner, follower, waiter)


def open_gate(host: Host) -> None:
    """Let the job end."""
    (host.tmp / "go").touch()


def goes_on(host: Host, job: str) -> None:
    """Wait until the job has printed more."""
    seen = len(host.output(job))
    until(lambda: len(host.output(job)) > seen + 100, "it goes on printing")


def in_order(output: bytes) -> None:
    """Fail unless every number is there once."""
    lines = output.splitlines()
    assert lines == [b"%d" % number for number in range(len(lines))]
