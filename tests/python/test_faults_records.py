"""A server that is killed at its system calls while records come: what it acknowledged stays."""

import json
import re
import signal
import subprocess
from collections.abc import Callable

import pytest
from harness import faults
from harness.faults import Fault, places
from harness.serving import Away
from harness.waiting import DEADLINE_S, until

pytestmark = [
    pytest.mark.once,
    pytest.mark.skipif(faults.why_not() is not None, reason=str(faults.why_not())),
]

EXTENT = pytest.mark.parametrize(
    "most", [2, pytest.param(1 << 30, marks=pytest.mark.soak)], ids=["some", "all"]
)
# What a log does to its files, and what tells senders of it.
LASTING = (
    *("write", "writev", "pwrite64", "fsync", "fdatasync", "mkdir", "mkdirat", "openat"),
    *("rename", "renameat", "renameat2", "unlink", "unlinkat", "ftruncate"),
)
BATCH = 40


class Round:
    """One command that sends, and a server that meets a fault meanwhile."""

    def __init__(self, away: Away) -> None:
        """Nothing was sent yet."""
        self.away = away
        self.count = 0
        self.deaths = 0
        self.log = away.host.tmp / "server.log"

    def __call__(self, stream: Callable[[int], str], *these: Fault) -> None:
        """Send more records; those that were sent are there, once, in their order."""
        host, laptop = self.away.host, self.away.laptop
        name = stream(self.count)
        # Two batches, of which a server may know one.
        pad = b"x" * 8192
        numbers = range(self.count, self.count + BATCH)
        text = b"".join(b'{"n":%d,"x":"%s"}\n' % (n, pad) for n in numbers)
        self.count += BATCH
        server = self.away.server.process
        path = laptop.tmp / "records"
        path.write_bytes(text)
        command = ("records", "--json", "send", "-s", name, path)
        with faults.attached(server.pid, self.log, *these, threads=True):
            sender = laptop.popen(*command)
            over = (sender, server)
            until(lambda: any(one.poll() is not None for one in over), "answered, or dead")
        self.deaths += faults.was_met(self.log)
        self.away.end(signal.SIGKILL)
        self.away.again()
        out, err = sender.communicate(timeout=DEADLINE_S)
        if b"cannot talk to the server" in err:
            # There was no connection yet, so nothing has been sent.
            assert sender.returncode == 1
            out = laptop.run(*command).expect(0).out
        else:
            assert sender.returncode == 0, err
        summary = json.loads(out.splitlines()[-1])
        assert (summary["accepted"], summary["durability"]) == (BATCH, "durable")
        found = [json.loads(line)["n"] for line in self.lines(name)]
        first = found[0] if found else 0
        assert found[-BATCH:] == list(range(self.count - BATCH, self.count)), found[-3 * BATCH :]
        assert found == list(range(first, self.count))
        assert host.json("records", "fsck", "-s", name)["total"] == 0

    def lines(self, name: str) -> list[str]:
        """What is in the log."""
        return self.away.host.ok("records", "export", "--data", "-s", name).splitlines()


@EXTENT
@pytest.mark.parametrize("kind", ["same", "new"])
def test_a_server_that_dies_loses_no_record_and_has_none_twice(
    away: Away, most: int, kind: str
) -> None:
    round_ = Round(away)
    streams = {"same": lambda _: "app", "new": lambda count: f"app-{count}"}
    stream = streams[kind]
    round_(stream)
    round_(stream)
    calls = faults.counts(round_.log)
    chosen = [Fault(kind, when) for kind in LASTING for when in places(calls.get(kind, 0), most)]
    assert chosen, calls
    wrong = []
    for fault in chosen:
        try:
            round_(stream, fault)
        except AssertionError as error:
            wrong.append(f"{fault}: {error}")
    assert not wrong, "\n".join(wrong)
    # Which thread does what depends on who is idle.
    assert round_.deaths > len(chosen) // 2, f"{round_.deaths} deaths of {len(chosen)}"


@pytest.mark.parametrize("error", ["EIO", "ENOSPC"])
def test_a_disk_that_fails_is_told_and_records_come_later(away: Away, error: str) -> None:
    round_ = Round(away)
    round_(lambda _: "app")
    round_(lambda _: "app", Fault("fdatasync", 1, error))
    text = away.server.log.parent
    told = "".join(path.read_text() for path in text.glob("serve-*.log"))
    assert re.search("alarm", told)


def test_senders_that_are_killed_lose_nothing_that_was_acknowledged(away: Away) -> None:
    laptop, host = away.laptop, away.host
    with laptop.popen("records", "send", "-s", "app", stdin=subprocess.PIPE) as sender:
        assert sender.stdin
        sender.stdin.write(b'{"n":1}\n')
        sender.stdin.flush()
        until(
            lambda: host.run("records", "export", "--data", "-s", "app").out == b'{"n":1}\n',
            "it is there",
        )
        sender.kill()
        sender.communicate(timeout=DEADLINE_S)
    assert host.ok("records", "export", "--data", "-s", "app") == '{"n":1}\n'
