"""What must hold when one version has begun something and another looks at it.

Each check is called with a place, the binary that begins and the binary that looks. A refusal of
the second is raised as :class:`place.Refused`; what must hold anyway is asserted on the way out.
"""

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from place import Place, until

WAIT = "while [ ! -e {gate} ]; do sleep 0.02; done"
STREAM = "i=0; while [ $i -lt {n} ]; do echo line $i; echo error $i >&2; i=$((i+1)); done"

Check = Callable[[Place, Path, Path], None]
CHECKS: list[Check] = []


def check(body: Check) -> Check:
    """Take a check into the list."""
    CHECKS.append(body)
    return body


def _waiting(place: Place, first: Path, after: str = "exit 0") -> str:
    script = f"echo ready; {WAIT.format(gate=place.gate)}; {after}"
    job = place.start(first, script)
    place.printed(job, b"ready")
    return job


def _end_of(place: Place, job: str) -> dict[str, Any]:
    return until(lambda: place.journal(job).get("exit"), f"end of {job}")


@check
def a_list_and_what_has_ended(place: Place, first: Path, second: Path) -> None:
    """Lists, statuses, outputs and exit codes of jobs that have ended."""
    ended = {code: place.start(first, f"echo {code}; exit {code}") for code in (0, 7)}
    for code, job in ended.items():
        assert place.call(first, "wait", job)[0] == code
        assert place.call(second, "wait", job)[0] == code
        assert place.text(second, "logs", job) == f"{code}\n".encode()
    missing = place.json(first, "start", "--no-sync", "--", "/no/such/program")["id"]
    assert place.job(second, missing)["finish"]["cause"] == "not_started"
    listed = {job["id"]: job["state"] for job in place.json(second, "ps", "-a")}
    assert listed == dict.fromkeys([*ended.values(), missing], "finished")


@check
def one_that_prints_is_followed_to_its_end(place: Place, first: Path, second: Path) -> None:
    """Output past and live, both streams, and the code at the end."""
    stream = STREAM.format(n=2000)
    job = place.start(first, f"{stream}; {WAIT.format(gate=place.gate)}; {stream}; exit 5")
    place.printed(job, b"error 1999")
    claim = place.journal(job)["launch"]
    follower = place.popen(second, "logs", "-f", job)
    assert place.job(second, job)["state"] == "running"
    place.gate.touch()
    out, err = follower.communicate(timeout=30)
    assert follower.returncode == 0, err
    for stream_name, told in (("line", out), ("error", err)):
        assert told == b"".join(f"{stream_name} {i}\n".encode() for i in range(2000)) * 2
    assert place.call(second, "wait", job)[0] == 5
    assert place.journal(job)["launch"] == claim
    assert len(list((place.state / "jobs").iterdir())) == 1


@check
def one_is_stopped(place: Place, first: Path, second: Path) -> None:
    """A stop, by whom, and nothing left of the tree."""
    job = place.start(first, "sleep 600 & echo $!; echo ready; exec sleep 601")
    place.printed(job, b"ready")
    assert place.json(second, "stop", job)["finish"]["cause"] == "stopped"
    assert "stopped" in _end_of(place, job)["cause"]
    assert place.job(first, job)["finish"]["cause"] == "stopped"
    child = place.text(first, "logs", job).split()[0].decode()
    until(lambda: not Path(f"/proc/{child}").exists(), "its child is gone")


@check
def one_is_signalled(place: Place, first: Path, second: Path) -> None:
    """A signal to the payload."""
    job = place.start(first, "trap 'exit 9' USR1; echo ready; while :; do sleep 0.02; done")
    place.printed(job, b"ready")
    place.call(second, "signal", job, "USR1")
    assert _end_of(place, job)["status"] == {"code": 9}
    assert place.call(second, "wait", job)[0] == 9


@check
def one_is_paused(place: Place, first: Path, second: Path) -> None:
    """A pause that its shim knows; one that it does not know is refused and changes nothing."""
    job = _waiting(place, first, "exit 3")
    try:
        assert place.json(second, "pause", job)["state"] == "paused"
        assert place.json(second, "resume", job)["state"] == "running"
    finally:
        place.gate.touch()
        assert _end_of(place, job)["status"] == {"code": 3}


@check
def one_is_fed_while_the_other_looks(place: Place, first: Path, second: Path) -> None:
    """A client with standard input goes on, whatever else opens the directory."""
    runner = place.popen(first, "run", "--no-sync", "--", "cat", stdin=subprocess.PIPE)
    assert runner.stdin
    runner.stdin.write(b"one\n")
    runner.stdin.flush()
    jobs = place.state / "jobs"
    until(lambda: jobs.is_dir() and list(jobs.glob("*/output.*")), "it has printed")
    try:
        (listed,) = place.json(second, "ps")
        assert listed["state"] == "running"
        assert place.text(second, "logs", listed["id"]) == b"one\n"
    finally:
        out, err = runner.communicate(b"two\n", timeout=30)
        assert (runner.returncode, out) == (0, b"one\ntwo\n"), err


@check
def one_whose_client_was_killed_goes_on(place: Place, first: Path, second: Path) -> None:
    """The other version finds it, and its end."""
    script = f"echo ready; {WAIT.format(gate=place.gate)}; echo done; exit 4"
    runner = place.popen(first, "run", "--no-sync", "--", "sh", "-c", script)
    jobs = place.state / "jobs"
    until(lambda: jobs.is_dir() and list(jobs.glob("*/output.*")), "it has printed")
    runner.kill()
    runner.communicate()
    (directory,) = jobs.iterdir()
    assert place.job(second, directory.name)["state"] == "running"
    place.gate.touch()
    assert place.call(second, "wait", directory.name)[0] == 4
    assert place.text(second, "logs", directory.name) == b"ready\ndone\n"


@check
def one_whose_shim_was_killed_is_lost(place: Place, first: Path, second: Path) -> None:
    """It is told so, and does not run again."""
    job = _waiting(place, first)
    os.kill(place.journal(job)["launch"]["shim_pid"], signal.SIGKILL)
    until(lambda: not place.shims(), "its shim is gone")
    assert place.job(second, job)["finish"]["cause"] == "lost"
    assert place.call(second, "wait", job)[0] == 255
    assert "exit" not in place.journal(job)


@check
def one_is_removed(place: Place, first: Path, second: Path) -> None:
    """What has ended is removed for both."""
    job = place.start(first, "exit 0")
    place.call(first, "wait", job)
    place.call(second, "rm", job)
    assert not place.directory(job).exists()
    assert place.json(first, "ps", "-a") == []


@check
def a_mirror_is_known(place: Place, first: Path, second: Path) -> None:
    """What one version has sent, the other does not send again."""
    (place.project / "file").write_text("content\n")
    assert place.json(first, "sync")["sentFiles"] == 1
    assert place.json(second, "sync")["sentFiles"] == 0
    (place.project / "file").write_text("other\n")
    assert place.text(second, "run", "-q", "--", "cat", "file") == b"other\n"
    assert place.text(first, "run", "-q", "--", "cat", "file") == b"other\n"


def _serve(place: Place, binary: Path) -> subprocess.Popen[bytes]:
    root = ("--allow-root",) if os.geteuid() == 0 else ()
    listen = ("--init", "--listen", "127.0.0.1:0")
    server = place.popen(
        binary, "serve", "--json", *root, *listen, stderr=(place.top / "serve.log").open("ab")
    )
    assert server.stdout
    assert server.stdout.readline(), (place.top / "serve.log").read_text()
    return server


@check
def a_server_is_replaced_while_a_job_runs(place: Place, first: Path, second: Path) -> None:
    """Clients of both versions talk to servers of both; the job does not notice."""
    server = _serve(place, first)
    job = _waiting(place, first, "echo done; exit 6")
    assert place.job(second, job)["state"] == "running"
    follower = place.popen(first, "--reconnect", "forever", "logs", "-f", job)
    server.terminate()
    server.communicate(timeout=30)
    server = _serve(place, second)
    assert place.job(first, job)["state"] == "running"
    place.gate.touch()
    out, err = follower.communicate(timeout=30)
    assert (follower.returncode, out) == (0, b"ready\ndone\n"), err
    for binary in (first, second):
        assert place.call(binary, "wait", job)[0] == 6
    server.terminate()
    server.communicate(timeout=30)


@check
def the_first_version_comes_back(place: Place, first: Path, second: Path) -> None:
    """After the second has begun jobs of its own there, and looked at those of the first."""
    before = _waiting(place, first, "exit 2")
    during = _waiting(place, second, "exit 8")
    assert place.job(second, before)["state"] == "running"
    try:
        states = {job["id"]: job["state"] for job in place.json(first, "ps")}
        assert states.keys() == {before, during}, states
        assert states[before] == "running"
        assert states[during] in ("running", "unknown")
    finally:
        place.gate.touch()
        for job, code in ((before, 2), (during, 8)):
            assert _end_of(place, job)["status"] == {"code": code}
            assert place.call(second, "wait", job)[0] == code
