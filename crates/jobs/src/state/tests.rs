//! The state that is told, against a model of what really happens to a job.

use std::convert::Infallible;

use legwork_shim::exit::{self, Exit, NotStarted, Status, Step, Usage};
use legwork_shim::launch::Launch;
use proptest::prelude::*;

use super::{
    Cause, JobState, Liveness, LostWhy, Newer, RecordKind, Source, Told, Traces, gather, observe,
};

/// What can happen to a job directory.
#[derive(Debug, Clone, Copy)]
enum Event {
    /// The shim claims the launch.
    Claim,
    /// The shim pauses the job, or lets it go on.
    Pause(bool),
    /// The shim records an end: the payload's own, or that it could not be started.
    Record,
    /// The shim, or the launcher before there was one, is gone.
    Die,
    /// So is everything.
    Reboot,
}

/// A job as it really is.
#[derive(Debug, Clone)]
struct World {
    alive: bool,
    claimed_in: Option<u8>,
    recorded: Option<Exit>,
    paused: bool,
    boot: u8,
    /// The record that is of a newer version, when it is there.
    newer: Option<RecordKind>,
}

impl World {
    fn new() -> Self {
        Self {
            newer: None,
            alive: true,
            claimed_in: None,
            recorded: None,
            paused: false,
            boot: 0,
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Claim if self.alive && self.recorded.is_none() => {
                self.claimed_in.get_or_insert(self.boot);
            }
            Event::Record if self.alive && self.recorded.is_none() => {
                self.recorded = Some(record(self.claimed_in.is_some()));
            }
            Event::Pause(still) if self.alive && self.claimed_in.is_some() => {
                self.paused = still && self.recorded.is_none();
            }
            Event::Die => self.alive = false,
            Event::Reboot => {
                self.alive = false;
                self.boot += 1;
            }
            Event::Claim | Event::Record | Event::Pause(_) => {}
        }
    }

    fn claim(&self) -> Option<Launch> {
        Some(Launch {
            version: 1,
            control: 1,
            boot_id: self.claimed_in?.to_string(),
            shim_pid: 1,
            pid: 2,
            started_at_ms: 3,
        })
    }
}

fn record(ran: bool) -> Exit {
    let never = NotStarted {
        step: Step::Exec,
        errno: 2,
        subject: "x".into(),
    };
    Exit {
        version: 1,
        cause: if ran {
            exit::Cause::Own
        } else {
            exit::Cause::NotStarted(never)
        },
        status: ran.then_some(Status::Code(0)),
        started_at_ms: None,
        ended_at_ms: 4,
        elapsed_ms: 1,
        output_end: 0,
        output_dropped: 0,
        output_failed: 0,
        usage: Usage::default(),
        survivors: Vec::new(),
    }
}

/// An observer, to whose questions the world changes its mind.
struct Observer {
    world: World,
    between: Vec<Vec<Event>>,
    /// The launcher cannot be asked.
    blind: bool,
}

impl Observer {
    fn meanwhile(&mut self) {
        for event in self.between.pop().unwrap_or_default() {
            self.world.happen(event);
        }
    }
}

impl Source for Observer {
    type Error = Infallible;

    fn liveness(&mut self) -> Liveness {
        self.meanwhile();
        match (self.blind, self.world.alive) {
            (true, _) => Liveness::Unknown,
            (false, true) => Liveness::Alive,
            (false, false) => Liveness::Ended,
        }
    }

    fn told(&mut self, _ended: bool) -> Result<Told, Infallible> {
        self.meanwhile();
        let world = &self.world;
        let is_newer = |kind: RecordKind| world.newer == Some(kind);
        let newer = world.newer.filter(|kind| match kind {
            RecordKind::Spec => true,
            RecordKind::Launch => world.claimed_in.is_some(),
            RecordKind::Exit => world.recorded.is_some(),
        });
        let told = |kind| Newer::Record {
            kind,
            found: 2,
            known: 1,
        };
        let exit = world.recorded.clone();
        Ok(Told {
            launch: world.claim().filter(|_| !is_newer(RecordKind::Launch)),
            exit: exit.filter(|_| !is_newer(RecordKind::Exit)),
            newer: newer.map(told),
            paused_ms: self.world.paused.then_some(8),
        })
    }

    fn traces(&mut self) -> Option<Traces> {
        Some(TRACES)
    }
}

const TRACES: Traces = Traces {
    output_end: 5,
    output_dropped: 1,
    seen_ms: 9,
};

fn happening() -> impl Strategy<Value = Event> {
    prop_oneof![
        Just(Event::Claim),
        Just(Event::Record),
        Just(Event::Die),
        any::<bool>().prop_map(Event::Pause)
    ]
}

fn history() -> impl Strategy<Value = Vec<Event>> {
    prop::collection::vec(
        prop_oneof![4 => happening(), 1 => Just(Event::Reboot)],
        0..5,
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn nothing_is_told_that_is_not_so(
        before in history(),
        // No observer outlives its host, so there is no reboot between its questions.
        between in prop::collection::vec(prop::collection::vec(happening(), 0..3), 0..5),
        blind: bool,
    ) {
        let mut world = World::new();
        before.into_iter().for_each(|event| world.happen(event));
        let already = world.recorded.clone();
        let mut observer = Observer { world, between, blind };
        let Ok(facts) = gather(&mut observer);
        let world = observer.world;
        let state = observe(&facts, &world.boot.to_string());

        if let Some(exit) = already {
            prop_assert_eq!(&state, &JobState::ended(&exit));
        }
        match &state {
            JobState::Finished(end) if state.is_settled() => {
                prop_assert_eq!(JobState::Finished(end.clone()), JobState::ended(&world.recorded.unwrap()));
            }
            JobState::Finished(end) => {
                prop_assert!(!blind && !world.alive && world.recorded.is_none());
                prop_assert_eq!(end.status, None);
                let left = matches!(end.cause, Cause::Lost(_)).then_some(TRACES);
                prop_assert_eq!(end.output_end, left.map(|left| left.output_end));
                prop_assert_eq!(end.ended_at_ms, left.map(|left| left.seen_ms));
                match (&end.cause, world.claimed_in) {
                    (Cause::NotStarted(_), None) => {}
                    (Cause::Lost(why), Some(boot)) => {
                        let same = boot == world.boot;
                        prop_assert_eq!(*why, if same { LostWhy::ShimDied } else { LostWhy::HostRebooted });
                    }
                    other => prop_assert!(false, "{:?}", other),
                }
            }
            JobState::Running { .. } => prop_assert!(world.claimed_in.is_some()),
            JobState::Paused { paused_ms, .. } => {
                prop_assert!(world.claimed_in.is_some());
                prop_assert_eq!(*paused_ms, 8);
            }
            JobState::Starting => {}
            other => prop_assert!(false, "{:?}", other),
        }
    }

    #[test]
    fn of_what_is_not_understood_nothing_is_concluded(
        before in history(),
        between in prop::collection::vec(prop::collection::vec(happening(), 0..3), 0..5),
        blind: bool,
        kind in prop::sample::select(vec![RecordKind::Spec, RecordKind::Launch, RecordKind::Exit]),
    ) {
        let mut world = World::new();
        world.newer = Some(kind);
        before.into_iter().for_each(|event| world.happen(event));
        let mut observer = Observer { world, between, blind };
        let Ok(facts) = gather(&mut observer);
        let world = observer.world;
        let state = observe(&facts, &world.boot.to_string());

        match &state {
            JobState::Unknown { what, alive } => {
                let (found, known) = (2, 1);
                prop_assert_eq!(*what, Newer::Record { kind, found, known });
                // What may go on is not said to be over.
                prop_assert!(*alive || world.recorded.is_some() || (!blind && !world.alive));
            }
            JobState::Finished(_) if kind != RecordKind::Exit && world.recorded.is_some() => {}
            // The record has not been written when it was looked for.
            _ => prop_assert!(kind != RecordKind::Spec),
        }
        if kind == RecordKind::Spec {
            prop_assert!(!matches!(state.finished(), Some(end) if matches!(end.cause, Cause::Lost(_))));
        }
    }

    #[test]
    fn what_has_settled_stays(before in history(), after in history()) {
        let look = |world: &World| {
            let mut observer = Observer { world: world.clone(), between: Vec::new(), blind: false };
            let Ok(facts) = gather(&mut observer);
            observe(&facts, &world.boot.to_string())
        };
        let mut world = World::new();
        before.into_iter().for_each(|event| world.happen(event));
        let first = look(&world);
        after.into_iter().for_each(|event| world.happen(event));
        if first.is_settled() {
            prop_assert_eq!(look(&world), first);
        }
    }
}
