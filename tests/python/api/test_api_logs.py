"""The two logs: a line for each call, refused ones too, and a secret in neither."""

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from harness.api import Invite, new_key, request_for
from harness.waiting import until
from harness.world import World

pytestmark = pytest.mark.once

FIELDS = {
    "time",
    "principal",
    "principalId",
    "source",
    "method",
    "subject",
    "code",
    "ms",
    "bytesReceived",
    "bytesSent",
}


def lines(world: World) -> list[dict[str, Any]]:
    return [json.loads(line) for line in world.access.read_text().splitlines()]


def logged(world: World, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The line about a call, which comes when the call is over."""
    return until(lambda: next((line for line in lines(world) if wanted(line)), None), "a line")


def test_each_call_has_a_line_refused_ones_too(world: World) -> None:
    jobs = world.stubs.jobs
    alice = world.join("alice")
    spec = world.shell("echo hello; exit 3")
    world.start(alice, spec)
    world.ended(alice, spec.id)
    world.output(alice, spec.id)
    bob = world.join("bob")
    with bob.refused("JOB_NOT_FOUND"):
        bob.jobs.Get(jobs.GetRequest(id=spec.id))
    with bob.refused("ROLE"):
        bob.enroll.ListIdentities(world.stubs.enroll.ListIdentitiesRequest())
    stranger = world.client(None)
    with stranger.refused("NOT_ENROLLED"):
        stranger.jobs.Start(jobs.StartRequest(specs=[spec]))

    def line(method: str, who: str | None, code: str) -> dict[str, Any]:
        found = logged(
            world,
            lambda one: (
                (one["method"].endswith(method), one["principal"], one["code"]) == (True, who, code)
            ),
        )
        assert set(found) == FIELDS
        assert found["time"].endswith("Z")
        assert found["source"] == "127.0.0.1"
        assert (found["principalId"] is None) == (who is None)
        assert isinstance(found["ms"], int)
        return found

    logs = line("JobService/Logs", "alice", "Ok")
    assert logs["subject"] == spec.id
    assert logs["bytesSent"] > len("hello\n")
    assert line("JobService/Wait", "alice", "Ok")["subject"] == spec.id
    started = line("JobService/Start", "alice", "Ok")
    assert started["bytesReceived"] > len(spec.SerializeToString())
    assert line("JobService/Get", "bob", "NotFound")["subject"] is None
    line("EnrollService/ListIdentities", "bob", "PermissionDenied")
    line("JobService/Start", None, "Unauthenticated")
    assert line("EnrollService/Join", None, "Ok")["subject"] == "admin"
    for _ in range(50):
        alice.host.Info(world.stubs.host.InfoRequest())
    asked = ("/legwork.v1.HostService/Info", "alice")
    until(
        lambda: [(one["method"], one["principal"]) for one in lines(world)].count(asked) == 50,
        "one line for each",
    )


def test_a_call_that_is_left_and_one_that_is_cut_have_lines(world: World) -> None:
    alice = world.join("alice")
    job = world.start(alice, world.shell("echo x; exec sleep 60"))
    left = world.logs(alice, job.id, follow=True)
    next(left)
    left.cancel()
    logged(world, lambda one: one["method"].endswith("Logs") and one["code"] == "Cancelled")
    cut = world.logs(alice, job.id, follow=True)
    next(cut)
    assert world.serving.end() == 0
    logged(world, lambda one: one["method"].endswith("Logs") and one["code"] == "Unavailable")
    world.again()
    world.admin.jobs.Stop(world.stubs.jobs.StopRequest(id=job.id), wait_for_ready=True)


def test_no_line_can_be_forged(world: World) -> None:
    path = '/x/\\"}{\\u000a"' + "y" * 3000
    call = world.admin.channel.unary_unary(path)
    with pytest.raises(Exception, match="no such method"):
        call(b"")
    assert logged(world, lambda one: one["method"] == path[:200])


def test_secrets_are_in_no_log(world: World) -> None:
    jobs, enroll = world.stubs.jobs, world.stubs.enroll
    alice = world.join("alice")
    password = "correct horse battery staple"
    env = [jobs.EnvVar(name=b"PASSWORD", value=password.encode())]
    job = world.start(alice, world.shell(f"echo {password}; cat", env=env, stdin=jobs.STDIN_PIPE))
    typed = [jobs.InputRequest(id=job.id, data=password.encode(), end=True)]
    list(alice.jobs.Input(iter(typed)))
    world.ended(alice, job.id)
    assert password.encode() in world.output(alice, job.id)
    answer = world.admin.enroll.Invite(enroll.InviteRequest(name="carol", roles=["run"]))
    world.tokens.append(answer.token)
    secret = Invite.parse(answer.token).secret
    stranger = world.client(None)
    for wrong in (secret[:31], secret + b"x"):
        with stranger.refused("MALFORMED"):
            stranger.enroll.Join(enroll.JoinRequest(secret=wrong))
    with stranger.refused("BAD_CERTIFICATE_REQUEST"):
        stranger.enroll.Join(enroll.JoinRequest(secret=secret, certificate_request=b"x"))
    world.redeem(answer.token)
    with stranger.refused("INVITE_USED"):
        request = request_for(new_key())
        stranger.enroll.Join(enroll.JoinRequest(secret=secret, certificate_request=request))
    with alice.refused("INVALID_JOB", "MALFORMED", "JOB_NOT_FOUND", "NOT_AN_ID"):
        alice.jobs.Get(jobs.GetRequest(id=password))
    assert world.serving.end() == 0
    authority = (world.host.state / "ca" / "ca.key").read_bytes()
    bodies = [b"".join(key.splitlines()[1:-1]) for key in [*world.keys, authority]]
    told = world.access.read_bytes() + world.serving.log.read_bytes()
    for token in world.tokens:
        raw = Invite.parse(token).secret
        for form in (
            token[4:60].encode(),
            token[-40:].encode(),
            raw,
            raw.hex().encode(),
            base64.b64encode(raw),
            base64.urlsafe_b64encode(raw),
        ):
            assert form not in told
    assert len(world.tokens) >= 3
    for body in bodies:
        assert len(body) > 60
        assert body not in told
    assert password.encode() not in told
