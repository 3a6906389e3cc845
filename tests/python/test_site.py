"""Directories of the admin's choosing: kept identical, and never the wrong one."""

import json
import os
import pwd
import shutil
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from harness.host import Host, Word
from harness.mirroring import Mirroring, same
from harness.mirroring import content as contents_of
from harness.relay import Relay
from harness.serving import LISTEN, Away, Serving
from harness.waiting import DEADLINE_S, until

pytestmark = pytest.mark.once


def contents(root: Path) -> dict[str, str | None]:
    """All that is below a directory; ``None`` is a directory."""
    found: dict[str, str | None] = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        if path.is_symlink():
            found[name] = f"-> {path.readlink()}"
        else:
            found[name] = None if path.is_dir() else path.read_text()
    return found


@dataclass
class Site:
    """A server with a site, and anna, who may write to it, on a laptop of hers."""

    away: Away
    path: Path
    config: Path

    @property
    def anna(self) -> Host:
        """The writer's place."""
        return self.away.laptop

    @property
    def store(self) -> Path:
        """Where the mirror's own files are."""
        return self.path.with_name(f".legwork-{self.path.name}")

    def sync(self, *options: Word, code: int = 0) -> str:
        """Make the site what anna's project is; what was said."""
        words = ("sync", "--workspace", "site", "--delete", "exact", *options)
        return self.anna.run(*words).expect(code).error_text

    def refused(self, *options: Word) -> str:
        """The reason why it is not."""
        words = ("sync", "--json", "--workspace", "site", "--delete", "exact", *options)
        return self.anna.run(*words).expect(1).error()["reason"]

    def is_annas(self) -> None:
        """Fail unless it is what anna has."""
        assert contents(self.path) == contents(self.anna.project)


@pytest.fixture
def site(host: Host, laptop: Host) -> Iterator[Site]:
    path = host.top / "srv" / "site"
    path.mkdir(parents=True)
    config = host.tmp / "server.toml"
    config.write_text(f'[workspace.site]\npath = "{path}"\nwriters = ["anna", "carl"]\n')
    with Relay() as relay:
        options = ("--config", config, "--advertise", relay.address)
        server = Serving(host, *LISTEN, "--init", *options)
        relay.lead_to(server.address)
        away = Away(host, laptop, server, relay)
        try:
            away.join(laptop, "anna")
            yield Site(away, path, config)
        finally:
            away.server.__exit__()


def test_it_is_kept_identical(site: Site) -> None:
    anna = site.anna
    for name in ("index.html", "css/a.css", "img/deep/b.txt", "old/page"):
        anna.write(name, f"{name}\n")
    (anna.project / "link").symlink_to("index.html")
    (anna.project / "empty").mkdir()
    site.sync()
    site.is_annas()
    # Edited, moved, deleted, a file for a directory.
    anna.write("index.html", "edited\n")
    (anna.project / "css").rename(anna.project / "style")
    shutil.rmtree(anna.project / "old")
    anna.write("old", "a file now\n")
    site.sync()
    site.is_annas()
    # What somebody else put or changed there does not stay, and is not lost.
    (site.path / "upload").mkdir()
    (site.path / "upload/x").write_text("theirs\n")
    (site.path / "index.html").write_text("defaced\n")
    assert "upload" in site.sync()
    site.is_annas()
    lost = {path.read_text() for path in site.store.rglob("trash/**/*") if path.is_file()}
    assert lost == {"theirs\n", "defaced\n"}


def test_a_watch_keeps_it_identical(site: Site) -> None:
    anna = site.anna
    for number in range(30):
        anna.write(f"pages/p{number}", f"page {number}\n")
    anna.write("large.bin", os.urandom(2 << 20))
    exact = ("--workspace", "site", "--delete", "exact")
    with Mirroring(anna, *exact) as mirror:
        same(anna.project, site.path, ())
        # Made, edited in place and by a rename, deleted; a link, a mode, an empty directory.
        anna.write("new/deep/er/page", "new\n")
        anna.write("pages/p1", "edited\n")
        (anna.project / "pages/.p2.swp").write_text("saved\n")
        (anna.project / "pages/.p2.swp").rename(anna.project / "pages/p2")
        (anna.project / "pages/p3").unlink()
        (anna.project / "pages/p4").chmod(0o755)
        (anna.project / "link").symlink_to("pages/p1")
        (anna.project / "hollow").mkdir()
        same(anna.project, site.path, ())
        before = mirror.sent()
        whole = anna.tmp / "whole"
        for name, copy in (("large.bin", "copy.bin"), ("pages/p9", "pages/copy")):
            shutil.copy(anna.project / name, whole)
            whole.rename(anna.project / copy)
        (anna.project / "pages").rename(anna.project / "moved")
        (anna.project / "large.bin").rename(anna.project / "moved/large.bin")
        same(anna.project, site.path, ())
        assert mirror.sent() == before, "it is all there"
        # A file for a directory and the other way round; and all of a directory.
        shutil.rmtree(anna.project / "new")
        anna.write("new", "a file\n")
        (anna.project / "link").unlink()
        anna.write("link/file", "in a directory\n")
        same(anna.project, site.path, ())
        # What others put there goes with the next look at everything, and is not lost.
        (site.path / "upload").write_text("theirs\n")
        mirror.interrupt()
    site.sync()
    site_is, annas = contents_of(site.path), contents_of(anna.project)
    assert site_is == annas
    lost = {path.read_text() for path in site.store.rglob("trash/**/*") if path.is_file()}
    assert lost == {"theirs\n"}


def test_it_is_known_again_after_a_restart(site: Site) -> None:
    site.anna.write("a", "1\n")
    site.sync()
    site.away.end()
    site.away.again("--config", site.config)
    (site.anna.project / "a").rename(site.anna.project / "b")
    told = site.sync()
    site.is_annas()
    assert "trash" not in told, "the mirror knows what it wrote"


def test_for_others_it_is_not_there(site: Site, elsewhere: Host) -> None:
    site.anna.write("a", "1\n")
    site.sync()
    site.away.join(elsewhere, "bob", role="admin")
    elsewhere.write("mine", "bob's\n")
    for words in (
        ("sync", "--workspace", "site"),
        ("pull", "--workspace", "site", "a"),
        ("trash", "list", "--workspace", "site"),
    ):
        refused = elsewhere.run(*words, "--json").expect(5)
        assert refused.error()["reason"] == "WORKSPACE_NOT_FOUND", words
    assert elsewhere.run("run", "--workspace", "site", "--", "true").code == 125
    site.is_annas()
    assert elsewhere.json("workspaces") == []
    (listed,) = site.anna.json("workspaces")
    assert (listed["name"], listed["site"], listed["tree"]) == ("site", True, str(site.path))
    assert listed["entries"] == 1
    refused = site.anna.run("workspaces", "rm", "site", "--json").expect(1)
    assert refused.error()["reason"] == "WORKSPACE_IS_SITE"


def test_a_writer_who_never_ends_gives_way_to_another_one(site: Site, elsewhere: Host) -> None:
    anna, carl = site.anna, elsewhere
    site.away.join(carl, "carl")
    anna.write("large", os.urandom(64 << 20))
    carl.write("index.html", "carl's\n")
    words = ("sync", "--json", "--workspace", "site", "--delete", "exact")
    # It would take four minutes.
    with anna.popen(*words, "--compress", "none", "--bwlimit", "256K") as slow:
        try:
            staged = site.store / "staging/new"
            until(staged.exists, "it has its turn")
            carl.run(*words, "--takeover", "--force-delete").expect(0)
            assert contents(site.path) == {"index.html": "carl's\n"}
            _, told = slow.communicate(timeout=DEADLINE_S)
        finally:
            slow.kill()
    error = json.loads(told.splitlines()[-1])
    assert error["reason"] == "OTHER_WRITER", error
    assert str(carl.project) in error["message"]
    assert "--takeover" in error["hint"]


def test_its_writers_run_jobs_in_it(site: Site) -> None:
    site.anna.write("a", "1\n")
    ran = site.anna.run("run", "--workspace", "site", "--", "sh", "-c", "pwd; cat a; echo x > made")
    assert ran.expect(0).text == f"{site.path}\n1\n"
    assert (site.path / "made").read_text() == "x\n"
    assert "made" in site.sync()
    site.is_annas()


def test_what_was_there_is_taken_over_only_by_request(site: Site) -> None:
    site.anna.write("a", "1\n")
    (site.path / "theirs").write_text("theirs\n")
    assert site.refused() == "SITE_NOT_EMPTY"
    assert site.refused("--dry-run") == "SITE_NOT_EMPTY"
    assert contents(site.path) == {"theirs": "theirs\n"}
    planned = site.anna.run(
        "sync", "--workspace", "site", "--delete", "exact", "--adopt", "--dry-run"
    ).expect(0)
    assert planned.text == "write    a\ndisplace theirs\n"
    assert contents(site.path) == {"theirs": "theirs\n"}
    assert site.refused() == "SITE_NOT_EMPTY", "a dry run adopts nothing"
    site.sync("--adopt")
    site.is_annas()
    (kept,) = site.store.glob("trash/*/theirs")
    assert kept.read_text() == "theirs\n"
    (site.anna.project / "b").write_text("2\n")
    site.sync()
    site.is_annas()


def test_another_directory_in_its_place_is_not_touched(site: Site) -> None:
    site.anna.write("a", "1\n")
    site.sync()
    aside = site.path.with_name("aside")
    site.path.rename(aside)
    assert site.refused() == "SITE_MISSING"
    # As when a file system is not mounted: an empty directory, and one with other things in it.
    site.path.mkdir()
    assert site.refused() == "SITE_REPLACED"
    assert site.refused("--dry-run") == "SITE_REPLACED"
    assert site.anna.run("run", "--workspace", "site", "--", "true").code == 125
    (site.path / "other").write_text("other\n")
    assert site.refused() == "SITE_REPLACED"
    assert contents(site.path) == {"other": "other\n"}
    shutil.rmtree(site.path)
    aside.rename(site.path)
    site.sync()
    site.is_annas()
    site.path.rename(aside)
    site.path.symlink_to(aside)
    assert site.refused() == "SITE_MISSING"
    site.path.unlink()
    site.path.mkdir()
    site.sync("--adopt")
    site.is_annas()


def test_a_lost_source_or_store_empties_nothing(site: Site) -> None:
    for number in range(60):
        site.anna.write(f"f{number}", "x")
    site.sync()
    for path in site.anna.project.iterdir():
        path.unlink()
    assert site.refused() == "EMPTY_ROOT"
    site.anna.write("f0", "x")
    assert site.refused() == "MASS_DELETE"
    assert len(contents(site.path)) == 60
    site.store.rename(site.store.with_name("lost"))
    assert site.refused("--force-delete") == "SITE_REPLACED"
    assert len(contents(site.path)) == 60


def test_places_that_nobody_means_are_refused_at_the_start(host: Host) -> None:
    config = host.tmp / "server.toml"
    root = ("--allow-root",) if os.geteuid() == 0 else ()
    for path, why in (
        ("/", "root of the file system"),
        ("/etc/legwork", "directory of the system"),
        (str(host.home), "home directory"),
        (str(host.top), "in each other"),
        (str(host.state), "state directory"),
        ("srv/site", "absolute"),
    ):
        config.write_text(f'[workspace.site]\npath = "{path}"\nwriters = ["anna"]\n')
        refused = host.run("serve", "--json", *root, "--config", config).expect(1).error()
        assert refused["reason"] == "BAD_SITE"
        assert "workspace.site.path" in refused["message"]
        assert why in refused["message"], refused
    config.write_text('[workspace.site]\npath = "/srv/site"\nwriter = ["anna"]\n')
    refused = host.run("serve", "--json", *root, "--config", config).expect(1).error()
    assert (refused["reason"], refused["hint"]) == ("BAD_CONFIG", "did you mean `writers`?")


@pytest.mark.skipif(os.geteuid() != 0, reason="SKIPPED: needs root")
def test_a_root_server_touches_it_as_the_writers_user(host: Host, laptop: Host) -> None:
    games, daemon = pwd.getpwnam("games"), pwd.getpwnam("daemon")
    path = host.top / "srv" / "site"
    path.mkdir(parents=True)
    os.chown(path, games.pw_uid, games.pw_gid)
    config = host.tmp / "server.toml"
    config.write_text(
        f'[run]\nuser = "games"\nusers.eve = "daemon"\n'
        f'[workspace.site]\npath = "{path}"\nwriters = ["anna", "eve"]\n'
    )
    laptop.write("a/b", "1\n")
    with Relay() as relay:
        options = ("--config", config, "--advertise", relay.address)
        command = host.popen("serve", "--json", *LISTEN, "--init", *options)
        assert command.stdout
        try:
            told = json.loads(command.stdout.readline())
            relay.lead_to(told["addresses"][0])
            for name in ("anna", "eve"):
                token = host.ok("invite", name, "--role", "run").strip()
                laptop.ok("join", "--name", name, stdin=token.encode())
            words = ("--workspace", "site", "--delete", "exact")
            laptop.run("sync", "-C", "anna", *words).expect(0)
            assert contents(path) == {"a": None, "a/b": "1\n"}
            store = path.with_name(".legwork-site")
            for made in (path / "a", path / "a/b", store, store / "index"):
                assert made.stat().st_uid == games.pw_uid, made
            assert store.stat().st_mode & 0o7777 == 0o700
            ran = laptop.run(
                "run", "-q", "-C", "anna", "--workspace", "site", "--", "sh", "-c", "id -u; pwd"
            )
            assert ran.expect(0).text == f"{games.pw_uid}\n{path}\n"
            refused = laptop.run("sync", "-C", "eve", "--json", *words).expect(1).error()
            assert refused["reason"] == "WORKSPACE_OTHER_USER"
            assert "games" in refused["message"] and "daemon" in refused["message"]
            assert daemon.pw_uid not in {made.stat().st_uid for made in path.rglob("*")}
        finally:
            command.send_signal(signal.SIGTERM)
            command.communicate(timeout=DEADLINE_S)
