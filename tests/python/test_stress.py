"""Programs that take all they can get, against limits, and a real build that is cut off.

The limits are those that need no control group: the others are tried in the virtual machine.
"""

import os
import shutil
from pathlib import Path

import pytest
from harness import processes
from harness.host import Host
from harness.waiting import until

pytestmark = pytest.mark.once

STRESS = shutil.which("stress-ng")
needs_stress = pytest.mark.skipif(STRESS is None, reason="stress-ng is not installed")
RUN = ("run", "--no-sync", "-q")


def stress(host: Host, *what: str) -> tuple[str, ...]:
    """Its command line, for 60 seconds in the test's own directory."""
    return ("--", str(STRESS), "--temp-path", str(host.tmp), "--timeout", "60s", *what)


def last(host: Host) -> dict[str, object]:
    """The newest job."""
    return host.json("ps", "-a")[0]


def nothing_is_left(host: Host) -> None:
    """No process of the newest job lives."""
    assert processes.of_job(str(last(host)["id"])) == []


@needs_stress
@pytest.mark.parametrize("what", [("--cpu", "2"), ("--fork", "2"), ("--switch", "1")])
def test_processor_time_is_counted_whatever_uses_it(host: Host, what: tuple[str, ...]) -> None:
    host.run(*RUN, "--cpu-time", "1s", *stress(host, *what)).expect(124)
    assert last(host)["finish"]["cause"] == "cpu_time"
    nothing_is_left(host)


@needs_stress
def test_the_time_limit_ends_what_forks_all_the_time(host: Host) -> None:
    host.run(*RUN, "--timeout", "1s", *stress(host, "--daemon", "2", "--zombie", "2")).expect(124)
    assert last(host)["finish"]["cause"] == "timeout"
    nothing_is_left(host)


@needs_stress
def test_what_fills_the_disk_is_told_as_that(host: Host) -> None:
    limits = ("--dir", str(host.tmp), "--disk", "32M")
    write = stress(host, "--hdd", "1", "--hdd-bytes", "512M", "--hdd-opts", "noatime")
    host.run(*RUN, *limits, *write).expect(124)
    finish = last(host)["finish"]
    assert finish["cause"] == "disk"
    assert finish["usage"]["diskBytes"] > 32 << 20
    nothing_is_left(host)


@needs_stress
def test_a_file_ends_where_its_limit_is(host: Host) -> None:
    write = stress(host, "--hdd", "1", "--hdd-bytes", "64M", "--keep-files")
    host.run(*RUN, "--file-size", "1M", *write)
    largest = max(path.stat().st_size for path in host.tmp.rglob("*") if path.is_file())
    assert largest <= 1 << 20
    nothing_is_left(host)


@needs_stress
def test_an_address_space_is_as_small_as_it_is_told(host: Host) -> None:
    took = stress(host, "--vm", "1", "--vm-bytes", "256M", "--vm-ops", "1")
    free = host.run(*RUN, *took)
    held = host.run(*RUN, "--rlimit", "as=64M", *took)
    assert free.code == 0, free.err
    assert (held.code, held.out + held.err) != (0, free.out + free.err)
    nothing_is_left(host)


PACKAGE = '[package]\nname = "victim"\nversion = "0.1.0"\nedition = "2021"\n'
LIBRARY = """
#[test]
fn starts_others_and_never_ends() {
    std::process::Command::new("sh").args(["-c", "sleep 600 & setsid sleep 600"]).spawn().unwrap();
    std::fs::write(std::env::var("STARTED").unwrap(), "").unwrap();
    loop {
        std::thread::park();
    }
}
"""


@pytest.mark.parametrize("how", ["stop", "stop --grace 0s", "kill the shim", "kill the command"])
def test_a_real_cargo_test_that_is_cut_off_leaves_no_process(host: Host, how: str) -> None:
    cargo = shutil.which("cargo")
    if cargo is None:
        pytest.skip("cargo is not in the PATH")
    host.write("Cargo.toml", PACKAGE)
    host.write("src/lib.rs", LIBRARY)
    started = host.tmp / "started"
    home = Path(os.environ["HOME"])
    env = {
        "PATH": os.environ["PATH"],
        "CARGO_HOME": os.environ.get("CARGO_HOME", str(home / ".cargo")),
        "RUSTUP_HOME": os.environ.get("RUSTUP_HOME", str(home / ".rustup")),
        "STARTED": str(started),
    }
    given = [word for name, value in env.items() for word in ("--env", f"{name}={value}")]
    command = host.popen("run", "-q", *given, "--", "cargo", "test", "--offline")
    until(started.exists, "the test runs", deadline_s=120)
    (job,) = host.json("ps")
    assert len(processes.of_job(job["id"])) >= 4
    if how == "kill the shim":
        processes.kill(host.claim(job["id"])["shim_pid"])
        assert command.wait(30) == 255
    elif how == "kill the command":
        command.kill()
        command.wait()
        assert host.status(job["id"])["state"] == "running"
        host.ok("stop", job["id"])
    else:
        host.ok(*how.split(), job["id"])
        assert command.wait(30) in (128 + 15, 128 + 9)
    command.communicate()
    until(lambda: processes.of_job(job["id"]) == [], "no process of it is left")
