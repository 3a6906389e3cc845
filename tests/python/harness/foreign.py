"""An identity of a server, by gRPC's own library: stubs from ``proto/``, a key from openssl."""

import base64
import importlib
import os
import secrets
import subprocess
import sys
import time
import uuid
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

# Forking beside gRPC's threads: nothing of it is used in the children.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

import grpc
from grpc_tools import protoc

from harness.host import Host
from harness.waiting import DEADLINE_S

ROOT = Path(__file__).resolve().parents[3]
OPTIONS = (("grpc.ssl_target_name_override", "legwork"),)
SECRET = slice(2 + 16 + 32, 2 + 16 + 32 + 32)
"""Where the secret is in a token, after its length, the server and the authority."""


@cache
def _stubs(out: Path) -> dict[str, tuple[ModuleType, ModuleType]]:
    names = ("jobs", "enroll")
    arguments = [f"-I{ROOT / 'proto'}", f"--python_out={out}", f"--grpc_python_out={out}"]
    files = [f"legwork/v1/{path.name}" for path in (ROOT / "proto/legwork/v1").glob("*.proto")]
    assert protoc.main(["protoc", *arguments, *files]) == 0
    sys.path.insert(0, str(out))
    load = importlib.import_module
    loaded = {
        name: (load(f"legwork.v1.{name}_pb2"), load(f"legwork.v1.{name}_pb2_grpc"))
        for name in names
    }
    sys.path.remove(str(out))
    return loaded


def _openssl(*args: str, **options: Any) -> bytes:
    return subprocess.run(["openssl", *args], check=True, capture_output=True, **options).stdout


class Identity:
    """Somebody who has joined, and what they can ask for."""

    def __init__(self, host: Host, address: str, name: str, stubs: Path) -> None:
        """Be invited by the host's admin, and join."""
        self.jobs, jobs_grpc = _stubs(stubs)["jobs"]
        enroll, enroll_grpc = _stubs(stubs)["enroll"]
        curve = ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")
        key = _openssl("genpkey", *curve)
        place = host.tmp / f"{name}.key"
        place.write_bytes(key)
        subject = ("-subj", "/CN=x", "-outform", "DER")
        asked = _openssl("req", "-new", "-key", str(place), *subject)
        token = host.json("invite", name, "--role", "run")["token"].removeprefix("lw1.")
        secret = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))[SECRET]
        authority = (host.state / "ca/ca.pem").read_bytes()
        stranger = grpc.ssl_channel_credentials(authority)
        with grpc.secure_channel(address, stranger, OPTIONS) as channel:
            request = enroll.JoinRequest(secret=secret, certificate_request=asked)
            joined = enroll_grpc.EnrollServiceStub(channel).Join(request, timeout=DEADLINE_S)
        certificate = _openssl("x509", "-inform", "DER", input=joined.certificate)
        own = grpc.ssl_channel_credentials(authority, key, certificate)
        self.channel = grpc.secure_channel(address, own, OPTIONS)
        self.service = jobs_grpc.JobServiceStub(self.channel)

    def start(self, *argv: str, **more: Any) -> Any:
        """Start a job; the answer, which is a job or a refusal."""
        stamp = int(time.time() * 1000)
        number = stamp << 80 | 7 << 76 | 2 << 62 | secrets.randbits(62)
        words = [word.encode() for word in argv]
        spec = self.jobs.JobSpec(id=str(uuid.UUID(int=number)), argv=words, **more)
        request = self.jobs.StartRequest(specs=[spec])
        (result,) = self.service.Start(request, timeout=DEADLINE_S).results
        return result

    def run(self, *argv: str, **more: Any) -> tuple[Any, str]:
        """Run a job to its end; the job, and what it printed."""
        result = self.start(*argv, **more)
        assert result.WhichOneof("result") == "job", result
        request = self.jobs.LogsRequest(id=result.job.id, follow=True)
        printed, end = b"", None
        for answer in self.service.Logs(request, timeout=DEADLINE_S):
            if answer.WhichOneof("event") == "end":
                end = answer.end.job
            printed += answer.chunk.data
        return end, printed.decode()
