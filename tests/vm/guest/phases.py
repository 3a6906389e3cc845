"""Tests that outlive the machine: what is kept on its disk while it is rebooted."""

import dataclasses
import json
import os
import signal
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

KEPT = Path("/var/lib/legwork-vm/state.json")


class Reboot(Exception):  # noqa: N818 - a request, not an error
    """Raised in a test that wants to go on after a reboot."""

    def __init__(self, clean: bool) -> None:
        """A clean one ends all units first; the other is what a crash is like."""
        super().__init__()
        self.clean = clean


@dataclass
class Phase:
    """How often the machine was rebooted for a test, and what the test remembers of before."""

    number: int
    kept: dict[str, Any]

    def reboot(self, *, clean: bool) -> NoReturn:
        """Reboot; the test is called again with the next number."""
        raise Reboot(clean)


@dataclass
class State:
    """What was done, and where it has to go on."""

    done: list[str] = field(default_factory=list)
    current: str | None = None
    phase: int = 0
    asked: bool = False
    kept: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def load(cls) -> "State":
        """What was there before the last reboot, if there was one."""
        if not KEPT.exists():
            return cls()
        return cls(**json.loads(KEPT.read_text()))

    def begin(self, name: str) -> Phase:
        """Note that a test runs, so that a machine that goes down under it is noticed."""
        if self.current != name:
            self.current, self.phase, self.kept = name, 0, {}
        self.asked = False
        self._save()
        return Phase(self.phase, self.kept)

    def finish(self, name: str) -> None:
        """Note that a test has ended."""
        self.done.append(name)
        self.current = None
        self._save()

    def reboot(self, how: Reboot) -> NoReturn:
        """Note where to go on, and reboot."""
        self.phase += 1
        self.asked = True
        self._save()
        if how.clean:
            subprocess.run(["systemctl", "reboot", "--no-block"], check=True)
        else:
            Path("/proc/sysrq-trigger").write_text("b")
        # This process ends with its unit, or at once.
        while True:
            signal.pause()

    def _save(self) -> None:
        KEPT.parent.mkdir(exist_ok=True)
        new = KEPT.with_suffix(".new")
        with new.open("w") as file:
            json.dump(dataclasses.asdict(self), file)
            file.flush()
            os.fsync(file.fileno())
        new.replace(KEPT)
        directory = os.open(KEPT.parent, os.O_RDONLY)
        os.fsync(directory)
        os.close(directory)
