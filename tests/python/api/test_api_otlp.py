"""Logs by OTLP: the SDK sends as it is, and what is refused is told as its protocol wants."""

import gzip
import os
import signal
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import grpc_tools
import hyperframe.frame as frames
import pytest
from google.protobuf import descriptor_pb2, message_factory
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_tools import protoc
from harness import otlp
from harness.api import ROOT, Client, refusal
from harness.otlp import service
from harness.recording import lines
from harness.waiting import DEADLINE_S
from harness.wire import Wire, context
from harness.world import World

pytestmark = pytest.mark.once

EXPORT = "/opentelemetry.proto.collector.logs.v1.LogsService/Export"
MIB = 1 << 20


def data(client: Client, stream: str) -> list[Any]:
    """What was sent to a stream."""
    return [line["data"] for line in lines(client, stream) if "data" in line]


def credentials(world: World, name: str) -> dict[str, str]:
    """Somebody's key and certificates as files, as an SDK wants them."""
    found = world.credentials[name]
    files = {"ca": world.ca, "key": found.key, "cert": found.certificate}
    for file, content in files.items():
        (world.host.tmp / file).write_bytes(content)
    return {file: str(world.host.tmp / file) for file in files}


def expected(number: int) -> dict[str, Any]:
    """What the program of the harness sends, as it is in the log."""
    return {
        "otlp": 1,
        "time": f"2023-11-14T22:13:20.{123456789 + number}Z",
        "severity_number": 13,
        "severity_text": "WARN",
        "body": {"order": number, "price": 2.0, "note": "grüß"},
        "attributes": {"n": number, "ratio": 0.5, "ok": True, "tags": ["a", "b"]},
        "event_name": "order.late",
        "scope": {"name": "shop.orders", "version": "1.2"},
    }


def check(line: dict[str, Any], number: int) -> None:
    """That a line is what the program sent."""
    told = dict(line["data"])
    resource = told.pop("resource")["attributes"]
    assert (resource["service.name"], resource["replicas"]) == ("shop", 3)
    assert told.pop("observed_time").startswith("20")
    assert told == expected(number)
    assert line["observed_at"] == "2023-11-14T22:13:20.123456Z"


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_the_sdk_sends_with_a_certificate(world: World, packed: bool) -> None:
    world.join("shop", "report")
    otlp.send_by_sdk(world.address, 20, gzip=packed, **credentials(world, "shop"))
    found = lines(world.admin, "otlp")
    assert [line["client"] for line in found] == ["shop"] * 20
    for number, line in enumerate(found):
        check(line, number)


def test_the_sdk_sends_over_the_local_socket(world: World) -> None:
    headers = {"legwork-stream": "orders"}
    otlp.send_by_sdk(f"unix:{world.host.state}/sock", 3, headers=headers)
    found = lines(world.admin, "orders")
    for number, line in enumerate(found):
        check(line, number)
    assert {line["client"] for line in found} == {f"local:{os.environ.get('USER', 'root')}"}


def test_what_was_answered_is_in_the_log_though_the_server_is_killed(world: World) -> None:
    for number in range(10):
        world.admin.otlp.Export(otlp.of(str(number)), timeout=DEADLINE_S)
    world.serving.process.send_signal(signal.SIGKILL)
    world.serving.process.wait()
    world.again()
    with world.client("admin") as admin:
        assert [told["body"] for told in data(admin, "otlp")] == [str(n) for n in range(10)]


def test_a_bad_record_costs_its_neighbours_nothing(world: World) -> None:
    request = otlp.of("a", "deep", "\x01?", "b", "x" * (300 << 10), "c")
    value = request.resource_logs[0].scope_logs[0].log_records[1].body
    for _ in range(40):
        value = value.array_value.values.add()
    value.int_value = 1
    raw = request.SerializeToString().replace(b"\x01?", b"\xff?")
    call = world.admin.channel.unary_unary(EXPORT)
    answer = service.ExportLogsServiceResponse.FromString(call(raw, timeout=DEADLINE_S))
    told = answer.partial_success
    assert told.rejected_log_records == 3
    assert told.error_message.startswith("3 of 6 records were refused: ")
    for place, reason in ((1, "TOO_DEEP"), (2, "BAD_ENCODING"), (4, "TOO_LARGE")):
        assert f"record {place}: {reason}" in told.error_message
    assert [told["body"] for told in data(world.admin, "otlp")] == ["a", "b", "c"]


def test_a_large_request_is_one_answer(world: World) -> None:
    """Its JSON is several batches of the log."""
    bodies = [f"{number} {'x' * 200}" for number in range(12_000)]
    answer = world.admin.otlp.Export(otlp.of(*bodies), timeout=2 * DEADLINE_S)
    assert not answer.HasField("partial_success")
    assert [told["body"] for told in data(world.admin, "otlp")] == bodies
    assert not world.admin.otlp.Export(otlp.of(), timeout=DEADLINE_S).HasField("partial_success")


def refused(client: Client, raw: bytes, *metadata: tuple[str, str | bytes]) -> grpc.StatusCode:
    """The code with which a request is refused."""
    with pytest.raises(grpc.RpcError) as told:
        client.channel.unary_unary(EXPORT)(raw, metadata=metadata, timeout=DEADLINE_S)
    return told.value.code()


def test_what_no_repeat_makes_better_is_not_to_be_repeated(world: World) -> None:
    """A sender repeats what is answered with some codes: those are none of them."""
    invalid = grpc.StatusCode.INVALID_ARGUMENT
    good = otlp.of("a").SerializeToString()
    assert refused(world.admin, b"\xff" * 20) == invalid
    assert refused(world.admin, good[:-3]) == invalid
    assert refused(world.admin, otlp.of("x" * (5 * MIB)).SerializeToString()) == invalid
    # Two bytes each, and each would be some hundred.
    assert refused(world.admin, otlp.of(*[""] * 300_000).SerializeToString()) == invalid
    assert refused(world.admin, good, ("legwork-stream", 'a"b')) == invalid
    assert refused(world.admin, good, ("legwork-stream", "x" * 129)) == invalid
    own = grpc.StatusCode.PERMISSION_DENIED
    assert refused(world.admin, good, ("legwork-stream", "legwork.audit")) == own
    reader = world.join("rita", "read")
    assert refused(reader, good) == own
    with world.admin.refused("OWN_STREAM"):
        world.admin.otlp.Export(
            otlp.of("a"), metadata=[("legwork-stream", "legwork.mine")], timeout=DEADLINE_S
        )


def test_what_is_packed_is_bounded_when_it_is_unpacked(world: World) -> None:
    bomb = world.admin.channel.unary_unary(EXPORT)
    with pytest.raises(grpc.RpcError) as told:
        bomb(b"\0" * (256 * MIB), compression=grpc.Compression.Gzip, timeout=2 * DEADLINE_S)
    assert told.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    how = context(world, world.credentials["admin"])
    for packed in (gzip.compress(b"\0" * MIB)[:500], b"no gzip"):
        with Wire(world, how) as peer:
            stream = peer.begin(EXPORT, ("grpc-encoding", "gzip"))
            message = struct.pack(">BI", 1, len(packed)) + packed
            peer.send(frames.DataFrame(stream, message, flags=["END_STREAM"]))
            answer = peer.answer(stream)
            assert isinstance(answer, dict)
            assert answer["grpc-status"] == str(grpc.StatusCode.INVALID_ARGUMENT.value[0])
    status = Path(f"/proc/{world.serving.process.pid}/status").read_text()
    peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    assert int(peak.split()[1]) < 200 << 10, peak


def test_who_sends_too_much_is_told_when_to_come_again(serve: Callable[..., World]) -> None:
    world = serve("[records.stream.otlp]\nrecords_per_s = 100\n")
    shop = world.join("shop", "report")
    # A request that is too much is let through as a whole, and waited for.
    shop.otlp.Export(otlp.of(*["a"] * 300), timeout=DEADLINE_S)
    with pytest.raises(grpc.RpcError) as told:
        shop.otlp.Export(otlp.of("b"), timeout=DEADLINE_S)
    assert told.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert refusal(world.stubs, told.value).reason == "THROTTLED"
    details = dict(told.value.trailing_metadata())["grpc-status-details-bin"]
    retry = world.stubs.rpc.RetryInfo()
    assert any(one.Unpack(retry) for one in world.stubs.rpc.Status.FromString(details).details)
    delay = retry.retry_delay
    assert 1 < delay.seconds + delay.nanos / 1e9 <= 3
    assert len(data(world.admin, "otlp")) == 300


def test_a_sender_by_otlp_is_no_second_host(world: World) -> None:
    """One identity may have an agent and programs that log."""
    agent = world.join("web", "report")
    records = world.stubs.records
    opened = iter([records.IngestRequest(open=records.IngestOpen(stream="s", host="web.example"))])
    call = agent.records.Ingest(opened, timeout=DEADLINE_S)
    assert next(call).HasField("welcome")
    agent.otlp.Export(otlp.of("a"), timeout=DEADLINE_S)
    assert list(call) == []
    assert "several hosts" not in world.serving.log.read_text()


def test_the_messages_are_those_of_the_protocol(tmp_path: Any) -> None:
    """Every field of ours has the number, the type and the label that it has with its owners."""
    out = tmp_path / "set"
    files = sorted((ROOT / "proto" / "opentelemetry").rglob("*.proto"))
    arguments = ["protoc", f"-I{ROOT / 'proto'}", f"--descriptor_set_out={out}"]
    assert grpc_tools and protoc.main([*arguments, "--include_imports", *map(str, files)]) == 0
    ours = descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes())
    pool = DescriptorPool()
    for file in ours.file:
        pool.Add(file)
    theirs = service.DESCRIPTOR.pool
    compared = 0
    for file in ours.file:
        for message in file.message_type:
            name = f"{file.package}.{message.name}"
            own, their = pool.FindMessageTypeByName(name), theirs.FindMessageTypeByName(name)
            for field in own.fields:
                known = their.fields_by_name[field.name]
                kinds = {field.type, known.type}
                # An enum is a number on the wire.
                assert len(kinds) == 1 or kinds == {field.TYPE_INT32, field.TYPE_ENUM}, field.name
                assert (field.number, field.is_repeated) == (known.number, known.is_repeated)
                compared += 1
    assert compared > 35
    found = pool.FindServiceByName(service.DESCRIPTOR.services_by_name["LogsService"].full_name)
    assert [method.name for method in found.methods] == ["Export"]
    assert message_factory.GetMessageClass(found.methods[0].input_type).DESCRIPTOR.name
