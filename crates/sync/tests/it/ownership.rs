//! Who owns what: the client's tree wins, a job's work is never lost.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use legwork_sync::error::PushError;
use legwork_sync::message::{Delete, Refusal};
use legwork_sync::push;

use crate::support::{Bench, Tree, link_to, paths};

#[test]
fn a_tree_arrives_as_it_is_and_changes_follow() {
    let bench = Bench::new();
    bench.write("src/main.rs", "fn main() {}");
    bench.write("src/deep/er/empty", "");
    bench.write("run.sh", "#!/bin/sh");
    fs::set_permissions(
        bench.source.join("run.sh"),
        fs::Permissions::from_mode(0o755),
    )
    .unwrap();
    fs::create_dir_all(bench.source.join("hollow/dir")).unwrap();
    link_to(&bench.source.join("src/link"), "../run.sh");
    link_to(&bench.source.join("dangling"), "/no/where");
    fs::write(
        bench
            .source
            .join(Path::new(std::ffi::OsStr::from_bytes(b"\xff\n"))),
        "odd",
    )
    .unwrap();
    let big = "0123456789abcdef".repeat(100_000);
    bench.write("big", &big);
    let pushed = bench.mirror();
    assert_eq!(bench.tree(), Tree::of(&bench.source));
    assert_eq!(pushed.sent_files, 5);
    assert_eq!(pushed.summary.written_bytes, pushed.sent_bytes);

    bench.write("src/main.rs", "fn main() { }");
    bench.remove("src/deep");
    bench.remove("hollow");
    bench.write("hollow", "now a file");
    bench.remove("dangling");
    bench.write("dangling/file", "now a directory");
    fs::set_permissions(
        bench.source.join("run.sh"),
        fs::Permissions::from_mode(0o644),
    )
    .unwrap();
    bench.write("big", &big[1..]);
    let pushed = bench.mirror();
    assert_eq!(bench.tree(), Tree::of(&bench.source));
    assert_eq!(pushed.sent_files, 4, "the exec bit alone sends nothing");
    assert_eq!(
        (pushed.summary.displaced.total, pushed.summary.kept.total),
        (0, 0)
    );
}

#[test]
fn what_jobs_make_stays_and_what_they_change_goes_to_the_trash() {
    let bench = Bench::new();
    for path in ["Cargo.lock", "src/a", "src/b", "old/gone"] {
        bench.write(path, path);
    }
    bench.mirror();
    bench.job_write("target/debug/app", "binary");
    bench.job_write("src/out.o", "object");
    bench.job_write("Cargo.lock", "changed by cargo");
    bench.job_remove("src/a");
    bench.job_write("new", "a job's");
    bench.job_write("old/notes", "a job's");
    bench.write("new", "the client's");
    bench.remove("old");
    let pushed = bench.mirror();
    assert_eq!(paths(&pushed.summary.displaced), ["Cargo.lock", "new"]);
    assert_eq!(paths(&pushed.summary.kept), ["old/notes"]);
    assert_eq!(paths(&pushed.summary.deleted), ["old/gone"]);
    let tree = bench.tree();
    for (path, content) in [
        ("target/debug/app", "binary"),
        ("src/out.o", "object"),
        ("old/notes", "a job's"),
    ] {
        assert_eq!(tree.get(path), Some(format!("f: {content}").as_str()));
    }
    assert_eq!(tree.get("Cargo.lock"), Some("f: Cargo.lock"));
    assert_eq!(tree.get("src/a"), Some("f: src/a"));
    assert_eq!(tree.get("new"), Some("f: the client's"));
    let trash = |path: &str, content: &str| (path.to_owned(), content.to_owned());
    assert_eq!(
        bench.trashed(),
        [
            trash("Cargo.lock", "changed by cargo"),
            trash("new", "a job's")
        ]
    );
    assert_eq!(
        bench.workspace.trash().unwrap()[0].name,
        pushed.summary.trash
    );
}

#[test]
fn a_changed_file_that_the_client_deletes_is_kept_and_no_longer_ours() {
    let bench = Bench::new();
    bench.write("a", "1");
    bench.write("b", "1");
    bench.mirror();
    bench.job_write("a", "changed");
    bench.remove("a");
    assert_eq!(paths(&bench.mirror().summary.kept), ["a"]);
    bench.write("b", "2");
    assert_eq!(bench.mirror().summary.kept.total, 0);
    assert_eq!(bench.tree().get("a"), Some("f: changed"));
}

#[test]
fn caches_in_a_deleted_directory_go_to_the_trash_and_the_rest_stays() {
    let bench = Bench::new();
    bench.write(".gitignore", "*.pyc\n");
    bench.write("pkg/mod.py", "x");
    bench.write("gone/mod.py", "x");
    bench.mirror();
    bench.job_write("pkg/__pycache__/mod.pyc", "stale");
    bench.job_write("pkg/result.txt", "result");
    bench.job_write("gone/__pycache__/mod.pyc", "stale");
    bench.remove("pkg");
    bench.remove("gone");
    let pushed = bench.mirror();
    assert_eq!(
        paths(&pushed.summary.displaced),
        ["gone/__pycache__", "pkg/__pycache__"]
    );
    assert_eq!(paths(&pushed.summary.kept), ["pkg/result.txt"]);
    assert_eq!(bench.tree().get("gone"), None);
    assert_eq!(bench.tree().get("pkg/result.txt"), Some("f: result"));
}

#[test]
fn a_job_that_made_what_the_client_wants_keeps_it_with_its_times() {
    let bench = Bench::new();
    bench.write("a", "1");
    bench.mirror();
    bench.job_write("generated", "same");
    let before = fs::metadata(bench.workspace.tree().join("generated"))
        .unwrap()
        .modified()
        .unwrap();
    bench.write("generated", "same");
    let pushed = bench.mirror();
    assert_eq!(
        (pushed.summary.displaced.total, pushed.summary.written.total),
        (0, 0)
    );
    let after = fs::metadata(bench.workspace.tree().join("generated"))
        .unwrap()
        .modified()
        .unwrap();
    assert_eq!(before, after);
    bench.remove("generated");
    assert_eq!(
        paths(&bench.mirror().summary.deleted),
        ["generated"],
        "adopted is owned"
    );
}

#[test]
fn directories_in_the_way_are_displaced_whole() {
    let bench = Bench::new();
    bench.write("dir/ours", "1");
    bench.write("other", "1");
    bench.mirror();
    bench.job_write("dir/theirs", "a job's");
    bench.remove("dir");
    bench.write("dir", "now a file");
    let pushed = bench.mirror();
    assert_eq!(paths(&pushed.summary.displaced), ["dir/theirs"]);
    assert_eq!(bench.tree().get("dir"), Some("f: now a file"));
    assert_eq!(
        bench.trashed(),
        [("dir/theirs".to_owned(), "a job's".to_owned())]
    );
}

#[test]
fn an_empty_directory_deletes_nothing_unless_forced() {
    let bench = Bench::new();
    bench.write("a", "1");
    bench.write("b", "2");
    bench.mirror();
    bench.remove("a");
    bench.remove("b");
    let dry = push::Options {
        dry_run: true,
        ..bench.options()
    };
    let planned = bench.push_with(&dry).unwrap();
    assert_eq!(paths(&planned.summary.deleted), ["a", "b"]);
    let refused = bench.push().unwrap_err();
    assert!(
        matches!(
            refused,
            PushError::Refused(Refusal::EmptyRoot { tracked: 2 })
        ),
        "{refused}"
    );
    assert_eq!(bench.tree().0.len(), 2);
    bench
        .push_with(&push::Options {
            force_delete: true,
            ..bench.options()
        })
        .unwrap();
    assert_eq!(bench.tree().0.len(), 0);
}

#[test]
fn mass_deletes_are_refused_unless_forced_or_nothing_is_deleted() {
    let bench = Bench::new();
    for file in 0..80 {
        bench.write(&format!("d/{file}"), "x");
    }
    bench.mirror();
    for file in 0..51 {
        bench.remove(&format!("d/{file}"));
    }
    let Err(PushError::Refused(refused)) = bench.push() else {
        panic!("not refused")
    };
    assert_eq!(
        refused,
        Refusal::MassDelete {
            would_delete: 51,
            tracked: 80,
            limit: 50
        }
    );
    assert_eq!(bench.tree().0.len(), 81);
    let dry = push::Options {
        dry_run: true,
        ..bench.options()
    };
    assert_eq!(bench.push_with(&dry).unwrap().summary.deleted.total, 51);
    // Of those that stay, only a job's count as kept.
    bench.job_write("d/7", "a job's");
    let pushed = bench
        .push_with(&push::Options {
            delete: Delete::Nothing,
            ..bench.options()
        })
        .unwrap();
    assert_eq!(paths(&pushed.summary.kept), ["d/7"]);
    assert_eq!(pushed.summary.deleted.total, 0);
    assert_eq!(bench.tree().0.len(), 81);
}

#[test]
fn what_was_left_by_delete_none_goes_with_the_next_ordinary_push() {
    let bench = Bench::new();
    for path in ["a", "gone", "old/x", "old/y", "mine"] {
        bench.write(path, "1");
    }
    bench.mirror();
    let nothing = push::Options {
        delete: Delete::Nothing,
        ..bench.options()
    };
    for path in ["gone", "old", "mine"] {
        bench.remove(path);
    }
    let pushed = bench.push_with(&nothing).unwrap();
    assert_eq!(
        (pushed.summary.deleted.total, pushed.summary.kept.total),
        (0, 0)
    );
    assert_eq!(bench.tree().0.len(), 6);
    // Again, and with other changes: still nobody's but the mirror's.
    let again = bench.push_with(&nothing).unwrap();
    assert_eq!(again.summary.generation, pushed.summary.generation);
    bench.write("a", "2");
    bench.push_with(&nothing).unwrap();
    bench.job_write("mine", "a job's");
    bench.job_write("old/result", "a job's");
    let dry = push::Options {
        dry_run: true,
        ..bench.options()
    };
    let planned = bench.push_with(&dry).unwrap().summary;
    let pushed = bench.mirror();
    for summary in [&planned, &pushed.summary] {
        assert_eq!(paths(&summary.deleted), ["gone", "old/x", "old/y"]);
        assert_eq!(paths(&summary.kept), ["mine", "old/result"]);
    }
    let after = bench.mirror();
    assert_eq!(after.summary.generation, pushed.summary.generation);
    assert_eq!(bench.tree().get("mine"), Some("f: a job's"));
    assert_eq!(bench.tree().0.len(), 4);
}

#[test]
fn a_dry_run_tells_all_and_changes_nothing() {
    let bench = Bench::new();
    bench.write("a", "1");
    bench.write("b", "1");
    bench.write("c", "1");
    bench.mirror();
    let before = bench.workspace.root().unwrap();
    bench.job_write("b", "a job's");
    bench.write("b", "2");
    bench.write("new/file", "3");
    bench.remove("c");
    let tree = bench.tree();
    let pushed = bench
        .push_with(&push::Options {
            dry_run: true,
            ..bench.options()
        })
        .unwrap();
    assert!(pushed.dry_run);
    assert_eq!(paths(&pushed.summary.written), ["b", "new", "new/file"]);
    assert_eq!(paths(&pushed.summary.deleted), ["c"]);
    assert_eq!(paths(&pushed.summary.displaced), ["b"]);
    assert_eq!(pushed.sent_bytes, 0);
    assert_eq!(bench.tree(), tree);
    assert_eq!(bench.workspace.root().unwrap(), before);
    assert_eq!(bench.mirror().summary.displaced.total, 1);
}

#[test]
fn a_dry_run_lists_every_path() {
    let bench = Bench::new();
    for file in 0..1500 {
        bench.write(&format!("old/{file:04}"), "x");
    }
    bench.mirror();
    fs::rename(bench.source.join("old"), bench.source.join("new")).unwrap();
    for file in 0..1100 {
        bench.job_write(&format!("old/kept{file:04}"), "a job's");
    }
    let dry = push::Options {
        dry_run: true,
        ..bench.options()
    };
    let summary = bench.push_with(&dry).unwrap().summary;
    for (listing, total) in [
        (&summary.written, 1501),
        (&summary.deleted, 1500),
        (&summary.kept, 1100),
    ] {
        assert_eq!(
            (listing.total, listing.paths.len()),
            (total, usize::try_from(total).unwrap())
        );
        assert!(listing.paths.is_sorted());
    }
    assert_eq!(paths(&summary.deleted)[1499], "old/1499");
}
