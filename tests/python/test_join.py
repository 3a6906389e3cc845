"""Joining a server: what an invite gives, and what each refusal says."""

import socket
import sqlite3
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness.host import Host
from harness.serving import LISTEN, Away, Serving
from harness.waiting import until


def _refused(laptop: Host, token: str, code: int) -> dict[str, str]:
    """Join in vain; the error, which leaves nothing behind that could be used."""
    error = laptop.run("join", "--json", stdin=token.encode()).expect(code).error()
    assert laptop.json("context", "list") == []
    assert token not in str(error)
    return error


def test_who_joins_has_a_context_and_a_private_key(
    serving: Serving, host: Host, laptop: Host
) -> None:
    token = host.ok("invite", "alice", "--role", "run")
    joined = laptop.run("join", "--json", "--name", "box", stdin=token.encode()).expect(0)
    assert token.strip() not in joined.error_text
    (context,) = laptop.json("context", "list")
    assert context["name"] == "box"
    assert context["used"]
    assert context["identity"] == "alice"
    assert context["addresses"] == [serving.address]
    kept = laptop.home / "data/legwork/contexts/box"
    files = {path.name: stat.S_IMODE(path.stat().st_mode) for path in kept.iterdir()}
    names = ("ca.pem", "certificate.pem", "context.json", "key.pem")
    assert files == dict.fromkeys(names, 0o600)
    assert stat.S_IMODE(kept.stat().st_mode) == 0o700
    assert [path.name for path in kept.parent.iterdir()] == ["box"], "nothing is left of the join"
    assert laptop.json("ps") == []
    known = {known["name"]: known for known in host.json("identities")}
    assert known["alice"]["roles"] == ["run"]


def test_an_invite_is_read_through_white_space(away: Away, laptop: Host) -> None:
    token = away.invite("carol")
    broken = f"\n  {token[:40]}\r\n   {token[40:]} \n"
    laptop.ok("join", "--name", "again", stdin=broken.encode())
    assert laptop.json("context", "show", "again")["identity"] == "carol"


def test_an_argument_works_and_is_warned_of(serving: Serving, host: Host, laptop: Host) -> None:
    token = host.ok("invite", "alice").strip()
    result = laptop.run("join", token).expect(0)
    assert "seen by others" in result.error_text
    (context,) = laptop.json("context", "list")
    assert context["name"] == serving.address.rsplit(":", 1)[0]


def test_a_used_invite(away: Away, laptop: Host, elsewhere: Host) -> None:
    token = away.invite("carol")
    laptop.ok("join", "--name", "again", stdin=token.encode())
    error = _refused(elsewhere, token, 4)
    assert error["reason"] == "INVITE_USED"
    assert "ask for another one" in error["message"]


def test_an_invite_that_was_taken_back(serving: Serving, host: Host, laptop: Host) -> None:
    assert serving.told
    token = host.ok("invite", "carol").strip()
    host.ok("invite", "carol")
    error = _refused(laptop, token, 4)
    assert error["reason"] == "INVITE_UNKNOWN"
    assert "ask for another one" in error["message"]


def _invite_ends(host: Host, seconds: int) -> None:
    """Let the server believe that open invites end then."""
    with sqlite3.connect(host.state / "identity.db") as known:
        sql = "UPDATE invite SET expires_at = ? WHERE used_at IS NULL"
        assert known.execute(sql, (seconds,)).rowcount > 0
    known.close()


def test_an_invite_that_is_over(serving: Serving, host: Host, laptop: Host) -> None:
    invited = host.json("invite", "carol", "--ttl", "1s")
    until(lambda: time.time() > invited["expiresAtS"], "its second passes")
    error = _refused(laptop, invited["token"], 4)
    assert error["reason"] == "INVITE_EXPIRED"
    assert "expired at" in error["message"]
    assert "the server's clock says" in error["message"]
    assert "disagree" not in error["message"]
    assert "ask for another one" in error["message"]
    # Where there is nobody to say so, it is told as a guess.
    serving.end()
    error = _refused(laptop, invited["token"], 1)
    assert error["reason"] == "UNREACHABLE"
    assert "by this machine's clock, the invite has expired" in error["hint"]


def test_an_invite_that_is_over_by_the_clock_of_the_client_alone(
    serving: Serving, host: Host, laptop: Host
) -> None:
    assert serving.told
    invited = host.json("invite", "carol", "--ttl", "1s")
    # The end that the token tells is over; the one that the server goes by is not.
    _invite_ends(host, int(time.time()) + 3600)
    until(lambda: time.time() > invited["expiresAtS"], "its second passes")
    laptop.ok("join", "--name", "box", stdin=invited["token"].encode())
    assert laptop.json("context", "show", "box")["identity"] == "carol"


def test_an_invite_that_is_over_by_the_clock_of_the_server(
    serving: Serving, host: Host, laptop: Host
) -> None:
    assert serving.told
    token = host.ok("invite", "carol").strip()
    _invite_ends(host, 1_000_000_000)
    error = _refused(laptop, token, 4)
    assert error["reason"] == "INVITE_EXPIRED"
    assert "2001-09-09" in error["message"]
    assert "the server's clock says" in error["message"]


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda _: "hello", "one begins with"),
        (lambda token: token[:-9], "the end of the invite is missing"),
        (
            lambda token: token[:60] + ("A" if token[60] != "A" else "B") + token[61:],
            "copy it again",
        ),
        (lambda token: token + "AAAA", "copy it again"),
        (lambda token: token.replace("lw1.", "lw9."), "newer legwork"),
        (lambda token: token * 100, "too long"),
    ],
    ids=["other", "cut", "mistyped", "longer", "newer", "huge"],
)
@pytest.mark.once
def test_what_is_no_invite(serving: Serving, host: Host, laptop: Host, spoil, says: str) -> None:  # noqa: ANN001
    assert serving.told
    token = spoil(host.ok("invite", "carol").strip())
    error = _refused(laptop, token, 4)
    assert error["reason"] == "BAD_INVITE"
    assert says in error["message"]


def test_nothing_to_join_by(laptop: Host) -> None:
    laptop.run("join", stdin=b" \n").expect(2)
    laptop.run("join", "--name", "local", stdin=b"x").expect(2)


def test_nothing_is_sent_to_a_server_of_another_authority(
    host: Host, laptop: Host, elsewhere: Host
) -> None:
    access = elsewhere.tmp / "access.log"
    with Serving(elsewhere, *LISTEN, "--init", "--access-log", access) as other:
        with Serving(host, *LISTEN, "--init", "--advertise", other.address):
            token = host.ok("invite", "alice").strip()
        error = _refused(laptop, token, 1)
        assert error["reason"] == "WRONG_CA"
        assert "another authority" in error["message"]
        assert "invite" in error["hint"]
        assert other.end() == 0
    assert "Join" not in access.read_text()


def test_a_server_that_is_not_there(serving: Serving, host: Host, laptop: Host) -> None:
    token = host.ok("invite", "alice").strip()
    address = serving.address
    serving.end()
    error = _refused(laptop, token, 1)
    assert error["reason"] == "UNREACHABLE"
    assert error["retryable"]
    assert address in error["message"]
    assert "server" in error["hint"]
    # The invite was not used up by that.
    with Serving(host, "--listen", address):
        laptop.ok("join", stdin=token.encode())


@pytest.fixture
def web() -> Iterator[str]:
    """Something that listens, and is no server of ours."""
    listener = socket.create_server(("127.0.0.1", 0))

    def answer() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.recv(1024)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    thread = threading.Thread(target=answer)
    thread.start()
    name, port = listener.getsockname()
    yield f"{name}:{port}"
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()


def test_a_server_that_speaks_something_else(host: Host, laptop: Host, web: str) -> None:
    with Serving(host, *LISTEN, "--init", "--advertise", web):
        token = host.ok("invite", "alice").strip()
    error = _refused(laptop, token, 1)
    assert error["reason"] == "NOT_TLS"
    assert "address" in error["message"]


def test_a_name_of_another_server_is_not_taken(away: Away, laptop: Host, elsewhere: Host) -> None:
    before = (laptop.home / "data/legwork/contexts/box/key.pem").read_text()
    with Serving(elsewhere, *LISTEN, "--init"):
        token = elsewhere.ok("invite", "alice")
        error = (
            laptop.run("join", "--json", "--name", "box", stdin=token.encode()).expect(2).error()
        )
        assert "of another server" in error["message"]
        assert "--name" in error["hint"]
        laptop.ok("join", "--name", "second", stdin=token.encode())
    names = [context["name"] for context in laptop.json("context", "list") if context["used"]]
    assert names == ["box"], "the current context stays"
    assert (laptop.home / "data/legwork/contexts/box/key.pem").read_text() == before
    # The same server again takes the place of what was there.
    token = away.invite("alice2")
    laptop.ok("join", "--name", "box", stdin=token.encode())
    assert laptop.json("context", "show", "box")["identity"] == "alice2"


def _lifetime(host: Host, name: str, seconds: int) -> None:
    with sqlite3.connect(host.state / "identity.db") as known:
        sql = "UPDATE identity SET certificate_lifetime_s = ? WHERE name = ?"
        assert known.execute(sql, (seconds, name)).rowcount == 1
    known.close()


def _certificate(laptop: Host) -> Path:
    return laptop.home / "data/legwork/contexts/box/certificate.pem"


def test_a_certificate_is_renewed_in_time(serving: Serving, host: Host, laptop: Host) -> None:
    assert serving.told
    token = host.ok("invite", "alice").encode()
    # Certificates begin five minutes early, so two thirds of this one's life are over at once.
    _lifetime(host, "alice", 120)
    laptop.ok("join", "--name", "box", stdin=token)
    first = _certificate(laptop).read_text()
    key = (_certificate(laptop).parent / "key.pem").read_text()
    _lifetime(host, "alice", 30 * 24 * 3600)

    def renewed() -> str | None:
        # What is not done soon after the end of one command is done by the next.
        assert laptop.json("ps") == []
        now = _certificate(laptop).read_text()
        return now if now != first else None

    second = until(renewed, "it is renewed")
    assert stat.S_IMODE(_certificate(laptop).stat().st_mode) == 0o600
    assert (_certificate(laptop).parent / "key.pem").read_text() == key
    assert laptop.json("ps") == []
    assert _certificate(laptop).read_text() == second
    known = {known["name"]: known for known in host.json("identities")}
    assert known["alice"]["validUntilS"] > time.time() + 20 * 24 * 3600


def test_an_expired_certificate_is_told_with_both_clocks(
    serving: Serving, host: Host, laptop: Host
) -> None:
    assert serving.told
    token = host.ok("invite", "alice").encode()
    _lifetime(host, "alice", 1)
    laptop.ok("join", "--name", "box", stdin=token)
    known = {known["name"]: known for known in host.json("identities")}
    until(lambda: time.time() > known["alice"]["validUntilS"] + 1, "its last second passes")
    # The verdict comes after the handshake, while the client's first call is on its way: it has
    # to be heard every time.
    for _ in range(10):
        result = laptop.run("ps", "--json").expect(4)
        assert "contact with" not in result.error_text
        error = result.error()
        assert error["reason"] == "CERTIFICATE_NOT_VALID_NOW"
    assert "it is valid from" in error["message"]
    assert "this machine's clock says" in error["message"]
    assert "disagree" not in error["message"]
    assert "join again" in error["hint"]
