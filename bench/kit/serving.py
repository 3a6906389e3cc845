"""A legwork server of our own on a loopback port, and a client that has joined it."""

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from kit import held, place, tools

CONTEXT = "bench"


@dataclass
class Remote:
    """A server that runs, and how its client reaches it."""

    pid: int
    address: str
    env: dict[str, str]
    context: Path

    def run(self, *args: str | Path) -> str:
        """Run a client's command; it must succeed."""
        words = [str(tools.legwork()), *map(str, args)]
        done = subprocess.run(
            words, env=self.env, check=True, stdin=subprocess.DEVNULL, capture_output=True
        )
        return done.stdout.decode()

    def cpu_s(self) -> float:
        """Processor time of the server so far, the kernel's on its behalf included."""
        return tools.cpu_s(self.pid)

    def peak_mib(self) -> float:
        """The most resident memory that the server has had."""
        return tools.peak_mib(self.pid)

    def memory_kb(self) -> float:
        """Resident memory of the server, file pages included."""
        text = Path(f"/proc/{self.pid}/status").read_text()
        return float(next(x.split()[1] for x in text.splitlines() if x.startswith("VmRSS:")))


@contextmanager
def server(directory: Path, *flags: str) -> Iterator[Remote]:
    """Serve a new state directory below this one, with one identity that has joined."""
    state = directory / "server"
    state.mkdir()
    with _serving(directory, "--init", "--listen", "127.0.0.1:0", *flags) as (pid, address):
        token = place.run(state, "invite", "bench", "--role", "run").stdout.decode().strip()
        env = place.environment(directory / "client") | {"LEGWORK_CONTEXT": ""}
        words = [str(tools.legwork()), "join", "--name", CONTEXT, "-"]
        subprocess.run(words, env=env, input=token.encode(), check=True, capture_output=True)
        context = Path(env["HOME"]) / ".local/share/legwork/contexts" / CONTEXT
        yield Remote(pid, address, env | {"LEGWORK_CONTEXT": CONTEXT}, context)


@contextmanager
def again(directory: Path, remote: Remote) -> Iterator[Remote]:
    """The same after it ended: a process that has done nothing yet."""
    with _serving(directory, "--listen", remote.address) as (pid, address):
        yield replace(remote, pid=pid, address=address)


@contextmanager
def _serving(directory: Path, *flags: str) -> Iterator[tuple[int, str]]:
    words = [str(tools.legwork()), "serve", "--json", *flags]
    if os.geteuid() == 0:
        words.append("--allow-root")
    if rules := held.rules():
        (directory / "server.toml").write_text(rules)
        words += ["--config", str(directory / "server.toml")]
    log = (directory / "serve.log").open("ab")
    process = subprocess.Popen(
        words,
        env=place.environment(directory / "server"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=log,
    )
    try:
        assert process.stdout
        told = process.stdout.readline()
        assert told, (directory / "serve.log").read_text()
        yield process.pid, json.loads(told)["addresses"][0]
    finally:
        process.terminate()
        process.wait()
        log.close()
