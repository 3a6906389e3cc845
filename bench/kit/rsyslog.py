"""An rsyslog of our own: a process with its own configuration and directory, on loopback ports.

The packages are Debian's. They are unpacked into the cache of the benchmarks and not installed, so
nothing of the system changes and no service is touched. Four ways to take records:

- ``plain``: imtcp to omfile, everything as shipped; neither parses, acknowledges nor syncs
- ``json``: each record is parsed by mmjsonparse, and written by a template from what was parsed
- ``fsync``: the file is synced with each batch that is written; the sender hears nothing of it
- ``relp``: imrelp acknowledges each record, from a queue in memory
"""

import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from kit import tools

PACKAGES = ["rsyslog", "rsyslog-relp", "libestr0", "libfastjson4", "liblognorm5", "librelp0"]
MODES = ["plain", "json", "fsync", "relp"]
PATIENCE_S = 120
# Records that RELP lets be under way; rsyslog's own sender has 128, and is a hundred times slower.
WINDOW = 10_000
LOOK = 1 << 20

TCP = """
module(load="imtcp")
input(type="imtcp" address="127.0.0.1" port="0" listenPortFileName="{directory}/port" ruleset="in")
"""
RELP = """
module(load="imrelp")
input(type="imrelp" address="127.0.0.1" port="{port}" ruleset="in")
"""
WRITE = 'action(type="omfile" file="{directory}/out"{options})'
# The parsed fields, and whether there are any: what is not JSON would be written as it came.
PARSED = """
module(load="mmjsonparse")
template(name="parsed" type="list") {{
  property(name="timereported" dateFormat="rfc3339") constant(value=" ")
  property(name="hostname") constant(value=" ")
  property(name="parsesuccess") constant(value=" ")
  property(name="$!all-json") constant(value="\\n")
}}
"""
PARSE = 'action(type="mmjsonparse" cookie="")'


def program() -> tuple[Path, Path]:
    """The daemon and where its libraries are; unpacked when it is first needed."""
    root = tools.CACHE / "rsyslog"
    if not (root / "usr/sbin/rsyslogd").exists():
        _unpack(root)
    libraries = next((root / "usr/lib").glob("*/rsyslog"), None)
    assert libraries, "the package has modules"
    return root / "usr/sbin/rsyslogd", libraries.parent


def _unpack(root: Path) -> None:
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        raise tools.MissingError("rsyslog comes from Debian's packages, and there is no apt-get")
    print("fetching rsyslog", file=sys.stderr)
    fetched = tools.CACHE / "packages"
    fetched.mkdir(parents=True, exist_ok=True)
    words = ["apt-get", "download", "-q", "-o", "APT::Sandbox::User=root", *PACKAGES]
    done = subprocess.run(words, cwd=fetched, capture_output=True, text=True)
    if done.returncode != 0:
        raise tools.MissingError(f"rsyslog cannot be fetched: {done.stderr.strip()}")
    for package in fetched.glob("*.deb"):
        subprocess.run(["dpkg-deb", "-x", str(package), str(root)], check=True)


@dataclass
class Rsyslog:
    """A daemon that runs, and the file it writes."""

    mode: str
    process: subprocess.Popen[bytes]
    port: int
    out: Path

    def cpu_s(self) -> float:
        """Processor time of the daemon so far, the kernel's on its behalf included."""
        return tools.cpu_s(self.process.pid)

    def memory_mib(self) -> float:
        """The most memory that it has had."""
        return tools.peak_mib(self.process.pid)

    def take(self, records: "Wire") -> None:
        """Send all records, and wait until the file has all of them."""
        if self.mode == "relp":
            _send_relp(self.port, records.relp)
        else:
            _send_tcp(self.port, records.tcp)
        # The first time lines are counted; the same records make the same bytes each time.
        if records.written.get(self.mode) is None:
            lines = _Lines(self.out)
            tools.wait_until(
                lambda: lines.count() == records.count, PATIENCE_S, "rsyslog lost records"
            )
            records.written[self.mode] = self.out.stat().st_size
        expected = records.written[self.mode]
        tools.wait_until(self._has(expected), PATIENCE_S, "rsyslog does not write all records")
        if self.mode == "json":
            self._check_parsed()

    def _has(self, expected: int) -> "tools.Condition":
        return lambda: self.out.exists() and self.out.stat().st_size == expected

    def _check_parsed(self) -> None:
        with self.out.open("rb") as file:
            file.seek(-4096, os.SEEK_END)
            last = file.read().splitlines()[-1].split(b" ", 3)
        assert last[2] == b"OK", f"rsyslog did not parse {last!r}"


@dataclass
class Wire:
    """The same records as each of them wants to be sent, in memory."""

    count: int
    tcp: list[bytes]
    relp: list[bytes]
    written: dict[str, int]

    @classmethod
    def of(cls, records: list[bytes], senders: int) -> "Wire":
        """Frame the records, split among the senders."""
        head = b"<134>1 2026-11-22T12:21:35.000000Z bench app - - - "
        lines = [head + record for record in records]
        each = -(-len(lines) // senders)
        parts = [lines[at : at + each] for at in range(0, len(lines), each)]
        framed = [
            b"%d syslog %d %s\n" % (number, len(line), line)
            for number, line in enumerate(lines, start=2)
        ]
        chunk = WINDOW // 4
        return cls(
            count=len(lines),
            tcp=[b"\n".join(part) + b"\n" for part in parts],
            relp=[b"".join(framed[at : at + chunk]) for at in range(0, len(framed), chunk)],
            written={},
        )


@contextmanager
def daemon(directory: Path, mode: str) -> Iterator[Rsyslog]:
    """Run one with its files in the directory."""
    directory.mkdir()
    rsyslogd, libraries = program()
    port = _free_port()
    config = directory / "rsyslog.conf"
    config.write_text(_config(directory, mode, port))
    log = (directory / "log").open("wb")
    process = subprocess.Popen(
        [rsyslogd, "-n", "-f", config, "-i", directory / "pid", "-M", libraries / "rsyslog"],
        env=os.environ | {"LD_LIBRARY_PATH": str(libraries)},
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
    )
    try:
        if mode == "relp":
            tools.wait_until(lambda: _listens(port), PATIENCE_S, f"see {directory}/log")
        else:
            told = directory / "port"
            tools.wait_until(
                lambda: told.exists() and told.read_text() != "", PATIENCE_S, f"see {log.name}"
            )
            port = int(told.read_text())
        yield Rsyslog(mode, process, port, directory / "out")
    finally:
        process.terminate()
        process.wait()
        log.close()


def _config(directory: Path, mode: str, port: int) -> str:
    source = RELP if mode == "relp" else TCP
    options = {"fsync": ' sync="on"', "json": ' template="parsed"'}.get(mode, "")
    actions = [WRITE.format(directory=directory, options=options)]
    if mode == "json":
        actions.insert(0, PARSE)
    return "\n".join(
        [
            f'global(workDirectory="{directory}")',
            source.format(directory=directory, port=port),
            PARSED.format() if mode == "json" else "",
            'ruleset(name="in") {',
            *actions,
            "}\n",
        ]
    )


class _Lines:
    """Counts the lines of a file that grows."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.offset = 0
        self.found = 0

    def count(self) -> int:
        """How many there are by now."""
        if self.path.exists():
            with self.path.open("rb") as file:
                file.seek(self.offset)
                while block := file.read(LOOK):
                    self.found += block.count(b"\n")
                    self.offset += len(block)
        return self.found


def _send_tcp(port: int, parts: list[bytes]) -> None:
    threads = [threading.Thread(target=_send_part, args=(port, part)) for part in parts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _send_part(port: int, part: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(part)


def _send_relp(port: int, chunks: list[bytes]) -> None:
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        offers = b"relp_version=0\nrelp_software=bench\ncommands=syslog"
        connection.sendall(b"1 open %d %s\n" % (len(offers), offers))
        opened = connection.recv(LOOK)
        assert b"200 OK" in opened, opened
        sent, answered, rest = 0, 0, b""
        for chunk in [*chunks, b""]:
            last = chunk == b""
            while sent - answered > (0 if last else WINDOW):
                got = connection.recv(LOOK)
                assert got, "rsyslog hung up"
                # An answer may be cut by what was read at once.
                *whole, rest = (rest + got).split(b"\n")
                answered += len(whole)
            connection.sendall(chunk)
            sent += chunk.count(b"\n")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _listens(port: int) -> bool:
    """Whether somebody has the port, without connecting to it, which would be a sender."""
    wanted = f"0100007F:{port:04X}"
    rows = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines())
    return any(row[1] == wanted and row[3] == "0A" for row in rows)
