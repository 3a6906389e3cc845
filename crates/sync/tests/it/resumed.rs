//! A session that is cut off anywhere: what had arrived is not sent again.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use crossbeam_channel::Receiver;
use legwork_sync::error::{PushError, ReceiveError};
use legwork_sync::faults::Faults;
use legwork_sync::link::{self, Closed, Link, Receiving};
use legwork_sync::message::{TARGET_FRAME, Up};
use legwork_sync::push::{self, Compress, Pushed};
use legwork_sync::receive;
use legwork_sync::workspace::Workspace;

use crate::support::{Bench, Tree, files_now, noise};

/// Ends after so many messages, and counts the content in them.
struct Cut<'a> {
    inner: Receiver<Up>,
    left: usize,
    count: &'a Mutex<Count>,
}

#[derive(Debug, Default)]
struct Count {
    messages: usize,
    content: u64,
}

impl Receiving<Up> for Cut<'_> {
    fn receive(&mut self, timeout: Duration) -> Result<Option<Up>, Closed> {
        if self.left == 0 {
            return Err(Closed);
        }
        let message = Receiving::receive(&mut self.inner, timeout)?;
        if let Some(message) = &message {
            self.left -= 1;
            let mut count = self.count.lock().unwrap();
            count.messages += 1;
            if let Up::Data(data) = message {
                count.content += data
                    .pieces
                    .iter()
                    .map(|piece| u64::from(piece.len))
                    .sum::<u64>();
            }
        }
        Ok(message)
    }
}

const THREADS: usize = 2;

fn options(bench: &Bench) -> push::Options {
    push::Options {
        threads: THREADS,
        compress: Compress::Nothing,
        ..bench.options()
    }
}

/// Pushes to a server that hears so many messages.
fn cut_after(
    bench: &Bench,
    workspace: &Workspace,
    messages: usize,
) -> (Result<Pushed, PushError>, Count) {
    let count = Mutex::default();
    let (client, server) = link::pair(4);
    let pushed = thread::scope(|scope| {
        let receiver = Cut {
            inner: server.receiver,
            left: messages,
            count: &count,
        };
        let link = Link {
            sender: server.sender,
            receiver,
        };
        let bounds = receive::Options::default();
        let serving = scope.spawn(move || receive::receive(workspace, &bounds, link, &files_now));
        let pushed = push::push(&bench.source, &options(bench), &bench.cache(), client, &());
        let served = serving.join().unwrap();
        assert!(
            served.is_ok() || matches!(served, Err(ReceiveError::Closed(_))),
            "{served:?}"
        );
        pushed
    });
    (pushed, count.into_inner().unwrap())
}

/// Several frames of small files, and large ones; how many bytes that is.
fn fill(bench: &Bench, seed: u64) -> u64 {
    let mut all = 0;
    let mut file = |path: String, len: usize, seed: u64| {
        let path = bench.source.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, noise(len, seed)).unwrap();
        all += len as u64;
    };
    for number in 0..12 {
        file(format!("d{}/{number}", number % 4), 60_000, seed + number);
    }
    for number in 0..2 {
        file(format!("large{number}"), 1_100_000, seed + 100 + number);
    }
    all
}

/// What is in the workspace beside the tree and its index.
fn kept(bench: &Bench) -> u64 {
    let cut = bench.temp.path().join("workspace/staging/cut");
    let Ok(entries) = fs::read_dir(cut) else {
        return 0;
    };
    entries
        .map(|entry| entry.unwrap().metadata().unwrap().len())
        .sum()
}

#[test]
fn cut_after_any_message_nothing_that_had_arrived_is_sent_again() {
    for based in [false, true] {
        let mut messages = usize::MAX;
        for cut in 1.. {
            if cut >= messages {
                break;
            }
            let bench = Bench::new();
            if based {
                bench.write("before", "1");
                bench.mirror();
            }
            let all = fill(&bench, 1);
            let (before, old) = (bench.tree(), bench.workspace.root().unwrap());
            let (pushed, first) = cut_after(&bench, &bench.workspace, cut);
            if pushed.is_ok() {
                messages = first.messages;
                break;
            }
            assert!(matches!(pushed, Err(PushError::Closed(_))), "{pushed:?}");
            // Nobody sees what came.
            assert_eq!(
                (bench.tree(), bench.workspace.root().unwrap()),
                (before, old)
            );
            // And it is there for another process too.
            let boot = bench.temp.path().join("workspace");
            let workspace = Workspace::open(&boot, "boot").unwrap();
            let (pushed, second) = cut_after(&bench, &workspace, usize::MAX);
            assert_eq!(pushed.unwrap().summary.entries, all_entries(&bench));
            assert_eq!(bench.tree(), Tree::of(&bench.source));
            let again = (first.content + second.content).saturating_sub(all);
            let most = if first.content > (TARGET_FRAME * 9 / 8) as u64 {
                0
            } else {
                // Of a first frame nothing is remembered.
                first.content
            };
            assert!(
                again <= most,
                "cut after {cut}: {again} bytes of {} again",
                first.content
            );
            assert_eq!(kept(&bench), 0);
        }
        assert!(messages >= 12, "{messages}");
    }
}

fn all_entries(bench: &Bench) -> u64 {
    Tree::of(&bench.source).0.len() as u64
}

#[test]
fn a_link_that_never_holds_for_long_brings_everything_at_last() {
    let bench = Bench::new();
    let all = fill(&bench, 2);
    let (mut sent, mut attempts) = (0, 0);
    loop {
        attempts += 1;
        let (pushed, count) = cut_after(&bench, &bench.workspace, 8);
        sent += count.content;
        if pushed.is_ok() {
            break;
        }
        assert!(attempts < 100);
    }
    assert!(attempts >= 3, "{attempts}");
    assert!(sent <= all, "{sent} of {all}");
    assert_eq!(bench.tree(), Tree::of(&bench.source));
}

#[test]
fn what_changed_since_the_cut_is_sent_and_the_rest_goes() {
    let bench = Bench::new();
    fill(&bench, 3);
    let (pushed, count) = cut_after(&bench, &bench.workspace, 12);
    assert!(pushed.is_err() && count.content > 0);
    assert!(kept(&bench) > 0);
    for number in 0..3 {
        bench.write(&format!("large{number}"), &format!("{number} changed"));
    }
    bench.remove("d0");
    let (pushed, _) = cut_after(&bench, &bench.workspace, usize::MAX);
    pushed.unwrap();
    assert_eq!(bench.tree(), Tree::of(&bench.source));
    assert_eq!(kept(&bench), 0);
}

#[test]
fn what_is_kept_is_verified_before_it_is_taken() {
    // Which messages come first is up to the workers.
    let spoiled = (8..40).any(|cut| {
        let bench = Bench::new();
        fill(&bench, 4);
        let (pushed, _) = cut_after(&bench, &bench.workspace, cut);
        assert!(pushed.is_err());
        let kinds = spoil(&bench);
        let (pushed, _) = cut_after(&bench, &bench.workspace, usize::MAX);
        pushed.unwrap();
        assert_eq!(bench.tree(), Tree::of(&bench.source));
        kinds == 2
    });
    assert!(spoiled, "whole ones and beginnings");
}

/// Changes all that is kept; how many kinds of it there are.
fn spoil(bench: &Bench) -> usize {
    let cut = bench.temp.path().join("workspace/staging/cut");
    let mut kinds = HashSet::new();
    for entry in fs::read_dir(cut).unwrap() {
        let path = entry.unwrap().path();
        let mut content = fs::read(&path).unwrap();
        content[0] ^= 1;
        fs::write(&path, content).unwrap();
        kinds.insert(path.extension().map(ToOwned::to_owned));
    }
    kinds.len()
}

#[test]
fn what_a_killed_server_had_verified_is_not_sent_again() {
    let bench = Bench::new();
    let all = fill(&bench, 5);
    let killed = Faults::new(|what| match what {
        // Nothing is tidied up.
        "tidy" => Err(io::Error::from_raw_os_error(5)),
        _ => Ok(()),
    });
    let place = bench.temp.path().join("workspace");
    let workspace = Workspace::open_with(&place, "boot", killed).unwrap();
    let (pushed, first) = cut_after(&bench, &workspace, 14);
    assert!(pushed.is_err() && first.content > 500_000);
    assert!(place.join("staging/new").exists());
    let (pushed, second) = cut_after(&bench, &bench.workspace, usize::MAX);
    pushed.unwrap();
    assert_eq!(bench.tree(), Tree::of(&bench.source));
    assert!(first.content + second.content <= all);
}

#[test]
fn what_is_kept_counts_until_it_goes() {
    let bench = Bench::new();
    fill(&bench, 6);
    assert_eq!(bench.workspace.measure().unwrap().bytes, 0);
    let (pushed, _) = cut_after(&bench, &bench.workspace, 12);
    assert!(pushed.is_err());
    let bytes = kept(&bench);
    assert!(bytes > 0);
    assert_eq!(bench.workspace.measure().unwrap().bytes, bytes);
    assert_eq!(kept(&bench), bytes);
    let (pushed, _) = cut_after(&bench, &bench.workspace, usize::MAX);
    let written = pushed.unwrap().summary.written_bytes;
    assert_eq!(bench.workspace.measure().unwrap().bytes, written);
}
