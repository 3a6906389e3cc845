"""A server that is killed at any of its system calls: what it has said stays true."""

import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from harness import faults, victim
from harness.faults import Fault
from harness.host import Host
from harness.mortal import Mortal
from harness.serving import Away
from harness.waiting import DEADLINE_S

pytestmark = [
    pytest.mark.once,
    pytest.mark.skipif(faults.why_not() is not None, reason=str(faults.why_not())),
]

EXTENT = pytest.mark.parametrize(
    "most", [1, pytest.param(1 << 30, marks=pytest.mark.soak)], ids=["some", "all"]
)
REFUSED = 4


@dataclass
class Guests(Mortal):
    """Those who are let in by it."""

    def join(self, token: str, context: str) -> Callable[[], "subprocess.Popen[bytes]"]:
        """A command that joins by an invite."""
        path = self.laptop.tmp / "token"
        path.write_text(token)
        return lambda: self.laptop.popen("join", "--name", context, stdin=path.open())

    def lets_in(self, context: str) -> int:
        """What a command exits with that uses this context."""
        return self.laptop.run("ps", "--context", context).code

    def known(self, name: str) -> list[dict[str, object]]:
        """Those who are known by that name."""
        everybody = self.away.host.json("identities")
        return [one for one in everybody if one["name"] == name]


@pytest.fixture
def mortal(away: Away, laptop: Host) -> Guests:
    """A server that is used from elsewhere."""
    return Guests(away, laptop)


@EXTENT
def test_a_run_from_elsewhere(mortal: Mortal, laptop: Host, most: int) -> None:
    host = mortal.away.host
    laptop.write("deep/er/data", b"x" * 100_000)
    laptop.write("moved--1/inside", b"y" * 400_000)
    large = os.urandom(600_000)

    def round_(*these: Fault) -> None:
        number = next(mortal.numbers)
        runs = host.tmp / f"runs-{number}"
        # Content that the server has already: of a directory that moved, and most of a large file.
        (laptop.project / f"moved-{number - 1}").rename(laptop.project / f"moved-{number}")
        laptop.write("large", b"%d" % number + large)
        laptop.write("main.txt", f"{number}\n")
        laptop.write(f"deep/{number}", "new")
        (laptop.project / f"deep/{number - 1}").unlink(missing_ok=True)
        script = f"echo ran >> {runs}; cat main.txt; ls deep; exit 3"
        command = ("run", "--", "sh", "-c", script)
        result = mortal.asked(lambda: laptop.popen(*command), *these)
        if b"cannot talk to the server" in result.err:
            # There was no connection yet, so nothing has been asked.
            result.expect(125)
            assert victim.ran(runs) == 0
            result = laptop.run(*command)
        result.expect(3)
        assert result.out == f"{number}\n{number}\ner\n".encode()
        assert victim.ran(runs) == 1
        jobs = host.json("ps", "--all")
        assert len(jobs) == number + 1
        assert {job["finish"]["exitCode"] for job in jobs} == {3}
        assert laptop.json("sync")["sentFiles"] == 0
        (tree,) = (host.state / "workspaces").glob("*/tree")
        assert (tree / "large").read_bytes() == b"%d" % number + large
        assert (tree / f"moved-{number}/inside").read_bytes() == b"y" * 400_000
        assert len(list(tree.glob("moved-*"))) == 1

    mortal.dies(most, round_)


@EXTENT
def test_an_invite(mortal: Guests, most: int) -> None:
    host = mortal.away.host

    def round_(*these: Fault) -> None:
        name = f"guest-{next(mortal.numbers)}"
        result = mortal.asked(lambda: host.popen("invite", name), *these)
        token = result.text if result.code == 0 else host.ok("invite", name)
        mortal.join(token, name)().communicate(timeout=DEADLINE_S)
        assert mortal.lets_in(name) == 0
        (known,) = mortal.known(name)
        assert known["roles"] == ["run"]

    mortal.dies(most, round_)


@EXTENT
def test_a_join(mortal: Guests, most: int) -> None:
    host = mortal.away.host

    def round_(*these: Fault) -> None:
        name = f"guest-{next(mortal.numbers)}"
        token = host.ok("invite", name)
        result = mortal.asked(mortal.join(token, name), *these)
        if result.code == 0:
            assert mortal.lets_in(name) == 0
        # Once more: it is good for one certificate, whoever asks.
        again = mortal.laptop.run("join", "--name", f"{name}-again", stdin=token.encode())
        assert [result.code, again.code].count(0) == 1, f"{result}\n{again}"
        assert len(mortal.known(name)) == 1

    mortal.dies(most, round_)


@EXTENT
def test_a_revocation(mortal: Guests, most: int) -> None:
    host = mortal.away.host

    def round_(*these: Fault) -> None:
        name = f"guest-{next(mortal.numbers)}"
        mortal.away.join(mortal.laptop, name, context=name)
        assert mortal.lets_in(name) == 0
        result = mortal.asked(lambda: host.popen("revoke", name), *these)
        if result.code != 0:
            assert mortal.lets_in(name) in (0, REFUSED)
            host.run("revoke", name)
        assert mortal.lets_in(name) == REFUSED
        assert [one["state"] for one in mortal.known(name)] in ([], ["revoked"])

    mortal.dies(most, round_)
