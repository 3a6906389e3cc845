"""A mirror's client by hand: its messages, and the root of a tree as the documentation says it."""

import struct
import time
from collections.abc import Iterator
from queue import Queue
from typing import Any

from blake3 import blake3

from harness.api import Client
from harness.waiting import DEADLINE_S

WHOLE_BYTES = 256 << 10
Tree = dict[bytes, bytes | None]
"""Paths, and contents of files; ``None`` is a directory."""


def digest(data: bytes) -> bytes:
    """The hash of content."""
    return blake3(data).digest()


def root(tree: Tree, below: bytes = b"") -> bytes:
    """The Merkle root of a tree of plain files and directories."""
    found = blake3(b"legwork tree 1\0")
    depth = below.count(b"/")
    names = [path for path in tree if path.startswith(below) and path.count(b"/") == depth]
    for path in sorted(names):
        content = tree[path]
        if content is None:
            kind, payload = b"d", root(tree, path + b"/")
        else:
            kind, payload = b"f", struct.pack("<Q", len(content)) + digest(content)
        name = path[len(below) :]
        found.update(kind)
        for part in (name, payload):
            found.update(struct.pack("<I", len(part)) + part)
    return found.digest()


class Commit:
    """One commit's conversation."""

    def __init__(self, client: Client, workspace: str = "w") -> None:
        """Open the stream; nothing is said yet."""
        self.sync = client.stubs.sync
        self.reference = client.stubs.jobs.WorkspaceRef(name=workspace)
        self.queue: Queue[Any] = Queue()
        self.answers = client.sync.Commit(iter(self.queue.get, None), timeout=DEADLINE_S)
        self.said = 0
        self.files = 0

    def say(self, **message: Any) -> None:
        """Send one message; the first names the workspace."""
        first = {} if self.said else {"workspace": self.reference}
        self.said += 1
        self.queue.put(self.sync.CommitRequest(**first, **message))

    def hello(self, base: bytes | None = None, **more: Any) -> None:
        """Say who comes, and what it last saw committed."""
        fields = {"version": 1, "client_time_ns": time.time_ns()} | more
        if base is not None:
            fields["base"] = base
        self.say(hello=self.sync.Hello(**fields))

    def put(self, path: bytes, content: bytes | None, *, send: bool = True) -> Any:
        """An entry of a delta."""
        if content is None:
            node = self.sync.Node(dir=self.sync.Directory())
            return self.sync.Put(path=path, node=node)
        kept = self.sync.RegularFile(size=len(content), hash=digest(content))
        node = self.sync.Node(file=kept)
        return self.sync.Put(path=path, node=node, mtime_ns=time.time_ns(), send=send)

    def delta(self, tree: Tree, deletes: tuple[bytes, ...] = ()) -> None:
        """Send entries, directories before their content, and then all bytes."""
        paths = sorted(tree, key=lambda path: path.split(b"/"))
        puts = [self.put(path, tree[path]) for path in paths]
        self.say(delta=self.sync.Delta(puts=puts, deletes=deletes))
        contents = [content for path in paths if (content := tree[path]) is not None]
        for frame in self._frames(contents):
            self.say(data=frame)

    def _frames(self, contents: list[bytes]) -> Iterator[Any]:
        """Small files batched, large ones in pieces of their own."""
        pieces, data = [], b""
        for content in contents:
            number, self.files = self.files, self.files + 1
            if not content:
                continue
            if len(data) + len(content) > 1 << 20 and pieces:
                yield self.sync.Data(pieces=pieces, bytes=data)
                pieces, data = [], b""
            if len(content) > WHOLE_BYTES:
                for offset in range(0, len(content), WHOLE_BYTES):
                    part = content[offset : offset + WHOLE_BYTES]
                    piece = self.sync.Piece(file=number, offset=offset, len=len(part))
                    yield self.sync.Data(pieces=[piece], bytes=part)
                continue
            pieces.append(self.sync.Piece(file=number, offset=0, len=len(content)))
            data += content
        if pieces:
            yield self.sync.Data(pieces=pieces, bytes=data)

    def end(self, root_: bytes) -> None:
        """Say that all of a round is sent."""
        self.say(end=self.sync.End(root=root_))

    def next(self) -> tuple[str, Any]:
        """The next answer, by name."""
        answer = next(self.answers)
        kind = answer.WhichOneof("message")
        return kind, getattr(answer, kind)

    def until(self, kind: str) -> Any:
        """The next answer of this kind; what comes before is passed over."""
        while True:
            found, message = self.next()
            if found == kind:
                self.close() if kind in ("committed", "planned") else None
                return message

    def close(self) -> None:
        """Say that nothing more comes."""
        self.queue.put(None)


def commit(client: Client, tree: Tree, workspace: str = "w", **more: Any) -> Any:
    """Send a whole tree to a workspace that has none, or that is compared anew; the summary."""
    talk = Commit(client, workspace)
    talk.hello(**more)
    talk.until("welcome")
    has: set[bytes] = set()
    last = False
    while not last:
        page = talk.until("manifest")
        has |= {entry.path for entry in page.entries}
        last = page.last
    talk.say(rebase=talk.sync.Rebase())
    talk.delta(tree, tuple(sorted(has - set(tree))))
    talk.end(root(tree))
    return talk.until("committed")
