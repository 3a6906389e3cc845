"""EnrollService and HostService by a foreign client, and certificates of every wrong kind."""

import datetime
import email.utils
import time
import uuid
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from harness.api import Credentials, Invite, key_pem, new_key, pem, request_for
from harness.waiting import until
from harness.world import World

pytestmark = pytest.mark.once

NOW = datetime.datetime.now(datetime.UTC)
HOUR = datetime.timedelta(hours=1)


def forged(
    world: World,
    identity: str,
    *,
    begins: datetime.datetime = NOW - HOUR,
    ends: datetime.datetime = NOW + HOUR,
    usage: x509.ObjectIdentifier = x509.ExtendedKeyUsageOID.CLIENT_AUTH,
    own_authority: bool = False,
) -> Credentials:
    """A certificate for this identity, by the server's own key or by one of the same name."""
    authority = x509.load_pem_x509_certificate(world.ca)
    signer: Any = new_key()
    if not own_authority:
        text = (world.host.state / "ca" / "ca.key").read_bytes()
        signer = serialization.load_pem_private_key(text, None)
    key = new_key()
    name = x509.UniformResourceIdentifier(uuid.UUID(identity).urn)
    made = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "x")]))
        .issuer_name(authority.subject)
        .public_key(key.public_key())
        .serial_number(uuid.uuid4().int >> 1)
        .not_valid_before(begins)
        .not_valid_after(ends)
        .add_extension(x509.SubjectAlternativeName([name]), critical=False)
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    )
    hashed = hashes.SHA256() if isinstance(signer, ec.EllipticCurvePrivateKey) else None
    signed = made.sign(signer, hashed)
    return Credentials(key_pem(key), signed.public_bytes(serialization.Encoding.PEM))


def identity_of(world: World, name: str) -> str:
    known = world.admin.enroll.ListIdentities(world.stubs.enroll.ListIdentitiesRequest())
    return next(one.id for one in known.identities if one.name == name)


def test_an_invite_is_good_once_and_a_repeat_is_harmless(world: World) -> None:
    enroll = world.stubs.enroll
    answer = world.admin.enroll.Invite(enroll.InviteRequest(name="carol", roles=["run"], ttl_s=60))
    assert abs(answer.expires_at_s - time.time() - 60) < 20
    invite = Invite.parse(answer.token)
    assert invite.address == world.address
    authority = x509.load_pem_x509_certificate(world.ca)
    assert authority.fingerprint(hashes.SHA256()) == invite.ca_hash
    stranger = world.client(None)
    key = new_key()

    def join(with_: ec.EllipticCurvePrivateKey, secret: bytes = invite.secret) -> Any:
        request = enroll.JoinRequest(secret=secret, certificate_request=request_for(with_))
        return stranger.enroll.Join(request)

    joined = join(key)
    assert (joined.identity.name, list(joined.identity.roles)) == ("carol", ["run"])
    assert joined.server_id == str(invite.server)
    assert abs(joined.server_time_ms / 1000 - time.time()) < 20
    assert join(key).certificate == joined.certificate
    with stranger.refused("INVITE_USED"):
        join(new_key())
    with stranger.refused("INVITE_UNKNOWN"):
        join(key, b"\0" * 32)
    for secret in (b"", b"x" * 31, b"x" * 33):
        with stranger.refused("MALFORMED"):
            join(key, secret)
    for request in (b"", b"\x30\x82" + b"\xff" * 100, request_for(key)[:-1], b"x" * 60_000):
        with stranger.refused("BAD_CERTIFICATE_REQUEST"):
            forged_request = enroll.JoinRequest(secret=invite.secret, certificate_request=request)
            stranger.enroll.Join(forged_request)
    client = world.client(Credentials(key_pem(key), pem(joined.certificate)))
    assert client.host.Info(world.stubs.host.InfoRequest()).principal == "carol"


def test_an_expired_invite_tells_the_servers_time(world: World) -> None:
    enroll = world.stubs.enroll
    answer = world.admin.enroll.Invite(enroll.InviteRequest(name="late", roles=["run"], ttl_s=1))
    invite = Invite.parse(answer.token)
    until(lambda: time.time() > answer.expires_at_s + 1, "the invite has expired")
    stranger = world.client(None)
    with stranger.refused("INVITE_EXPIRED") as told:
        stranger.enroll.Join(
            enroll.JoinRequest(secret=invite.secret, certificate_request=request_for(new_key()))
        )
    assert told[0].code == grpc.StatusCode.PERMISSION_DENIED
    assert int(told[0].metadata["expiresAtS"]) == answer.expires_at_s
    assert abs(int(told[0].metadata["serverTimeS"]) - time.time()) < 20


def test_joining_has_a_rate(world: World) -> None:
    enroll = world.stubs.enroll
    stranger = world.client(None)
    request = enroll.JoinRequest(secret=b"x" * 32, certificate_request=request_for(new_key()))
    for _ in range(40):
        with stranger.refused("INVITE_UNKNOWN", "JOIN_RATE") as told:
            stranger.enroll.Join(request)
        if told[0].reason == "JOIN_RATE":
            break
    assert told[0].code == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert 0 < int(told[0].metadata["waitMs"]) <= 3000
    assert stranger.health.Check(world.stubs.health.HealthCheckRequest()).status


def test_who_may_invite_and_revoke(world: World) -> None:
    enroll = world.stubs.enroll
    alice = world.join("alice")
    for call, request in [
        (alice.enroll.Invite, enroll.InviteRequest(name="x", roles=["run"])),
        (alice.enroll.ListIdentities, enroll.ListIdentitiesRequest()),
        (alice.enroll.Revoke, enroll.RevokeRequest(who="admin")),
    ]:
        with alice.refused("ROLE") as told:
            call(request)
        assert told[0].metadata["needs"] == "admin"
    for reason, request in [
        ("NAME_TAKEN", enroll.InviteRequest(name="alice", roles=["run"])),
        ("BAD_NAME", enroll.InviteRequest(name="x y", roles=["run"])),
        ("BAD_NAME", enroll.InviteRequest(name="x\n", roles=["run"])),
        ("BAD_ROLE", enroll.InviteRequest(name="x", roles=["root"])),
        ("NO_ROLES", enroll.InviteRequest(name="x")),
        ("BAD_LIFETIME", enroll.InviteRequest(name="x", roles=["run"], ttl_s=2**64 - 1)),
        ("BAD_LIFETIME", enroll.InviteRequest(name="x", roles=["run"], ttl_s=0)),
    ]:
        with world.admin.refused(reason):
            world.admin.enroll.Invite(request)
    with world.admin.refused("IDENTITY_NOT_FOUND"):
        world.admin.enroll.Revoke(enroll.RevokeRequest(who="nobody"))


def test_a_certificate_is_renewed_for_a_new_key(world: World) -> None:
    enroll = world.stubs.enroll
    alice = world.join("alice")
    key = new_key()
    request = enroll.RenewRequest(certificate_request=request_for(key))
    renewed = Credentials(key_pem(key), pem(alice.enroll.Renew(request).certificate))
    info = world.client(renewed).host.Info(world.stubs.host.InfoRequest())
    assert (info.principal, info.protocol) == ("alice", 1)
    with alice.refused("BAD_CERTIFICATE_REQUEST"):
        alice.enroll.Renew(enroll.RenewRequest(certificate_request=b"x"))
    stranger = world.client(None)
    with stranger.refused("NOT_ENROLLED") as told:
        stranger.enroll.Renew(request)
    assert told[0].code == grpc.StatusCode.UNAUTHENTICATED
    assert abs(int(told[0].metadata["serverTimeS"]) - time.time()) < 60, "to find a wrong clock by"


def test_revoking_ends_streams_and_new_connections(world: World) -> None:
    enroll, host = world.stubs.enroll, world.stubs.host
    alice = world.join("alice")
    job = world.start(alice, world.shell("echo up; exec sleep 60"))
    stream = world.logs(alice, job.id, follow=True)
    next(stream)
    identity = world.admin.enroll.Revoke(enroll.RevokeRequest(who="alice")).identity
    assert identity.revoked_at_s
    with pytest.raises(grpc.RpcError):
        list(stream)
    again = world.client("alice")
    with again.refused("NOT_ENROLLED"):
        again.host.Info(host.InfoRequest())
    with again.refused("NOT_ENROLLED"):
        again.enroll.Renew(enroll.RenewRequest(certificate_request=request_for(new_key())))
    known = world.admin.enroll.ListIdentities(enroll.ListIdentitiesRequest()).identities
    assert [one.name for one in known if one.revoked_at_s] == ["alice"]
    world.admin.jobs.Stop(world.stubs.jobs.StopRequest(id=job.id))


def test_certificates_that_are_no_good_do_not_get_in(world: World) -> None:
    world.join("alice")
    identity = identity_of(world, "alice")
    request = world.stubs.host.InfoRequest()
    assert world.client(forged(world, identity)).host.Info(request).principal == "alice"
    bad = {
        "another authority of the same name": forged(world, identity, own_authority=True),
        "expired": forged(world, identity, begins=NOW - 2 * HOUR, ends=NOW - HOUR),
        "not yet valid": forged(world, identity, begins=NOW + HOUR, ends=NOW + 2 * HOUR),
        "a server's": forged(world, identity, usage=x509.ExtendedKeyUsageOID.SERVER_AUTH),
    }
    for what, credentials in bad.items():
        client = world.client(credentials)
        with client.refused("") as told:
            client.host.Info(request)
        assert told[0].code == grpc.StatusCode.UNAVAILABLE, what
    client = world.client(forged(world, str(uuid.uuid4())))
    with client.refused("NOT_ENROLLED"):
        client.host.Info(request)


def test_a_certificate_that_expires_on_a_connection_says_the_servers_time(world: World) -> None:
    world.join("alice")
    ends = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=4)
    client = world.client(forged(world, identity_of(world, "alice"), ends=ends))
    request = world.stubs.host.InfoRequest()
    assert client.host.Info(request).principal == "alice"
    until(
        lambda: datetime.datetime.now(datetime.UTC) > ends + datetime.timedelta(seconds=1.5), "time"
    )
    with client.refused("CERTIFICATE_EXPIRED") as told:
        client.host.Info(request)
    assert int(told[0].metadata["expiresAtS"]) == int(ends.timestamp())
    assert abs(int(told[0].metadata["serverTimeS"]) - time.time()) < 20


def test_whoever_is_refused_can_ask_for_the_servers_time(world: World) -> None:
    """A client whose certificate looks expired asks without one: any answer has a date."""
    stranger = world.client(None)
    _, call = stranger.health.Check.with_call(world.stubs.health.HealthCheckRequest())
    sent = dict(call.initial_metadata())["date"]
    assert abs(email.utils.parsedate_to_datetime(sent).timestamp() - time.time()) < 20


def test_the_version_of_the_protocol_may_be_named(world: World) -> None:
    request = world.stubs.host.InfoRequest()
    info = world.admin.host.Info(request)
    assert info.version
    assert info.containment
    assert abs(info.time_ms / 1000 - time.time()) < 20

    def named(version: str) -> Any:
        return world.admin.host.Info(request, metadata=[("legwork-protocol", version)])

    assert named(str(info.protocol)).protocol == info.protocol
    for version, reason in [("0", "PROTOCOL_TOO_OLD"), ("99", "PROTOCOL_TOO_NEW")]:
        with world.admin.refused(reason) as told:
            named(version)
        assert told[0].code == grpc.StatusCode.FAILED_PRECONDITION
        assert told[0].metadata == {"client": version, "oldest": "1", "newest": str(info.protocol)}
        assert version in told[0].message
    with world.admin.refused("MALFORMED"):
        named("one")
    stranger = world.client(None)
    with stranger.refused("NOT_ENROLLED"):
        stranger.host.Info(request)
