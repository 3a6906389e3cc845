"""Memory of a server: idle, for an idle job that nobody follows, for an idle connection.

Bars are absolute here: resident size of the server process, which holds file pages and is the
largest of the figures one could take. Jobs are started by one client that leaves; connections are
TLS connections that have said which protocol they speak and then nothing.
"""

import socket
import ssl
import time
from contextlib import ExitStack

from kit import place, serving
from kit.measure import Figure, Series

JOBS = 500
CONNECTIONS = 500
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
SETTLED_KB = 64
CALL_JOBS = 100


def measure(runs: int) -> list[Figure]:
    """Each from a server of its own, as often as asked."""
    idle, job, connection = Series(), Series(), Series()
    for _ in range(runs):
        with place.scratch() as directory, serving.server(directory) as remote:
            before = _settled(remote)
            idle.values.append(before / 1024)
            with ExitStack() as open_ones:
                for _ in range(CONNECTIONS):
                    open_ones.enter_context(_connect(remote))
                connection.values.append((_settled(remote) - before) / CONNECTIONS)
        with place.scratch() as directory, serving.server(directory) as remote:
            # What the first calls bring is not a job's.
            warm = remote.run("start", "--no-sync", "-c", "exec sleep 600").split()
            before = _settled(remote)
            jobs = []
            for _ in range(JOBS // CALL_JOBS):
                commands = ["-c", "exec sleep 600"] * CALL_JOBS
                jobs += remote.run("start", "--no-sync", *commands).split()
            assert len(jobs) == JOBS
            job.values.append((_settled(remote) - before) / JOBS)
            remote.run("stop", "--grace", "1s", *warm, *jobs)
    return [
        _figure("server-idle", "resident memory of an idle server", idle, "MiB", 25),
        _figure("server-job", f"the same for each of {JOBS} idle jobs", job, "KiB", 20),
        _figure(
            "server-connection",
            f"the same for each of {CONNECTIONS} idle connections",
            connection,
            "KiB",
            40,
        ),
    ]


def _connect(remote: serving.Remote) -> ssl.SSLSocket:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(remote.context / "ca.pem")
    context.load_cert_chain(remote.context / "certificate.pem", remote.context / "key.pem")
    context.set_alpn_protocols(["h2"])
    host, _, port = remote.address.rpartition(":")
    plain = socket.create_connection((host, int(port)))
    stream = context.wrap_socket(plain, server_hostname="legwork")
    stream.sendall(PREFACE)
    # The server's settings: it has taken the connection in.
    assert stream.recv(9)
    return stream


def _settled(remote: serving.Remote) -> float:
    """The size once it has stopped to change."""
    last = remote.memory_kb()
    for _ in range(50):
        time.sleep(0.1)
        now = remote.memory_kb()
        if abs(now - last) < SETTLED_KB:
            return now
        last = now
    return last


def _figure(name: str, what: str, own: Series, unit: str, bar: float) -> Figure:
    return Figure(
        name=name,
        what=what,
        legwork=own,
        anchor=None,
        anchor_name="",
        unit=unit,
        bar=f"<= {bar} {unit}",
        value=own.median,
        holds=own.median <= bar,
    )
