"""A server's binary is replaced while somebody uses it."""

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness.host import Host
from harness.relay import UP
from harness.serving import Away, Serving, reserved
from harness.waiting import DEADLINE_S, until
from harness.watching import watch

DEATHS = pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["term", "kill"])


@pytest.fixture
def own(away: Away) -> Iterator[Path]:
    """A copy of the binary of the host's own, which serves."""
    own = away.host.top / "legwork"
    shutil.copyfile(away.host.binary, own)
    own.chmod(0o755)
    away.host.binary = own
    # Who is in the middle of something and does not answer is not waited for long.
    (away.host.tmp / "server.toml").write_text("[limits]\ndrain_s = 1\n")
    away.end()
    with reserved() as address:
        away.again("--config", away.host.tmp / "server.toml", at=address)
        yield own
        away.end(signal.SIGKILL)


def _upgrade(away: Away, own: Path, number: int) -> None:
    """End the server, and start another file of the same name on the same state and address."""
    old = away.server
    old.end(number)
    old.__exit__()
    new = own.with_name("legwork.new")
    # What follows a program in its file is not looked at.
    new.write_bytes(own.read_bytes() + b"another version\n")
    new.chmod(0o755)
    new.replace(own)
    away.server = Serving(
        away.host, "--listen", old.address, "--config", away.host.tmp / "server.toml"
    )
    assert away.server.address == old.address
    assert Path(f"/proc/{away.server.process.pid}/exe").samefile(own)


@DEATHS
def test_the_server_is_upgraded_while_a_job_prints(away: Away, own: Path, number: int) -> None:
    watched = watch(away)
    for _ in range(2):
        talking = away.relay.talking()
        _upgrade(away, own, number)
        back = talking + 3
        until(lambda back=back: away.relay.talking() >= back, "all three are in contact again")
        watched.prints_on()
    err = watched.ends()
    assert err.count(b"box is back") == 2


@DEATHS
@pytest.mark.once
@pytest.mark.parametrize("after", [5_000, 900_000])
def test_the_server_is_upgraded_during_a_commit(
    away: Away, laptop: Host, own: Path, number: int, after: int
) -> None:
    data = os.urandom(1 << 20)
    laptop.write("deep/er/data", data)
    laptop.write("main.txt", "one\n")
    away.relay.hold_next(after, UP)
    runs = away.host.tmp / "runs"
    script = f"echo ran >> {runs}; cat deep/er/data main.txt; exit 3"
    runner = laptop.popen("run", "--", "sh", "-c", script)
    until(lambda: away.relay.links[-1].was_held, "the commit is under way")
    assert runner.poll() is None
    _upgrade(away, own, number)
    away.relay.flow()
    out, err = runner.communicate(timeout=DEADLINE_S)
    assert runner.returncode == 3, err
    assert out == data + b"one\n"
    assert b"box is back" in err
    assert runs.read_text() == "ran\n"
    assert len(away.host.json("ps", "-a")) == 1
    (workspace,) = (away.host.state / "workspaces").iterdir()
    assert not [path for path in workspace.glob("trash/**/*") if path.is_file()]
    # The next one finds what was committed.
    assert laptop.json("sync")["sentFiles"] == 0
