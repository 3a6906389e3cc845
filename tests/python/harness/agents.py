"""Agents that report processes, and what a server's log and `records at` say of it."""

import json
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.host import Host, Word
from harness.waiting import DEADLINE_S, until


class Agent:
    """An `agent` that runs."""

    def __init__(self, host: Host, *args: Word) -> None:
        """Start it."""
        self.process: subprocess.Popen[bytes] = host.popen("agent", "--json", *args)

    def __enter__(self) -> "Agent":
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()

    def end(self, number: int = signal.SIGTERM) -> dict[str, Any]:
        """Tell it to end; what it says of what it did."""
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=DEADLINE_S)
        assert self.process.returncode == 0, err
        self.err = err
        return json.loads(out)

    def die(self) -> None:
        """Kill it."""
        self.process.kill()
        self.process.communicate()


@dataclass(frozen=True)
class Entry:
    """A line of a log."""

    line: dict[str, Any]

    @property
    def header(self) -> dict[str, Any] | None:
        """What a snapshot says of itself."""
        return self.line.get("data", {}).get("snapshot")


def logs(state: Path, stream: str) -> Iterator[Path]:
    """The directories of a stream's logs."""
    for directory in sorted((state / "records").glob("*")):
        if json.loads((directory / "stream").read_bytes())["stream"] == stream:
            yield directory / "log"


def size(state: Path, stream: str = "process") -> int:
    """How many bytes a stream's log has, as it is on the disk."""
    return sum(path.stat().st_size for log in logs(state, stream) for path in log.iterdir())


def lines(state: Path, stream: str = "process") -> Iterator[Entry]:
    """All lines of a stream's log, from its files."""
    for log in logs(state, stream):
        for segment in sorted(log.glob("*.jsonl*")):
            text = segment.read_bytes()
            if segment.suffix == ".zst":
                text = subprocess.run(
                    ["zstd", "-dc", segment], check=True, capture_output=True
                ).stdout
            whole = text[: text.rfind(b"\n") + 1]
            yield from (Entry(json.loads(line)) for line in whole.splitlines())


def snapshots(state: Path, stream: str = "process") -> list[dict[str, Any]]:
    """The headers of all snapshots, in the order of the log."""
    found = [entry.header for entry in lines(state, stream)]
    return [header for header in found if header]


def gaps(state: Path, stream: str = "process") -> list[dict[str, Any]]:
    """The gaps that senders announced."""
    return [entry.line["gap"] for entry in lines(state, stream) if "gap" in entry.line]


def at(host: Host, time: str = "now", *args: Word) -> dict[str, Any]:
    """What ran at a time."""
    return host.json("records", "at", time, *args)


def logged(state: Path, count: int, deadline_s: float = DEADLINE_S) -> list[dict[str, Any]]:
    """Wait until there are so many snapshots in the log."""

    def enough() -> list[dict[str, Any]] | None:
        found = snapshots(state)
        return found if len(found) >= count else None

    return until(enough, f"{count} snapshots", deadline_s)
