//! Jobs that run and commits that wait.

use std::fs;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use legwork_sync::digest::Digest;
use legwork_sync::error::{PushError, ReceiveError, StoreError};
use legwork_sync::message::{Down, Refusal, Up, Waiting, Writer};
use legwork_sync::observer::{Observer, Progress};
use legwork_sync::{link, push, receive};

use crate::hostile::{hello, puts};
use crate::support::{Bench, PATIENCE, now, push_to, write};

/// Counts the reports of waiting, and cancels after some time.
struct Impatient {
    waits: AtomicU32,
    until: Instant,
    /// Whether it may wait for another writer too.
    anything: bool,
}

impl Impatient {
    fn new(patience: Duration) -> Self {
        Self {
            waits: AtomicU32::new(0),
            until: Instant::now() + patience,
            anything: false,
        }
    }
}

impl Observer for Impatient {
    fn waiting(&self, reason: Waiting) {
        assert!(reason == Waiting::Lease || self.anything);
        self.waits.fetch_add(1, Ordering::Relaxed);
    }

    fn cancelled(&self) -> bool {
        Instant::now() > self.until
    }
}

#[test]
fn a_live_commit_changes_files_under_a_running_job() {
    let bench = Bench::new();
    bench.write("a", "1");
    let root = bench.mirror().summary.root;
    let lease = bench.workspace.share(&root).unwrap().unwrap();
    bench.write("a", "2");
    let live = push::Options {
        live: true,
        ..bench.options()
    };
    let pushed = bench.push_with(&live).unwrap();
    assert_eq!(bench.tree().get("a"), Some("f: 2"));
    // The next job starts on what is there now, beside the first.
    let next = bench.workspace.share(&pushed.summary.root).unwrap();
    assert!(next.is_some() && bench.workspace.share(&root).unwrap().is_none());
    drop(lease);
}

#[test]
fn an_unchanged_commit_passes_a_running_job_and_a_changing_one_waits() {
    let bench = Bench::new();
    bench.write("a", "1");
    let root = bench.mirror().summary.root;
    let lease = bench.workspace.share(&root).unwrap().unwrap();
    bench.mirror();
    bench.write("a", "2");
    let observer = Impatient::new(PATIENCE);
    let (client, server) = link::pair(4);
    let pushed = thread::scope(|scope| {
        scope.spawn(|| {
            receive::receive(&bench.workspace, &receive::Options::default(), server, &now)
        });
        scope.spawn(|| {
            until(|| observer.waits.load(Ordering::Relaxed) > 0);
            assert_eq!(bench.tree().get("a"), Some("f: 1"));
            drop(lease);
        });
        push::push(
            &bench.source,
            &bench.options(),
            &bench.cache(),
            client,
            &observer,
        )
    });
    assert_eq!(pushed.unwrap().summary.written.total, 1);
    assert_eq!(bench.tree().get("a"), Some("f: 2"));
}

/// Does something once the client has looked at its tree: the server has begun to look at its own.
struct Meanwhile<F>(F);

impl<F: Fn() + Sync> Observer for Meanwhile<F> {
    fn scanned(&self, _progress: Progress) {
        (self.0)();
    }
}

#[test]
fn what_a_job_did_that_came_and_went_during_a_push_is_noticed() {
    for edits in [false, true] {
        let bench = Bench::new();
        for name in ["a", "b", "c"] {
            bench.write(name, "1");
        }
        let root = bench.mirror().summary.root;
        if edits {
            bench.write("a", "2");
        }
        let job = Meanwhile(|| {
            let lease = bench.workspace.share(&root).unwrap().unwrap();
            bench.job_write("b", "a job's");
            bench.job_write("c", "a job's");
            drop(lease);
        });
        let (client, server) = link::pair(4);
        let pushed = thread::scope(|scope| {
            scope.spawn(|| {
                receive::receive(&bench.workspace, &receive::Options::default(), server, &now)
            });
            push::push(
                &bench.source,
                &bench.options(),
                &bench.cache(),
                client,
                &job,
            )
        });
        let displaced = pushed.unwrap().summary.displaced.total;
        if edits {
            assert_eq!((displaced, bench.tree().get("b")), (2, Some("f: 1")));
        }
        // Where nothing was to be changed, the look may have been over before.
        assert_eq!(displaced + bench.mirror().summary.displaced.total, 2);
    }
}

#[test]
fn an_unchanged_commit_passes_a_changing_one_that_waits() {
    let bench = Bench::new();
    bench.write("a", "1");
    let root = bench.mirror().summary.root;
    let other = bench.temp.path().join("other");
    write(&other.join("a"), "1");
    let others = bench.temp.path().join("other's cache");
    let unchanged = || push_to(&bench.workspace, &other, &others, &bench.options());
    unchanged().unwrap();
    let lease = bench.workspace.share(&root).unwrap().unwrap();
    bench.write("a", "2");
    let waiting = Impatient::new(PATIENCE);
    let (client, server) = link::pair(4);
    let passed = thread::scope(|scope| {
        scope.spawn(|| {
            receive::receive(&bench.workspace, &receive::Options::default(), server, &now)
        });
        let changing = scope.spawn(|| {
            push::push(
                &bench.source,
                &bench.options(),
                &bench.cache(),
                client,
                &waiting,
            )
        });
        until(|| waiting.waits.load(Ordering::Relaxed) > 0);
        let passed = unchanged().unwrap();
        let dry = push::Options {
            dry_run: true,
            ..bench.options()
        };
        assert!(push_to(&bench.workspace, &other, &others, &dry).is_ok());
        assert!(!changing.is_finished());
        assert_eq!(bench.tree().get("a"), Some("f: 1"));
        drop(lease);
        assert_eq!(changing.join().unwrap().unwrap().summary.written.total, 1);
        passed
    });
    assert_eq!((passed.summary.root, passed.summary.generation), (root, 1));
    assert_eq!(bench.tree().get("a"), Some("f: 2"));
    // The base that passed is not the server's any more, and is not taken for it.
    assert_eq!(unchanged().unwrap().summary.written.total, 1);
    assert_eq!(bench.tree().get("a"), Some("f: 1"));
}

#[test]
fn what_a_job_changed_is_not_passed_over_as_unchanged() {
    let bench = Bench::new();
    bench.write("a", "1");
    let root = bench.mirror().summary.root;
    let lease = bench.workspace.share(&root).unwrap().unwrap();
    let caches = ["cache one", "cache two"].map(|name| bench.temp.path().join(name));
    for cache in &caches {
        push_to(&bench.workspace, &bench.source, cache, &bench.options()).unwrap();
    }
    bench.job_write("a", "a job's");
    thread::scope(|scope| {
        let waiting: Vec<_> = caches
            .iter()
            .map(|cache| {
                let bench = &bench;
                scope.spawn(move || {
                    let observer = Impatient {
                        anything: true,
                        ..Impatient::new(Duration::from_millis(600))
                    };
                    let (client, server) = link::pair(4);
                    thread::scope(|scope| {
                        scope.spawn(|| {
                            let options = receive::Options::default();
                            receive::receive(&bench.workspace, &options, server, &now)
                        });
                        push::push(&bench.source, &bench.options(), cache, client, &observer)
                    })
                })
            })
            .collect();
        for pushed in waiting {
            let pushed = pushed.join().unwrap();
            assert!(matches!(pushed, Err(PushError::Cancelled)), "{pushed:?}");
        }
    });
    drop(lease);
    assert_eq!(bench.mirror().summary.displaced.total, 1);
}

fn until(condition: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "it does not come");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_client_that_goes_away_stops_the_waiting_and_changes_nothing() {
    let bench = Bench::new();
    bench.write("a", "1");
    let root = bench.mirror().summary.root;
    let _lease = bench.workspace.share(&root).unwrap().unwrap();
    bench.write("a", "2");
    let observer = Impatient::new(Duration::from_millis(300));
    let (client, server) = link::pair(4);
    let (pushed, received) = thread::scope(|scope| {
        let server = scope.spawn(|| {
            receive::receive(&bench.workspace, &receive::Options::default(), server, &now)
        });
        let pushed = push::push(
            &bench.source,
            &bench.options(),
            &bench.cache(),
            client,
            &observer,
        );
        (pushed, server.join().unwrap())
    });
    assert!(matches!(pushed, Err(PushError::Cancelled)));
    assert!(matches!(received, Err(ReceiveError::Closed(_))));
    assert_eq!(bench.workspace.root().unwrap(), Some(root));
}

/// The hello of a client that says who it is.
fn hello_of(name: &str, takeover: bool) -> Up {
    let Up::Hello(mut said) = hello() else {
        unreachable!("it is one")
    };
    said.writer = Some(Writer {
        id: Digest::of(name.as_bytes()),
        name: name.to_owned(),
        keeps: false,
        takeover,
        leaves: false,
    });
    Up::Hello(said)
}

#[test]
fn a_writer_who_says_nothing_more_gives_way_to_who_takes_over() {
    let bench = Bench::new();
    for (says, waits_for_job) in [(false, false), (true, false), (true, true)] {
        let (silent, server) = link::pair(64);
        let options = receive::Options::default();
        thread::scope(|scope| {
            let first = scope.spawn(|| receive::receive(&bench.workspace, &options, server, &now));
            silent.sender.send(hello_of("one", false)).unwrap();
            assert!(matches!(
                silent.receiver.recv_timeout(PATIENCE),
                Ok(Down::Welcome(_))
            ));
            let lease = waits_for_job.then(|| {
                let root = bench.workspace.root().unwrap().unwrap();
                bench.workspace.share(&root).unwrap().unwrap()
            });
            if says {
                // It goes on and on, but never comes to an end.
                let sender = silent.sender.clone();
                scope.spawn(move || {
                    while sender.send(puts(Vec::new())).is_ok() {
                        thread::sleep(Duration::from_millis(20));
                    }
                });
            }
            bench.write("a", if says { "said" } else { "silent" });
            let other = push::Options {
                writer: Some(Writer {
                    id: Digest::of(b"two"),
                    name: "two".to_owned(),
                    keeps: false,
                    takeover: true,
                    leaves: false,
                }),
                live: true,
                ..bench.options()
            };
            let pushed = push_to(&bench.workspace, &bench.source, &bench.cache(), &other);
            pushed.unwrap();
            let ended = first.join().unwrap();
            let Err(ReceiveError::Refused(Refusal::OtherWriter { name })) = ended else {
                panic!("{ended:?}");
            };
            assert_eq!(name, "two");
            drop(lease);
        });
        // Its hold ends as that of any other.
        fs::remove_file(bench.temp.path().join("workspace/hold")).unwrap();
    }
}

#[test]
fn only_the_committed_root_can_be_leased_and_removal_waits_for_jobs() {
    let bench = Bench::new();
    bench.write("a", "1");
    let root = bench.mirror().summary.root;
    bench.write("a", "2");
    let newer = bench.mirror().summary.root;
    assert!(bench.workspace.share(&root).unwrap().is_none());
    let lease = bench.workspace.share(&newer).unwrap().unwrap();
    assert_eq!(bench.workspace.last_used().unwrap(), now());
    let dir = bench.temp.path().join("workspace");
    let again = || legwork_sync::workspace::Workspace::open(&dir, "boot").unwrap();
    assert!(matches!(again().remove(), Err(StoreError::Busy { .. })));
    assert_eq!(bench.tree().0.len(), 1);
    drop(lease);
    again().remove().unwrap();
    assert!(!dir.exists());
}

#[test]
fn two_pushes_at_once_both_succeed() {
    let bench = Bench::new();
    bench.write("a", "1");
    thread::scope(|scope| {
        for client in 0..4 {
            let (bench, cache) = (&bench, bench.temp.path().join(format!("cache {client}")));
            scope.spawn(move || {
                push_to(&bench.workspace, &bench.source, &cache, &bench.options()).unwrap();
            });
        }
    });
    assert_eq!(bench.tree().get("a"), Some("f: 1"));
}
