"""Both ends of OTLP as others make them: the SDK that sends, and a collector that receives."""

import datetime
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2 as service
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2_grpc as service_grpc
from opentelemetry.proto.logs.v1 import logs_pb2 as logs

from harness.api import key_pem, new_key
from harness.waiting import DEADLINE_S

PYTHON = Path(__file__).resolve().parents[1]


def send_by_sdk(endpoint: str, count: int, **how: Any) -> None:
    """Log so many records with the real SDK, which has to say that they were taken."""
    told = json.dumps({"endpoint": endpoint, "count": count} | how)
    program = [sys.executable, "-m", "harness.otlp_program", told]
    done = subprocess.run(
        program, cwd=PYTHON, capture_output=True, text=True, timeout=4 * DEADLINE_S, check=False
    )
    assert done.returncode == 0, done.stderr
    # What it has to complain of, it writes there.
    assert done.stderr == "", done.stderr


def of(*bodies: str | bytes, **more: Any) -> service.ExportLogsServiceRequest:
    """A request with a record for each body."""
    request = service.ExportLogsServiceRequest()
    scope = request.resource_logs.add().scope_logs.add()
    for body in bodies:
        scope.log_records.add(time_unix_nano=1, **more).body.string_value = body
    return request


@dataclass(frozen=True)
class Certified:
    """A key and a certificate for a name, and the authority that made it, as PEM."""

    key: bytes
    certificate: bytes
    authority: bytes


def certificate(name: str) -> Certified:
    """Make an authority and a certificate of it."""
    now = datetime.datetime.now(datetime.UTC)

    def signed(subject: str, public: Any, issuer: str, by: Any, *more: Any) -> x509.Certificate:
        def called(text: str) -> x509.Name:
            return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])

        made = x509.CertificateBuilder().subject_name(called(subject)).issuer_name(called(issuer))
        made = made.public_key(public).serial_number(x509.random_serial_number())
        made = made.not_valid_before(now - datetime.timedelta(hours=1))
        made = made.not_valid_after(now + datetime.timedelta(hours=1))
        for extension, critical in more:
            made = made.add_extension(extension, critical)
        return made.sign(by, hashes.SHA256())

    ca, own = new_key(), new_key()
    ca_is = (x509.BasicConstraints(ca=True, path_length=None), True)
    authority = signed("authority", ca.public_key(), "authority", ca, ca_is)
    names = (x509.SubjectAlternativeName([x509.DNSName(name)]), False)
    leaf = signed(name, own.public_key(), "authority", ca, names)
    pem = serialization.Encoding.PEM
    return Certified(key_pem(own), leaf.public_bytes(pem), authority.public_bytes(pem))


Answer = Callable[[Any, grpc.ServicerContext], service.ExportLogsServiceResponse]


class Collector(service_grpc.LogsServiceServicer):
    """Receives requests, and answers as it is told to."""

    def __init__(self) -> None:
        """Nothing has come."""
        self.requests: list[Any] = []
        self.metadata: list[dict[str, str]] = []
        # How the next ones are answered; afterwards, with success.
        self.answers: list[Answer] = []
        self._lock = threading.Lock()

    def Export(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        """One request."""
        with self._lock:
            self.metadata.append(dict(context.invocation_metadata()))
            answer = self.answers.pop(0) if self.answers else None
            if answer is None:
                self.requests.append(request)
                return service.ExportLogsServiceResponse()
        told = answer(request, context)
        with self._lock:
            self.requests.append(request)
        return told

    def records(self) -> list[logs.LogRecord]:
        """All records that were taken."""
        with self._lock:
            return [
                record
                for request in self.requests
                for resource in request.resource_logs
                for scope in resource.scope_logs
                for record in scope.log_records
            ]


@contextmanager
def collecting(address: str = "127.0.0.1:0", tls: Any = None) -> Iterator[tuple[Collector, int]]:
    """A collector that listens, and its port."""
    collector = Collector()
    server = grpc.server(futures.ThreadPoolExecutor(4))
    service_grpc.add_LogsServiceServicer_to_server(collector, server)
    port = server.add_secure_port(address, tls) if tls else server.add_insecure_port(address)
    server.start()
    try:
        yield collector, port
    finally:
        server.stop(0).wait()
