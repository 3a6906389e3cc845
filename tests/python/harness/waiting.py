"""Waiting for a condition with a deadline: the only way tests let time pass."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

# For what hangs: nothing takes this long, on a machine that is busy with something else either.
DEADLINE_S = 60.0
_STEP_S = 0.005


def until(condition: Callable[[], T], what: str, deadline_s: float = DEADLINE_S) -> T:
    """Return the condition's first true value; fail after the deadline.

    An ``AssertionError`` or ``OSError`` inside the condition counts as not yet, and is told if the
    deadline passes.
    """
    end = time.monotonic() + deadline_s
    last: Exception | None = None
    while True:
        try:
            value = condition()
            if value:
                return value
            last = None
        except (AssertionError, OSError) as error:
            last = error
        if time.monotonic() > end:
            raise AssertionError(f"not within {deadline_s} s: {what}") from last
        time.sleep(_STEP_S)


def always(condition: Callable[[], bool], what: str, for_s: float) -> None:
    """Fail if the condition is false at any time in the next ``for_s`` seconds."""
    end = time.monotonic() + for_s
    while time.monotonic() < end:
        assert condition(), what
        time.sleep(_STEP_S)
