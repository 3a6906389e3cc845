"""`sync` by hand: looking before, choosing what travels, how fast, and stopping."""

import json
import signal
from pathlib import Path

import pytest
from harness.host import Host
from harness.serving import Away
from harness.waiting import DEADLINE_S, until

pytestmark = pytest.mark.once


def tree(host: Host) -> Path:
    """The one workspace's tree."""
    (found,) = (host.state / "workspaces").glob("*/tree")
    return found


def test_a_dry_run_lists_every_delete_and_all_that_gives_way(host: Host) -> None:
    for number in range(1200):
        host.write(f"old/f{number:04}", "x")
    host.run("sync").expect(0)
    for number in range(1100):
        (tree(host) / f"old/f{number:04}").write_text("a job's")
    (host.project / "old").rename(host.project / "new")
    planned = host.run("sync", "--dry-run").expect(0).text.splitlines()
    assert [line for line in planned if line.startswith("delete")] == [
        f"delete   old/f{number:04}" for number in range(1100, 1200)
    ]
    kept = [line for line in planned if line.startswith("keep")]
    assert len(kept) == 1100
    written = [line for line in planned if line.startswith("write")]
    assert len(written) == 1201
    assert not any("more" in line for line in planned)
    told = host.json("sync", "--dry-run", "--delete", "exact")
    assert len(told["displaced"]["paths"]) == told["displaced"]["total"] == 1100
    assert (tree(host) / "old/f0000").exists()


def test_a_path_is_explained(host: Host) -> None:
    host.write(".gitignore", "*.log\n/build/\n")
    host.write("sub/.legworkignore", "!kept.log\n")
    for name in ("a.txt", "x.log", "build/deep/out", "sub/kept.log", ".git/config"):
        host.write(name, "x\n")

    def told(path: str, *options: str) -> str:
        return host.ok("sync", "--explain", path, *options).strip()

    assert told("a.txt") == "a.txt is mirrored"
    host.run("sync").expect(0)
    assert told("a.txt") == "a.txt is mirrored; the mirror has it as it is"
    host.write("a.txt", "other\n")
    assert told("./sub/../a.txt") == "a.txt is mirrored; it changed since it was mirrored"
    assert told("x.log") == "x.log is left out by `*.log` in .gitignore"
    assert told("build/deep/out") == (
        "build/deep/out is left out with build, by `/build/` in .gitignore"
    )
    assert told("sub/kept.log").startswith("sub/kept.log is mirrored")
    assert told(".git/config").startswith(".git/config is left out with .git, since it is a repo")
    assert "because you chose it" in told("build/deep/out", "--include", "build")
    assert told("nothing") == "nothing is not there"
    assert told(str(host.project / "x.log")).startswith("x.log is left out")
    explained = json.loads(told("build/deep/out", "--json"))
    assert explained == {
        "path": "build/deep/out",
        "fate": "leftOut",
        "rule": {"at": "build", "line": "/build/", "file": ".gitignore"},
        "state": "new",
    }
    outside = host.run("sync", "--explain", "../elsewhere", "--json").expect(2)
    assert outside.error()["reason"] == "USAGE"


def test_what_is_chosen_travels_although_it_is_ignored(host: Host) -> None:
    host.write(".gitignore", "/dist/\n*.bin\n")
    for name in ("dist/app", "dist/big.bin", "dist/other/x", "a.bin", ".git/HEAD", "node/x"):
        host.write(name, "x\n")
    host.run("sync", "--with-git", "--include", "dist/app", "--include", "*.bin").expect(0)
    found = {str(path.relative_to(tree(host))) for path in tree(host).rglob("*") if path.is_file()}
    assert found == {".gitignore", "dist/app", "a.bin", ".git/HEAD", "node/x"}
    # For every time, and for `run` too.
    host.write("legwork.toml", '[sync]\ninclude = ["dist"]\n')
    listed = host.run("run", "-q", "--", "find", "dist", "-type", "f").expect(0).text
    assert sorted(listed.split()) == ["dist/app", "dist/big.bin", "dist/other/x"]
    host.write("legwork.toml", '[sync]\nincludes = ["dist"]\n')
    refused = host.run("sync", "--json").expect(1).error()
    assert (refused["reason"], refused["hint"]) == ("BAD_CONFIG", "did you mean `include`?")
    host.write("legwork.toml", '[sync]\nbwlimit = "fast"\n')
    assert "fast" in host.run("sync", "--json").expect(1).error()["message"]
    bad = host.run("sync", "--include", "a[", "--json").expect(2)
    assert bad.error()["reason"] == "USAGE"


def test_the_users_settings_are_weaker_than_the_projects_and_survive(host: Host) -> None:
    config = host.home / "config/legwork/config.toml"
    config.parent.mkdir(parents=True)
    config.write_text('[sync]\ndelete = "exact"\nwith_git = true\n')
    host.write("a", "1\n")
    host.write(".git/HEAD", "x\n")
    host.run("sync").expect(0)
    (tree(host) / "made").write_text("a job's\n")
    host.write("legwork.toml", '[sync]\ndelete = "owned"\n')
    host.run("sync").expect(0)
    assert {path.name for path in tree(host).iterdir()} == {".git", "a", "made", "legwork.toml"}
    (host.project / "legwork.toml").unlink()
    host.run("sync").expect(0)
    assert {path.name for path in tree(host).iterdir()} == {".git", "a"}
    host.run("context", "use", "local").expect(0)
    assert 'delete = "exact"' in config.read_text()


def test_a_whole_home_is_mirrored_only_by_request(host: Host) -> None:
    (host.home / "secret").write_text("s\n")
    for cwd, words in ((host.home, "your home"), (Path("/"), "root of this machine")):
        refused = host.run("sync", "--json", cwd=cwd).expect(1).error()
        assert refused["reason"] == "WHOLE_ROOT"
        assert words in refused["message"]
        assert "--whole" in refused["hint"]
    ran = host.run("run", "--json", "--", "true", cwd=host.home).expect(125)
    assert ran.error()["reason"] == "WHOLE_ROOT"
    assert not (host.state / "workspaces").exists()
    host.run("run", "--no-sync", "--", "true", cwd=host.home).expect(0)
    host.run("sync", "--whole", cwd=host.home).expect(0)
    assert (tree(host) / "secret").read_text() == "s\n"


def test_a_slow_sync_stops_at_once(away: Away) -> None:
    laptop = away.laptop
    (laptop.project / "big").write_bytes(bytes(range(256)) * 8192)
    # Two MiB would take half an hour.
    pushing = laptop.popen("sync", "--bwlimit", "1K", "--json")
    until(
        lambda: any((away.host.state / "workspaces").glob("*/staging/new")),
        "the server has begun to receive",
    )
    pushing.send_signal(signal.SIGINT)
    _, err = pushing.communicate(timeout=DEADLINE_S)
    assert pushing.returncode == 130
    assert json.loads(err.splitlines()[-1])["reason"] == "INTERRUPTED"
    laptop.run("sync").expect(0)
    assert (tree(away.host) / "big").stat().st_size == 2 << 20


def test_rates_and_what_was_sent_are_told(host: Host) -> None:
    host.write("a", "x" * 1000)
    done = host.run("sync", "--bwlimit", "10MiB/s").expect(0).error_text
    assert "1 written (1000 B), 0 deleted, 1 path in the mirror; 1000 B sent in " in done
    assert host.run("sync").expect(0).error_text.strip().endswith("1 path in the mirror")
    (host.project / "a").rename(host.project / "b")
    assert "; 0 B sent and 1000 B reused in " in host.run("sync").expect(0).error_text
    for bad in ("0", "fast", "1KB/h"):
        host.run("sync", "--bwlimit", bad).expect(2)
