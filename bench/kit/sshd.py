"""An ssh server of our own: loopback, a free port, keys that are gone afterwards."""

import getpass
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kit import tools

PATIENCE_S = 10


@contextmanager
def server(directory: Path) -> Iterator[list[str]]:
    """Start it; the words of an ssh command that reaches it, host included."""
    ssh, sshd = tools.need("ssh"), tools.need("sshd")
    _keys(directory)
    port = _free_port()
    log = directory / "sshd.log"
    (directory / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {directory}/host\n"
        f"AuthorizedKeysFile {directory}/authorized\nPidFile none\nStrictModes no\n"
        # Bash reads the user's start files under sshd unless it looks like an inner shell.
        "UsePAM no\nMaxSessions 64\nPasswordAuthentication no\nPermitRootLogin yes\n"
        "SetEnv SHLVL=1\n"
    )
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    daemon = subprocess.Popen(
        [sshd, "-D", "-f", str(directory / "sshd_config"), "-E", str(log)],
        stdin=subprocess.DEVNULL,
    )
    try:
        tools.wait_until(lambda: _listens(port), PATIENCE_S, f"sshd does not listen: see {log}")
        yield [
            *(ssh, "-F", "none", "-p", str(port), "-i", str(directory / "user")),
            *("-o", "StrictHostKeyChecking=no", "-o", "LogLevel=ERROR", "-o", "BatchMode=yes"),
            *("-o", f"UserKnownHostsFile={directory}/known", "-o", "IdentitiesOnly=yes"),
            f"{getpass.getuser()}@127.0.0.1",
        ]
    finally:
        daemon.terminate()
        daemon.wait()


@contextmanager
def master(words: list[str], directory: Path) -> Iterator[list[str]]:
    """Hold a connection open; the words of an ssh command that goes over it."""
    host = words[-1]
    shared = [*words[:-1], "-o", f"ControlPath={directory}/master"]
    subprocess.run([*shared, "-M", "-f", "-N", host], check=True, stdin=subprocess.DEVNULL)
    try:
        yield [*shared, host]
    finally:
        subprocess.run([*shared, "-O", "exit", host], check=True, stderr=subprocess.DEVNULL)


def port(words: list[str]) -> int:
    """Where the server of such a command listens."""
    return int(words[words.index("-p") + 1])


def at(words: list[str], other: int) -> list[str]:
    """The same server by another port."""
    place = words.index("-p") + 1
    return [*words[:place], str(other), *words[place + 1 :]]


def _keys(directory: Path) -> None:
    keygen = shutil.which("ssh-keygen")
    assert keygen, "ssh-keygen comes with ssh"
    for name in ("host", "user"):
        words = [keygen, "-q", "-t", "ed25519", "-N", "", "-f", str(directory / name)]
        subprocess.run(words, check=True)
    shutil.copy(directory / "user.pub", directory / "authorized")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
