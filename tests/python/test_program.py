"""The program as a file."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

# Each further one would make every command slower, before its first instruction.
OF_C = ("linux-vdso", "linux-gate", "ld-linux", "libc.", "libm.")


def test_it_loads_nothing_but_the_c_library(shipped: Path) -> None:
    if not _compiler_has("libgcc_eh.a"):
        pytest.skip("the compiler has no unwinder to put into a program")
    traced = subprocess.run(
        [shipped],
        env=os.environ | {"LD_TRACE_LOADED_OBJECTS": "1"},
        check=True,
        capture_output=True,
        text=True,
    )
    loaded = re.findall(r"^\s*(?:\S*/)?(\S+) ", traced.stdout, re.MULTILINE)
    assert any(name.startswith("libc.") for name in loaded)
    assert [name for name in loaded if not name.startswith(OF_C)] == []


def _compiler_has(archive: str) -> bool:
    compiler = shutil.which("cc")
    if compiler is None:
        return False
    words = [compiler, f"-print-file-name={archive}"]
    return Path(subprocess.check_output(words, text=True).strip()).is_absolute()
