//! Hosts that report to one log, and their tables found again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use legwork_processes::{At, Host, Process, Recorder, Snapshot, Why};
use legwork_records::{
    Batch, Clock, Config, Content, Gap, GapWhy, Log, Observed, Origin, Timestamp, Validator,
};

use super::{Finder, Of};

const SECOND: i64 = 1_000_000;

#[derive(Debug, Default)]
struct Hand(AtomicI64);

impl Clock for Hand {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::Relaxed))
    }
}

/// A host with some processes of which one always works.
struct Reporter {
    of: Of,
    recorder: Recorder,
    sequence: u64,
    seen: BTreeMap<i64, Vec<Process>>,
}

struct World {
    _dir: tempfile::TempDir,
    clock: Arc<Hand>,
    log: Log,
}

impl World {
    fn new(segment_bytes: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(Hand::default());
        let (log, _) = Log::open(Config {
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            durability: legwork_records::Durability::Os,
            segment_bytes,
            ..Config::new(dir.path(), "process")
        })
        .unwrap();
        Self {
            _dir: dir,
            clock,
            log,
        }
    }

    fn append(&self, reporter: &mut Reporter, content: Content) {
        reporter.sequence += 1;
        let batch = Batch {
            client: reporter.of.client.clone(),
            host: reporter.of.host.clone(),
            origin: Some(Origin {
                producer: format!("of {}", reporter.of.host),
                sequence: reporter.sequence,
                session: 0,
            }),
            content,
        };
        self.log.append(batch).unwrap();
    }

    fn finder(&self, time: i64) -> Finder<'_> {
        Finder {
            log: &self.log,
            since: None,
            time: Timestamp::from_micros(time),
        }
    }

    /// A snapshot that was observed and is received now.
    fn send(&self, reporter: &mut Reporter, observed: i64) {
        let content = reporter.snapshot(observed);
        self.append(reporter, content);
    }
}

impl Reporter {
    fn new(number: u32) -> Self {
        let name = format!("web-{number}");
        Self {
            recorder: Recorder::new(format!("run of {name}"), 15_000),
            of: Of {
                client: name.clone(),
                host: format!("{name}.example"),
            },
            sequence: 0,
            seen: BTreeMap::new(),
        }
    }

    fn snapshot(&mut self, observed: i64) -> Content {
        let moment = observed.unsigned_abs();
        let process = |pid: u32| Process {
            pid,
            start: u64::from(pid),
            comm: self.of.host.clone(),
            cmdline: "/usr/bin/something --with=words".into(),
            utime_ms: if pid.is_multiple_of(17) {
                moment / 1000
            } else {
                0
            },
            ..Process::default()
        };
        let processes: Vec<_> = (1..=300).map(process).collect();
        self.seen.insert(observed, processes.clone());
        let snapshot = Snapshot {
            host: Host {
                boot: "boot".into(),
                ..Host::default()
            },
            processes,
            ..Snapshot::default()
        };
        let text = self.recorder.record(snapshot).join(&b'\n');
        let observed = Observed::At(Timestamp::from_micros(observed));
        let records = Validator::default().batch(&text, observed, None).unwrap();
        assert!(records.rejections().records.is_empty());
        Content::Records(records)
    }

    fn check(&self, world: &World, time: i64) {
        let found = world.finder(time).at(&self.of).unwrap();
        let truth = self.seen.range(..=time).next_back();
        match (found, truth) {
            (At::Known { table, next }, Some((observed, processes))) => {
                assert_eq!(table.observed, *observed, "at {time}");
                assert_eq!(
                    &table.processes.into_values().collect::<Vec<_>>(),
                    processes
                );
                let after = self.seen.range(time + 1..).next();
                assert_eq!(next, after.map(|(observed, _)| *observed), "at {time}");
            }
            (
                At::Unknown {
                    why: Why::NoSnapshot,
                    ..
                },
                None,
            ) => {}
            (At::Known { table, .. }, _) => panic!("at {time}: {}", table.observed),
            (At::Unknown { why, .. }, _) => panic!("at {time}: {why:?}"),
        }
    }
}

#[test]
fn each_hosts_table_is_found_among_others() {
    let world = World::new(1 << 20);
    let mut reporters: Vec<_> = (0..4).map(Reporter::new).collect();
    for round in 0..120 {
        for (place, reporter) in (0..).zip(&mut reporters) {
            let now = round * 15 * SECOND + place * SECOND;
            world.clock.0.store(now + SECOND / 10, Ordering::Relaxed);
            world.send(reporter, now);
        }
    }
    for reporter in &reporters {
        for time in [0, 1, 14, 15, 16, 599, 600, 601, 900, 1784, 1785, 1_000_000] {
            reporter.check(&world, time * SECOND);
        }
    }
    let finder = world.finder(900 * SECOND);
    let found = finder.senders("", "").unwrap();
    assert_eq!(found.len(), 4);
    let found = finder.senders("", "web-2.example").unwrap();
    assert_eq!(found, [reporters[2].of.clone()].into());
    let found = finder.senders("web-1", "").unwrap();
    assert_eq!(found, [reporters[1].of.clone()].into());
    assert!(finder.senders("nobody", "").unwrap().is_empty());
}

#[test]
fn what_came_late_is_found_by_when_it_was_observed() {
    let world = World::new(1 << 20);
    let (mut one, mut other) = (Reporter::new(0), Reporter::new(1));
    for round in 0..60 {
        world.clock.0.store(round * 15 * SECOND, Ordering::Relaxed);
        world.send(&mut other, round * 15 * SECOND);
        if round < 10 {
            world.send(&mut one, round * 15 * SECOND);
        }
    }
    // It was away, and sends what it kept.
    for round in 10..60 {
        world.send(&mut one, round * 15 * SECOND);
    }
    for time in (0..1000).step_by(37) {
        one.check(&world, time * SECOND);
        other.check(&world, time * SECOND);
    }
}

#[test]
fn a_gap_is_not_known() {
    let world = World::new(1 << 20);
    let mut reporter = Reporter::new(0);
    for round in 0..100 {
        let now = round * SECOND;
        world.clock.0.store(now, Ordering::Relaxed);
        if (20..30).contains(&round) {
            drop(reporter.snapshot(now));
            reporter.seen.remove(&now);
        } else if round == 30 {
            let gap = Gap {
                first: reporter.sequence + 1,
                records: 10,
                from: Timestamp::from_micros(20 * SECOND),
                to: Timestamp::from_micros(29 * SECOND),
                why: GapWhy::SpoolFull,
            };
            reporter.sequence += 9;
            world.append(&mut reporter, Content::Gap(gap));
            world.send(&mut reporter, now);
        } else {
            world.send(&mut reporter, now);
        }
    }
    let why = |time: i64| match world.finder(time).at(&reporter.of) {
        Ok(At::Unknown { why, .. }) => Some(why),
        Ok(At::Known { .. }) => None,
        Err(error) => panic!("{error}"),
    };
    reporter.check(&world, 19 * SECOND + SECOND / 2);
    for time in [20, 25, 29, 30, 39] {
        assert_eq!(why(time * SECOND), Some(Why::Dropped), "{time}");
    }
    // The next whole table.
    for time in [40, 45, 80, 99, 200] {
        reporter.check(&world, time * SECOND);
    }
}

#[test]
fn a_day_costs_little() {
    let world = World::new(4 << 20);
    let mut reporter = Reporter::new(0);
    let day = 24 * 3600 / 15;
    for round in 0..day {
        let now = round * 15 * SECOND;
        world.clock.0.store(now, Ordering::Relaxed);
        world.send(&mut reporter, now);
        if round > 50 && round < day - 50 {
            // Only some are looked at.
            reporter.seen.remove(&((round - 2) * 15 * SECOND));
        }
    }
    world.log.keep_up();
    let begun = Instant::now();
    for time in [day * 15 - 3, day * 15 - 600, 600] {
        world.finder(time * SECOND).at(&reporter.of).unwrap();
    }
    // A debug build takes some ten times what a release build does.
    assert!(
        begun.elapsed() < Duration::from_secs(3),
        "{:?}",
        begun.elapsed()
    );
    reporter.check(&world, 600 * SECOND);
}
