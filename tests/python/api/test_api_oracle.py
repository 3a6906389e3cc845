"""What somebody learns of content that is another's: nothing, whichever way it is asked about."""

import os
from typing import Any

import pytest
from harness.api import Client
from harness.mirror import Commit, commit, digest, root
from harness.mirroring import content as content_of
from harness.world import World

pytestmark = pytest.mark.once

SECRET = os.urandom(400_000)
OTHER = os.urandom(400_000)
"""Of the same size, and nobody's."""


def asked(client: Client, content: bytes, how: str, workspace: str) -> list[Any]:
    """Claim that a server has this content; all that it answers, up to its question for it."""
    talk = Commit(client, workspace)
    tree = {b"mine": b"mine", b"theirs": content}
    talk.hello(root({b"mine": b"mine"}), version=2)
    put = talk.put(b"theirs", content, send=how != "unsent")
    talk.say(delta=talk.sync.Delta(puts=[put]))
    if how != "unsent":
        source = digest(content) if how == "itself" else digest(SECRET)
        whole = talk.sync.FileRange(offset=0, len=len(content), source=source)
        setattr(whole, "from", 0)
        talk.say(reuse=talk.sync.Reuse(file=0, ranges=[whole]))
    talk.end(root(tree))
    answers = []
    while not answers or answers[-1][0] not in ("need", "committed"):
        answers.append(talk.next())
    talk.close()
    return answers


@pytest.mark.parametrize("how", ["unsent", "itself", "part"])
def test_nobody_learns_what_others_have(world: World, how: str) -> None:
    alice, bob = world.join("alice"), world.join("bob")
    commit(alice, {b"secret": SECRET})
    commit(alice, {b"secret": SECRET, b"more": b"m"}, "w2")
    commit(bob, {b"mine": b"mine"})
    # It is staged, cut off, and replaced as well.
    talk = Commit(alice, "w3")
    talk.hello(version=2)
    talk.until("manifest")
    talk.say(rebase=talk.sync.Rebase())
    talk.delta({b"half": SECRET})
    talk.close()
    commit(alice, {b"secret": b"replaced"})
    theirs, nobodys = asked(bob, SECRET, how, "w"), asked(bob, OTHER, how, "w")
    assert theirs == nobodys
    assert theirs[-1][0] == "need"
    # Who has it need not send it.
    base = {b"secret": SECRET, b"more": b"m"}
    talk = Commit(alice, "w2")
    talk.hello(root(base), version=2)
    talk.say(delta=talk.sync.Delta(puts=[talk.put(b"copy", SECRET, send=False)]))
    talk.end(root(base | {b"copy": SECRET}))
    talk.until("committed")
    for workspace in (world.host.state / "workspaces").iterdir():
        tree = content_of(workspace / "tree")
        assert b"mine" not in tree or list(tree) == [b"mine"]
