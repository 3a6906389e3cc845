//! The watch over a source of events that the tests make up.

mod desk;

use std::fs;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use self::desk::{Desk, names, wall};
use super::events::What;
use super::{Clock, Trouble, Wake};
use crate::error::PushError;
use crate::link::{self, Closed, Link, Receiving};
use crate::message::{Down, Up};
use crate::push::Options;
use crate::receive;

#[test]
fn a_save_is_sent_by_its_event_alone() {
    let mut desk = Desk::with(&["a", "d/b", "d/c"]);
    desk.rests();
    desk.write("d/b", "new");
    desk.write("d/c", "nobody tells of this");
    desk.tell("d", "b", What::Done);
    let before = desk.told.clock.elapsed();
    assert_eq!(desk.follows(), ["d/b"]);
    assert_eq!(desk.told.clock.elapsed(), before, "nothing was waited for");
    assert_eq!(desk.mirrored("d/b").unwrap(), "new");
    assert_eq!(desk.mirrored("d/c").unwrap(), "d/c");
    // The full look finds what no event told.
    let woken = desk.wait(400_000);
    assert!(matches!(woken, Wake::Changed), "{woken:?}");
    assert_eq!(names(&desk.update().summary.written.paths), ["d/c"]);
}

#[test]
fn a_server_remembers_the_last_commit_until_the_watch_leaves() {
    let mut desk = Desk::with(&["a/b.txt", "a/c.txt", "d.txt"]);
    let path = desk.workspace.index_path();
    let save = |desk: &mut Desk, text: &str| {
        desk.write("a/b.txt", text);
        desk.tell("a", "b.txt", What::Done);
        assert_eq!(desk.follows(), ["a/b.txt"]);
    };
    save(&mut desk, "first");
    let first = desk.workspace.index().unwrap().generation;
    for text in ["second", "third"] {
        let warm = desk.workspace.warm.take(&path).unwrap();
        assert_eq!(warm.index, desk.workspace.index().unwrap(), "{text}");
        desk.workspace.warm.keep(&path, warm, wall());
        save(&mut desk, text);
        assert_eq!(desk.mirrored("a/b.txt").unwrap(), text);
    }
    assert_eq!(desk.workspace.index().unwrap().generation, first + 2);
    // A sign of life leaves it where it is, and the last session takes it along.
    desk.update();
    assert!(desk.workspace.warm.is_there());
    desk.leave();
    assert!(!desk.workspace.warm.is_there());
}

#[test]
fn an_event_of_what_is_as_it_was_makes_nothing_travel() {
    let mut desk = Desk::with(&["a", "d/b"]);
    desk.write("a", "a");
    desk.tell("", "a", What::Done);
    desk.tell("d", "never-was", What::Gone);
    desk.tell("d", "b", What::Writing);
    desk.rests();
}

#[test]
fn a_directory_that_comes_is_watched_and_looked_at_as_a_whole() {
    let mut desk = Desk::with(&["a"]);
    desk.write("new/deep/er/file", "1");
    fs::create_dir(desk.source.join("new/empty")).unwrap();
    desk.tell("", "new", What::Directory);
    let written = desk.follows();
    assert_eq!(
        written,
        [
            "new",
            "new/deep",
            "new/deep/er",
            "new/deep/er/file",
            "new/empty"
        ]
    );
    assert!(desk.is_watched(&desk.source.join("new/deep/er")));
    desk.write("new/deep/er/file", "22");
    desk.tell("new/deep/er", "file", What::Done);
    assert_eq!(desk.follows(), ["new/deep/er/file"]);
}

#[test]
fn a_directory_that_moves_keeps_its_watch_under_its_new_name() {
    let mut desk = Desk::with(&["old/x/f", "z"]);
    fs::rename(desk.source.join("old"), desk.source.join("new")).unwrap();
    desk.tell("", "old", What::Directory);
    desk.tell("", "new", What::Directory);
    assert_eq!(desk.follows(), ["new", "new/x", "new/x/f"]);
    assert_eq!(desk.mirrored("old/x/f"), None);
    desk.write("new/x/f", "after");
    desk.tell("new/x", "f", What::Done);
    assert_eq!(desk.follows(), ["new/x/f"]);
    // Out of the tree: what it tells from there is nothing.
    fs::rename(desk.source.join("new"), desk.temp.path().join("away")).unwrap();
    desk.tell("", "new", What::Directory);
    assert!(matches!(desk.wait(1000), Wake::Changed));
    assert_eq!(desk.update().summary.deleted.total, 3);
    desk.tell("../away/x", "f", What::Done);
    desk.rests();
}

#[test]
fn what_the_rules_leave_out_is_not_watched_and_its_events_are_nothing() {
    let mut desk = Desk::unbegun(&["a", "build/deep/out"], 0);
    desk.write(".gitignore", "/build/\n*.o\n");
    desk.begin();
    assert!(!desk.is_watched(&desk.source.join("build")));
    desk.write("x.o", "object");
    desk.tell("", "x.o", What::Done);
    desk.tell("", "build", What::Directory);
    desk.rests();
}

#[test]
fn an_edited_ignore_file_changes_what_is_kept() {
    let mut desk = Desk::unbegun(&["d/a", "d/build/out"], 0);
    desk.write("d/.gitignore", "build/\n");
    desk.begin();
    assert_eq!(desk.mirrored("d/build/out"), None);
    desk.write("d/.gitignore", "a\n");
    desk.tell("d", ".gitignore", What::Done);
    desk.follows();
    assert_eq!(desk.mirrored("d/build/out").unwrap(), "d/build/out");
    assert_eq!(desk.mirrored("d/a"), None);
    assert!(desk.is_watched(&desk.source.join("d/build")));
    desk.write(".legworkignore", "/d/\n");
    desk.tell("", ".legworkignore", What::Done);
    desk.follows();
    assert_eq!(desk.mirrored("d/build/out"), None);
    assert!(!desk.is_watched(&desk.source.join("d/build")));
}

#[test]
fn a_directory_that_turns_out_to_be_a_cache_leaves_the_mirror() {
    let mut desk = Desk::with(&["a", "target/x"]);
    let tag = "Signature: 8a477f597d28d172789f06886806bc55\n";
    desk.write("target/CACHEDIR.TAG", tag);
    desk.tell("target", "CACHEDIR.TAG", What::Done);
    assert!(matches!(desk.wait(1000), Wake::Changed));
    desk.update();
    assert_eq!(desk.mirrored("target/x"), None);
}

#[test]
fn lost_events_and_very_many_are_a_look_at_everything() {
    let mut desk = Desk::with(&["a", "d/b"]);
    desk.write("d/b", "unseen");
    desk.tell("", "", What::Lost);
    assert_eq!(desk.follows(), ["d/b"]);
    desk.write("d/b", "unseen again");
    for number in 0..1001 {
        desk.tell("", &format!("f{number}"), What::Done);
    }
    assert_eq!(desk.follows(), ["d/b"]);
}

#[test]
fn without_enough_watches_everything_is_looked_at_every_few_seconds() {
    let mut desk = Desk::unbegun(&["a", "d/e/b"], 2);
    desk.begin();
    assert_eq!(desk.watch.trouble(), Some(Trouble::Limit));
    desk.write("d/e/b", "nobody can tell");
    let woken = desk.wait(3000);
    assert!(matches!(woken, Wake::Changed), "{woken:?}");
    desk.update();
    desk.told.limit.store(0, Ordering::Relaxed);
    assert!(matches!(desk.wait(3000), Wake::Idle));
    assert_eq!(desk.watch.trouble(), None);
}

#[test]
fn a_limit_that_is_met_by_a_new_directory_is_noticed_then() {
    let mut desk = Desk::unbegun(&["a"], 1);
    desk.begin();
    assert_eq!(desk.watch.trouble(), None);
    desk.write("d/b", "1");
    desk.tell("", "d", What::Directory);
    desk.follows();
    assert_eq!(desk.watch.trouble(), Some(Trouble::Limit));
}

/// What a session over a link that breaks before the answer says.
fn cut(desk: &mut Desk) -> PushError {
    struct Deaf;
    impl Receiving<Down> for Deaf {
        fn receive(&mut self, _timeout: Duration) -> Result<Option<Down>, Closed> {
            Err(Closed)
        }
    }
    let (client, server) = link::pair::<Up, Down>(64);
    let link = Link {
        sender: client.sender,
        receiver: Deaf,
    };
    drop(server);
    desk.watch.update(link, &()).unwrap_err()
}

#[test]
fn what_a_broken_link_did_not_bring_is_brought_by_the_next() {
    let mut desk = Desk::with(&["a", "b", "c"]);
    desk.write("a", "1");
    fs::remove_file(desk.source.join("b")).unwrap();
    desk.tell("", "a", What::Done);
    desk.tell("", "b", What::Gone);
    assert!(matches!(desk.wait(1000), Wake::Changed));
    assert!(matches!(cut(&mut desk), PushError::Closed(_)));
    desk.write("a", "22");
    desk.tell("", "a", What::Done);
    assert!(matches!(desk.wait(1000), Wake::Changed));
    desk.update();
    assert_eq!(
        (desk.mirrored("a").as_deref(), desk.mirrored("b")),
        (Some("22"), None)
    );
    desk.rests();
}

#[test]
fn a_change_that_is_taken_back_is_not_sent() {
    let mut desk = Desk::with(&["a", "b"]);
    desk.write("a", "1");
    desk.tell("", "a", What::Done);
    assert!(matches!(desk.wait(1000), Wake::Changed));
    cut(&mut desk);
    desk.write("a", "a");
    desk.tell("", "a", What::Done);
    desk.rests();
    assert!(!desk.watch.is_behind());
}

#[test]
fn another_who_commits_meanwhile_is_no_trouble() {
    let mut desk = Desk::with(&["a", "b"]);
    let elsewhere = desk.temp.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    fs::write(elsewhere.join("theirs"), "theirs").unwrap();
    let (client, server) = link::pair(4);
    thread::scope(|scope| {
        scope.spawn(|| {
            receive::receive(&desk.workspace, &receive::Options::default(), server, &wall)
        });
        let cache = desk.temp.path().join("another-cache");
        crate::push::push(&elsewhere, &Options::at(wall()), &cache, client, &())
    })
    .unwrap();
    desk.write("a", "mine");
    desk.tell("", "a", What::Done);
    assert_eq!(desk.follows(), ["a", "b"]);
    assert_eq!(desk.mirrored("theirs"), None);
}

#[test]
fn a_root_that_is_gone_empties_no_mirror_and_one_that_is_back_is_looked_at() {
    let mut desk = Desk::with(&["a", "b"]);
    let aside = desk.temp.path().join("aside");
    fs::rename(&desk.source, &aside).unwrap();
    assert!(matches!(desk.wait(1000), Wake::Gone(_)));
    assert!(matches!(desk.wait(700_000), Wake::Idle));
    fs::create_dir(&desk.source).unwrap();
    desk.write("a", "another directory's");
    desk.write("b", "b");
    assert!(matches!(desk.wait(1000), Wake::Back));
    assert_eq!(desk.follows(), ["a"]);
    // Replaced between two looks: nobody saw it gone.
    fs::rename(&desk.source, desk.temp.path().join("aside too")).unwrap();
    fs::rename(&aside, &desk.source).unwrap();
    assert_eq!(desk.follows(), ["a"]);
}

#[test]
fn what_jobs_did_elsewhere_is_left_to_the_next_run() {
    let mut desk = Desk::with(&["a", "Cargo.lock"]);
    fs::write(desk.workspace.tree().join("Cargo.lock"), "a job's own").unwrap();
    desk.write("a", "1");
    desk.tell("", "a", What::Done);
    assert_eq!(desk.follows(), ["a"]);
    assert_eq!(desk.mirrored("Cargo.lock").unwrap(), "a job's own");
    // Nor does it go while nothing happens.
    assert!(matches!(desk.wait(400_000), Wake::Idle));
    desk.update();
    assert_eq!(desk.mirrored("Cargo.lock").unwrap(), "a job's own");
    // What a save is about is the client's, at once.
    desk.write("Cargo.lock", "saved");
    desk.tell("", "Cargo.lock", What::Done);
    assert!(matches!(desk.wait(1000), Wake::Changed));
    let summary = desk.update().summary;
    assert_eq!(
        (names(&summary.displaced.paths), summary.displaced.total),
        (vec!["Cargo.lock".to_owned()], 1)
    );
    assert_eq!(desk.mirrored("Cargo.lock").unwrap(), "saved");
}

#[test]
fn a_directory_that_a_job_took_away_comes_back_whole() {
    let mut desk = Desk::with(&["a", "d/e/saved", "d/e/other", "d/more"]);
    for by_a_file in [false, true] {
        let dir = desk.workspace.tree().join("d");
        fs::remove_dir_all(&dir).unwrap();
        if by_a_file {
            fs::write(&dir, "in the way").unwrap();
        }
        desk.write("d/e/saved", if by_a_file { "twice" } else { "once" });
        desk.tell("d/e", "saved", What::Done);
        assert!(matches!(desk.wait(1000), Wake::Changed));
        desk.update();
        for path in ["d/e/saved", "d/e/other", "d/more"] {
            let here = fs::read_to_string(desk.source.join(path)).ok();
            assert_eq!(desk.mirrored(path), here, "{path}");
        }
    }
}

#[test]
fn what_was_refused_is_not_sent_again_until_something_is_different() {
    let files: Vec<String> = (0..120).map(|number| format!("f{number}")).collect();
    let files: Vec<&str> = files.iter().map(String::as_str).collect();
    let mut desk = Desk::with(&files);
    for file in &files[1..] {
        fs::remove_file(desk.source.join(file)).unwrap();
        desk.tell("", file, What::Gone);
    }
    assert!(matches!(desk.wait(1000), Wake::Changed));
    let refused = desk.try_update().unwrap_err();
    assert!(matches!(refused, PushError::Refused(_)), "{refused}");
    desk.tell("", "f0", What::Done);
    desk.rests();
    assert!(desk.watch.is_behind());
    for file in &files[2..] {
        desk.write(file, file);
        desk.tell("", file, What::Done);
    }
    assert!(matches!(desk.wait(1000), Wake::Changed));
    assert_eq!(desk.update().summary.deleted.total, 1);
}

#[test]
fn a_large_file_that_keeps_changing_is_put_off_and_the_others_go_on() {
    let mut desk = Desk::with(&["a", "b"]);
    let big = desk.source.join("big");
    fs::write(&big, vec![1; 2 << 20]).unwrap();
    desk.tell("", "big", What::Done);
    desk.write("a", "1");
    desk.tell("", "a", What::Done);
    assert!(matches!(desk.wait(1000), Wake::Changed));
    let over = std::sync::atomic::AtomicBool::new(false);
    let failed = thread::scope(|scope| {
        scope.spawn(|| {
            let mut byte = 0_u8;
            while !over.load(Ordering::Relaxed) {
                byte = byte.wrapping_add(1);
                fs::write(&big, vec![byte; 2 << 20]).unwrap();
            }
        });
        let failed = desk.try_update();
        over.store(true, Ordering::Relaxed);
        failed
    });
    // It may have been lucky.
    if let Err(error) = failed {
        assert!(
            matches!(&error, PushError::KeepsChanging { path } if path == Path::new("big")),
            "{error}"
        );
        assert!(desk.watch.is_behind());
        assert_eq!(names(&desk.update().summary.written.paths), ["a"]);
        assert_eq!(desk.mirrored("big"), None);
        // Its time comes by itself.
        assert!(matches!(desk.wait(2000), Wake::Changed));
        desk.update();
    }
    desk.tell("", "big", What::Done);
    if let Wake::Changed = desk.wait(2000) {
        desk.update();
    }
    let now = fs::read(&big).unwrap();
    assert!(fs::read(desk.workspace.tree().join("big")).unwrap() == now);
}

#[test]
fn what_was_committed_is_known_to_the_next_push() {
    let mut desk = Desk::with(&["a", "b"]);
    desk.write("a", "1");
    desk.tell("", "a", What::Done);
    desk.follows();
    desk.rests();
    let cache = desk.temp.path().join("cache");
    let known = crate::push::cache::load(&cache).unwrap().unwrap();
    assert_eq!(Some(known.root), desk.workspace.root().unwrap());
}
