"""An agent at one second against `ps`, at sampled moments: what `records at` says is what ran."""

import os
import random
import subprocess
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from harness import agents
from harness.host import Host
from harness.serving import Away
from harness.waiting import until

pytestmark = pytest.mark.once

# LEGWORK_SOAK_S says for how long.
SOAK_S = int(os.environ.get("LEGWORK_SOAK_S", "600"))
EXTENT = pytest.mark.parametrize(
    "seconds", [12, pytest.param(SOAK_S, marks=pytest.mark.soak)], ids=["short", "long"]
)
FIELDS = ("pid", "ppid", "pgid", "sess", "ni", "etimes", "euser", "stat", "args")


@dataclass(frozen=True)
class Seen:
    """A process as `ps` shows it."""

    ppid: int
    pgrp: int
    session: int
    nice: str
    age_s: int
    user: str
    state: str
    args: str


def ps() -> dict[int, Seen]:
    """What runs now, but for `ps` itself."""
    words = ["ps", "-ww", "-eo", ",".join(f"{name}=" for name in FIELDS)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        out, _ = process.communicate()
    found = {}
    for line in out.splitlines():
        cells = line.split(None, len(FIELDS) - 1)
        if len(cells) == len(FIELDS) and int(cells[0]) != process.pid:
            pid, ppid, pgrp, session, nice, age, user, state, args = cells
            found[int(pid)] = Seen(
                int(ppid), int(pgrp), int(session), nice, int(age), user, state, args
            )
    return found


def started(pid: int) -> int | None:
    """When a process began, in ticks."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return int(stat.rpartition(")")[2].split()[19])


def processor_s(pid: int) -> float:
    """How long a process has used the processor, in seconds."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def shown(process: dict[str, Any]) -> str:
    """The command as `ps` shows it."""
    words = process.get("cmdline", "").rstrip()
    if words:
        return words
    return f"[{process['comm']}]" + (" <defunct>" if process["state"] == "Z" else "")


@dataclass
class Check:
    """What was compared."""

    moments: int = 0
    processes: int = 0
    fields: int = 0
    ended_between: int = 0
    changed_between: int = 0

    def moment(self, laptop: Host) -> None:
        """Ask `ps` now, and for that time `records at`, once there is a later snapshot."""
        before = time.time()
        listed = ps()
        asked = datetime.fromtimestamp(before, UTC).isoformat()

        def later() -> dict[str, Any] | None:
            found = agents.at(laptop, asked)
            return found if found["next"] else None

        table = until(later, "a snapshot after that")
        seen = datetime.fromisoformat(table["time"]).timestamp()
        assert seen <= before
        assert before - seen < 60, "the agent fell behind"
        told = {process["pid"]: process for process in table["processes"]}
        self.moments += 1
        others = []
        for pid, process in listed.items():
            # Of what has just begun, it may be told an age below zero, as a large number.
            if not before - seen + 2 < process.age_s < 1 << 31:
                continue
            if wrong := self.compare(pid, process, told.get(pid)):
                others.append((pid, process, wrong))
        self.changed(others, table["next"], laptop)
        self.gone(listed, told, laptop)

    def compare(self, pid: int, process: Seen, row: dict[str, Any] | None) -> str | None:
        """What ran before the snapshot and still does is in it, as it is; else what is other."""
        assert row, f"{pid} {process} is missing"
        self.processes += 1
        if row["state"] == "Z" or process.state.startswith("Z"):
            return None
        pairs = [
            (row["ppid"], process.ppid),
            (row["pgrp"], process.pgrp),
            (row["session"], process.session),
            (row["user"][:7], process.user[:7]),
        ]
        if not process.args.startswith("[") and len(process.args) < 4000:
            pairs += [(" ".join(shown(row).split()), " ".join(process.args.split()))]
            pairs += [(str(row["nice"]), process.nice)]
        self.fields += len(pairs)
        wrong = [f"{told!r} is not {truth!r}" for told, truth in pairs if told != truth]
        return "; ".join(wrong)

    def changed(self, others: list[tuple[int, Seen, str]], after: str, laptop: Host) -> None:
        """What was other changed between the snapshot and `ps`: the snapshot behind has it so."""
        if not others:
            return
        told = {process["pid"]: process for process in agents.at(laptop, after)["processes"]}
        for pid, process, wrong in others:
            self.changed_between += 1
            # One that has ended meanwhile cannot be asked any more.
            again = pid in told and self.compare(pid, process, told[pid])
            # It may also be something else for a moment and then as before: sshd counts in its
            # title.
            if again and (now := ps().get(pid)) and not self.compare(pid, now, told[pid]):
                continue
            assert not again, f"{pid}: before {wrong}; after {again}; {process}"

    def gone(self, listed: dict[int, Seen], told: dict[int, dict[str, Any]], laptop: Host) -> None:
        """What is in the snapshot and not in `ps` ended in between: it is there no more."""
        for pid in told.keys() - listed.keys():
            assert started(pid) != told[pid]["start"], f"{told[pid]} runs, and ps has it not"
            self.ended_between += 1
        if missing := told.keys() - listed.keys():
            ended = time.time()

            def behind() -> dict[str, Any] | None:
                """What was begun before they had ended may have them."""
                found = agents.at(laptop)
                seen = datetime.fromisoformat(found["time"]).timestamp()
                return found if seen > ended else None

            found = until(behind, "a snapshot behind that")
            after = {process["pid"]: process for process in found["processes"]}
            for pid in missing:
                again = after.get(pid)
                assert not again or again["start"] != told[pid]["start"]


@EXTENT
def test_what_ran_is_what_ps_saw(away: Away, elsewhere: Host, seconds: int) -> None:
    """Nothing is missing, nothing is wrong, and every snapshot is there once."""
    away.join(elsewhere, "node", role="report")
    away.join(away.laptop, "boss", role="admin")
    random.seed(6)
    check = Check()
    with agents.Agent(elsewhere, "--every", "1s", "--no-redact") as agent:
        agents.logged(away.host.state, 2)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            check.moment(away.laptop)
            # Moments are sampled; this waits for none of what is tested.
            time.sleep(random.uniform(0.1, 1.0 if seconds < 60 else 10.0))
        used_s = processor_s(agent.process.pid)
        told = agent.end()
    headers = agents.snapshots(away.host.state)
    # A large one is cut into parts.
    numbers = [header["number"] for header in headers if header["part"] == 0]
    parts = [(header["number"], header["part"]) for header in headers]
    whole = {header["number"]: header["parts"] for header in headers}
    size = agents.size(away.host.state)
    print(f"{check}; {told}; {len(headers)} in the log of {size} bytes; agent: {used_s} s")
    assert told["failed"] == told["rejected"] == told["waiting"] == 0
    assert numbers == list(range(told["snapshots"]))
    assert parts == [(number, part) for number in numbers for part in range(whole[number])]
    assert {header["run"] for header in headers} == {headers[0]["run"]}
    assert not agents.gaps(away.host.state)
    # A machine may be busy, and say so; what was planned and not made is counted.
    assert told["snapshots"] + told["skipped"] >= seconds
    assert check.moments >= 3
    # This test, the agent and its server at the least: a container may have no more.
    assert check.processes >= 3 * check.moments
