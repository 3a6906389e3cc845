"""What a server says never reaches a terminal as it is, neither answers nor refusals."""

import re
from typing import Any

import grpc
import pytest
from harness.api import Stubs
from harness.host import Host
from harness.lying import JOB, answering, lying, refusing

COMMANDS: list[tuple[str, ...]] = [
    ("ps", "-a"), ("status", JOB), ("wait", JOB), ("stop", JOB), ("stats", JOB), ("rm", JOB),
    ("pause", JOB), ("signal", JOB, "HUP"), ("start", "--no-sync", "--", "true"),
    ("run", "--no-sync", "--", "true"), ("logs", JOB), ("sync",), ("sync", "--dry-run"),
    ("sync", "--verbose"), ("run", "--", "true"), ("pull", "--workspace", "w", "x"),
    ("pull", JOB, "x"), ("workspaces",), ("workspaces", "rm", "x"), ("trash", "list"),
    ("trash", "list", "1"), ("trash", "restore", "1"), ("doctor",), ("version",), ("identities",),
    ("invite", "x"), ("revoke", "x"), ("records", "stats"), ("records", "fsck"),
    ("records", "tail"),
]  # fmt: skip
pytestmark = pytest.mark.once
# All but the line feed, also those that are two bytes in UTF-8.
CONTROL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f]")
FORGED = re.compile("^legwork: forged", re.MULTILINE)


@pytest.fixture(scope="module")
def stubs() -> Stubs:
    """What the reference compiler makes of ``proto/``."""
    return Stubs()


def made_up(host: Host, words: tuple[str, ...]) -> list[str]:
    """What a command tells that the server made up."""
    done = host.run(*words, timeout_s=30)
    # What a job printed, and lines of a log, go unchanged to what is no terminal.
    texts = (
        [done.err] if words[0] in ("run", "logs") or words[-1] == "tail" else [done.out, done.err]
    )
    shown = [text.decode() for text in texts]
    return [text for text in shown if CONTROL.search(text) or FORGED.search(text)]


def everything(host: Host, stubs: Stubs, say: Any) -> set[str]:
    """Give all commands, and fail if one of them told anything that it should not."""
    host.ok("ps")
    host.write("a", "1")
    found: dict[tuple[str, ...], list[str]] = {}
    with lying(host, stubs, say) as lies:
        for words in COMMANDS:
            lies.left = 20
            if told := made_up(host, words):
                found[words] = told
    assert not found, "\n".join(f"{words}: {told}" for words, told in found.items())
    return set(lies.calls)


@pytest.mark.parametrize("choice", range(4))
def test_answers_cannot_drive_a_terminal(host: Host, stubs: Stubs, choice: int) -> None:
    called = everything(host, stubs, answering(choice))
    assert {"Commit", "Pull", "List", "Get", "ListWorkspaces", "ListTrash"} <= called


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (grpc.StatusCode.INTERNAL, "IO"),
        (grpc.StatusCode.FAILED_PRECONDITION, "LIMIT_UNAVAILABLE"),
        (grpc.StatusCode.PERMISSION_DENIED, "OTHER_WRITER"),
        (grpc.StatusCode.INVALID_ARGUMENT, ""),
    ],
    ids=["io", "limit", "writer", "any"],
)
def test_refusals_cannot_drive_a_terminal(
    host: Host, stubs: Stubs, code: grpc.StatusCode, reason: str
) -> None:
    called = everything(host, stubs, refusing(stubs, code, reason))
    assert {"Commit", "Pull", "List", "Get"} <= called
