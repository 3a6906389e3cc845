"""Peers that say nothing, the wrong thing, or too much before they say who they are."""

import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Callable

import hyperframe.frame as frames
import pytest
from harness.waiting import DEADLINE_S, always, until
from harness.wire import PREFACE, Wire, connect, context, is_closed, shake
from harness.world import World

pytestmark = pytest.mark.once

HEALTH = "/grpc.health.v1.Health/Check"
INFO = "/legwork.v1.HostService/Info"
# Far below the usual 10 s, and far above what a handshake takes.
CUT_S = 8


def greeted(world: World) -> None:
    """A client like all others is served."""
    with world.client("admin") as client:
        assert client.host.Info(world.stubs.host.InfoRequest()).principal == "admin"


def dribbled(peer: socket.socket, data: bytes) -> float:
    """Send a byte now and then until the other end closes; how long that took."""
    begun = time.monotonic()
    rest = iter(data * 100)

    def cut() -> bool:
        try:
            peer.sendall(bytes([next(rest)]))
        except OSError:
            return True
        return is_closed(peer, 0.1)

    until(cut, "the server closes")
    return time.monotonic() - begun


def test_slow_beginnings_are_cut(serve: Callable[..., World]) -> None:
    world = serve("[limits]\nhandshake_s = 2\n")
    # The head of a record of 16 KiB that never comes whole.
    hello = b"\x16\x03\x01\x40\x00\x01\x00\x3f\xfc\x03\x03" + b"\0" * 32
    assert 0.5 < dribbled(connect(world), hello) < CUT_S
    for who in (None, world.credentials["admin"]):
        shaken = shake(world, context(world, who))
        assert dribbled(shaken, PREFACE[:20]) < CUT_S
    silent = [connect(world), shake(world, context(world))]
    for peer in silent:
        assert is_closed(peer, CUT_S)
    local = socket.socket(socket.AF_UNIX)
    local.connect(world.serving.told["socket"])
    assert is_closed(local, CUT_S)
    greeted(world)


def test_other_protocols_are_refused(world: World) -> None:
    plain = connect(world)
    plain.sendall(PREFACE + frames.SettingsFrame(0).serialize())
    assert is_closed(plain, CUT_S)
    for words in (
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\0" * 10_000,
        b"SSH-2.0-OpenSSH_9.9 and more\r\n",
    ):
        for peer in (connect(world), shake(world, context(world))):
            peer.sendall(words)
            assert is_closed(peer, CUT_S), words
    old = context(world, world.credentials["admin"])
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError, match=r"(?i)protocol.version|alert"):
        shake(world, old)
    other = context(world, world.credentials["admin"])
    other.set_alpn_protocols(["http/1.1"])
    with pytest.raises((ssl.SSLError, ConnectionError)):
        Wire(world, other).answer(1)
        raise ConnectionError
    greeted(world)


def test_openssl_is_refused_as_everybody_is(world: World) -> None:
    program = shutil.which("openssl")
    if not program:
        pytest.skip("no openssl")
    authority = world.host.tmp / "ca.pem"
    authority.write_bytes(world.ca)

    def client(*options: str) -> str:
        command = [program, "s_client", "-connect", world.address, "-CAfile", authority, *options]
        done = subprocess.run(
            command,
            input=b"GET / HTTP/1.0\r\n\r\n",
            capture_output=True,
            timeout=DEADLINE_S,
            check=False,
        )
        return (done.stdout + done.stderr).decode(errors="replace")

    said = client("-tls1_3", "-alpn", "h2", "-verify_hostname", "legwork")
    assert "Verify return code: 0 (ok)" in said, said
    assert "Cipher is TLS_" in said
    assert "alert" in client("-tls1_2"), "an alert says that it is too old"
    greeted(world)


def test_a_silent_peer_is_asked_and_then_closed(serve: Callable[..., World]) -> None:
    world = serve("[limits]\nkeepalive_s = 2\n")
    admin = context(world, world.credentials["admin"])
    with Wire(world, admin) as silent, Wire(world, admin) as alive:
        ping = silent.until(lambda frame: isinstance(frame, frames.PingFrame))
        assert "ACK" not in ping.flags
        pings = 0

        def answered() -> bool:
            nonlocal pings
            asked = alive.until(lambda frame: isinstance(frame, frames.PingFrame))
            assert asked is not None, "who answers stays"
            alive.send(frames.PingFrame(0, asked.opaque_data, flags=["ACK"]))
            pings += 1
            return pings == 3

        until(answered, "it is asked again and again")
        assert is_closed(silent.peer, CUT_S)
        assert alive.answer(alive.call(INFO, b"")) == alive.answer(alive.call(INFO, b""))


def test_a_stranger_does_not_stay(serve: Callable[..., World]) -> None:
    world = serve("[limits]\nstranger_life_s = 2\n")
    with Wire(world, context(world)) as stranger:
        assert stranger.answer(stranger.call(HEALTH, b""))["grpc-status"] == "0"
        gone = stranger.until(lambda frame: isinstance(frame, frames.GoAwayFrame))
        assert gone.error_code == 0
    with Wire(world, context(world, world.credentials["admin"])) as known:
        assert known.answer(known.call(INFO, b""))["grpc-status"] == "0"
        always(lambda: not is_closed(known.peer), "who is known stays", 3)


def test_a_stranger_has_few_calls_and_small_ones(world: World) -> None:
    with Wire(world, context(world)) as stranger:
        first = stranger.until(lambda frame: isinstance(frame, frames.SettingsFrame))
        assert first.settings[frames.SettingsFrame.MAX_CONCURRENT_STREAMS] == 4
        watches = [stranger.begin("/grpc.health.v1.Health/Watch") for _ in range(5)]
        refused = stranger.until(lambda frame: isinstance(frame, frames.RstStreamFrame))
        assert (refused.stream_id, refused.error_code) == (watches[4], 7)
    with Wire(world, context(world, world.credentials["admin"])) as known:
        first = known.until(lambda frame: isinstance(frame, frames.SettingsFrame))
        assert first.settings[frames.SettingsFrame.MAX_CONCURRENT_STREAMS] == 256
        watches = [known.begin("/grpc.health.v1.Health/Watch") for _ in range(257)]
        refused = known.until(lambda frame: isinstance(frame, frames.RstStreamFrame))
        assert (refused.stream_id, refused.error_code) == (watches[256], 7)
    greeted(world)
