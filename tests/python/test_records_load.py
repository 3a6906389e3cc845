"""A crowd that sends records over connections of its own each, slow and hostile ones among them.

It is the example `crowd` of the client library, one process. What it was told is compared with what
is in the log, line by line.
"""

import json
import os
import re
import subprocess
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from harness.host import Host
from harness.serving import Serving

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.once

STREAM = "crowd"
BATCH = 50
# Calls that send which one identity may have open.
EACH = 50
MIB = 1 << 20
ID = re.compile(rb'"data":\{"id":"([^"]+)"')
SEQ = re.compile(rb'^\{"seq":(\d+),')

# What each kind may be answered. A connection that is cut off may lose its last word.
ANSWERS = {
    "Pretty": {"3 accepted, "},
    "Deep": {"2 accepted, TOO_DEEP"},
    "LongLine": {"2 accepted, TOO_LARGE"},
    "HugeLine": {"REFUSED MESSAGE_TOO_LARGE"},
    "DuplicateKey": {"2 accepted, DUPLICATE_KEY"},
    "NotANumber": {"2 accepted, BAD_NUMBER"},
    "NotUtf8": {"2 accepted, NOT_UTF8"},
    "Slow": {"acknowledged"},
    "Credit": {"STATUS 9"},
    "Numbers": {"OUT_OF_ORDER"},
    "MessageTooShort": {"STATUS 13"},
    "FieldTooShort": {"STATUS 13"},
    "TimesTooMany": {"2 accepted, "},
    "HalfFrame": {"stayed"},
    "Deaf": {"sent all"},
}


@dataclass(frozen=True)
class Crowd:
    """How many of them, and for how long."""

    good: int
    hostile: int
    seconds: int
    # The most memory that the server may have had.
    memory_mib: int


SHORT = Crowd(good=100, hostile=1, seconds=3, memory_mib=256)
LONG = Crowd(good=940, hostile=4, seconds=60, memory_mib=512)


def program() -> Path | None:
    """The newest build of the example."""
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    built = [target / profile / "examples/crowd" for profile in ("release", "soak", "debug")]
    there = [path for path in built if path.exists()]
    return max(there, key=lambda path: path.stat().st_mtime, default=None)


def contexts(host: Host, laptop: Host, count: int) -> Iterable[Path]:
    """Let so many identities join that may only report."""
    for number in range(count):
        name = f"sender-{number}"
        token = host.ok("invite", name, "--role", "report").strip()
        laptop.ok("join", "--name", name, stdin=token.encode())
        yield laptop.home / "data/legwork/contexts" / name


def peak_mib(pid: int) -> float:
    """The most memory that a process has had."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.findall(r"^VmHWM:\s*(\d+)", status, re.MULTILINE)[0]) / 1024


def in_log(state: Path) -> tuple[Counter[bytes], list[int]]:
    """Who is in the log, how often, and the numbers of its lines."""
    found: Counter[bytes] = Counter()
    numbers: list[int] = []
    for segment in sorted(state.glob("records/*/log/*.jsonl")):
        with segment.open("rb") as lines:
            for line in lines:
                if b'"stream":"legwork.audit"' in line:
                    continue
                found.update(ID.findall(line))
                numbers.extend(map(int, SEQ.findall(line)))
    return found, numbers


@pytest.mark.parametrize("crowd", [SHORT, pytest.param(LONG, marks=pytest.mark.soak)], ids=str)
def test_what_a_crowd_was_told_is_in_the_log(host: Host, laptop: Host, crowd: Crowd) -> None:
    example = program()
    if example is None:
        pytest.skip("cargo build -p legwork-client --example crowd")
    senders = -(-crowd.good // EACH)
    with Serving(host, "--listen", "127.0.0.1:0", "--init") as server:
        places = [str(place) for place in contexts(host, laptop, senders + 1)]
        numbers = (crowd.seconds, crowd.good, crowd.hostile)
        words = [str(example), server.address, STREAM, *map(str, numbers), *places]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout)
        memory = peak_mib(server.process.pid)
        print(json.dumps(told | {"memoryMib": memory}))
        assert server.end() == 0
    check_good(told["good"], crowd)
    for kind, answers in told["hostile"]["answers"].items():
        assert set(answers) <= ANSWERS[kind], f"{kind}: {answers}"
    assert set(told["hostile"]["answers"]) == set(ANSWERS)
    assert memory < crowd.memory_mib
    assert told["questions"]["count"] > 0
    assert told["questions"]["maxMs"] < 10_000
    found, lines = in_log(host.state)
    assert lines == list(range(1, len(lines) + 1))
    assert {who: count for who, count in found.items() if count != 1} == {}
    good = {
        b"g-%d-%d-%d" % (sender, batch, n)
        for sender in range(crowd.good)
        for batch in range(crowd.seconds)
        for n in range(BATCH)
    }
    assert {who for who in found if who.startswith(b"g-")} == good
    hostile = sum(who.startswith(b"h-") for who in found)
    assert hostile == told["hostile"]["accepted"]
    assert len(found) == len(good) + hostile


def check_good(told: dict[str, Any], crowd: Crowd) -> None:
    """Everybody who was good was heard."""
    assert told["sent"] == crowd.good * crowd.seconds * BATCH
    assert (told["accepted"], told["refused"]) == (told["sent"], 0), told
