//! A commit that is stopped before any of its writes is completed, or never was.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use legwork_sync::error::{PushError, StoreError};
use legwork_sync::faults::Faults;
use legwork_sync::message::{Delete, Refusal};
use legwork_sync::push;
use legwork_sync::workspace::Workspace;

use crate::support::{Bench, Tree, link_to, push_to};

/// Fails at write number `from` and ever after, as if the process were gone.
fn stop_at(from: usize) -> (Faults, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&count);
    let hook = move |_: &str| {
        let write = seen.fetch_add(1, Ordering::Relaxed);
        if write < from {
            Ok(())
        } else {
            Err(io::Error::from_raw_os_error(5))
        }
    };
    (Faults::new(hook), count)
}

/// A committed workspace, changed by a job, and a source with something of every kind to do.
fn prepared() -> Bench {
    let bench = Bench::new();
    for path in [
        "same", "edit", "gone", "gone2/x", "gone2/y", "locked", "turn", "over/in", "mode",
    ] {
        bench.write(path, "1");
    }
    link_to(&bench.source.join("link"), "same");
    bench.mirror();
    bench.job_write("locked", "a job's");
    bench.job_write("gone2/left", "a job's");
    bench.job_write("over/left", "a job's");
    bench.job_write("out/result", "a job's");
    bench.job_write("fresh", "a job's");
    bench.write("edit", "2");
    bench.write("locked", "2");
    bench.write("fresh", "2");
    bench.write("new/deep/file", "2");
    bench.write("new/other", "");
    bench.remove("gone");
    bench.remove("gone2");
    bench.remove("turn");
    bench.write("turn/into/dir", "2");
    bench.remove("over");
    bench.write("over", "2");
    bench.remove("link");
    link_to(&bench.source.join("link"), "edit");
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(bench.source.join("mode"), executable).unwrap();
    bench
}

fn open(bench: &Bench, faults: Faults) -> Result<Workspace, StoreError> {
    Workspace::open_with(&dir(bench), "boot", faults)
}

fn dir(bench: &Bench) -> std::path::PathBuf {
    bench.temp.path().join("workspace")
}

fn options(bench: &Bench, delete: Delete) -> push::Options {
    push::Options {
        delete,
        ..bench.options()
    }
}

fn expected(delete: Delete) -> (Tree, usize) {
    let bench = prepared();
    let (faults, count) = stop_at(usize::MAX);
    let workspace = open(&bench, faults).unwrap();
    let options = options(&bench, delete);
    push_to(&workspace, &bench.source, &bench.cache(), &options).unwrap();
    (bench.tree(), count.load(Ordering::Relaxed))
}

/// Everything a job made is in the tree or in the trash.
fn nothing_is_lost(bench: &Bench) {
    let tree = bench.tree();
    let trash = bench.trashed();
    for path in ["locked", "gone2/left", "over/left", "out/result", "fresh"] {
        let in_tree = tree.get(path) == Some("f: a job's");
        let in_trash = trash
            .iter()
            .any(|(name, content)| name.starts_with(path) && content == "a job's");
        assert!(in_tree || in_trash, "{path} is lost");
    }
}

#[test]
fn at_every_write_the_next_opening_finds_the_old_tree_or_completes_the_new_one() {
    stopped_everywhere(Delete::Owned);
}

#[test]
fn an_exact_mirror_too_is_old_or_new_and_then_what_the_client_has() {
    stopped_everywhere(Delete::Exact);
    let (tree, _) = expected(Delete::Exact);
    assert_eq!(tree, Tree::of(&prepared().source));
}

fn stopped_everywhere(delete: Delete) {
    let (new_tree, writes) = expected(delete);
    assert!(writes > 15, "only {writes} writes");
    for from in 0..writes {
        let bench = prepared();
        let options = options(&bench, delete);
        let old_tree = bench.tree();
        let old = bench.workspace.root().unwrap();
        let (faults, _) = stop_at(from);
        let workspace = open(&bench, faults).unwrap();
        let pushed = push_to(&workspace, &bench.source, &bench.cache(), &options);
        assert!(
            matches!(pushed, Err(PushError::Refused(Refusal::Io { .. }))),
            "write {from}: {pushed:?}"
        );
        let journal = workspace.journal_path().exists();
        if journal {
            assert_eq!(
                workspace.root().unwrap(),
                None,
                "no job may start in between"
            );
        }
        drop(workspace);
        let workspace = open(&bench, Faults::default()).unwrap();
        let root = workspace.root().unwrap();
        let tree = bench.tree();
        nothing_is_lost(&bench);
        if root == old {
            assert_eq!(tree, old_tree, "write {from}");
        } else {
            assert!(root.is_some(), "write {from}: completed");
            assert_eq!(tree, new_tree, "write {from}");
        }
        push_to(&workspace, &bench.source, &bench.cache(), &options).unwrap();
        assert_eq!(bench.tree(), new_tree, "write {from}");
        nothing_is_lost(&bench);
    }
}

#[test]
fn a_recovery_that_is_stopped_too_is_completed_by_the_next() {
    let (new_tree, writes) = expected(Delete::Owned);
    for from in 0..writes {
        for again in [0, 2, 5, 9] {
            let bench = prepared();
            let (faults, _) = stop_at(from);
            let workspace = open(&bench, faults).unwrap();
            push_to(&workspace, &bench.source, &bench.cache(), &bench.options()).unwrap_err();
            drop(workspace);
            let (faults, _) = stop_at(again);
            drop(open(&bench, faults));
            let workspace = open(&bench, Faults::default()).unwrap();
            assert!(
                workspace.root().unwrap().is_some(),
                "writes {from}, {again}"
            );
            nothing_is_lost(&bench);
            push_to(&workspace, &bench.source, &bench.cache(), &bench.options()).unwrap();
            assert_eq!(bench.tree(), new_tree, "writes {from}, {again}");
        }
    }
}

#[test]
fn without_its_staged_content_an_interrupted_commit_stays_open_until_the_next() {
    let (new_tree, writes) = expected(Delete::Owned);
    for from in 0..writes {
        let bench = prepared();
        let (faults, _) = stop_at(from);
        let workspace = open(&bench, faults).unwrap();
        push_to(&workspace, &bench.source, &bench.cache(), &bench.options()).unwrap_err();
        drop(workspace);
        fs::remove_dir_all(dir(&bench).join("staging")).unwrap();
        let workspace = open(&bench, Faults::default()).unwrap();
        nothing_is_lost(&bench);
        let pushed = push_to(&workspace, &bench.source, &bench.cache(), &bench.options()).unwrap();
        assert_eq!(workspace.root().unwrap(), Some(pushed.summary.root));
        nothing_is_lost(&bench);
        let tree = bench.tree();
        for path in new_tree.0.keys() {
            assert_eq!(tree.get(path), new_tree.get(path), "write {from}: {path}");
        }
    }
}

#[test]
fn a_full_disk_is_told_as_such_and_changes_nothing() {
    for step in ["stage", "journal", "index"] {
        let bench = prepared();
        let full = move |what: &str| {
            if what == step {
                Err(io::Error::from_raw_os_error(28))
            } else {
                Ok(())
            }
        };
        let workspace = open(&bench, Faults::new(full)).unwrap();
        let refused =
            push_to(&workspace, &bench.source, &bench.cache(), &bench.options()).unwrap_err();
        assert!(
            matches!(refused, PushError::Refused(Refusal::NoSpace)),
            "{step}: {refused}"
        );
        nothing_is_lost(&bench);
    }
}

#[test]
fn a_link_swapped_into_the_path_during_the_commit_leads_nowhere() {
    for step in ["replace", "install", "remove", "displace", "mode"] {
        let bench = prepared();
        let outside = bench.temp.path().join("outside");
        fs::create_dir(&outside).unwrap();
        for name in ["f", "g"] {
            fs::write(outside.join(name), "precious").unwrap();
        }
        for (path, content) in [("d/f", "1"), ("d/g", "1")] {
            bench.write(path, content);
        }
        bench.mirror();
        bench.write("d/f", "2");
        bench.write("d/n", "2");
        bench.remove("d/g");
        let (tree, out) = (bench.workspace.tree(), outside.clone());
        let swap = move |what: &str| {
            if what == step && !tree.join("aside").exists() {
                fs::rename(tree.join("d"), tree.join("aside"))?;
                std::os::unix::fs::symlink(&out, tree.join("d"))?;
            }
            Ok(())
        };
        let workspace = open(&bench, Faults::new(swap)).unwrap();
        let _either = push_to(&workspace, &bench.source, &bench.cache(), &bench.options());
        drop(workspace);
        let workspace = open(&bench, Faults::default()).unwrap();
        push_to(&workspace, &bench.source, &bench.cache(), &bench.options()).unwrap();
        untouched(&outside);
        assert_eq!(bench.tree().get("d/f"), Some("f: 2"), "{step}");
    }
}

fn untouched(outside: &Path) {
    let tree = Tree::of(outside);
    assert_eq!(tree.0.len(), 2);
    assert!(tree.0.values().all(|content| content == "f: precious"));
}

#[test]
fn what_killed_processes_left_beside_the_mirrors_own_files_goes_with_the_next_commit() {
    let bench = Bench::new();
    let left = [
        dir(&bench).join("index.4194305-0.new"),
        bench.temp.path().join("cache.4194305-0.new"),
        bench.temp.path().join("record.4194305-0.new"),
    ];
    for path in &left {
        fs::write(path, "half of").unwrap();
    }
    bench.write("a", "1");
    bench.mirror();
    assert!(!left[0].exists());
    assert!(!left[1].exists());
    fs::write(&left[2], "half of").unwrap();
    bench.pull(&["a"], false).unwrap();
    assert!(!left[2].exists());
}
