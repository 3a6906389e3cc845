"""A pueue daemon of our own, built from its registry when it is not installed."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kit import tools

VERSION = "4.0.4"
PATIENCE_S = 10


def programs() -> tuple[str, str]:
    """Where client and daemon are; built once into the benchmarks' cache, which takes minutes."""
    if (client := shutil.which("pueue")) and (daemon := shutil.which("pueued")):
        return client, daemon
    built = tools.CACHE / "bin"
    if not (built / "pueued").exists():
        print(f"building pueue {VERSION}: some minutes", file=sys.stderr)
        words = ["cargo", "install", "--quiet", "--locked", "--version", VERSION]
        subprocess.run([*words, "--root", str(tools.CACHE), "pueue"], check=True)
    return str(built / "pueue"), str(built / "pueued")


@contextmanager
def daemon(directory: Path) -> Iterator[list[str]]:
    """Run a daemon with its files in the directory; the words of a client that reaches it."""
    client, program = programs()
    config = directory / "pueue.yml"
    config.write_text(
        f"client: {{}}\ndaemon: {{}}\nshared:\n  pueue_directory: {directory}\n"
        f"  runtime_directory: {directory}\n  use_unix_socket: true\n"
        f"  unix_socket_path: {directory}/pueue.socket\n"
    )
    server = subprocess.Popen(
        [program, "-c", str(config)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    words = [client, "-c", str(config)]
    try:
        tools.wait_until(
            lambda: subprocess.run([*words, "status"], capture_output=True).returncode == 0,
            PATIENCE_S,
            "pueued does not answer",
        )
        yield words
    finally:
        server.terminate()
        server.wait()
