//! What the workspace has in another place is not sent again.

use std::fs::{self, File, FileTimes};
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, SystemTime};

use legwork_sync::message::Up;
use legwork_sync::push::Pushed;

use crate::support::{Bench, Tree, kinds, tapped};

/// More than is copied through a buffer at once.
fn large() -> String {
    "a large file ".repeat(60_000)
}

/// Pushes, and checks that no content was sent and that everything is there.
fn nothing_sent(bench: &Bench) -> (Pushed, Vec<Up>) {
    let (pushed, seen) = tapped(bench, |_, _| {});
    let pushed = pushed.unwrap();
    assert!(!kinds(&seen).contains('D'), "{}", kinds(&seen));
    assert_eq!((pushed.sent_files, pushed.sent_bytes), (0, 0));
    assert_eq!(bench.tree(), Tree::of(&bench.source));
    (pushed, seen)
}

fn fixture() -> Bench {
    let bench = Bench::new();
    for number in 0..200 {
        bench.write(
            &format!("dir/sub{}/{number}", number % 7),
            &format!("content {number}"),
        );
    }
    bench.write("dir/large", &large());
    bench.write("other/file", "other");
    bench.mirror();
    bench
}

fn rename(bench: &Bench, from: &str, to: &str) {
    fs::rename(bench.source.join(from), bench.source.join(to)).unwrap();
}

#[test]
fn a_directory_that_is_renamed_sends_no_content_and_takes_one_round() {
    let bench = fixture();
    rename(&bench, "dir", "renamed");
    let (pushed, seen) = nothing_sent(&bench);
    assert_eq!(kinds(&seen).matches('E').count(), 1);
    assert_eq!(pushed.reused_files, 201);
    assert_eq!(pushed.summary.displaced.total, 0);
    // It is there, at its new place: nothing is kept for when it comes back.
    let past = bench.temp.path().join("workspace/staging/past");
    assert_eq!(fs::read_dir(past).unwrap().count(), 0);
    rename(&bench, "renamed/sub3", "other/moved");
    nothing_sent(&bench);
    // And it is known as any other: nothing is to be done now.
    assert_eq!(nothing_sent(&bench).0.summary.written.total, 0);
}

#[test]
fn copies_and_exchanged_names_send_no_content() {
    let bench = fixture();
    for (from, to) in [("dir/large", "copy of it"), ("other/file", "dir/sub1/file")] {
        fs::copy(bench.source.join(from), bench.source.join(to)).unwrap();
    }
    nothing_sent(&bench);
    rename(&bench, "dir/large", "aside");
    rename(&bench, "other/file", "dir/large");
    rename(&bench, "aside", "other/file");
    nothing_sent(&bench);
    // Over another one, with another mode, and as what was a directory.
    let executable = fs::Permissions::from_mode(0o755);
    fs::set_permissions(bench.source.join("copy of it"), executable).unwrap();
    rename(&bench, "copy of it", "dir/sub1/file");
    rename(&bench, "dir/sub0/0", "aside");
    bench.remove("dir/sub0");
    rename(&bench, "aside", "dir/sub0");
    nothing_sent(&bench);
}

#[test]
fn the_same_new_content_is_sent_once() {
    let bench = Bench::new();
    for name in ["a", "b/c", "d"] {
        bench.write(name, "the same");
        bench.write(&format!("large {}", name.len()), &large());
    }
    let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
    for name in ["a", "b/c", "d"] {
        let file = File::options()
            .write(true)
            .open(bench.source.join(name))
            .unwrap();
        file.set_times(FileTimes::new().set_modified(long_ago))
            .unwrap();
    }
    let pushed = bench.mirror();
    assert_eq!(bench.tree(), Tree::of(&bench.source));
    assert_eq!(pushed.sent_bytes, 8 + large().len() as u64);
    // As in every first push, files keep their times, also those that were not sent.
    for name in ["a", "b/c", "d"] {
        let there = fs::metadata(bench.workspace.tree().join(name)).unwrap();
        assert_eq!(there.modified().unwrap(), long_ago);
    }
    bench.write("e/f", "anew");
    bench.write("e/g", "anew");
    assert_eq!(bench.mirror().sent_bytes, 4);
}

#[test]
fn a_source_that_a_job_changed_or_removed_is_sent() {
    for change in [
        (|bench| bench.job_write("other/file", "OTHER")) as fn(&Bench),
        |bench| bench.job_remove("other"),
        |bench| {
            let closed = fs::Permissions::from_mode(0o000);
            let path = bench.workspace.tree().join("other/file");
            fs::set_permissions(path, closed).unwrap();
        },
    ] {
        let bench = fixture();
        rename(&bench, "other/file", "moved");
        change(&bench);
        let pushed = bench.mirror();
        assert_eq!(
            fs::read_to_string(bench.workspace.tree().join("moved")).unwrap(),
            "other"
        );
        assert!(pushed.sent_files <= 1);
    }
}

/// Content that is at several paths, and nowhere in the workspace any more, is asked for once.
#[test]
fn what_has_to_be_asked_for_is_sent_once() {
    let bench = fixture();
    rename(&bench, "other/file", "moved");
    for name in ["copied", "and again"] {
        fs::copy(bench.source.join("moved"), bench.source.join(name)).unwrap();
    }
    bench.job_remove("other/file");
    let (pushed, seen) = tapped(&bench, |_, _| {});
    assert_eq!(pushed.unwrap().sent_files, 1);
    assert_eq!(kinds(&seen).matches('E').count(), 2);
    let tree = bench.tree();
    for name in ["moved", "copied", "and again"] {
        assert_eq!(tree.get(name), Some("f: other"));
    }
}

#[test]
fn a_copy_is_newer_than_what_was_built_of_the_file_that_it_replaces() {
    let bench = fixture();
    // The file system's own clock.
    bench.job_write("built", "");
    let modified = |path: &str| {
        let there = fs::metadata(bench.workspace.tree().join(path)).unwrap();
        there.modified().unwrap()
    };
    let built = modified("built");
    fs::copy(
        bench.source.join("dir/large"),
        bench.source.join("other/file"),
    )
    .unwrap();
    fs::copy(
        bench.source.join("dir/sub0/0"),
        bench.source.join("dir/sub1/1"),
    )
    .unwrap();
    bench.mirror();
    for path in ["other/file", "dir/sub1/1"] {
        assert!(modified(path) >= built, "{path}");
    }
}

/// As a checkout of a branch does.
fn branch(bench: &Bench, name: &str) {
    for number in 0..60 {
        bench.write(&format!("dir/sub1/{number}"), &format!("{name} {number}"));
        bench.write(
            &format!("{name}/own/{number}"),
            &format!("of {name} alone, {number}"),
        );
    }
    bench.write("dir/large", &format!("{name} {}", large()));
    let other = bench.source.join(if name == "one" { "two" } else { "one" });
    if other.exists() {
        fs::remove_dir_all(other).unwrap();
    }
}

#[test]
fn a_branch_that_is_switched_to_and_back_sends_no_content() {
    let bench = fixture();
    for name in ["one", "two"] {
        branch(&bench, name);
        let (pushed, _) = tapped(&bench, |_, _| {});
        assert!(pushed.unwrap().sent_bytes > 0);
    }
    for name in ["one", "two", "one"] {
        branch(&bench, name);
        let (_, seen) = nothing_sent(&bench);
        assert_eq!(kinds(&seen).matches('E').count(), 1);
    }
    // It is a guess of the client's what there is: what is not is asked for.
    fs::remove_dir_all(bench.temp.path().join("workspace/staging/past")).unwrap();
    branch(&bench, "two");
    let (pushed, seen) = tapped(&bench, |_, _| {});
    assert!(pushed.unwrap().sent_bytes > 0);
    assert_eq!(kinds(&seen).matches('E').count(), 2);
    assert_eq!(bench.tree(), Tree::of(&bench.source));
}

#[test]
fn what_commits_replaced_is_verified_before_it_is_taken() {
    let bench = fixture();
    bench.write("other/file", "changed");
    bench.mirror();
    let past = bench.temp.path().join("workspace/staging/past");
    let mut kept = fs::read_dir(past).unwrap();
    fs::write(kept.next().unwrap().unwrap().path(), "OTHER").unwrap();
    bench.write("other/file", "other");
    assert_eq!(bench.mirror().sent_bytes, 5);
    assert_eq!(bench.tree(), Tree::of(&bench.source));
}
