//! A job that changes the tree at every moment of a commit: directories for links that lead out of it, and back.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;

use legwork_sync::message::Delete;
use legwork_sync::push;
use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::support::{Bench, Tree};

/// Directories that are exchanged for links, in the tree and deeper.
const SWAPPED: [&str; 3] = ["d", "deep/er", "gone"];

/// Exchanges a directory of the tree for a link to the outside, and back, until it is told to end.
fn swap(tree: &Path, outside: &Path, dir: &str, over: &AtomicBool, swaps: &AtomicU32) {
    // Beside the tree: the mirror does not see it.
    let aside = tree.with_file_name(format!("aside-{}", dir.replace('/', "-")));
    let inside = tree.join(dir);
    while !over.load(Ordering::Relaxed) {
        if !aside.is_symlink() && !inside.is_symlink() {
            // The link went to the trash, or was never there.
            let _none = fs::remove_dir_all(&aside);
            let _there = symlink(outside, &aside);
        }
        let exchanged = renameat_with(CWD, &aside, CWD, &inside, RenameFlags::EXCHANGE);
        swaps.fetch_add(u32::from(exchanged.is_ok()), Ordering::Relaxed);
        thread::yield_now();
    }
}

/// One commit after the other, each of which changes, makes and removes files in the directories that are exchanged.
fn raced(rounds: u32, delete: Delete) {
    let bench = Bench::new();
    let outside = bench.temp.path().join("outside");
    fs::create_dir_all(outside.join("sub")).unwrap();
    for name in ["changes", "stays", "odd", "even", "sub/x"] {
        fs::write(outside.join(name), "precious").unwrap();
    }
    let before = Tree::of(&outside);
    let edit = |round: u32| {
        for dir in SWAPPED {
            bench.write(&format!("{dir}/changes"), &format!("{round}"));
            bench.write(&format!("{dir}/stays"), "the same");
            bench.write(&format!("{dir}/sub/x"), &format!("{}", round / 2));
            let (now, then) = if round.is_multiple_of(2) {
                ("even", "odd")
            } else {
                ("odd", "even")
            };
            bench.write(&format!("{dir}/{now}"), "now and then");
            let _none = fs::remove_file(bench.source.join(dir).join(then));
        }
        if round.is_multiple_of(3) {
            bench.remove("gone");
        }
    };
    let options = || push::Options {
        delete,
        force_delete: true,
        ..bench.options()
    };
    edit(0);
    bench.push_with(&options()).unwrap();
    let (over, swaps, mut done) = (AtomicBool::new(false), AtomicU32::new(0), 0);
    thread::scope(|scope| {
        for dir in SWAPPED {
            let (tree, outside) = (bench.workspace.tree(), &outside);
            let (over, swaps) = (&over, &swaps);
            scope.spawn(move || swap(&tree, outside, dir, over, swaps));
        }
        for round in 1..=rounds {
            edit(round);
            // It may fail, for nothing stays where it is; it may not do harm.
            done += u32::from(bench.push_with(&options()).is_ok());
            if Tree::of(&outside) != before {
                over.store(true, Ordering::Relaxed);
                panic!("round {round} changed what is outside");
            }
        }
        over.store(true, Ordering::Relaxed);
    });
    assert!(swaps.into_inner() > rounds, "hardly anything was exchanged");
    // Left alone, the next commit puts everything right.
    bench.push_with(&options()).unwrap();
    let tree = bench.tree();
    for (path, what) in Tree::of(&bench.source).0 {
        assert_eq!(tree.get(&path), Some(&*what), "{path} after {done} commits");
    }
    assert_eq!(Tree::of(&outside), before);
}

#[test]
fn links_that_are_swapped_in_all_the_time_lead_no_commit_out_of_the_tree() {
    raced(60, Delete::Owned);
}

#[test]
fn nor_one_that_takes_away_what_it_did_not_make() {
    raced(60, Delete::Exact);
}
