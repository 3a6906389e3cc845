//! The trash: what is kept of what had to give way, for how long, and how it comes back.

use std::time::Duration;

use legwork_sync::error::StoreError;
use legwork_sync::path::TreePath;
use legwork_sync::workspace::{TrashBounds, Wanted};
use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat};

use crate::support::{Bench, now};

/// A commit that displaces a file of so many bytes.
fn displace(bench: &Bench, path: &str, content: &str) -> String {
    bench.job_write(path, content);
    bench.write(path, &format!("after {content}"));
    bench.mirror().summary.trash
}

fn names(bench: &Bench) -> Vec<String> {
    let trash = bench.workspace.trash().unwrap();
    trash.into_iter().map(|dir| dir.name).collect()
}

fn path(text: &str) -> TreePath {
    TreePath::new(text.as_bytes()).unwrap()
}

#[test]
fn the_oldest_goes_when_there_is_too_much_and_all_of_it_with_time() {
    let bench = Bench::new();
    bench.write("a", "1");
    bench.mirror();
    let made: Vec<String> = (0..4)
        .map(|n| displace(&bench, "a", &n.to_string().repeat(1000)))
        .collect();
    let newest = |count: usize| made.iter().rev().take(count).cloned().collect::<Vec<_>>();
    assert_eq!(names(&bench), newest(4));
    let trash = bench.workspace.trash().unwrap();
    assert!(
        trash
            .iter()
            .all(|dir| dir.bytes == 1000 && dir.displaced_ns > 0)
    );
    let bounds = TrashBounds::default();
    let prune = |bounds: TrashBounds, later: Duration| {
        bench.workspace.prune_trash(&bounds, now() + later).unwrap();
        names(&bench).len()
    };
    assert_eq!(prune(bounds, Duration::ZERO), 4);
    assert_eq!(
        prune(
            TrashBounds {
                commits: 3,
                ..bounds
            },
            Duration::ZERO
        ),
        3
    );
    assert_eq!(
        prune(
            TrashBounds {
                bytes: 2000,
                ..bounds
            },
            Duration::ZERO
        ),
        2
    );
    // The newest is not too much by itself.
    assert_eq!(
        prune(
            TrashBounds {
                bytes: 10,
                ..bounds
            },
            Duration::ZERO
        ),
        1
    );
    assert_eq!(names(&bench), newest(1));
    assert_eq!(prune(bounds, bounds.age), 1);
    assert_eq!(prune(bounds, bounds.age + Duration::from_secs(1)), 0);
}

#[test]
fn what_comes_back_overwrites_nothing() {
    let bench = Bench::new();
    for file in ["a", "b", "d/x"] {
        bench.write(file, "1");
    }
    bench.mirror();
    bench.job_write("a", "a job's a");
    bench.job_write("d/x", "a job's x");
    bench.job_write("new/deep/y", "a job's y");
    bench.write("a", "2");
    bench.write("d/x", "2");
    bench.write("new", "now a file");
    let id = bench.mirror().summary.trash;
    bench.remove("d");
    bench.remove("new");
    bench.mirror();
    let restored = bench.workspace.restore(&id, &Wanted::default()).unwrap();
    assert_eq!(restored.in_the_way, [path("a")]);
    assert_eq!(restored.restored, [path("d"), path("new")]);
    assert!(restored.displaced.is_empty());
    let tree = bench.tree();
    assert_eq!(tree.get("a"), Some("f: 2"));
    assert_eq!(tree.get("d/x"), Some("f: a job's x"));
    assert_eq!(tree.get("new/deep/y"), Some("f: a job's y"));
    assert_eq!(bench.trashed(), [("a".to_owned(), "a job's a".to_owned())]);
    let forced = Wanted {
        force: true,
        ..Wanted::default()
    };
    let restored = bench.workspace.restore(&id, &forced).unwrap();
    assert_eq!(
        (&restored.displaced, &restored.restored),
        (&vec![path("a")], &vec![path("a")])
    );
    assert_eq!(bench.tree().get("a"), Some("f: a job's a"));
    assert_eq!(bench.trashed(), [("a".to_owned(), "2".to_owned())]);
    assert!(matches!(
        bench.workspace.restore(&id, &forced),
        Err(StoreError::NoTrash { .. })
    ));
    // It is a job's now, and the client still wins.
    assert_eq!(bench.mirror().summary.displaced.total, 1);
    assert_eq!(bench.tree().get("a"), Some("f: 2"));
    assert_eq!(bench.tree().get("d/x"), Some("f: a job's x"));
}

#[test]
fn only_what_was_asked_for_comes_back_and_not_while_a_job_runs() {
    let bench = Bench::new();
    bench.write("keep", "1");
    bench.mirror();
    for file in ["d/a", "d/b", "e"] {
        bench.job_write(file, "a job's");
        bench.write(file, "the client's");
    }
    let id = bench.mirror().summary.trash;
    for file in ["d", "e"] {
        bench.remove(file);
    }
    let root = bench.mirror().summary.root;
    let only = Wanted {
        only: vec![path("d/b"), path("nothing")],
        force: false,
    };
    let running = bench.workspace.share(&root).unwrap().unwrap();
    assert!(matches!(
        bench.workspace.restore(&id, &only),
        Err(StoreError::Busy { .. })
    ));
    drop(running);
    let restored = bench.workspace.restore(&id, &only).unwrap();
    assert_eq!(restored.restored, [path("d/b")]);
    assert_eq!(
        (bench.tree().get("d/a"), bench.tree().get("e")),
        (None, None)
    );
    let left: Vec<String> = bench.trashed().into_iter().map(|(path, _)| path).collect();
    assert_eq!(left, ["d/a", "e"]);
}

#[test]
fn what_lies_deeper_than_any_tree_is_listed_as_a_whole_and_goes() {
    let bench = Bench::new();
    bench.write("a", "1");
    bench.mirror();
    bench.job_remove("a");
    let top = bench.workspace.tree().join("a");
    std::fs::create_dir(&top).unwrap();
    let (flags, mode) = (OFlags::DIRECTORY, Mode::from_raw_mode(0o755));
    let mut here = openat(CWD, &top, flags, Mode::empty()).unwrap();
    for _ in 0..600 {
        mkdirat(&here, "d", mode).unwrap();
        here = openat(&here, "d", flags, Mode::empty()).unwrap();
    }
    drop(openat(&here, "file", OFlags::CREATE | OFlags::WRONLY, mode).unwrap());
    bench.write("a", "2");
    bench.mirror();
    let trash = bench.workspace.trash_with(1).unwrap();
    assert_eq!((trash[0].files, trash[0].paths.len()), (1, 1));
    assert!(trash[0].paths[0].starts_with("a/d/d"));
    let bounds = TrashBounds::default();
    let later = now() + bounds.age * 2;
    bench.workspace.prune_trash(&bounds, later).unwrap();
    assert!(bench.workspace.trash().unwrap().is_empty());
}
