"""A clock that jumps, as one does that was wrong when the machine started."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager

from guest.serving import Counting, Server
from guest.systemd import run

DAY_S = 86_400
LIMIT_S = 8


@contextmanager
def _moved(by_s: float) -> Iterator[None]:
    """Another time of day, and the right one again."""
    apart = time.time() - time.monotonic()
    run("date", "-s", f"@{time.time() + by_s:.3f}")
    try:
        yield
    finally:
        run("date", "-s", f"@{apart + time.monotonic():.3f}")


def _after_a_jump(server: Server, by_s: float) -> None:
    counting = Counting(server)
    timed = server.start("sleep", "600", limits=("--timeout", f"{LIMIT_S}s"))
    begun = time.monotonic()
    with _moved(by_s):
        counting.prints_on()
        server.call("wait", timed, code=124)
        # By the clock that cannot be set.
        assert time.monotonic() - begun >= LIMIT_S - 1
        assert server.run("echo", "meanwhile") == "meanwhile\n"
        server.call("stats", counting.job)
    counting.prints_on()
    counting.ends()
    counting.gate.unlink()
    assert server.status(timed)["finish"]["cause"] == "timeout"


def test_jobs_do_not_notice_a_clock_that_jumps() -> None:
    with Server("clock") as server:
        _after_a_jump(server, 400 * DAY_S)
        _after_a_jump(server, -400 * DAY_S)
        # None was taken for one that ended long ago.
        assert len(json.loads(server.call("ps", "-a", "--json"))) == 6
