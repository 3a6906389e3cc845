"""What clients of every make expect of a gRPC server: health and reflection."""

import signal
from typing import Any

import grpc
import hyperframe.frame as frames
import pytest
from google.protobuf import descriptor_pb2
from harness.waiting import DEADLINE_S, until
from harness.wire import Wire, context
from harness.world import World

pytestmark = pytest.mark.once


def test_health_of_the_whole_and_of_each_service(world: World) -> None:
    health = world.stubs.health
    own = {name for name in world.stubs.services() if not name.startswith("grpc.")}
    for client in (world.client(None), world.admin):
        for name in ["", *own]:
            answer = client.health.Check(health.HealthCheckRequest(service=name))
            assert answer.status == health.HealthCheckResponse.SERVING, name
        for call in (client.health.Check, lambda r, c=client: next(c.health.Watch(r))):
            with pytest.raises(grpc.RpcError) as told:
                call(health.HealthCheckRequest(service="no.such.Service"))
            assert told.value.code() == grpc.StatusCode.NOT_FOUND


def test_who_watches_is_told_that_the_server_stops(world: World) -> None:
    health = world.stubs.health
    watchers = [world.client(None), world.admin]
    streams = [w.health.Watch(health.HealthCheckRequest()) for w in watchers]
    for stream in streams:
        assert next(stream).status == health.HealthCheckResponse.SERVING
    world.serving.process.send_signal(signal.SIGTERM)
    for stream in streams:
        assert next(stream).status == health.HealthCheckResponse.NOT_SERVING
        with pytest.raises(grpc.RpcError) as told:
            next(stream)
        assert told.value.code() == grpc.StatusCode.UNAVAILABLE
    assert world.serving.process.wait(timeout=DEADLINE_S) == 0


def test_a_check_on_a_connection_that_is_ending(world: World) -> None:
    health = world.stubs.health
    how = context(world, world.credentials["admin"])
    with Wire(world, how) as peer:
        peer.answer(peer.call("/grpc.health.v1.Health/Check", b""))
        world.serving.process.send_signal(signal.SIGTERM)
        gone = peer.until(lambda frame: isinstance(frame, frames.GoAwayFrame))
        assert gone.error_code == 0
        # The ping that came with it is not answered yet, so calls may be under way.
        stream = peer.call("/grpc.health.v1.Health/Check", b"")
        data = peer.until(lambda f: f.stream_id == stream and isinstance(f, frames.DataFrame))
        answer = health.HealthCheckResponse.FromString(data.data[5:])
        assert answer.status == health.HealthCheckResponse.NOT_SERVING
    assert world.serving.process.wait(timeout=DEADLINE_S) == 0


def test_reflection_lists_exactly_the_services(world: World) -> None:
    reflection = world.stubs.reflection

    def ask(**question: Any) -> Any:
        request = reflection.ServerReflectionRequest(**question)
        return next(world.admin.reflection.ServerReflectionInfo(iter([request])))

    listed = {service.name for service in ask(list_services="*").list_services_response.service}
    assert listed == world.stubs.services()
    found = set()
    for service in listed:
        answer = ask(file_containing_symbol=service)
        for raw in answer.file_descriptor_response.file_descriptor_proto:
            file = descriptor_pb2.FileDescriptorProto.FromString(raw)
            for described in file.service:
                name = f"{file.package}.{described.name}"
                found |= {f"/{name}/{method.name}" for method in described.method}
    assert found == world.stubs.methods()
    with pytest.raises(grpc.RpcError) as told:
        ask(file_containing_symbol="no.such.Thing")
    assert told.value.code() == grpc.StatusCode.NOT_FOUND
    stranger = world.client(None)
    with stranger.refused("NOT_ENROLLED"):
        list(stranger.reflection.ServerReflectionInfo(iter([])))


def test_a_method_that_is_none(world: World) -> None:
    for client, code in [
        (world.admin, grpc.StatusCode.UNIMPLEMENTED),
        (world.client(None), grpc.StatusCode.UNAUTHENTICATED),
    ]:
        for path in ("/legwork.v1.JobService/Erase", "/x/y", "/" + "x" * 5000):
            call = client.channel.unary_unary(path)
            with pytest.raises(grpc.RpcError) as told:
                call(b"")
            assert told.value.code() == code, path
    until(lambda: '"code":"Unimplemented"' in world.access.read_text(), "it is logged")
