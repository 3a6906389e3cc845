"""Where the control groups of jobs can be, so that the server's service can be restarted.

A service with delegation that makes groups in its own group, gives them controllers and leaves
processes in them is started again into a group that cannot take its process: a group that gives
controllers away has no processes of its own. systemd's authors say that such a start is meant to
fail. What it does in this guest is told, not asserted; what is asserted is a layout that works.
"""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from guest.cgroup import Cgroup
from guest.systemd import Unit, run
from guest.told import tell
from guest.waiting import until

# Goes from its own group to one in it, gives controllers away, and puts a process in another.
NESTED = """\
Type=exec
Delegate=yes
KillMode=process
ExecStart=/bin/sh -c 'cd /sys/fs/cgroup/$$(sed -n s,^0::/,,p /proc/self/cgroup) || exit 81; \\
 mkdir -p main job || exit 82; echo $$$$ > main/cgroup.procs || exit 83; \\
 {enable} \\
 setsid sleep infinity & echo $$! > job/cgroup.procs || exit 85; exec sleep infinity'
"""
ENABLE = "echo +pids +memory > cgroup.subtree_control || exit 84;"
KEEPER = "Delegate=yes\nExecStart=/bin/sleep infinity"
SERVER = "Type=exec\nKillMode=process\nExecStart=/bin/sleep infinity"


def _settled(unit: Unit) -> bool:
    return unit.show("ActiveState") in ("active", "failed", "inactive")


def _alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def _tell_of_restart(name: str, enable: str) -> None:
    with Unit(name, NESTED.format(enable=enable)) as unit:
        job = Cgroup(unit.cgroup.path / "job")
        (before,) = until(job.pids, "the first start has put a process in its group")
        code = unit.restart()
        until(lambda: _settled(unit), "the restart has an outcome")
        words = ("ActiveState", "SubState", "Result", "ExecMainStatus", "NRestarts")
        tell(f"{name}: restart exits with {code}; " + _shown(unit, words))
        tell(f"  the process from before is alive: {_alive(before)}")
        tell(f"  unit group: procs {unit.cgroup.pids()}, gives {sorted(unit.cgroup.enabled())}")
        for line in unit.journal().splitlines()[-8:]:
            tell(f"  {line}")


def _shown(unit: Unit, words: tuple[str, ...]) -> str:
    return ", ".join(f"{word}={unit.show(word)}" for word in words)


def test_what_a_restart_does_to_groups_in_the_own_group() -> None:
    _tell_of_restart("nested-with-controllers", ENABLE)
    _tell_of_restart("nested-without-controllers", "")


@contextmanager
def _kept(keeper: Unit) -> Iterator[Cgroup]:
    """The keeper's group, whose process is out of the way so that controllers can be given away."""
    group = keeper.cgroup
    own = group.child("keeper")
    own.write("cgroup.procs", str(keeper.main_pid))
    group.enable("cpu", "memory", "pids")
    yield group


def test_groups_in_a_second_unit_survive_the_restart_of_the_first() -> None:
    with Unit("keeper", KEEPER) as keeper, Unit("server", SERVER) as server, _kept(keeper) as group:
        job = group.child("job")
        job.write("memory.max", "67108864")
        job.write("pids.max", "7")
        # Whose child it is does not matter here, only where it is.
        payload = subprocess.Popen(["sleep", "infinity"])
        job.write("cgroup.procs", str(payload.pid))
        for act in (
            ("restart", server.name),
            ("daemon-reload",),
            ("restart", server.name),
            ("daemon-reexec",),
            ("restart", server.name),
        ):
            before = server.main_pid
            run("systemctl", *act)
            assert (server.main_pid != before) == (act[0] == "restart")
            assert keeper.show("ActiveState") == "active"
            assert payload.poll() is None
            assert job.pids() == [payload.pid]
            assert (job.read("memory.max"), job.read("pids.max")) == ("67108864", "7")
            assert group.enabled() >= {"cpu", "memory", "pids"}
        tell(f"the keeper gives {sorted(group.enabled())} to groups in it after all of that")
    # The keeper took what was in its group along.
    payload.wait()
