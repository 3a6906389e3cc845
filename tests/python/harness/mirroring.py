"""A `sync --watch` that runs, what it says, and what two trees have in common."""

import json
import os
import queue
import signal
import stat
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

from harness.host import Host, Word
from harness.waiting import DEADLINE_S, until


class Mirroring:
    """A `sync --watch --json` of a host's project, and its lines as they come."""

    def __init__(
        self,
        host: Host,
        *options: Word,
        before: tuple[Word, ...] = (),
        cwd: Path | None = None,
    ) -> None:
        """Start it and wait until it watches; `before` stands before the binary."""
        self.host = host
        argv = [*before, host.binary, "sync", "--watch", "--json", *options]
        self.log = host.tmp / f"watch-{os.urandom(4).hex()}.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                argv,
                cwd=cwd or host.project,
                env=host.env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                **host.user.popen_arguments(),
            )
        self._lines: queue.Queue[dict[str, Any]] = queue.Queue()
        self.seen: list[dict[str, Any]] = []
        threading.Thread(target=self._read, daemon=True).start()
        self.first = self.event("mirrored")

    def __enter__(self) -> "Mirroring":
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def _read(self) -> None:
        assert self.process.stdout
        with self.process.stdout as out:
            for line in out:
                self._lines.put(json.loads(line))

    def event(self, name: str) -> dict[str, Any]:
        """Wait for the next event of that name."""
        end = time.monotonic() + DEADLINE_S
        while True:
            try:
                event = self._lines.get(timeout=max(0.0, end - time.monotonic()))
            except queue.Empty:
                raise AssertionError(
                    f"no {name}; seen {self.seen[-3:]}; {self.log.read_text()}"
                ) from None
            self.seen.append(event)
            if event["event"] == name:
                return event

    def said(self, name: str) -> int:
        """How often an event of that name has come until now."""
        while not self._lines.empty():
            self.seen.append(self._lines.get())
        return sum(event["event"] == name for event in self.seen)

    def sent(self) -> int:
        """Bytes of content that were sent since the beginning for what was changed until now."""
        # An update is told after it is made. So this has to be told of, and is the last.
        name = f"told-{os.urandom(4).hex()}"
        self.host.write(name, "")
        while name not in self.event("updated")["written"]["paths"]:
            pass
        updates = [event for event in self.seen if event["event"] == "updated"]
        return sum(event["sentBytes"] for event in updates)

    def watched(self) -> int:
        """How many directories the process has watches on."""
        infos = Path(f"/proc/{self.process.pid}/fdinfo").iterdir()
        return sum(info.read_text().count("inotify wd:") for info in infos)

    def interrupt(self) -> float:
        """Interrupt it; how many seconds it took to end."""
        begun = time.monotonic()
        self.process.send_signal(signal.SIGINT)
        code = self.process.wait(timeout=DEADLINE_S)
        took = time.monotonic() - begun
        assert code == 130, (code, self.log.read_text())
        return took


def the_tree(host: Host) -> Path:
    """The one workspace's tree."""
    (found,) = (host.state / "workspaces").glob("*/tree")
    return found


def content(root: Path, without: tuple[str, ...] = ()) -> dict[bytes, Any]:
    """All that is in a directory, but for some names at its top."""
    found: dict[bytes, Any] = {}
    top = os.fsencode(root)
    for directory, names, files in os.walk(top):
        if directory == top:
            names[:] = [name for name in names if os.fsdecode(name) not in without]
        for name in names + files:
            path = os.path.join(directory, name)  # noqa: PTH118
            look = os.lstat(path)
            key = os.path.relpath(path, top)
            if stat.S_ISLNK(look.st_mode):
                found[key] = ("link", os.readlink(path))  # noqa: PTH115
            elif stat.S_ISDIR(look.st_mode):
                found[key] = "dir"
            else:
                with open(path, "rb") as file:  # noqa: PTH123
                    found[key] = (bool(look.st_mode & 0o100), file.read())
    return found


def same(source: Path, tree: Path, without: tuple[str, ...] = (".git",)) -> None:
    """Wait until the mirror is, byte for byte, what the source is."""
    until(lambda: content(source, without) == content(tree, without), "the mirror has caught up")
