"""The services as a foreign client finds them: stubs from ``proto/``, and gRPC's own library."""

import base64
import importlib
import os
import struct
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

# Forking beside gRPC's threads: nothing of it is used in the children.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

import grpc
import grpc_tools
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from google.protobuf import any_pb2
from grpc_tools import protoc

ROOT = Path(__file__).resolve().parents[3]

# The messages of others, as their owners publish them: only what is read here, so that no more
# packages are needed.
FOREIGN = {
    "google_rpc.proto": """
        syntax = "proto3"; package google.rpc; import "google/protobuf/any.proto";
        import "google/protobuf/duration.proto";
        message Status {
          int32 code = 1; string message = 2; repeated google.protobuf.Any details = 3;
        }
        message ErrorInfo {
          string reason = 1; string domain = 2; map<string, string> metadata = 3;
        }
        message RetryInfo { google.protobuf.Duration retry_delay = 1; }
    """,
    "grpc_health.proto": """
        syntax = "proto3"; package grpc.health.v1;
        message HealthCheckRequest { string service = 1; }
        message HealthCheckResponse {
          enum ServingStatus { UNKNOWN = 0; SERVING = 1; NOT_SERVING = 2; SERVICE_UNKNOWN = 3; }
          ServingStatus status = 1;
        }
        service Health {
          rpc Check(HealthCheckRequest) returns (HealthCheckResponse);
          rpc Watch(HealthCheckRequest) returns (stream HealthCheckResponse);
        }
    """,
    "grpc_reflection.proto": """
        syntax = "proto3"; package grpc.reflection.v1;
        message ServerReflectionRequest {
          string host = 1;
          oneof message_request {
            string file_by_filename = 3;
            string file_containing_symbol = 4;
            string list_services = 7;
          }
        }
        message ServerReflectionResponse {
          string valid_host = 1;
          oneof message_response {
            FileDescriptorResponse file_descriptor_response = 4;
            ListServiceResponse list_services_response = 6;
            ErrorResponse error_response = 7;
          }
        }
        message FileDescriptorResponse { repeated bytes file_descriptor_proto = 1; }
        message ListServiceResponse { repeated ServiceResponse service = 1; }
        message ServiceResponse { string name = 1; }
        message ErrorResponse { int32 error_code = 1; string error_message = 2; }
        service ServerReflection {
          rpc ServerReflectionInfo(stream ServerReflectionRequest)
            returns (stream ServerReflectionResponse);
        }
    """,
}


class Stubs:
    """Modules generated from ``proto/``, in a directory that goes with this object."""

    def __init__(self) -> None:
        """Generate and import them."""
        self._place = tempfile.TemporaryDirectory(prefix="legwork-stubs-")
        out = Path(self._place.name)
        for name, text in FOREIGN.items():
            (out / name).write_text(text)
        proto = ROOT / "proto"
        own = sorted(path.relative_to(proto) for path in (proto / "legwork").rglob("*.proto"))
        well_known = Path(grpc_tools.__file__).parent / "_proto"
        includes = [f"-I{path}" for path in (ROOT / "proto", out, well_known)]
        outputs = [f"--python_out={out}", f"--grpc_python_out={out}"]
        files = [*map(str, own), *FOREIGN]
        assert protoc.main(["protoc", *includes, *outputs, *files]) == 0
        sys.path.insert(0, str(out))
        names = [path.stem for path in own]
        self.modules: list[ModuleType] = []
        for name in names:
            setattr(self, name, self._load(f"legwork.v1.{name}"))
        self.rpc = self._load("google_rpc")
        self.health = self._load("grpc_health")
        self.reflection = self._load("grpc_reflection")
        # As its owners have it, and not as `proto/` does.
        self.otlp = self._load("opentelemetry.proto.collector.logs.v1.logs_service")

    def _load(self, name: str) -> ModuleType:
        messages = importlib.import_module(f"{name}_pb2")
        services = importlib.import_module(f"{name}_pb2_grpc")
        self.modules.append(messages)
        for key, value in vars(services).items():
            if key.endswith("Stub"):
                setattr(messages, key, value)
        return messages

    def methods(self) -> set[str]:
        """The path of every method of every service."""
        found = set()
        for module in self.modules:
            for service in module.DESCRIPTOR.services_by_name.values():
                found |= {f"/{service.full_name}/{method.name}" for method in service.methods}
        return found

    def services(self) -> set[str]:
        """The name of every service."""
        return {path.split("/")[1] for path in self.methods()}


class Recorder(
    grpc.UnaryUnaryClientInterceptor,
    grpc.UnaryStreamClientInterceptor,
    grpc.StreamUnaryClientInterceptor,
    grpc.StreamStreamClientInterceptor,
):
    """Notes which methods were called and how each call ended."""

    def __init__(self) -> None:
        """Nothing was called yet."""
        self.seen: dict[str, set[grpc.StatusCode]] = {}

    def _call(self, go_on: Callable[..., Any], details: Any, request: Any) -> Any:
        call = go_on(details, request)
        ends = self.seen.setdefault(details.method, set())
        call.add_done_callback(lambda ended: ends.add(ended.code()))
        return call

    intercept_unary_unary = _call
    intercept_unary_stream = _call
    intercept_stream_unary = _call
    intercept_stream_stream = _call


@dataclass(frozen=True)
class Credentials:
    """A key and a certificate, as PEM."""

    key: bytes
    certificate: bytes


@dataclass(frozen=True)
class Invite:
    """What a token says."""

    token: str
    server: uuid.UUID
    ca_hash: bytes
    secret: bytes
    address: str

    @classmethod
    def parse(cls, token: str) -> "Invite":
        """Take a token apart, as the documentation of its format says."""
        body = token.strip().removeprefix("lw1.")
        raw = base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))
        _, server, ca_hash, secret, _ = struct.unpack_from(">H16s32s32sQ", raw)
        length = raw[91]
        return cls(
            token.strip(), uuid.UUID(bytes=server), ca_hash, secret, raw[92 : 92 + length].decode()
        )


def new_key() -> ec.EllipticCurvePrivateKey:
    """A key of the kind that everybody takes."""
    return ec.generate_private_key(ec.SECP256R1())


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """The key as PEM."""
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def request_for(key: ec.EllipticCurvePrivateKey) -> bytes:
    """A certificate request for the key, as DER."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "ignored")])
    request = x509.CertificateSigningRequestBuilder().subject_name(name)
    return request.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def pem(der: bytes) -> bytes:
    """A certificate as PEM."""
    return x509.load_der_x509_certificate(der).public_bytes(serialization.Encoding.PEM)


@dataclass(frozen=True)
class Refused:
    """How a call was refused."""

    code: grpc.StatusCode
    reason: str
    message: str
    metadata: dict[str, str]


def refusal(stubs: Stubs, error: Any) -> Refused:
    """What an error says, the reason in its details included."""
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            status = stubs.rpc.Status.FromString(value)
            for detail in status.details:
                assert isinstance(detail, any_pb2.Any)
                info = stubs.rpc.ErrorInfo()
                if detail.Unpack(info):
                    assert info.domain == "legwork"
                    metadata = dict(info.metadata)
                    return Refused(error.code(), info.reason, error.details(), metadata)
    return Refused(error.code(), "", error.details() or "", {})


class Client:
    """All services over one connection of its own."""

    def __init__(self, stubs: Stubs, recorder: Recorder, channel: grpc.Channel) -> None:
        """Make the stubs on the channel."""
        self.stubs = stubs
        self.channel = channel
        seen = grpc.intercept_channel(channel, recorder)
        self.jobs = stubs.jobs.JobServiceStub(seen)
        self.sync = stubs.sync.SyncServiceStub(seen)
        self.records = stubs.records.RecordServiceStub(seen)
        self.host = stubs.host.HostServiceStub(seen)
        self.enroll = stubs.enroll.EnrollServiceStub(seen)
        self.otlp = stubs.otlp.LogsServiceStub(seen)
        self.health = stubs.health.HealthStub(seen)
        self.reflection = stubs.reflection.ServerReflectionStub(seen)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.channel.close()

    @contextmanager
    def refused(self, *reasons: str) -> Iterator[list[Refused]]:
        """What is done inside is refused for one of these reasons; yields where that is told."""
        told: list[Refused] = []
        try:
            yield told
        except grpc.RpcError as error:
            told.append(refusal(self.stubs, error))
            assert told[0].reason in reasons, told[0]
            return
        raise AssertionError(f"not refused; expected {reasons}")
