//! Jobs that run and commits that wait.

use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use legwork_sync::error::{PushError, ReceiveError, StoreError};
use legwork_sync::message::Waiting;
use legwork_sync::observer::Observer;
use legwork_sync::{link, push, receive};

use crate::support::{Bench, now};

/// Counts the reports of waiting, and cancels after some time.
struct Impatient {
    waits: AtomicU32,
    until: Instant,
}

impl Impatient {
    fn new(patience: Duration) -> Self {
        Self {
            waits: AtomicU32::new(0),
            until: Instant::now() + patience,
        }
    }
}

impl Observer for Impatient {
    fn waiting(&self, reason: Waiting) {
        assert_eq!(reason, Waiting::Lease);
        self.waits.fetch_add(1, Ordering::Relaxed);
    }

    fn cancelled(&self) -> bool {
        Instant::now() > self.until
    }
}

#[test]
fn an_unchanged_commit_passes_a_running_job_and_a_changing_one_waits() {
    let bench = Bench::new();
    bench.write("a", "1");
    let root = bench.mirror().summary.root;
    let lease = bench.workspace.share(&root).unwrap().unwrap();
    bench.mirror();
    bench.write("a", "2");
    let observer = Impatient::new(Duration::from_secs(20));
    let (client, server) = link::pair(4);
    let pushed = thread::scope(|scope| {
        scope.spawn(|| {
            receive::receive(&bench.workspace, &receive::Options::default(), server, &now)
        });
        scope.spawn(|| {
            while observer.waits.load(Ordering::Relaxed) == 0 {
                thread::sleep(Duration::from_millis(5));
            }
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
                crate::support::push_to(&bench.workspace, &bench.source, &cache, &bench.options())
                    .unwrap();
            });
        }
    });
    assert_eq!(bench.tree().get("a"), Some("f: 1"));
}
