//! Histories of hosts, recorded and rebuilt: what is told is what was collected, or nothing.

use std::collections::BTreeMap;

use proptest::prelude::{Just, Strategy, any, prop, prop_oneof, proptest};

use super::{At, Flow, Line, Rebuild, Why};
use crate::process::Process;
use crate::record::Recorder;
use crate::snapshot::{Host, Snapshot};

/// What happens on a host between two snapshots, and to what was recorded.
#[derive(Debug, Clone)]
enum Event {
    Begin {
        pid: u32,
        size: usize,
    },
    End {
        which: usize,
    },
    Change {
        which: usize,
        by: u64,
    },
    Execute {
        which: usize,
    },
    /// A snapshot; what of its records gets to the log.
    Collect(Fate),
    Restart,
    Reboot,
}

#[derive(Debug, Clone, PartialEq)]
enum Fate {
    Arrives,
    /// Dropped, and a gap says so.
    Dropped,
    /// Gone without a word, as when it was refused.
    Vanishes,
    /// One part of it is.
    Torn(usize),
}

fn event() -> impl Strategy<Value = Event> {
    let which = 0..100_usize;
    prop_oneof![
        3 => (1..60_u32, prop_oneof![30 => 0..4_usize, 1 => 3500..4000_usize]).prop_map(|(pid, size)| Event::Begin { pid, size }),
        2 => which.clone().prop_map(|which| Event::End { which }),
        4 => (which.clone(), 1..5_u64).prop_map(|(which, by)| Event::Change { which, by }),
        1 => which.prop_map(|which| Event::Execute { which }),
        8 => Just(Event::Collect(Fate::Arrives)),
        1 => prop_oneof![
            Just(Fate::Dropped),
            Just(Fate::Vanishes),
            any::<usize>().prop_map(Fate::Torn),
        ].prop_map(Event::Collect),
        1 => prop_oneof![3 => Just(Event::Restart), 1 => Just(Event::Reboot)],
    ]
}

/// A host, its agent and the log.
struct World {
    processes: BTreeMap<u32, Process>,
    ticks: u64,
    boots: u32,
    runs: u32,
    recorder: Recorder,
    time: i64,
    /// Every snapshot: when, and what the agent saw.
    seen: Vec<(i64, Snapshot)>,
    log: Vec<Logged>,
}

enum Logged {
    Record { observed: i64, data: Vec<u8> },
    Gap { from: i64, to: i64 },
}

impl World {
    fn new() -> Self {
        Self {
            processes: BTreeMap::new(),
            ticks: 0,
            boots: 0,
            runs: 0,
            recorder: Recorder::new("run0".into(), 1000),
            time: 0,
            seen: Vec::new(),
            log: Vec::new(),
        }
    }

    fn nth(&mut self, which: usize) -> Option<&mut Process> {
        let count = self.processes.len().max(1);
        self.processes.values_mut().nth(which % count)
    }

    fn happens(&mut self, event: Event) {
        self.ticks += 1;
        match event {
            Event::Begin { pid, size } => {
                let process = Process {
                    pid,
                    start: self.ticks,
                    comm: format!("c{pid}"),
                    cmdline: "x".repeat(size * 20),
                    exe: "/bin/x".into(),
                    ..Process::default()
                };
                self.processes.insert(pid, process);
            }
            Event::End { which } => {
                if let Some(pid) = self.nth(which).map(|process| process.pid) {
                    self.processes.remove(&pid);
                }
            }
            Event::Change { which, by } => {
                if let Some(process) = self.nth(which) {
                    process.utime_ms += by;
                }
            }
            Event::Execute { which } => {
                if let Some(process) = self.nth(which) {
                    process.exe.clear();
                    process.cmdline = "other".into();
                }
            }
            Event::Collect(fate) => self.collect(&fate),
            Event::Restart => self.restart(),
            Event::Reboot => {
                self.boots += 1;
                self.ticks = 0;
                self.processes.clear();
                self.restart();
            }
        }
    }

    fn restart(&mut self) {
        self.runs += 1;
        self.recorder = Recorder::new(format!("run{}", self.runs), 1000);
    }

    fn collect(&mut self, fate: &Fate) {
        self.time += 10;
        let time = self.time;
        let snapshot = Snapshot {
            host: Host {
                boot: format!("boot{}", self.boots),
                uptime_ms: self.ticks,
                ..Host::default()
            },
            processes: self.processes.values().cloned().collect(),
            ..Snapshot::default()
        };
        self.seen.push((time, snapshot.clone()));
        let mut records = self.recorder.record(snapshot);
        match fate {
            Fate::Arrives => {}
            Fate::Dropped => {
                records.clear();
                self.log.push(Logged::Gap {
                    from: time,
                    to: time,
                });
            }
            Fate::Vanishes => records.clear(),
            Fate::Torn(part) => {
                records.remove(part % records.len());
            }
        }
        let observed = time;
        let logged = records
            .into_iter()
            .map(|data| Logged::Record { observed, data });
        self.log.extend(logged);
    }

    fn at(&self, time: i64) -> At {
        let mut rebuild = Rebuild::new(time);
        for logged in &self.log {
            let flow = rebuild.push(&match logged {
                Logged::Record { observed, data } => Line::Record {
                    observed: *observed,
                    data,
                },
                Logged::Gap { from, to } => Line::Gap {
                    from: *from,
                    to: *to,
                },
            });
            if flow == Flow::Settled {
                break;
            }
        }
        rebuild.finish()
    }

    /// What the agent saw last before that time.
    fn truth(&self, time: i64) -> Option<&(i64, Snapshot)> {
        self.seen.iter().rev().find(|(seen, _)| *seen <= time)
    }
}

proptest! {
    #[test]
    fn what_is_rebuilt_is_what_was_seen(events in prop::collection::vec(event(), 1..150), times in prop::collection::vec(0..900_i64, 8)) {
        let mut world = World::new();
        for event in events.clone() {
            world.happens(event);
        }
        for time in times.into_iter().chain([i64::MAX]) {
            let truth = world.truth(time);
            match world.at(time) {
                At::Known { table, next } => {
                    let (seen, snapshot) = truth.expect("something was seen");
                    // What vanished at the end of a run without a word cannot be missed by anybody.
                    let mut newer = world.seen.iter().filter(|(at, _)| *at > table.observed && at <= seen);
                    let silently = newer.all(|_| !events.iter().all(|event| !matches!(event, Event::Collect(Fate::Vanishes | Fate::Torn(_)))));
                    assert!(table.observed == *seen || silently, "{} is not {seen}", table.observed);
                    let (_, snapshot) = if table.observed == *seen { (seen, snapshot) } else {
                        let (at, snapshot) = world.seen.iter().find(|(at, _)| *at == table.observed).unwrap();
                        (at, snapshot)
                    };
                    let processes: Vec<_> = table.processes.into_values().collect();
                    assert_eq!(&processes, &snapshot.processes);
                    assert_eq!(table.host, snapshot.host);
                    assert!(next.is_none_or(|next| next > time));
                }
                At::Unknown { why: Why::NoSnapshot, .. } => {
                    let told = world.log.iter().any(|logged| matches!(logged, Logged::Record { observed, .. } if *observed <= time));
                    assert!(!told);
                }
                At::Unknown { .. } => {
                    let lossy = events.iter().any(|event| matches!(event, Event::Collect(fate) if *fate != Fate::Arrives));
                    assert!(lossy, "nothing was lost");
                }
            }
        }
    }

    #[test]
    fn nothing_that_is_sent_does_harm(data in ".{0,80}") {
        let mut rebuild = Rebuild::new(5);
        let data = format!(r#"{{"snapshot":{{"version":1,"run":"r","number":0,"full":0,"parts":1,"every_ms":1}}{data}}}"#);
        rebuild.push(&Line::Record { observed: 1, data: data.as_bytes() });
        rebuild.finish();
    }
}

/// A world after these.
fn after(events: &[Event]) -> World {
    let mut world = World::new();
    for event in events {
        world.happens(event.clone());
    }
    world
}

const ONE: Event = Event::Begin { pid: 1, size: 1 };
const SEEN: Event = Event::Collect(Fate::Arrives);
const DROPPED: Event = Event::Collect(Fate::Dropped);
const TICK: Event = Event::Change { which: 0, by: 1 };

fn unknown(at: At) -> Why {
    match at {
        At::Unknown { why, .. } => why,
        At::Known { table, .. } => panic!("known: {}", table.observed),
    }
}

#[test]
fn a_gap_is_not_guessed_over() {
    let world = after(&[ONE, SEEN, TICK, DROPPED, TICK, SEEN, TICK, SEEN]);
    assert!(matches!(world.at(15), At::Known { .. }), "before the gap");
    assert_eq!(unknown(world.at(25)), Why::Dropped);
    assert_eq!(
        unknown(world.at(35)),
        Why::Dropped,
        "changes of what is not known"
    );
    assert_eq!(unknown(world.at(5)), Why::NoSnapshot);
}

#[test]
fn a_whole_table_ends_not_knowing() {
    let world = after(&[ONE, SEEN, DROPPED, Event::Restart, TICK, SEEN]);
    assert_eq!(unknown(world.at(25)), Why::Dropped);
    let At::Known { table, next } = world.at(35) else {
        panic!("known")
    };
    assert_eq!((table.observed, next), (30, None));
}

#[test]
fn what_vanished_is_noticed_by_the_numbers() {
    let world = after(&[ONE, SEEN, TICK, Event::Collect(Fate::Vanishes), TICK, SEEN]);
    assert_eq!(unknown(world.at(25)), Why::Missing);
    assert_eq!(unknown(world.at(35)), Why::Missing);
}

#[test]
fn a_reboot_begins_anew() {
    let world = after(&[ONE, SEEN, Event::Reboot, ONE, SEEN]);
    let At::Known { table, .. } = world.at(25) else {
        panic!("known")
    };
    assert_eq!(table.host.boot, "boot1");
    let At::Known { next, .. } = world.at(15) else {
        panic!("known")
    };
    assert_eq!(next, Some(20));
}
