"""One short job, against ssh to this machine: over an open connection, and over a new one.

Not a race between equals yet: ssh encrypts and legwork does not leave the machine. It says what a
user of `ssh host command` would gain or lose, and will be the bar of the server.
"""

import os
import statistics
from collections.abc import Callable

from kit import place, sshd, tools
from kit.measure import Figure, alternate, seconds

REPEATS = 10


def measure(runs: int) -> list[Figure]:
    """Time of one job as a ratio to ssh, warm and cold."""
    with place.scratch() as directory, sshd.server(directory) as cold:
        own = place.environment(directory / "state")
        null = os.open("/dev/null", os.O_WRONLY)

        def timed(words: list[str], repeats: int) -> Callable[[], float]:
            def once() -> None:
                code = place.spawn(words, own, null)
                assert code == 0, f"{words[0]}: exit {code}"

            return lambda: statistics.median(seconds(once) for _ in range(repeats))

        legwork = [str(tools.legwork()), "run", "--no-sync", "--", "/bin/true"]
        with sshd.master(cold, directory) as warm:
            found = alternate(
                runs,
                warm=timed([*warm, "/bin/true"], REPEATS),
                cold=timed([*cold, "/bin/true"], 1),
                legwork=timed(legwork, REPEATS),
            )
        os.close(null)
    return [
        Figure(
            name=f"remote-{side}",
            what=f"one /bin/true, time as a ratio to ssh over {connection} connection",
            legwork=found["legwork"],
            anchor=found[side],
            anchor_name="ssh",
            unit="ms",
            scale=1000,
            bar="none yet",
            value=found["legwork"].median / found[side].median,
            holds=True,
        )
        for side, connection in (("warm", "an open"), ("cold", "a new"))
    ]
