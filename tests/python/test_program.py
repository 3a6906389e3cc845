"""The program as a file."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ORDER = Path(__file__).resolve().parents[2] / "crates" / "legwork" / "order.txt"

# Bytes that one page fault brings in, of a file that is in memory: the kernel's fault_around_bytes.
WINDOW = 64 * 1024

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


def test_what_commands_run_lies_together(shipped: Path) -> None:
    listed = _listed()
    comment = subprocess.check_output(["readelf", "-p", ".comment", shipped], text=True)
    if "Linker: LLD" not in comment:
        pytest.skip("another linker than the compiler's own, which has no such list")
    if shipped.parts[-3:-1] != ("target", "release"):
        pytest.skip("the list is of the plain release build, others have other symbols")
    compiler = re.search(r"a program of rustc (\S+),", ORDER.read_text())
    assert compiler
    if f"rustc version {compiler[1]} " not in comment:
        pytest.skip("the list is of another compiler, which gives other names")
    found = [place for name, place in _functions(shipped).items() if name in listed]
    again = "cargo build --release && python3 bench/order.py makes the list anew"
    assert len(found) > 0.8 * len(listed), f"{len(found)} of {len(listed)} are there: {again}"
    windows: set[int] = set()
    for start, length in found:
        windows |= set(range(start // WINDOW, (start + length) // WINDOW + 1))
    least = sum(length for _, length in found) / WINDOW
    assert len(windows) < 1.5 * least + 4, f"{len(windows)} instead of {least:.0f}: {again}"


def _listed() -> set[str]:
    lines = ORDER.read_text().splitlines()
    return {line for line in lines if not line.startswith("#")}


def _functions(program: Path) -> dict[str, tuple[int, int]]:
    """Address and length of each, in bytes."""
    told = subprocess.check_output(["nm", "-S", program], text=True)
    words = [line.split() for line in told.splitlines()]
    return {w[3]: (int(w[0], 16), int(w[1], 16)) for w in words if len(w) == 4}
