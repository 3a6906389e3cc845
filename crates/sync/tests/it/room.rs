//! Somebody decides how much a workspace may hold.

use std::fs;
use std::io;
use std::sync::{Arc, Mutex};

use legwork_sync::error::{PushError, ReceiveError};
use legwork_sync::faults::Faults;
use legwork_sync::link;
use legwork_sync::message::{Delete, Refusal};
use legwork_sync::push::{self, Pushed};
use legwork_sync::receive::{self, Full, Held, Room};
use legwork_sync::workspace::Workspace;

use crate::hostile::{data, hello, put, puts};
use crate::support::{Bench, files_now, push_under};

/// Room for so many bytes, and what was claimed of it.
#[derive(Debug)]
struct Limited {
    limit: u64,
    now: Mutex<u64>,
    most: Mutex<u64>,
    past_bytes: u64,
    entries: Mutex<u64>,
}

const LIMIT: u64 = 100;
const ENTRIES: u64 = 30;

impl Room for Limited {
    fn claim(&self, bytes: u64) -> Result<(), Full> {
        let mut now = self.now.lock().unwrap();
        if bytes > *now && bytes > self.limit {
            let full = Full {
                limit: self.limit,
                elsewhere: 0,
            };
            return Err(full);
        }
        *now = bytes;
        let mut most = self.most.lock().unwrap();
        *most = bytes.max(*most);
        Ok(())
    }

    fn claim_entries(&self, entries: u64) -> Result<(), Full> {
        let limit = ENTRIES;
        if entries > limit {
            return Err(Full {
                limit,
                elsewhere: 0,
            });
        }
        *self.entries.lock().unwrap() = entries;
        Ok(())
    }

    fn settle(&self, held: Held) {
        *self.entries.lock().unwrap() = held.entries;
        *self.now.lock().unwrap() = held.bytes;
    }
}

impl Limited {
    fn of(limit: u64) -> Arc<Self> {
        Arc::new(Self {
            limit,
            now: 0.into(),
            most: 0.into(),
            past_bytes: 0,
            entries: 0.into(),
        })
    }

    fn now(&self) -> u64 {
        *self.now.lock().unwrap()
    }

    fn push(
        self: &Arc<Self>,
        bench: &Bench,
        workspace: &Workspace,
        options: &push::Options,
    ) -> Result<Pushed, PushError> {
        let bounds = receive::Options {
            room: Some(Arc::<Self>::clone(self)),
            past_bytes: self.past_bytes,
            ..receive::Options::default()
        };
        push_under(&bounds, workspace, &bench.source, &bench.cache(), options)
    }
}

#[test]
fn what_could_not_be_made_early_counts_once() {
    let (bench, room) = (Bench::new(), Limited::of(LIMIT));
    let push = || room.push(&bench, &bench.workspace, &bench.options());
    // As many as there may be but for a few.
    let files = usize::try_from(ENTRIES).unwrap() - 5;
    for number in 0..files {
        bench.write(&format!("dir/{number:02}"), &format!("{number:02}"));
    }
    push().unwrap();
    for number in 0..files {
        bench.job_write(&format!("dir/{number:02}"), "a job's");
    }
    fs::rename(bench.source.join("dir"), bench.source.join("moved")).unwrap();
    let pushed = push().unwrap();
    assert_eq!(pushed.sent_files, files as u64);
    assert_eq!(room.now(), 2 * files as u64);
}

/// Pushes, and tells how much was in use when there was no room.
fn used(pushed: Result<Pushed, PushError>) -> u64 {
    match pushed {
        Err(PushError::Refused(Refusal::Full { limit: LIMIT, used })) => used,
        other => panic!("there was room: {other:?}"),
    }
}

fn staged(bench: &Bench) -> usize {
    bench.staging().len()
}

#[test]
fn what_would_be_too_much_is_refused_and_nothing_is_lost() {
    let (bench, room) = (Bench::new(), Limited::of(LIMIT));
    let push = || room.push(&bench, &bench.workspace, &bench.options());
    bench.write("a", &"a".repeat(60));
    push().unwrap();
    assert_eq!(room.now(), 60);
    let before = bench.tree();
    bench.write("b", &"b".repeat(41));
    assert_eq!(used(push()), 60);
    let dry = push::Options {
        dry_run: true,
        ..bench.options()
    };
    assert_eq!(used(room.push(&bench, &bench.workspace, &dry)), 60);
    assert_eq!((bench.tree(), staged(&bench), room.now()), (before, 0, 60));
    // What goes makes room for what comes, in the same commit.
    bench.remove("b");
    bench.write("a", &"A".repeat(70));
    push().unwrap();
    assert_eq!(room.now(), 70);
    bench.remove("a");
    bench.write("large", &"l".repeat(99));
    bench.write("small", "s");
    let pushed = push().unwrap();
    assert_eq!(pushed.summary.written.total, 2);
    assert_eq!((room.now(), *room.most.lock().unwrap()), (100, 100));
    bench.write("more", "m");
    assert_eq!(used(push()), 100);
    bench.remove("more");
    bench.write("empty", "");
    push().unwrap();
    assert_eq!((room.now(), staged(&bench)), (100, 0));
}

#[test]
fn large_files_make_room_for_each_other() {
    let bench = Bench::new();
    let room = Limited::of(4 << 20);
    for (file, other) in [("a", "b"), ("b", "a")] {
        bench.write(file, &file.repeat(3 << 20));
        bench.write("small", file);
        if bench.source.join(other).exists() {
            bench.remove(other);
        }
        room.push(&bench, &bench.workspace, &bench.options())
            .unwrap();
        assert_eq!(bench.tree().0.len(), 2);
        assert_eq!(room.now(), (3 << 20) + 1);
    }
    assert_eq!(bench.workspace.measure().unwrap().bytes, room.now());
}

#[test]
fn what_is_left_where_it_is_counts_and_so_does_what_a_job_made() {
    let (bench, room) = (Bench::new(), Limited::of(LIMIT));
    let push = || room.push(&bench, &bench.workspace, &bench.options());
    bench.write("a", &"a".repeat(50));
    bench.write("b", "b");
    push().unwrap();
    bench.remove("a");
    let keeping = push::Options {
        delete: Delete::Nothing,
        ..bench.options()
    };
    let kept = room.push(&bench, &bench.workspace, &keeping);
    kept.unwrap();
    assert_eq!(room.now(), 51);
    push().unwrap();
    assert_eq!(room.now(), 1);
    // A job has it already: it comes to be the mirror's without being written.
    bench.job_write("made", &"m".repeat(30));
    assert_eq!(
        bench.workspace.measure().unwrap().bytes,
        1,
        "not the mirror's"
    );
    bench.write("made", &"m".repeat(30));
    push().unwrap();
    assert_eq!(
        (room.now(), bench.workspace.measure().unwrap().bytes),
        (31, 31)
    );
}

#[test]
fn a_commit_that_was_interrupted_keeps_its_room_until_it_is_completed() {
    let (bench, room) = (Bench::new(), Limited::of(LIMIT));
    bench.write("a", &"a".repeat(20));
    room.push(&bench, &bench.workspace, &bench.options())
        .unwrap();
    let dir = bench.temp.path().join("workspace");
    let stopped = Faults::new(|what| match what {
        "index" => Err(io::Error::from_raw_os_error(5)),
        _ => Ok(()),
    });
    let failing = Workspace::open_with(&dir, "boot", stopped).unwrap();
    bench.write("b", &"b".repeat(30));
    let failed = room.push(&bench, &failing, &bench.options());
    assert!(matches!(
        failed,
        Err(PushError::Refused(Refusal::Io { .. }))
    ));
    assert_eq!((room.now(), failing.measure().unwrap().bytes), (50, 50));
    let again = Workspace::open(&dir, "boot").unwrap();
    assert_eq!(again.measure().unwrap().bytes, 50);
    room.push(&bench, &again, &bench.options()).unwrap();
    assert_eq!(room.now(), 50);
}

#[test]
fn what_a_killed_session_staged_goes_when_it_is_measured() {
    let bench = Bench::new();
    bench.write("a", "aaa");
    bench.mirror();
    let dir = bench.temp.path().join("workspace");
    fs::create_dir(dir.join("staging/new")).unwrap();
    fs::write(dir.join("staging/new/half"), "half of it").unwrap();
    assert_eq!(bench.workspace.measure().unwrap().bytes, 3);
    assert_eq!(staged(&bench), 0);
}

#[test]
fn what_commits_replaced_gives_way_to_all_else() {
    let (bench, size) = (Bench::new(), 30);
    let room = Arc::new(Limited {
        limit: LIMIT,
        now: 0.into(),
        most: 0.into(),
        past_bytes: 1 << 20,
        entries: 0.into(),
    });
    let content = |letter: &str| letter.repeat(size);
    let push = |letter| {
        bench.write("file", &content(letter));
        room.push(&bench, &bench.workspace, &bench.options())
            .unwrap()
    };
    push("a");
    push("b");
    // Between sessions it keeps nobody out.
    assert_eq!(room.now(), size as u64);
    assert_eq!(bench.workspace.measure().unwrap().bytes, room.now());
    assert_eq!(push("a").sent_bytes, 0);
    // With what was replaced until then this would be more than there may be.
    push("c");
    push("d");
    assert!(*room.most.lock().unwrap() <= LIMIT);
    let rest = usize::try_from(LIMIT).unwrap() - size;
    bench.write("more", &"m".repeat(rest));
    room.push(&bench, &bench.workspace, &bench.options())
        .unwrap();
    assert!(*room.most.lock().unwrap() <= LIMIT);
    assert_eq!(bench.workspace.measure().unwrap().bytes, LIMIT);
    assert_eq!(room.now(), LIMIT);
}

#[test]
fn sessions_that_are_cut_off_leave_no_more_files_than_there_may_be() {
    let (bench, room) = (Bench::new(), Limited::of(1 << 20));
    let bounds = receive::Options {
        room: Some(Arc::<Limited>::clone(&room)),
        ..receive::Options::default()
    };
    let mut refused = 0;
    for session in 0..10_u8 {
        // Some small files, and then nothing more.
        let contents: Vec<_> = (0..10)
            .map(|file| vec![b'a' + file, b'0' + session])
            .collect();
        let (client, server) = link::pair(64);
        let sender = client.sender;
        sender.send(hello()).unwrap();
        let put = |content: &Vec<u8>| put(content, content);
        sender
            .send(puts(contents.iter().map(put).collect()))
            .unwrap();
        let pieces: Vec<_> = (0..10).map(|file| (file, 0, 2)).collect();
        sender.send(data(&pieces, &contents.concat())).unwrap();
        drop(sender);
        let ended = receive::receive(&bench.workspace, &bounds, server, &files_now);
        let left = fs::read_dir(bench.temp.path().join("workspace/staging/cut"));
        let left = left.map_or(0, Iterator::count) as u64;
        assert!(
            left <= ENTRIES,
            "{left} files are left of {session} sessions"
        );
        assert_eq!(bench.workspace.measure().unwrap().entries, left);
        assert_eq!(*room.entries.lock().unwrap(), left);
        match ended {
            Err(ReceiveError::Closed(_)) => {}
            Err(ReceiveError::Refused(Refusal::FullEntries { .. })) => refused += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(refused > 0);
}
