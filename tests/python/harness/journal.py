"""The journal in a job's directory: a line of JSON for what was asked, the launch and the end."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Journal:
    """The journal in this job directory."""

    directory: Path

    @property
    def path(self) -> Path:
        """Where it is."""
        return self.directory / "journal"

    def lines(self) -> dict[str, str]:
        """Each whole line by the name of its record."""
        raw = self.path.read_text()
        whole = raw[: raw.rfind("\n") + 1].splitlines()
        return {next(iter(json.loads(line))): line for line in whole}

    def record(self, kind: str) -> dict[str, Any] | None:
        """``spec``, ``launch`` or ``exit``, if it is there."""
        line = self.lines().get(kind)
        return json.loads(line)[kind] if line else None

    def replace(self, kind: str, line: str) -> None:
        """Put another line in the place of a record's."""
        self.path.write_text("".join(f"{x}\n" for x in (self.lines() | {kind: line}).values()))

    def forge(self, kind: str, record: dict[str, Any]) -> None:
        """Put another record in the place of one."""
        self.replace(kind, json.dumps({kind: record}, separators=(",", ":")))

    def keep(self, *kinds: str) -> None:
        """Take all other records away."""
        lines = self.lines()
        self.path.write_text("".join(f"{lines[kind]}\n" for kind in kinds))
