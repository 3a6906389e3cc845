"""What a real system logs, as records."""

import json
import subprocess

from guest.serving import CARRIED
from guest.systemd import run

STATE = "/var/tmp/records"


def _legwork(*words: str, given: str = "") -> str:
    command = [CARRIED, "--state", STATE, "records", *words]
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done
    return done.stdout


def test_the_journal_is_kept_as_it_is() -> None:
    journal = run("journalctl", "--output", "json", "--no-pager")
    told = [json.loads(line) for line in journal.splitlines()]
    assert len(told) > 100
    _legwork("send", "--stream", "journal", given=journal)
    kept = _legwork("export", "--stream", "journal", "--data")
    assert [json.loads(line) for line in kept.splitlines()] == told
    # What the kernel said, found again by a filter.
    kernel = _legwork(
        "export", "--stream", "journal", "--data", "--where", '.data._TRANSPORT == "kernel"'
    )
    assert len(kernel.splitlines()) == sum(line.get("_TRANSPORT") == "kernel" for line in told)
