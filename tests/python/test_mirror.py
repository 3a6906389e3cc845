"""The mirror: what travels, what stays, what gives way, and what comes back."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness.host import Host, Result
from harness.waiting import DEADLINE_S


@pytest.fixture
def project(host: Host) -> Iterator[Path]:
    """A small project with a build directory that is ignored."""
    host.write("main.txt", "one\n")
    host.write("src/deep/er/file.txt", "deep\n")
    host.write("bin/tool", "#!/bin/sh\necho tool\n", 0o755)
    host.write(".gitignore", "/build/\n*.tmp\n")
    return host.project


def mirrored(host: Host, script: str, *options: str) -> Result:
    """Run a shell script in the mirror."""
    return host.run("run", "-q", *options, "--", "sh", "-c", script)


def tree(host: Host) -> Path:
    """The one workspace's tree."""
    (found,) = (host.state / "workspaces").glob("*/tree")
    return found


@pytest.mark.usefixtures("project")
def test_a_command_runs_in_a_mirror_of_this_directory(host: Host) -> None:
    result = mirrored(host, "pwd; cat main.txt src/deep/er/file.txt; ./bin/tool").expect(0)
    where, *rest = result.text.splitlines()
    assert rest == ["one", "deep", "tool"]
    assert Path(where) == tree(host)


@pytest.mark.usefixtures("project")
def test_an_edit_travels(host: Host) -> None:
    mirrored(host, "true").expect(0)
    host.write("main.txt", "two\n")
    host.write("new.txt", "new\n")
    assert mirrored(host, "cat main.txt new.txt").expect(0).text == "two\nnew\n"


@pytest.mark.usefixtures("project")
def test_an_edit_that_keeps_size_and_time_is_not_needed_to_be_seen_twice(host: Host) -> None:
    # Written within the same tick of the clock as the scan before: still noticed.
    for number in range(10):
        host.write("main.txt", f"{number}\n")
        assert mirrored(host, "cat main.txt").expect(0).text == f"{number}\n"


def test_a_deletion_travels(host: Host, project: Path) -> None:
    mirrored(host, "true").expect(0)
    (project / "main.txt").unlink()
    assert mirrored(host, "test ! -e main.txt && ls src/deep/er").expect(0).text == "file.txt\n"


def test_a_renamed_directory_travels(host: Host, project: Path) -> None:
    mirrored(host, "true").expect(0)
    (project / "src").rename(project / "source")
    mirrored(host, "cat source/deep/er/file.txt && test ! -e src").expect(0)


def test_a_file_becomes_a_directory_and_back(host: Host, project: Path) -> None:
    mirrored(host, "true").expect(0)
    (project / "main.txt").unlink()
    host.write("main.txt/inside", "in\n")
    assert mirrored(host, "cat main.txt/inside").expect(0).text == "in\n"
    (project / "main.txt/inside").unlink()
    (project / "main.txt").rmdir()
    host.write("main.txt", "file again\n")
    assert mirrored(host, "cat main.txt").expect(0).text == "file again\n"


def test_what_gitignore_names_does_not_travel(host: Host, project: Path) -> None:
    host.write("build/out", "x")
    host.write("a.tmp", "x")
    host.write(".git/config", "x")
    host.write(".legworkignore", "/secret\n")
    host.write("secret/key", "x")
    mirrored(host, "! ls -d build a.tmp .git secret").expect(0)
    assert (project / "build/out").exists()


@pytest.mark.usefixtures("project")
def test_legwork_ignore_may_bring_back_what_git_ignores(host: Host) -> None:
    host.write("build/needed", "needed\n")
    host.write(".legwork" + "ignore", "!/build/\n")
    assert mirrored(host, "cat build/needed").expect(0).text == "needed\n"


def test_modes_and_links_are_kept(host: Host, project: Path) -> None:
    (project / "link").symlink_to("src/deep")
    (project / "dangling").symlink_to("/nowhere/at/all")
    script = (
        "test -x bin/tool && ! test -x main.txt && readlink link dangling && cat link/er/file.txt"
    )
    assert mirrored(host, script).expect(0).text == "src/deep\n/nowhere/at/all\ndeep\n"
    (project / "bin/tool").chmod(0o644)
    (project / "main.txt").chmod(0o755)
    mirrored(host, "! test -x bin/tool && test -x main.txt").expect(0)


def test_names_are_bytes(host: Host, project: Path) -> None:
    for name in (b"gr\xc3\xbcn", b"\xff\xfe", b"two words", b"new\nline", b"-rf"):
        path = os.fsencode(project) + b"/" + name
        with open(path, "wb") as file:  # noqa: PTH123
            file.write(name)
    done = mirrored(host, "cat ./gr* ./two* ./new* ./-rf && ls | wc -l").expect(0)
    assert done.out.startswith("grün".encode() + b"two wordsnew\nline-rf")


@pytest.mark.usefixtures("project")
def test_what_a_job_made_stays(host: Host) -> None:
    mirrored(host, "mkdir build; echo made > build/out; echo mine > made.txt").expect(0)
    host.write("main.txt", "edited\n")
    assert (
        mirrored(host, "cat build/out made.txt main.txt").expect(0).text == "made\nmine\nedited\n"
    )


def test_what_a_job_changed_gives_way_to_an_edit_and_is_kept_in_the_trash(
    host: Host, project: Path
) -> None:
    mirrored(host, "echo changed by the job > main.txt").expect(0)
    host.write("main.txt", "edited\n")
    result = host.run("run", "--", "cat", "main.txt").expect(0)
    assert result.text == "edited\n"
    assert "trash" in result.error_text
    assert "main.txt" in result.error_text or "1 " in result.error_text
    kept = [p for p in tree(host).parent.glob("trash/**/main.txt") if p.is_file()]
    assert [p.read_text() for p in kept] == ["changed by the job\n"]
    assert (project / "main.txt").read_text() == "edited\n"


def test_a_deleted_source_does_not_take_a_changed_file_with_it(host: Host, project: Path) -> None:
    mirrored(host, "echo changed by the job > main.txt").expect(0)
    (project / "main.txt").unlink()
    mirrored(host, "true").expect(0)
    somewhere = list(tree(host).parent.rglob("main.txt"))
    assert any(p.read_text() == "changed by the job\n" for p in somewhere)


@pytest.mark.usefixtures("project")
def test_a_job_may_delete_a_source_and_gets_it_again(host: Host) -> None:
    mirrored(host, "rm main.txt").expect(0)
    host.write("other.txt", "x")
    assert mirrored(host, "cat main.txt").expect(0).text == "one\n"


def test_an_empty_project_does_not_empty_the_mirror(host: Host, project: Path) -> None:
    mirrored(host, "true").expect(0)
    moved = host.tmp / "moved"
    for entry in list(project.iterdir()):
        moved.mkdir(exist_ok=True)
        entry.rename(moved / entry.name)
    refused = host.run("run", "--json", "--", "true").expect(125)
    assert refused.error()["reason"] == "EMPTY_ROOT"
    assert (tree(host) / "main.txt").exists()


def test_an_empty_project_can_be_run_in(host: Host) -> None:
    assert mirrored(host, "ls -A | wc -l").expect(0).text.strip() == "0"
    assert mirrored(host, "echo again").expect(0).text == "again\n"


def test_a_mass_deletion_needs_a_word(host: Host, project: Path) -> None:
    for number in range(300):
        host.write(f"many/{number}", "x")
    mirrored(host, "true").expect(0)
    for number in range(300):
        (project / f"many/{number}").unlink()
    refused = host.run("sync", "--json").expect(1)
    assert refused.error()["reason"] == "MASS_DELETE"
    assert refused.error()["hint"]
    assert (tree(host) / "many/7").exists()
    host.ok("sync", "--force-delete")
    assert not (tree(host) / "many/7").exists()


def test_the_projects_file_marks_the_root(host: Host, project: Path) -> None:
    host.write("legwork.toml", "")
    result = host.run(
        "run", "-q", "--", "sh", "-c", "pwd; cat ../../main.txt", cwd=project / "src/deep"
    )
    if result.code != 0:
        result = host.run(
            "run", "-q", "--", "sh", "-c", "pwd; cat main.txt", cwd=project / "src/deep"
        )
    result.expect(0)
    assert result.text.endswith("one\n")
    assert (tree(host) / "src/deep/er/file.txt").exists()


def test_dir_is_inside_the_mirror(host: Host, project: Path) -> None:
    assert project
    result = mirrored(host, "pwd; cat file.txt", "--dir", "src/deep/er").expect(0)
    assert result.text == f"{tree(host)}/src/deep/er\ndeep\n"


def test_sync_alone(host: Host, project: Path) -> None:
    host.ok("sync")
    assert (tree(host) / "src/deep/er/file.txt").read_text() == "deep\n"
    assert project


def test_sync_of_another_directory(host: Host) -> None:
    other = host.user.owns(host.tmp)
    (other / "there").write_text("there\n")
    host.user.owns(other / "there")
    host.ok("sync", str(other))
    assert (tree(host) / "there").read_text() == "there\n"


@pytest.mark.usefixtures("project")
def test_a_dry_run_says_what_and_changes_nothing(host: Host) -> None:
    said = host.run("sync", "--dry-run").expect(0)
    words = said.text + said.error_text
    assert "main.txt" in words
    assert not list((host.state / "workspaces").glob("*/tree/main.txt"))
    host.ok("sync")
    host.write("main.txt", "edited\n")
    words = (again := host.run("sync", "--dry-run").expect(0)).text + again.error_text
    assert "main.txt" in words
    assert "file.txt" not in words
    assert (tree(host) / "main.txt").read_text() == "one\n"


@pytest.mark.usefixtures("project")
def test_nothing_changed_sends_no_data(host: Host) -> None:
    first = host.json("sync")
    again = host.json("sync")
    assert first != again
    assert again["root"] == first["root"]
    assert first["sentFiles"] == 4
    assert first["sentBytes"] > 0
    assert (again["sentFiles"], again["sentBytes"]) == (0, 0)


def test_pull_brings_results_back(host: Host, project: Path) -> None:
    script = "mkdir -p build/sub; echo r > build/result; echo s > build/sub/s; echo n > not"
    job = host.run("run", "-d", "--", "sh", "-c", script).expect(0).text.strip()
    host.finished(job)
    host.ok("pull", job, "build/**")
    assert (project / "build/result").read_text() == "r\n"
    assert (project / "build/sub/s").read_text() == "s\n"
    assert not (project / "not").exists()
    host.ok("pull", job, "build/result", "--into", str(host.tmp))
    assert [p.read_text() for p in host.tmp.rglob("result")] == ["r\n"]


@pytest.mark.usefixtures("project")
def test_run_with_pull_brings_an_executable_back(host: Host) -> None:
    script = "mkdir build; printf '#!/bin/sh\\necho built\\n' > build/app; chmod +x build/app"
    mirrored(host, script, "--pull", "build/app").expect(0)
    assert os.access(host.project / "build/app", os.X_OK)


@pytest.mark.usefixtures("project")
def test_pull_happens_when_the_command_failed_too(host: Host) -> None:
    mirrored(host, "mkdir build; echo log > build/log; exit 4", "--pull", "build/log").expect(4)
    assert (host.project / "build/log").read_text() == "log\n"


@pytest.mark.usefixtures("project")
def test_pull_takes_what_a_job_rewrote_in_place(host: Host, project: Path) -> None:
    main = project / "main.txt"
    mirrored(host, "echo formatted > main.txt", "--pull", "main.txt").expect(0)
    assert main.read_text() == "formatted\n"
    # Edited and pushed again: what was pushed may be replaced, by a pull of its own as well.
    host.write("main.txt", "edited\n")
    mirrored(host, "echo again > main.txt").expect(0)
    (job,) = [job for job in host.json("ps", "-a") if "again" in job["argv"][-1]]
    host.ok("pull", job["id"], "main.txt")
    assert main.read_text() == "again\n"
    named = ("--workspace", "other")
    host.write("main.txt", "edited\n")
    mirrored(host, "echo named > main.txt", *named).expect(0)
    host.ok("pull", *named, "main.txt")
    assert main.read_text() == "named\n"


@pytest.mark.usefixtures("project")
def test_pull_keeps_what_was_edited_meanwhile(host: Host, project: Path) -> None:
    main = project / "main.txt"
    script = f"echo edited > {main}; echo formatted > main.txt"
    refused = mirrored(host, script, "--pull", "main.txt").expect(1)
    assert "main.txt was changed here" in refused.error_text or "not replaced" in refused.error_text
    assert main.read_text() == "edited\n"
    mirrored(host, script, "--pull", "main.txt", "--force").expect(0)
    assert main.read_text() == "formatted\n"
    host.run("run", "--force", "--", "true").expect(2)


@pytest.mark.usefixtures("project")
def test_pull_elsewhere_replaces_nothing(host: Host, project: Path) -> None:
    elsewhere = host.user.owns(_made(host.tmp / "elsewhere"))
    copy = elsewhere / "main.txt"
    copy.write_text("one\n")
    host.user.owns(copy)
    mirrored(host, "echo formatted > main.txt").expect(0)
    (job,) = host.json("ps", "-a")
    host.run("pull", job["id"], "main.txt", "--into", str(elsewhere)).expect(1)
    assert copy.read_text() == "one\n"
    assert (project / "main.txt").read_text() == "one\n"


@pytest.mark.usefixtures("project")
def test_pull_does_not_replace_a_directory_even_by_force(host: Host, project: Path) -> None:
    script = "rm -r src && echo file > src"
    refused = host.run("run", "--force", "--pull", "src", "--", "sh", "-c", script).expect(1)
    assert "src is a directory here" in refused.error_text
    assert "--force" not in refused.error_text
    assert (project / "src/deep/er/file.txt").exists()


@pytest.mark.once
@pytest.mark.usefixtures("project")
def test_a_path_that_cannot_be_changed_is_told_with_its_place(host: Host) -> None:
    host.ok("sync")
    pinned = tree(host) / "main.txt"
    if subprocess.run(["chattr", "+i", pinned], check=False, capture_output=True).returncode != 0:
        pytest.skip("no immutable files here")
    try:
        host.write("main.txt", "two\n")
        for _ in range(2):
            refused = host.run("run", "--json", "--", "true").expect(125).error()
            assert "main.txt" in refused["message"]
            assert str(tree(host)) in refused["hint"]
        host.write("main.txt", "one\n")
        host.write("other.txt", "other\n")
        assert mirrored(host, "cat main.txt other.txt").expect(0).text == "one\nother\n"
    finally:
        subprocess.run(["chattr", "-i", pinned], check=True)


def test_pull_does_not_leave_the_directory(host: Host, project: Path) -> None:
    outside = host.tmp / "outside"
    mirrored(host, f"mkdir build && ln -s {outside} build/way && echo x > build/x").expect(0)
    (job,) = host.json("ps", "-a")
    (project / "build").symlink_to(host.tmp)
    host.run("pull", job["id"], "build/**")
    assert not (host.tmp / "x").exists()
    assert not outside.exists()


def test_links_in_the_mirror_lead_nothing_out(host: Host, project: Path) -> None:
    # A job replaces a directory of the mirror by a link; the next run must not follow it.
    victim = host.user.owns(_made(host.tmp / "victim"))
    (victim / "file.txt").write_text("victim\n")
    mirrored(host, f"rm -r src/deep/er && ln -s {victim} src/deep/er").expect(0)
    host.write("src/deep/er/file.txt", "edited\n")
    mirrored(host, "cat src/deep/er/file.txt").expect(0)
    assert (victim / "file.txt").read_text() == "victim\n"
    (project / "src/deep/er/file.txt").unlink()
    mirrored(host, "true").expect(0)
    assert (victim / "file.txt").read_text() == "victim\n"


def _made(path: Path) -> Path:
    path.mkdir()
    return path


def test_two_projects_have_two_mirrors(host: Host) -> None:
    other = host.user.owns(_made(host.tmp / "other"))
    host.write("a", "a")
    (other / "b").write_text("b")
    host.user.owns(other / "b")
    assert mirrored(host, "ls").expect(0).text == "a\n"
    assert host.run("run", "-q", "--", "ls", cwd=other).expect(0).text == "b\n"
    assert len(list((host.state / "workspaces").glob("*/tree"))) == 2


def test_a_named_workspace(host: Host, project: Path) -> None:
    host.ok("sync", "--workspace", "second")
    host.ok("sync")
    assert len(list((host.state / "workspaces").glob("*/tree"))) == 2
    host.run("run", "-q", "--workspace", "second", "--", "cat", "main.txt").expect(0)
    host.ok("pull", "--workspace", "second", "src/**", "--into", str(host.tmp))
    assert list(host.tmp.rglob("file.txt"))
    assert project


@pytest.mark.usefixtures("project")
def test_a_running_job_keeps_its_tree(host: Host) -> None:
    script = "while ! test -e go; do sleep 0.02; done; cat main.txt"
    runner = host.popen("run", "-q", "--", "sh", "-c", script)
    (job,) = _until_runs(host)
    # Unchanged: passes at once, next to the running job.
    mirrored(host, "true").expect(0)
    host.write("main.txt", "edited\n")
    changing = host.popen("run", "--", "cat", "main.txt")
    assert changing.stderr
    assert job["shortId"][:8].encode() in changing.stderr.readline()
    (tree(host) / "go").touch()
    out, _ = runner.communicate(timeout=DEADLINE_S)
    assert out == b"one\n"
    out, _ = changing.communicate(timeout=DEADLINE_S)
    assert out == b"edited\n"


@pytest.mark.usefixtures("project")
def test_a_run_of_what_was_there_passes_one_that_waits_to_change_it(host: Host) -> None:
    script = "while ! test -e go; do sleep 0.02; done"
    runner = host.popen("run", "-q", "--", "sh", "-c", script)
    _until_runs(host)
    host.write("main.txt", "edited\n")
    changing = host.popen("run", "--", "cat", "main.txt")
    assert changing.stderr
    assert b"waiting" in changing.stderr.readline()
    host.write("main.txt", "one\n")
    assert mirrored(host, "cat main.txt").expect(0).text == "one\n"
    (tree(host) / "go").touch()
    runner.communicate(timeout=DEADLINE_S)
    out, _ = changing.communicate(timeout=DEADLINE_S)
    assert out == b"edited\n"


def _until_runs(host: Host) -> list[dict[str, object]]:
    from harness.waiting import until

    return until(lambda: host.json("ps"), "a job runs")


def test_a_run_without_a_mirror_makes_none(host: Host) -> None:
    host.run("run", "--no-sync", "--", "true").expect(0)
    assert (
        not list((host.state / "workspaces").glob("*"))
        if (host.state / "workspaces").exists()
        else True
    )


@pytest.mark.usefixtures("project")
def test_start_mirrors_as_run_does(host: Host) -> None:
    job = host.ok("start", "--", "cat", "main.txt").strip()
    host.finished(job)
    assert host.run("logs", job).out == b"one\n"


def test_killed_while_it_sends_the_next_run_is_right(host: Host, project: Path) -> None:
    for number in range(2000):
        host.write(f"data/{number % 40}/{number}", os.urandom(2000))
    for delay_ms in (5, 20, 40, 80, 160):
        process = host.popen("sync")
        try:
            process.wait(delay_ms / 1000)
        except Exception:
            process.kill()
        process.communicate()
    host.ok("sync")
    for path in sorted(project.rglob("*")):
        if path.is_file():
            assert (tree(host) / path.relative_to(project)).read_bytes() == path.read_bytes()


@pytest.mark.usefixtures("project")
def test_sync_as_json_is_one_object(host: Host) -> None:
    said = host.ok("sync", "--json")
    assert isinstance(json.loads(said), dict)


def test_a_state_directory_inside_the_project_is_not_mirrored(host: Host, project: Path) -> None:
    state = project / "state"
    for _ in range(3):
        script = "find . -type f | wc -l"
        counted = host.ok("--state", state, "run", "-q", "--", "sh", "-c", script)
        assert int(counted) == 4, "main.txt, file.txt, tool and .gitignore"


def test_runs_side_by_side_while_files_change_all_end(host: Host, project: Path) -> None:
    def save(text: str) -> None:
        # As an editor does: never half a file for the mirror to see.
        (host.tmp / "saved").write_text(text)
        (host.tmp / "saved").replace(project / "main.txt")

    # Each may be overtaken by the other's commit between its own and its start.
    for number in range(8):
        save(f"{number}\n")
        pair = [host.popen("run", "-q", "--", "cat", "main.txt") for _ in range(2)]
        save(f"{number} again\n")
        for process in pair:
            out, err = process.communicate(timeout=DEADLINE_S)
            assert process.returncode == 0, err
            assert out in (f"{number}\n".encode(), f"{number} again\n".encode())
