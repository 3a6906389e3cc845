"""A server that is not ours: it has a state directory's lock and socket, and says what it likes."""

import fcntl
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager
from typing import Any

import grpc
from google.protobuf import message_factory
from google.protobuf.descriptor import FieldDescriptor

from harness.api import Stubs
from harness.host import Host

HOSTILE = "x\x1b]0;owned\x07\r\nlegwork: forged\x9b2J"
"""A title for the terminal, a bell, a line of ours that is none, a control of two bytes."""

JOB = "01890a5d-ac96-774b-bcce-b302099a8057"
# What has to have a form, or nothing more is looked at.
FORMED: dict[str, Any] = {
    "hash": bytes(32), "root": bytes(32), "base": bytes(32), "server_id": JOB, "version": 2,
    "last": True, "protocol": 1, "next_page_token": "",
}  # fmt: skip


def filled(descriptor: Any, choice: int, name: str = "", depth: int = 6) -> Any:
    """A message whose every text is hostile; of each oneof the same choice is made."""
    message = message_factory.GetMessageClass(descriptor)()
    for field in descriptor.fields:
        oneof = field.containing_oneof
        if oneof and len(oneof.fields) > 1 and field != oneof.fields[choice % len(oneof.fields)]:
            continue
        value = _value(field, choice, f"{name}{descriptor.name}", depth)
        if value is None:
            continue
        if field.is_repeated:
            if field.message_type and field.message_type.GetOptions().map_entry:
                continue
            getattr(message, field.name).append(value)
        elif field.message_type:
            getattr(message, field.name).CopyFrom(value)
        else:
            setattr(message, field.name, value)
    return message


def _value(field: FieldDescriptor, choice: int, name: str, depth: int) -> Any:
    if field.message_type:
        return filled(field.message_type, choice, name, depth - 1) if depth else None
    if field.name in FORMED and type(FORMED[field.name]) is type(field.default_value):
        return FORMED[field.name]
    if field.name == "id" and "Job" in name:
        return JOB
    if field.name == "short_id" and choice:
        return JOB[:8]
    if field.type == field.TYPE_STRING:
        return HOSTILE
    if field.type == field.TYPE_BYTES:
        return HOSTILE.encode()
    if field.type == field.TYPE_BOOL:
        return choice % 2 == 0
    if field.type == field.TYPE_ENUM:
        values = field.enum_type.values
        return values[min(choice + 1, len(values) - 1)].number
    return 1


class Lies(grpc.GenericRpcHandler):
    """Answers every call."""

    def __init__(self, stubs: Stubs, say: Callable[[Any], Iterator[Any]]) -> None:
        """``say`` has the descriptor of what a call gives and says what is given."""
        self._methods = {}
        for module in stubs.modules:
            for service in module.DESCRIPTOR.services_by_name.values():
                for method in service.methods:
                    self._methods[f"/{service.full_name}/{method.name}"] = method
        self._say = say
        self.calls: list[str] = []
        # Calls that are answered from now on: some commands ask until they hear what they want.
        self.left = 0

    def service(self, details: Any) -> grpc.RpcMethodHandler | None:
        """How one call is answered."""
        method = self._methods.get(details.method)
        if method is None:
            return None
        self.calls.append(method.name)

        def stream(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
            if method.client_streaming:
                # Not before it has said something.
                next(request, None)
            self.left -= 1
            if self.left < 0 and method.name != "Info":
                context.abort(grpc.StatusCode.NOT_FOUND, "that is enough")
            for answer in self._say(method, context):
                yield answer.SerializeToString()

        def unary(request: Any, context: grpc.ServicerContext) -> bytes:
            return next(iter(stream(request, context)), b"")

        kinds = {
            (False, False): (grpc.unary_unary_rpc_method_handler, unary),
            (False, True): (grpc.unary_stream_rpc_method_handler, stream),
            (True, False): (grpc.stream_unary_rpc_method_handler, unary),
            (True, True): (grpc.stream_stream_rpc_method_handler, stream),
        }
        make, answer = kinds[method.client_streaming, method.server_streaming]
        return make(answer)


@contextmanager
def lying(host: Host, stubs: Stubs, say: Callable[[Any, Any], Iterator[Any]]) -> Iterator[Lies]:
    """A server of this host's state directory that answers every call with what ``say`` says."""
    lies = Lies(stubs, say)
    server = grpc.server(futures.ThreadPoolExecutor(8), handlers=[lies])
    path = host.state / "sock"
    path.unlink(missing_ok=True)
    assert server.add_insecure_port(f"unix:{path}")
    with (host.state / "server.lock").open("w") as lock:
        host.user.owns(host.state / "server.lock")
        fcntl.flock(lock, fcntl.LOCK_EX)
        server.start()
        path.chmod(0o666)
        try:
            yield lies
        finally:
            server.stop(0).wait()


def refusing(stubs: Stubs, code: grpc.StatusCode, reason: str) -> Callable[[Any, Any], Any]:
    """Refuse every call with a hostile text, in every part of a status that has one."""
    from google.protobuf import any_pb2

    info = stubs.rpc.ErrorInfo(reason=reason or HOSTILE, domain="legwork")
    names = ("path", "id", "tree", "instead", "workspace", "writer", "name", "limit")
    info.metadata.update(dict.fromkeys(names, HOSTILE))
    detail = any_pb2.Any(type_url="type.googleapis.com/google.rpc.ErrorInfo")
    detail.value = info.SerializeToString()
    status = stubs.rpc.Status(code=code.value[0], message=HOSTILE, details=[detail])

    def say(_method: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
        context.abort(code, HOSTILE)
        yield from ()

    return say


def answering(choice: int) -> Callable[[Any, Any], Iterator[Any]]:
    """Answer with a hostile text wherever there can be one; streams say all that they can."""

    def say(method: Any, _context: grpc.ServicerContext) -> Iterator[Any]:
        kinds = max((len(oneof.fields) for oneof in method.output_type.oneofs), default=1)
        if not method.server_streaming:
            kinds = 1
        return (filled(method.output_type, choice + kind) for kind in range(kinds))

    return say
