//! Paths that the kernel does not let go of, for one after `chattr +i`.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use legwork_sync::error::PushError;
use legwork_sync::faults::Faults;
use legwork_sync::message::Refusal;
use legwork_sync::workspace::Workspace;
use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};

use crate::support::{Bench, Tree, paths, push_to};

/// Makes a file immutable, or takes that back; says whether that could be done.
fn pin(path: &Path, pinned: bool) -> bool {
    set(path, IFlags::IMMUTABLE, pinned)
}

fn set(path: &Path, flag: IFlags, on: bool) -> bool {
    let set = || {
        let file = File::open(path)?;
        let mut flags = ioctl_getflags(&file)?;
        flags.set(flag, on);
        Ok(ioctl_setflags(&file, flags)?)
    };
    let done: io::Result<()> = set();
    if let Err(error) = &done {
        eprintln!("SKIPPED immutable files: {error}");
    }
    done.is_ok()
}

fn refused(pushed: Result<legwork_sync::push::Pushed, PushError>, path: &[u8]) -> String {
    let Err(PushError::Refused(refused)) = pushed else {
        panic!("not refused: {pushed:?}")
    };
    assert!(
        matches!(&refused, Refusal::Io { path: named, .. } if named == path),
        "{refused:?}"
    );
    refused.to_string()
}

#[test]
fn an_immutable_file_is_named_before_anything_is_done() {
    let bench = Bench::new();
    for path in ["a", "d/pinned", "d/x"] {
        bench.write(path, "1");
    }
    let root = bench.mirror().summary.root;
    let pinned = bench.workspace.tree().join("d/pinned");
    if !pin(&pinned, true) {
        return;
    }
    let before = bench.tree();
    for change in ["edited", "gone", "moved"] {
        bench.write("a", change);
        match change {
            "edited" => bench.write("d/pinned", "2"),
            "gone" => bench.remove("d/pinned"),
            _ => bench.remove("d"),
        }
        for _ in 0..2 {
            let why = refused(bench.push(), b"d/pinned");
            assert!(why.contains("chattr -i"), "{why}");
            assert_eq!(bench.tree(), before, "{change}");
            assert_eq!(bench.workspace.root().unwrap(), Some(root));
        }
    }
    bench.write("d/pinned", "1");
    bench.write("d/x", "2");
    bench.mirror();
    assert_eq!(bench.tree(), Tree::of(&bench.source));
    bench.write("d/pinned", "3");
    refused(bench.push(), b"d/pinned");
    assert!(pin(&pinned, false));
    bench.mirror();
    assert_eq!(bench.tree(), Tree::of(&bench.source));
}

#[test]
fn a_directory_that_only_grows_is_named() {
    let bench = Bench::new();
    bench.write("d/x", "1");
    bench.write("a", "1");
    let root = bench.mirror().summary.root;
    let dir = bench.workspace.tree().join("d");
    if !set(&dir, IFlags::APPEND, true) {
        return;
    }
    bench.write("a", "2");
    bench.write("d/x", "2");
    refused(bench.push(), b"d");
    assert_eq!(bench.workspace.root().unwrap(), Some(root));
    bench.write("d/x", "1");
    bench.write("d/y", "1");
    bench.mirror();
    assert!(set(&dir, IFlags::APPEND, false));
    assert_eq!(bench.tree(), Tree::of(&bench.source));
}

/// Refuses to replace anything once the file `a` is the new one, and to do `also`.
fn stuck_after_a(tree: &Path, also: &'static str) -> Faults {
    let a = tree.join("a");
    Faults::new(move |what: &str| match what {
        "replace" if fs::read_to_string(&a).is_ok_and(|a| a != "1") => {
            Err(io::Error::from_raw_os_error(1))
        }
        what if what == also => Err(io::Error::from_raw_os_error(5)),
        _ => Ok(()),
    })
}

#[test]
fn a_path_that_stops_a_commit_halfway_stops_only_those_that_need_it() {
    let mut bench = Bench::new();
    for path in ["a", "pinned", "gone", "old/x", "turn/x"] {
        bench.write(path, "1");
    }
    bench.mirror();
    bench.job_write("result", "a job's");
    bench.write("a", "2");
    bench.write("new/file", "2");
    bench.write("pinned", "2");
    for path in ["gone", "old", "turn"] {
        bench.remove(path);
    }
    bench.write("turn", "2");
    let dir = bench.temp.path().join("workspace");
    let open = |faults| Workspace::open_with(&dir, "boot", faults).unwrap();
    bench.workspace = open(stuck_after_a(&dir.join("tree"), ""));
    refused(bench.push(), b"pinned");
    assert_eq!(bench.workspace.root().unwrap(), None);
    assert_eq!(bench.tree().get("a"), Some("f: 2"), "halfway");
    // Opened again, and pushed again: the same path, the same words, and no loop.
    for _ in 0..2 {
        bench.workspace = open(stuck_after_a(&dir.join("tree"), ""));
        let why = refused(bench.push(), b"pinned");
        assert!(why.contains("then sync again"), "{why}");
    }
    bench.write("pinned", "1");
    bench.write("more", "3");
    let pushed = bench.mirror();
    assert_eq!(pushed.summary.displaced.total, 0, "what it did is its own");
    let expected = |bench: &Bench| {
        let mut expected = Tree::of(&bench.source);
        expected.0.insert("result".into(), "f: a job's".into());
        expected
    };
    assert_eq!(bench.tree(), expected(&bench));
    bench.remove("new");
    let pushed = bench.mirror();
    assert_eq!(paths(&pushed.summary.deleted), ["new", "new/file"]);
    bench.write("pinned", "2");
    refused(bench.push(), b"pinned");
    bench.workspace = open(Faults::default());
    push_to(
        &bench.workspace,
        &bench.source,
        &bench.cache(),
        &bench.options(),
    )
    .unwrap();
    assert_eq!(bench.tree(), expected(&bench));
}

#[test]
fn giving_up_a_commit_may_be_stopped_too() {
    for stop in ["index", "journal removal"] {
        let bench = Bench::new();
        for path in ["a", "gone", "pinned"] {
            bench.write(path, "1");
        }
        bench.mirror();
        for path in ["a", "new", "pinned"] {
            bench.write(path, "2");
        }
        bench.remove("gone");
        let dir = bench.temp.path().join("workspace");
        let push = |faults| {
            let workspace = Workspace::open_with(&dir, "boot", faults).unwrap();
            push_to(&workspace, &bench.source, &bench.cache(), &bench.options())
        };
        refused(push(stuck_after_a(&dir.join("tree"), "")), b"pinned");
        push(stuck_after_a(&dir.join("tree"), stop)).unwrap_err();
        bench.write("pinned", "1");
        let pushed = push(stuck_after_a(&dir.join("tree"), "")).unwrap();
        assert_eq!(pushed.summary.displaced.total, 0, "{stop}");
        assert_eq!(bench.tree(), Tree::of(&bench.source), "{stop}");
        assert_eq!(bench.workspace.root().unwrap(), Some(pushed.summary.root));
    }
}
