//! Directories and files whose permissions a job took away.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use legwork_sync::error::PushError;
use legwork_sync::faults::Faults;
use legwork_sync::message::Refusal;
use legwork_sync::push;
use legwork_sync::receive;
use legwork_sync::workspace::{TrashBounds, Workspace};

use crate::support::{Bench, Tree, paths, push_to, push_under, skip_as_root};

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn reopened(bench: &Bench) -> Workspace {
    Workspace::open(&bench.temp.path().join("workspace"), "boot").unwrap()
}

#[test]
fn directories_that_a_job_closed_are_changed_all_the_same() {
    if skip_as_root("closed directories") {
        return;
    }
    for mode in [0o555, 0o444, 0o000] {
        for closed in [&["d/deep", "d", ""][..], &["d/deep"], &["d"], &[""]] {
            let mut bench = Bench::new();
            for path in ["top", "d/gone", "d/deep/edit", "d/deep/gone", "old/x"] {
                bench.write(path, "1");
            }
            bench.mirror();
            bench.write("top", "2");
            bench.write("new", "2");
            bench.write("d/deep/edit", "2");
            bench.write("d/deep/new/file", "2");
            for path in ["d/gone", "d/deep/gone", "old"] {
                bench.remove(path);
            }
            for path in closed {
                chmod(&bench.workspace.tree().join(path), mode);
            }
            bench.workspace = reopened(&bench);
            let pushed = bench.mirror();
            assert_eq!(pushed.summary.displaced.total, 0);
            assert_eq!(bench.tree(), Tree::of(&bench.source), "{mode:o} {closed:?}");
            assert_eq!(reopened(&bench).root().unwrap(), Some(pushed.summary.root));
        }
    }
}

#[test]
fn a_closed_directory_stays_closed_where_nothing_changes() {
    if skip_as_root("closed directories") {
        return;
    }
    let bench = Bench::new();
    bench.write("d/file", "1");
    bench.mirror();
    let dir = bench.workspace.tree().join("d");
    chmod(&dir, 0o555);
    bench.write("other", "2");
    bench.mirror();
    assert_eq!(
        fs::metadata(&dir).unwrap().permissions().mode() & 0o777,
        0o555
    );
}

#[test]
fn what_a_job_closed_goes_to_the_trash_and_leaves_it() {
    if skip_as_root("closed directories") {
        return;
    }
    let bench = Bench::new();
    for path in ["file", "going/x"] {
        bench.write(path, "1");
    }
    bench.mirror();
    for path in ["out/in/result", "going/left/result"] {
        bench.job_write(path, "a job's");
    }
    for (path, mode) in [
        ("file", 0o000),
        ("out/in", 0o000),
        ("out", 0o555),
        ("going/left", 0o000),
    ] {
        chmod(&bench.workspace.tree().join(path), mode);
    }
    for path in ["file", "out"] {
        bench.write(path, "2");
    }
    bench.remove("going");
    let pushed = bench.mirror();
    assert_eq!(paths(&pushed.summary.displaced), ["file", "out"]);
    assert_eq!(paths(&pushed.summary.kept), ["going/left"]);
    let trash: Vec<String> = bench.trashed().into_iter().map(|(path, _)| path).collect();
    assert_eq!(trash, ["file", "out/in"]);
    assert_eq!(bench.workspace.trash().unwrap().len(), 1);
    let bounds = receive::Options {
        trash: TrashBounds {
            commits: 2,
            ..TrashBounds::default()
        },
        ..receive::Options::default()
    };
    for round in ["3", "4"] {
        bench.job_write("out", "a job's");
        bench.write("out", round);
        let (workspace, cache) = (&bench.workspace, bench.cache());
        push_under(&bounds, workspace, &bench.source, &cache, &bench.options()).unwrap();
    }
    let names: Vec<String> = bench.trashed().into_iter().map(|(path, _)| path).collect();
    assert_eq!(names, ["out", "out"], "the closed one is pruned");
    chmod(&bench.workspace.tree().join("going/left"), 0o755);
}

#[test]
fn a_workspace_with_closed_directories_can_be_removed() {
    if skip_as_root("closed directories") {
        return;
    }
    let bench = Bench::new();
    bench.write("d/deep/file", "1");
    bench.mirror();
    for path in ["d/deep", "d", ""] {
        chmod(&bench.workspace.tree().join(path), 0o000);
    }
    reopened(&bench).remove().unwrap();
    assert!(!bench.temp.path().join("workspace").exists());
}

#[test]
fn a_dry_run_opens_nothing_and_names_what_is_closed() {
    if skip_as_root("closed directories") {
        return;
    }
    let bench = Bench::new();
    bench.write("d/file", "1");
    bench.mirror();
    let dir = bench.workspace.tree().join("d");
    chmod(&dir, 0o000);
    let dry = push::Options {
        dry_run: true,
        ..bench.options()
    };
    let refused = bench.push_with(&dry).unwrap_err().to_string();
    assert!(
        refused.contains("d/file") && refused.contains("chmod"),
        "{refused}"
    );
    assert_eq!(fs::metadata(&dir).unwrap().permissions().mode() & 0o777, 0);
    bench.mirror();
}

#[test]
fn a_commit_that_cannot_be_completed_does_not_keep_the_workspace_from_being_read() {
    let mut bench = Bench::new();
    bench.write("a", "1");
    bench.mirror();
    bench.job_write("out/result", "a job's");
    bench.write("a", "2");
    bench.write("b", "2");
    let dir = bench.temp.path().join("workspace");
    // As of a file that the kernel does not let go.
    let stuck = |what: &str| match what {
        "install" => Err(io::Error::from_raw_os_error(1)),
        _ => Ok(()),
    };
    for _ in 0..3 {
        bench.workspace = Workspace::open_with(&dir, "boot", Faults::new(stuck)).unwrap();
        let Err(PushError::Refused(refused)) = bench.push() else {
            panic!("not refused")
        };
        assert!(matches!(&refused, Refusal::Io { path, .. } if path == b"b"));
        assert!(refused.to_string().contains("then sync again"), "{refused}");
        assert_eq!(bench.workspace.root().unwrap(), None);
        let pulled = bench.pull(&["out/**"], true);
        assert!(pulled.is_ok(), "{pulled:?}");
    }
    let workspace = reopened(&bench);
    push_to(&workspace, &bench.source, &bench.cache(), &bench.options()).unwrap();
    assert_eq!(bench.tree().get("b"), Some("f: 2"));
}
