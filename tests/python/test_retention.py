"""Jobs that ended long ago go by themselves; nothing else does."""

import os
import time

from harness.host import Host
from harness.serving import Serving
from harness.waiting import until


def _names(host: Host) -> set[str]:
    return {job.get("name", "") for job in host.json("ps", "-a")}


def test_a_server_keeps_as_many_as_it_is_told(host: Host) -> None:
    for name in ("one", "two", "three", "four"):
        host.ok("run", "--no-sync", "--name", name, "--", "echo", name)
    lasting = host.start("sleep", "100", options=("--name", "lasting"))
    config = host.tmp / "server.toml"
    config.write_text("[retention]\njobs = 2\n")
    with Serving(host, "--config", config) as server:
        until(lambda: _names(host) == {"three", "four", "lasting"}, "the oldest are gone")
        until(lambda: len(list((host.state / "jobs").iterdir())) == 3, "so are their files")
        assert server.end() == 0
    host.ok("stop", lasting)


def test_a_command_tidies_up_once_an_hour(host: Host) -> None:
    host.ok("run", "--no-sync", "--", "true")
    mark = host.state / "retained"
    looked = mark.stat().st_mtime
    host.ok("run", "--no-sync", "--", "true")
    assert mark.stat().st_mtime == looked
    long_ago = time.time() - 7200
    os.utime(mark, (long_ago, long_ago))
    host.ok("start", "--no-sync", "--", "true")
    assert mark.stat().st_mtime > long_ago + 3600
    assert len(host.json("ps", "-a")) == 3, "they are not old"
