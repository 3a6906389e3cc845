"""The guest is what the other tests take it for."""

from pathlib import Path

from guest.cgroup import CONTROLLERS, ROOT, Cgroup
from guest.systemd import run


def test_systemd_is_the_first_process() -> None:
    assert Path("/proc/1/comm").read_text() == "systemd\n"
    assert Path("/run/systemd/system").is_dir()


def test_cgroups_are_of_version_2_with_controllers_at_the_root() -> None:
    assert run("stat", "--file-system", "--format", "%T", ROOT).strip() == "cgroup2fs"
    assert Cgroup(ROOT).controllers() >= set(CONTROLLERS)
    # A host of both kinds has the old ones mounted beside.
    mounts = Path("/proc/self/mounts").read_text().splitlines()
    assert "cgroup" not in [line.split()[2] for line in mounts]


def test_a_scope_with_delegation_has_groups_with_controllers() -> None:
    # The script waits in the scope for its standard input, which says when it was looked at.
    script = """
        set -e
        cd /sys/fs/cgroup/$(sed -n 's,^0::/,,p' /proc/self/cgroup)
        mkdir main job
        echo $$ > main/cgroup.procs
        echo +cpu +io +memory +pids > cgroup.subtree_control
        echo 67108864 > job/memory.max
        echo 7 > job/pids.max
        sleep infinity & echo $! > job/cgroup.procs
        cat job/cgroup.controllers job/memory.max job/pids.max job/cgroup.type
        wc -l < job/cgroup.procs
        kill $!
    """
    options = ("--scope", "--quiet", "--collect", "-p", "Delegate=yes")
    out = run("systemd-run", *options, "sh", "-c", script).splitlines()
    assert set(out[0].split()) >= set(CONTROLLERS), out
    assert out[1:] == ["67108864", "7", "domain", "1"], out
