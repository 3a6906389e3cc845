"""A server that listens with TLS, and the people who know it."""

import contextlib
import itertools
import secrets
import time
import uuid
from collections.abc import Iterable
from typing import Any

import grpc
from cryptography import x509

from harness.api import (
    Client,
    Credentials,
    Invite,
    Recorder,
    Stubs,
    key_pem,
    new_key,
    pem,
    request_for,
)
from harness.host import Host, Word
from harness.serving import Serving, reserved
from harness.waiting import DEADLINE_S, until

_OPTIONS = [
    ("grpc.ssl_target_name_override", "legwork"),
    ("grpc.enable_retries", 0),
    # One connection for each channel, also to the same address.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.max_receive_message_length", 8 << 20),
]

_COUNT = itertools.count()


def job_id() -> str:
    """A new UUID of version 7."""
    stamp = int(time.time() * 1000)
    # Those of one millisecond are in order, too.
    count = next(_COUNT) % 4096
    number = stamp << 80 | 7 << 76 | count << 64 | 2 << 62 | secrets.randbits(62)
    return str(uuid.UUID(int=number))


class World:
    """A server, and clients of another make."""

    def __init__(self, host: Host, stubs: Stubs, recorder: Recorder, *args: Word) -> None:
        """Start the server and let its first admin join."""
        self.host = host
        self.stubs = stubs
        self.recorder = recorder
        self.args = args
        self.access = host.tmp / "access.log"
        self.tokens: list[str] = []
        self.keys: list[bytes] = []
        self._clients: list[Client] = []
        self._open = contextlib.ExitStack()
        self.address = self._open.enter_context(reserved())
        listen = ("--listen", self.address)
        self.serving = Serving(host, *listen, "--init", *self._logged(), *args)
        self.ca = (host.state / "ca" / "ca.pem").read_bytes()
        first = (host.state / "first-admin.invite").read_text()
        self.credentials = {"admin": self.redeem(first)}
        self.admin = self.client("admin")
        # Connected from here on.
        self.admin.host.Info(stubs.host.InfoRequest(), timeout=DEADLINE_S)

    def _logged(self) -> tuple[Word, ...]:
        return ("--access-log", self.access, "--log-level", "trace")

    def close(self) -> None:
        """Let everybody go."""
        for client in self._clients:
            client.channel.close()
        self.serving.__exit__()
        self._open.close()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.address.rsplit(":", 1)[1])

    def again(self) -> None:
        """Start the server once more, on the same address."""
        listen = ("--listen", self.address)
        self.serving = Serving(self.host, *listen, *self._logged(), *self.args)
        assert self.serving.told["addresses"] == [self.address]

    def channel(self, who: Credentials | None, *options: tuple[str, Any]) -> grpc.Channel:
        """A connection of its own; with ``None``, without a certificate."""
        credentials = grpc.ssl_channel_credentials(
            self.ca, who.key if who else None, who.certificate if who else None
        )
        return grpc.secure_channel(self.address, credentials, [*_OPTIONS, *options])

    def client(self, who: str | Credentials | None) -> Client:
        """All services as somebody who has joined, by name or credentials, or as a stranger."""
        found = self.credentials[who] if isinstance(who, str) else who
        made = Client(self.stubs, self.recorder, self.channel(found))
        self._clients.append(made)
        return made

    def redeem(self, token: str) -> Credentials:
        """Trade an invite for a certificate, as a newcomer does."""
        invite = Invite.parse(token)
        self.tokens.append(invite.token)
        key = new_key()
        with self.client(None) as stranger:
            answer = stranger.enroll.Join(
                self.stubs.enroll.JoinRequest(
                    secret=invite.secret, certificate_request=request_for(key)
                ),
                timeout=DEADLINE_S,
            )
        self.keys.append(key_pem(key))
        return Credentials(key_pem(key), pem(answer.certificate))

    def join(self, name: str, role: str = "run") -> Client:
        """Invite somebody on the command line, and let them join."""
        token = self.host.ok("invite", name, "--role", role)
        self.credentials[name] = self.redeem(token)
        return self.client(name)

    def certificate(self, name: str) -> x509.Certificate:
        """The certificate that somebody got."""
        return x509.load_pem_x509_certificate(self.credentials[name].certificate)

    # Jobs.

    def spec(self, *argv: str | bytes, **more: Any) -> Any:
        """A job that runs in the test's own directory."""
        place = self.stubs.jobs.Place(dir=str(self.host.tmp).encode())
        words = [word.encode() if isinstance(word, str) else word for word in argv]
        return self.stubs.jobs.JobSpec(**({"id": job_id(), "argv": words, "place": place} | more))

    def shell(self, script: str, **more: Any) -> Any:
        """A shell script as a job."""
        return self.spec("sh", "-c", script, **more)

    def start(self, client: Client, spec: Any) -> Any:
        """Start one job that is not refused; the job."""
        (result,) = self.start_all(client, [spec])
        assert result.WhichOneof("result") == "job", result
        return result.job

    def start_all(self, client: Client, specs: Iterable[Any]) -> list[Any]:
        """Start several in one call; their results."""
        request = self.stubs.jobs.StartRequest(specs=specs)
        return list(client.jobs.Start(request, timeout=DEADLINE_S).results)

    def ended(self, client: Client, job: str) -> Any:
        """Wait for a job's end; the job."""
        request = self.stubs.jobs.WaitRequest(id=job)

        def over() -> Any:
            # The server answers after half a minute in any case.
            found = client.jobs.Wait(request, timeout=DEADLINE_S).job
            return found if found.state == self.stubs.jobs.JOB_STATE_FINISHED else None

        return until(over, f"job {job} has ended")

    def logs(self, client: Client, job: str, **how: Any) -> Any:
        """The stream of a job's output."""
        request = self.stubs.jobs.LogsRequest(id=job, **how)
        return client.jobs.Logs(request, timeout=2 * DEADLINE_S)

    def output(self, client: Client, job: str, **how: Any) -> bytes:
        """A job's output, to the end of the stream, which has to be there."""
        data, end = read(self.logs(client, job, **how))
        assert end is not None, "a stream ends with an end"
        return data


def read(stream: Any) -> tuple[bytes, Any]:
    """Everything that a stream of output brings, and its end."""
    parts, end = [], None
    for message in stream:
        assert end is None, "nothing comes after the end"
        if message.WhichOneof("event") == "chunk":
            assert sum(run.length for run in message.chunk.runs) == len(message.chunk.data)
            parts.append(message.chunk.data)
        elif message.WhichOneof("event") == "end":
            end = message.end
    return b"".join(parts), end
