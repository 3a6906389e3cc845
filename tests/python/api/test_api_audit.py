"""The audit log: who did what and who was refused, in a stream that nobody can fill."""

import json
import signal
import ssl
import urllib.request
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from harness import otlp, wire
from harness.api import Client
from harness.recording import lines
from harness.waiting import DEADLINE_S, until
from harness.world import World, job_id

pytestmark = pytest.mark.once

AUDIT = "legwork.audit"


def entries(reader: Client, **wanted: Any) -> list[dict[str, Any]]:
    """The entries with these members, each with the stamped name of who it was."""
    found = [line["data"] | {"client": line["client"]} for line in lines(reader, AUDIT)]
    return [entry for entry in found if wanted.items() <= entry.items()]


def audit(reader: Client, count: int = 1, **wanted: Any) -> list[dict[str, Any]]:
    """The same, so many of them: they are handed to the log before the call is answered."""

    def found() -> list[dict[str, Any]] | None:
        there = entries(reader, **wanted)
        return there if len(there) >= count else None

    there = until(found, f"{count} entries with {wanted}")
    assert len(there) == count, there
    return there


def test_a_change_is_written_with_who_and_what_and_no_word_of_what_was_in_it(world: World) -> None:
    alice = world.join("alice")
    job = world.start(alice, world.shell("echo a-secret-word", env=[]))
    world.ended(alice, job.id)
    alice.jobs.Remove(world.stubs.jobs.RemoveRequest(id=job.id), timeout=DEADLINE_S)
    told = audit(world.admin, 2, client="alice")
    assert [entry["method"] for entry in told] == ["JobService/Start", "JobService/Remove"]
    for entry in told:
        assert (entry["event"], entry["code"], entry["via"]) == ("call", "OK", "certificate")
        assert (entry["roles"], entry["source"]) == ("run", "127.0.0.1")
        assert entry["ms"] >= 0
        assert len(entry["principal_id"]) == 36
    assert told[1]["subject"] == job.id
    # What reads is no change.
    assert not entries(world.admin, method="JobService/Wait")
    # Users of the host are in it, and who joins.
    (invited,) = audit(world.admin, method="EnrollService/Invite", subject="alice")
    assert invited["via"] == "socket"
    assert audit(world.admin, method="EnrollService/Join", subject="alice")
    text = json.dumps(lines(world.admin, AUDIT))
    assert "a-secret-word" not in text
    assert not any(token in text for token in world.tokens)


def test_a_job_that_is_followed_is_in_it_while_it_runs(world: World) -> None:
    jobs = world.stubs.jobs
    spec = world.spec("sleep", "600")
    call = world.admin.jobs.Run(jobs.RunRequest(spec=spec))
    next(call)
    (begun,) = audit(world.admin, method="JobService/Run")
    assert (begun["event"], begun["subject"]) == ("begun", spec.id)
    stop = jobs.StopRequest(id=spec.id, grace_ms=0)
    world.admin.jobs.Stop(stop, timeout=DEADLINE_S)
    list(call)
    (ended,) = audit(world.admin, method="JobService/Run", event="call")
    assert (ended["subject"], ended["code"]) == (spec.id, "OK")


def test_refusals_are_told_once_and_then_counted(world: World) -> None:
    rita = world.join("rita", "read")
    start = world.stubs.jobs.StartRequest(specs=[world.spec("true")])
    for _ in range(50):
        with rita.refused("ROLE"):
            rita.jobs.Start(start, timeout=DEADLINE_S)
    stranger = world.client(None)
    for _ in range(20):
        with stranger.refused("NOT_ENROLLED"):
            stranger.jobs.Start(start, timeout=DEADLINE_S)
    (first,) = audit(world.admin, client="rita")
    assert (first["event"], first["code"], first["reason"]) == (
        "refused",
        "PERMISSION_DENIED",
        "ROLE",
    )
    (unknown,) = audit(world.admin, client="legwork:stranger", event="refused")
    assert (unknown["reason"], unknown["source"]) == ("NOT_ENROLLED", "127.0.0.1")
    # What was counted is told once a minute, and at the end.
    assert world.serving.end() == 0
    world.again()
    with world.client("admin") as admin:
        told = audit(admin, 2, client="rita", event="refused")
        assert [entry.get("count") for entry in told] == [None, 49]
        assert told[1]["sources"] == ["127.0.0.1"]
        assert told[1]["from"] <= told[1]["to"]
        strangers = audit(admin, 2, client="legwork:stranger", event="refused")
        assert [entry.get("count") for entry in strangers] == [None, 19]
        server = [entry["event"] for entry in audit(admin, 3, client="legwork:server")]
        assert server == ["started", "stopped", "started"]


def test_connections_that_came_to_nothing_are_told_once_and_then_counted(
    serve: Callable[..., World],
) -> None:
    world = serve('[metrics]\nlisten = "127.0.0.1:0"\n')
    old = wire.context(world)
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    for _ in range(30):
        with pytest.raises(ssl.SSLError):
            wire.shake(world, old)
    # Who says nothing and goes was refused by nobody.
    wire.connect(world).close()
    (first,) = audit(world.admin, event="refused")
    assert (first["method"], first["code"], first["reason"], first["client"], first["source"]) == (
        "handshake",
        "UNAUTHENTICATED",
        "tls",
        "legwork:stranger",
        "127.0.0.1",
    )

    def all_counted() -> bool:
        with urllib.request.urlopen(world.serving.told["metrics"], timeout=DEADLINE_S) as page:
            return 'legwork_handshakes_failed_total{why="tls"} 30' in page.read().decode()

    until(all_counted, "the metrics tell all of them")
    assert world.serving.end() == 0
    world.again()
    with world.client("admin") as admin:
        told = audit(admin, 2, method="handshake")
        assert [entry.get("count") for entry in told] == [None, 29]


def test_a_failed_change_is_told_with_its_reason(world: World) -> None:
    stop = world.stubs.jobs.StopRequest(id=job_id())
    for _ in range(3):
        with world.admin.refused("JOB_NOT_FOUND"):
            world.admin.jobs.Stop(stop, timeout=DEADLINE_S)
    (failed,) = audit(world.admin, event="failed")
    assert (failed["code"], failed["reason"]) == ("NOT_FOUND", "JOB_NOT_FOUND")


def test_admins_and_readers_read_it_and_nobody_sends_to_it(world: World) -> None:
    records = world.stubs.records
    for name, role in (("alice", "run"), ("dora", "report"), ("rita", "read")):
        world.join(name, role)
    world.start(world.client("alice"), world.spec("true"))
    for name, sees in (("admin", True), ("rita", True), ("alice", False), ("dora", False)):
        with world.client(name) as client:
            listed = client.records.ListStreams(
                records.ListStreamsRequest(), timeout=DEADLINE_S
            ).streams
            assert (AUDIT in [stream.name for stream in listed]) == sees
            if sees:
                assert audit(client, client="alice")
            else:
                # Not even what tells of themselves.
                with client.refused("STREAM_NOT_FOUND"):
                    lines(client, AUDIT)
    with world.client("admin") as admin:
        opened = iter([records.IngestRequest(open=records.IngestOpen(stream=AUDIT))])
        with admin.refused("OWN_STREAM"):
            list(admin.records.Ingest(opened, timeout=DEADLINE_S))
        with admin.refused("OWN_STREAM"):
            admin.otlp.Export(
                otlp.of("a"), metadata=[("legwork-stream", AUDIT)], timeout=DEADLINE_S
            )


def test_what_was_written_outlives_a_server_that_is_killed(world: World) -> None:
    job = world.start(world.admin, world.spec("true"))
    world.ended(world.admin, job.id)
    assert audit(world.admin, method="JobService/Start")
    world.serving.process.send_signal(signal.SIGKILL)
    world.serving.process.wait()
    world.again()
    with world.client("admin") as admin:
        assert audit(admin, method="JobService/Start")


def test_jobs_run_though_the_log_cannot_be_opened(world: World) -> None:
    assert world.serving.end() == 0
    files = world.host.state / "records"
    (log,) = [
        path.parent / "log"
        for path in files.glob("*/stream")
        if json.loads(path.read_text())["stream"] == AUDIT
    ]
    (log / "format").write_text('{"version":99,"id":"0000000000000000"}\n')
    world.again()
    with world.client("admin") as admin:
        job = world.start(admin, world.spec("true"))
        world.ended(admin, job.id)
        with pytest.raises(grpc.RpcError):
            lines(admin, AUDIT)
    said = world.serving.log.read_text()
    assert "the audit log cannot be opened" in said
    assert "the audit log loses lines" in said
