"""An agent: what it collects arrives once, and what cannot arrive is announced."""

import contextlib
import json
import os
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from harness import agents
from harness.agents import Agent
from harness.host import Host
from harness.serving import Away
from harness.waiting import until

pytestmark = pytest.mark.once

QUICK = ("--every", "100ms")


@pytest.fixture
def node(away: Away, elsewhere: Host) -> Host:
    """A host that reports, and may do nothing else; the laptop may see all."""
    away.join(elsewhere, "node", role="report")
    away.join(away.laptop, "boss", role="admin")
    return elsewhere


def spool(node: Host) -> Path:
    """Where it keeps what is not acknowledged."""
    (found,) = (node.state / "servers").glob("*/spool/process")
    return found


def batches(state: Path) -> dict[str, list[tuple[int, int]]]:
    """The numbers of batches in the log, by producer: first and last, as a gap has several."""
    found: dict[str, list[tuple[int, int]]] = {}
    for entry in agents.lines(state):
        batch = entry.line.get("batch")
        if not batch or batch["i"] != 0:
            continue
        first = entry.line["gap"]["first"] if "gap" in entry.line else batch["s"]
        found.setdefault(batch["p"], []).append((first, batch["s"]))
    return found


def whole(state: Path) -> int:
    """Check that every number is there once, or stood for by a gap; the last one."""
    (numbers,) = batches(state).values()
    expected = 1
    for first, last in numbers:
        assert first == expected, numbers
        expected = last + 1
    return expected - 1


def runs(state: Path) -> dict[str, list[int]]:
    """The numbers of snapshots, by the run of the agent."""
    found: dict[str, list[int]] = {}
    for header in agents.snapshots(state):
        if header["part"] == 0:
            found.setdefault(header["run"], []).append(header["number"])
    return found


@contextmanager
def crowd(count: int) -> Iterator[None]:
    """Many processes with long command lines."""
    with ExitStack() as stack:
        for number in range(count):
            words = ["sleep", "600", *(f"0.{number}{n:0100}" for n in range(30))]
            process = stack.enter_context(subprocess.Popen(words))
            stack.callback(process.kill)
        yield


def test_what_is_collected_arrives_once(away: Away, node: Host) -> None:
    with Agent(node, *QUICK) as agent:
        agents.logged(away.host.state, 10)
        told = agent.end()
    assert told["waiting"] == told["failed"] == 0
    assert told["acknowledged"] == told["snapshots"] == whole(away.host.state)
    (numbers,) = runs(away.host.state).values()
    assert numbers == list(range(told["snapshots"]))
    assert not agents.gaps(away.host.state)
    table = agents.at(away.laptop)
    assert (table["client"], table["everyMs"]) == ("node", 100)
    assert os.getpid() in {process["pid"] for process in table["processes"]}
    # Its own list it may see, and nobody else's lines.
    assert agents.at(node)["time"] == table["time"]
    assert node.run("records", "at", "now", "--client", "alice").code == 5
    assert node.run("ps").code == 4


def test_an_agent_that_is_killed_is_followed_by_another(away: Away, node: Host) -> None:
    for _ in range(4):
        with Agent(node, *QUICK) as agent:
            count = len(agents.snapshots(away.host.state))
            agents.logged(away.host.state, count + 3)
            agent.die()
    with Agent(node, *QUICK) as agent:
        agents.logged(away.host.state, len(agents.snapshots(away.host.state)) + 2)
        assert agent.end()["waiting"] == 0
    whole(away.host.state)
    found = runs(away.host.state)
    assert len(found) == 5
    for numbers in found.values():
        assert numbers == list(range(len(numbers)))


def test_a_second_agent_is_refused(away: Away, node: Host) -> None:
    with Agent(node, *QUICK):
        agents.logged(away.host.state, 1)
        refused = node.run("agent", "--json").expect(1)
        assert refused.error()["reason"] == "AGENT_RUNS"
        with Agent(node, *QUICK, "--stream", "other/one") as other:
            until(lambda: agents.snapshots(away.host.state, "other/one"), "another stream")
            other.end()


def test_a_server_that_is_away_gets_everything_later(away: Away, node: Host) -> None:
    with Agent(node, *QUICK) as agent:
        agents.logged(away.host.state, 3)
        away.end()
        before = len(agents.snapshots(away.host.state))
        time_away = time.time()
        until(lambda: waiting(node) > before + 10, "snapshots are kept")
        away.again()
        agents.logged(away.host.state, before + 12)
        told = agent.end()
    assert told["waiting"] == 0
    assert whole(away.host.state) == told["snapshots"]
    assert not agents.gaps(away.host.state)
    # What was seen while the server was away is known by when it was seen.
    asked = datetime.fromtimestamp(time_away + 0.7, UTC)
    seen = datetime.fromisoformat(agents.at(away.laptop, asked.isoformat())["time"])
    assert 0 <= (asked - seen).total_seconds() < 0.7


def waiting(node: Host) -> int:
    """The last number that was kept."""
    last = 0
    for segment in spool(node).glob("*.jsonl"):
        # The agent drops the oldest meanwhile.
        with contextlib.suppress(FileNotFoundError):
            for line in segment.read_bytes().splitlines():
                if line.endswith(b"}"):
                    last = max(last, json.loads(line)["batch"]["s"])
    return last


def held(node: Host) -> int:
    """Bytes of all that is kept."""
    bytes_ = 0
    for file in spool(node).iterdir():
        # Dropped, or renamed, since it was listed.
        with contextlib.suppress(FileNotFoundError):
            bytes_ += file.stat().st_size
    return bytes_


def test_a_spool_that_is_full_leaves_a_gap(away: Away, node: Host) -> None:
    """Everything that was collected is in the log or announced as dropped, and nothing twice."""
    with crowd(60), Agent(node, *QUICK, "--spool-limit", "1M") as agent:
        agents.logged(away.host.state, 2)
        away.end()
        first = whole(away.host.state)
        until(lambda: waiting(node) > first + 3, "what will be the oldest to wait")
        lost_at = datetime.now(UTC)
        until(lambda: waiting(node) > first + 40, "more than it may keep")
        assert held(node) < 2 << 20
        kept = waiting(node)
        until(lambda: waiting(node) > kept + 20, "and more")
        away.again()
        until(lambda: agents.gaps(away.host.state), "a gap")
        until(lambda: whole(away.host.state) > kept + 20, "what is collected now")
        told = agent.end()
    assert told["waiting"] == 0
    assert whole(away.host.state) == told["snapshots"]
    (gap,) = agents.gaps(away.host.state)
    assert gap["why"] == "SPOOL_FULL"
    dropped = sum(
        entry.line["batch"]["s"] + 1 - entry.line["gap"]["first"]
        for entry in agents.lines(away.host.state)
        if "gap" in entry.line
    )
    (numbers,) = runs(away.host.state).values()
    assert len(set(numbers)) == len(numbers)
    assert len(numbers) + dropped == told["snapshots"]
    # What ran then is not known, and is not guessed; what ran before and after is.
    refused = away.laptop.run("records", "--json", "at", lost_at.isoformat()).expect(1)
    assert refused.error()["reason"] == "SNAPSHOTS_LOST"
    assert agents.at(away.laptop)["next"] is None
    before = datetime.fromisoformat(gap["from"]).timestamp() - 0.01
    known = agents.at(away.laptop, datetime.fromtimestamp(before, UTC).isoformat())
    assert known["next"] is not None


def test_an_identity_that_was_copied_is_noticed(away: Away, node: Host, top: Path) -> None:
    with Agent(node, *QUICK) as agent:
        agents.logged(away.host.state, 3)
        agent.end()
    copy = Host(node.binary, _directory(top / "copy"), node.user)
    shutil.copytree(node.home, copy.home, dirs_exist_ok=True)
    shutil.copytree(node.state, copy.state)
    with Agent(node, *QUICK) as one, Agent(copy, *QUICK) as other:
        count = len(agents.snapshots(away.host.state))
        agents.logged(away.host.state, count + 20)
        until(lambda: len(batches(away.host.state)) > 1, "one of them took another producer")
        told = [one.end(), other.end()]
    assert [each["waiting"] for each in told] == [0, 0]
    # Nothing is there twice, whoever sent it.
    for numbers in runs(away.host.state).values():
        assert Counter(numbers).most_common(1)[0][1] == 1
    for numbers in batches(away.host.state).values():
        assert len({last for _, last in numbers}) == len(numbers)


def _directory(path: Path) -> Path:
    path.mkdir()
    return path


def test_a_reboot_is_another_boot(away: Away, node: Host) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can show another boot id")
    with Agent(node, *QUICK) as agent:
        agents.logged(away.host.state, 3)
        agent.end()
    first = agents.at(away.laptop)
    other = node.tmp / "boot"
    other.write_text("00000000-0000-4000-8000-000000000001\n")
    script = 'mount --bind "$0" /proc/sys/kernel/random/boot_id && exec "$@"'
    command = ["unshare", "-m", "sh", "-c", script, str(other), str(node.binary)]
    made = subprocess.run(
        [*command, "records", "send", "--processes"],
        env=node.env,
        cwd=node.project,
        capture_output=True,
        check=False,
    )
    if b"mount" in made.stderr or b"unshare" in made.stderr:
        pytest.skip(f"cannot mount: {made.stderr.decode()}")
    assert made.returncode == 0, made.stderr
    second = agents.at(away.laptop)
    assert second["host"]["boot"] == "00000000-0000-4000-8000-000000000001"
    assert first["host"]["boot"] != second["host"]["boot"]
    again = agents.at(away.laptop, first["time"])
    assert _without_age(again) == _without_age(first)


def _without_age(table: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in table.items() if key not in ("asked", "ageMs", "next")}
