"""Runs the tests of this directory in the guest, across its reboots, and tells of each in a line.

The guest has Python as Debian ships it and no network to install anything else from, so this is
what is left of a test framework when little is needed. What the lines mean is said where they are
read: `xtask/src/vm/words.rs`.
"""

import contextlib
import importlib
import inspect
import io
import signal
import subprocess
import sys
import traceback
import unittest
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

from guest import phases
from guest.told import NOTES
from guest.waiting import until

CARRIED = Path("/carried")
PORT = Path("/dev/virtio-ports/legwork.words")
TEST_LIMIT_S = 180
Test = Callable[..., None]


class Words:
    """The way to whoever started this machine."""

    def __init__(self) -> None:
        """Open the port, which is there when its driver has been loaded."""
        until(PORT.exists, f"{PORT} is there", deadline_s=60)
        self._port = PORT.open("wb", buffering=0)

    def say(self, line: str) -> None:
        """Say one line."""
        self._port.write(line.encode(errors="replace") + b"\n")

    def say_output(self, text: str) -> None:
        """Say lines that belong to what was said before."""
        for line in text.splitlines():
            self.say(f"| {line}")


def main() -> None:
    """Do what the second disk says, then power off."""
    words = Words()
    command = CARRIED / "command"
    if command.exists():
        _command(words, command.read_text())
    else:
        wanted = (CARRIED / "tests").read_text().split("\n")
        _tests(words, [part for part in wanted if part])
    words.say("end")
    # Nothing on the disks is needed any more.
    subprocess.run(["systemctl", "poweroff", "--force", "--force"], check=True)


def _command(words: Words, command: str) -> None:
    with subprocess.Popen(
        ["sh", "-c", command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        assert process.stdout
        for line in process.stdout:
            words.say_output(line.decode(errors="replace"))
    words.say(f"exit {process.returncode}")


def _tests(words: Words, wanted: list[str]) -> None:
    state = phases.State.load()
    for name, test in _found(words):
        chosen = not wanted or any(part in name for part in wanted)
        if chosen and name not in state.done:
            _test(words, state, name, test)


def _found(words: Words) -> Iterator[tuple[str, Test]]:
    """Every test function, in the order of files and of lines."""
    here = Path(__file__).parent
    for path in sorted(here.glob("test_*.py")):
        try:
            module = importlib.import_module(path.stem)
        except Exception:
            # Told as often as the machine is started, which does no harm.
            words.say(f"FAILED {path.stem}")
            words.say_output(traceback.format_exc())
            continue
        for name, value in vars(module).items():
            if name.startswith("test_") and inspect.isfunction(value):
                yield f"{path.stem}.{name}", value


def _test(words: Words, state: phases.State, name: str, test: Test) -> None:
    """Run one test, or the phase of it that comes next."""
    if state.current == name and not state.asked:
        words.say(f"FAILED {name}")
        words.say_output("the machine was restarted, and not by the test")
        return state.finish(name)
    phase = state.begin(name)
    output = io.StringIO()
    told, why = _judge(test, phase, output)
    if isinstance(why, phases.Reboot):
        state.reboot(why)
    words.say(told.format(name=name))
    words.say_output("\n".join(NOTES))
    NOTES.clear()
    if why is not None:
        words.say_output(output.getvalue())
        words.say_output("".join(traceback.format_exception(why)))
    return state.finish(name)


def _judge(
    test: Test, phase: phases.Phase, output: io.StringIO
) -> tuple[str, BaseException | None]:
    """Run a test; the line to be said of it, and what ended it if that has to be looked at."""
    arguments = [phase] if inspect.signature(test).parameters else []
    signal.signal(signal.SIGALRM, _too_long)
    signal.alarm(TEST_LIMIT_S)
    try:
        with contextlib.redirect_stdout(output):
            test(*arguments)
    except unittest.SkipTest as why:
        return f"SKIPPED {{name}} {why}", None
    except phases.Reboot as asked:
        return "", asked
    except Exception as why:
        return "FAILED {name}", why
    finally:
        signal.alarm(0)
    return "ok {name}", None


def _too_long(_number: int, _frame: FrameType | None) -> None:
    raise AssertionError(f"not done within {TEST_LIMIT_S} s")


if __name__ == "__main__":
    sys.exit(main())
