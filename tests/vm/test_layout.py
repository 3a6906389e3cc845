"""Why the control groups of jobs are not below the server's unit.

A service with delegation that makes groups in its own group, gives them controllers and leaves
processes in them is started again into a group that cannot take its process: a group that gives
controllers away has no processes of its own. systemd's authors say that such a start is meant to
fail. What it does in this guest is told, not asserted; that a service as `legwork service install`
makes it does not fall into that trap is asserted in `test_service`.
"""

from pathlib import Path

from guest.cgroup import Cgroup
from guest.systemd import Unit, Written
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


def _settled(unit: Unit) -> bool:
    return unit.show("ActiveState") in ("active", "failed", "inactive")


def _alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def _tell_of_restart(name: str, enable: str) -> None:
    with Written(name, NESTED.format(enable=enable)) as unit:
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
