#!/usr/bin/env python3
"""Makes the list of functions that commands run, which the linker then puts together.

    cargo build --release
    python3 bench/order.py      writes crates/legwork/order.txt
    cargo build --release

Each command is run once by valgrind, which tells what functions were entered. What most of them
run comes first, so that what each needs is dense. Among equals the list is sorted, so that a new
one differs by what is new in it.
"""

import collections
import re
import subprocess
import sys
from pathlib import Path

from kit import place, serving, tools

LIST = tools.ROOT / "crates" / "legwork" / "order.txt"

HEAD = """\
# The functions that commands run, for the linker: those of most commands first.
# Made by bench/order.py from a program of {compiler}, whose names for them these are.
"""

LIMITS = ["--cpu-time", "1h", "--nofile", "1024", "--nice", "1", "--timeout", "1h"]

# Each for itself, on a server; the mirrored directory is the one that the command is run in.
COMMANDS = [
    ["run", "--no-sync", "--", "/bin/true"],
    ["run", "--no-sync", *LIMITS, "--", "/bin/true"],
    ["run", "--", "/bin/sh", "-c", "echo; echo >&2"],
    ["start", "--no-sync", "--", "/bin/true"],
    ["ps", "-a"],
    ["workspaces"],
]

# What callgrind writes of a function. A number behind an apostrophe is the depth of a recursion.
FUNCTION = re.compile(r"^c?fn=\(\d+\) ([^'\s]+)", re.MULTILINE)


def main() -> int:
    """Run all of them; 0 when the list is written."""
    valgrind = tools.need("valgrind")
    counts: collections.Counter[str] = collections.Counter()
    with place.scratch() as directory, serving.server(directory) as remote:
        source = directory / "source"
        source.mkdir()
        (source / "file").write_text("content\n")
        for number, words in enumerate(COMMANDS):
            profile = directory / f"profile-{number}"
            tool = [valgrind, "--tool=callgrind", "--demangle=no"]
            done = subprocess.run(
                [*tool, f"--callgrind-out-file={profile}", str(tools.legwork()), *words],
                cwd=source,
                env=remote.env,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, f"{words}: {done.stderr}"
            counts.update(set(FUNCTION.findall(profile.read_text())))
    own = _symbols(tools.legwork())
    names = [name for name in counts if name in own]
    names.sort(key=lambda name: (-counts[name], name))
    head = HEAD.format(compiler=_compiler(tools.legwork()))
    LIST.write_text(head + "".join(f"{name}\n" for name in names))
    print(f"{len(names)} functions written to {LIST}")
    return 0


def _symbols(program: Path) -> set[str]:
    words = ["nm", "--defined-only", program]
    told = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    return {line.split()[-1] for line in told.splitlines()}


def _compiler(program: Path) -> str:
    told = subprocess.run(["readelf", "-p", ".comment", program], check=True, capture_output=True)
    found = re.search(r"rustc version (\S+)", told.stdout.decode())
    return f"rustc {found[1]}" if found else "an unknown compiler"


if __name__ == "__main__":
    sys.exit(main())
