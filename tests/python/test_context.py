"""Contexts: which server a command is for, and what a project may say about that."""

from pathlib import Path

import pytest
from harness.host import Host
from harness.serving import Away


@pytest.fixture
def two(laptop: Host) -> Host:
    """Somebody with two contexts, of servers that need not be there."""
    for name in ("one", "two"):
        laptop.ok("context", "add", name, f"unix:///nowhere/{name}")
    return laptop


def _used(laptop: Host, *flags: str) -> str:
    return laptop.json("context", *flags, "show")["name"]


def test_list_use_show_and_rm(two: Host) -> None:
    assert _used(two) == "local"
    assert [(c["name"], c["used"]) for c in two.json("context", "list")] == [
        ("one", False),
        ("two", False),
    ]
    two.ok("context", "use", "two")
    assert _used(two) == "two"
    assert two.ok("context", "list") == ("  one  unix:///nowhere/one\n* two  unix:///nowhere/two\n")
    assert two.ok("context", "show") == "name      two\nsocket    /nowhere/two\n"
    assert two.json("context", "show", "one")["socket"] == "/nowhere/one"
    two.ok("context", "use", "local")
    assert _used(two) == "local"
    two.ok("context", "use", "one")
    result = two.run("context", "rm", "one").expect(0)
    assert "for this machine now" in result.error_text
    assert _used(two) == "local"
    assert [c["name"] for c in two.json("context", "list")] == ["two"]
    assert not (two.home / "data/legwork/contexts/one").exists()


def test_flags_then_environment_then_project_then_user(two: Host) -> None:
    two.ok("context", "use", "one")
    assert _used(two) == "one"
    two.write("legwork.toml", 'context = "two"\n')
    assert _used(two) == "two"
    inner = two.write("a/b/file", "").parent
    assert two.json("context", "show", cwd=inner)["name"] == "two", "from below, too"
    two.env["LEGWORK_CONTEXT"] = "one"
    assert _used(two) == "one"
    del two.env["LEGWORK_CONTEXT"]
    two.env["LEGWORK_HOST"] = "unix:///nowhere/three"
    assert _used(two) == "/nowhere/three"
    assert _used(two, "-C", "two") == "two"
    assert _used(two, "-H", "unix:///nowhere/four") == "/nowhere/four"
    assert _used(two, "-C", "local") == "local"
    two.env["LEGWORK_HOST"] = ""
    assert _used(two) == "two", "an empty variable says nothing"
    two.env["LEGWORK_CONTEXT"] = "local"
    assert _used(two) == "local"


def test_a_state_directory_means_this_machine(two: Host) -> None:
    two.ok("context", "use", "one")
    assert two.json("ps", "-C", "local") == []
    assert two.ok("--state", two.state, "ps", "--json") == "[]\n"
    error = two.run("--state", two.state, "-C", "one", "ps", "--json").expect(2).error()
    assert "--state" in error["message"]


def test_an_unknown_context_is_an_error(two: Host) -> None:
    error = two.run("ps", "--json", "-C", "twoo").expect(1).error()
    assert error["reason"] == "UNKNOWN_CONTEXT"
    assert error["hint"] == "did you mean `two`?"
    error = two.run("run", "--json", "-C", "zzz", "--", "true").expect(125).error()
    assert error["reason"] == "UNKNOWN_CONTEXT"
    assert "context list" in error["hint"]
    for command in (("use", "zzz"), ("rm", "zzz"), ("show", "zzz")):
        assert two.run("context", "--json", *command).expect(1).error()["reason"] == (
            "UNKNOWN_CONTEXT"
        )
    two.env["LEGWORK_CONTEXT"] = "zzz"
    two.run("ps").expect(1)
    del two.env["LEGWORK_CONTEXT"]
    two.write("legwork.toml", 'context = "zzz"\n')
    error = two.run("ps", "--json").expect(1).error()
    assert str(two.project / "legwork.toml") in error["message"]


@pytest.mark.parametrize(
    "text",
    [
        'host = "https://evil.example"',
        'address = "evil.example:7005"',
        'context = "https://evil.example"',
        'context = "unix:///tmp/sock"',
        'context = "../other"',
    ],
)
@pytest.mark.once
def test_a_project_names_no_address(two: Host, text: str) -> None:
    two.write("legwork.toml", f"{text}\n")
    error = two.run("ps", "--json").expect(1).error()
    assert error["reason"] in ("BAD_CONFIG", "UNKNOWN_CONTEXT")
    assert str(two.project / "legwork.toml") in error["message"]
    assert two.json("ps", "-C", "local") == []


def test_bad_names_and_addresses_are_usage_errors(two: Host) -> None:
    for words in [
        ("local", "unix:///x"),
        ("a/b", "unix:///x"),
        ("..", "unix:///x"),
        ("", "unix:///x"),
        ("one", "unix:///x"),
        ("new", "unix://x"),
        ("new", "http://box"),
        ("new", "box:7005"),
        ("new", "https://box"),
        ("new", "https://box", "--from", "one"),
        ("new", "unix:///x", "--from", "one"),
    ]:
        two.run("context", "add", *words).expect(2)
    assert len(two.json("context", "list")) == 2
    for url in ("box", "http://box", "ssh://", ""):
        two.run("ps", "-H", url).expect(2)
    two.run("ps", "-H", "unix:///x", "-C", "one").expect(2)


def test_a_socket_that_nobody_listens_to(two: Host) -> None:
    error = two.run("ps", "--json", "-C", "one").expect(1).error()
    assert error["reason"] == "UNREACHABLE"
    assert "/nowhere/one" in error["message"]
    assert error["retryable"]


def test_a_setting_that_is_mistyped(two: Host) -> None:
    config = two.home / "config/legwork/config.toml"
    two.ok("context", "use", "one")
    config.write_text('curent = "one"\n')
    error = two.run("ps", "--json").expect(1).error()
    assert error["reason"] == "BAD_CONFIG"
    assert error["hint"] == "did you mean `current`?"


def test_other_addresses_of_a_server_that_is_known(away: Away, laptop: Host) -> None:
    port = away.address.rsplit(":", 1)[1]
    laptop.ok("context", "use", "local")
    other = f"https://localhost:{port}"
    assert laptop.json("ps", "-H", f"https://{away.address}") == []
    error = laptop.run("ps", "--json", "-H", other).expect(4).error()
    assert error["reason"] == "NOT_ENROLLED"
    assert "-C" in error["hint"]
    assert laptop.json("ps", "-H", other, "-C", "box") == []
    laptop.ok("context", "add", "alias", other, "--from", "box")
    assert laptop.json("ps", "-C", "alias") == []
    laptop.ok("context", "rm", "box")
    assert laptop.json("ps", "-C", "alias") == []
    assert away.host.json("identities")


def test_a_socket_of_this_machine_is_a_context(away: Away, laptop: Host) -> None:
    sock = Path(away.server.told["socket"])
    assert sock.is_socket()
    laptop.ok("context", "add", "here", f"unix://{sock}")
    laptop.ok("run", "-q", "-C", "here", "--no-sync", "--", "true")
    (job,) = away.host.json("ps", "-a")
    assert job["finish"]["exitCode"] == 0
    assert job["owner"] != "alice"


def test_the_server_that_answers_has_to_be_the_one(away: Away, laptop: Host) -> None:
    # Set up anew at the same address: another authority, and another server.
    away.end()
    for name in ("identity.db", "identity.db-wal", "identity.db-shm"):
        (away.host.state / name).unlink(missing_ok=True)
    (away.host.state / "ca").rename(away.host.state / "ca.old")
    away.again("--init", "--advertise", away.address)
    error = laptop.run("ps", "--json").expect(1).error()
    assert error["reason"] == "WRONG_CA"
    assert "join again" in error["hint"]
