//! What may have changed, and when to look: no system call, and the time comes from outside.
//!
//! Paths are hints. What is noted here is looked at before anything is believed, so noting too much costs a look and
//! nothing else; the bounds on how much is noted end in a look at everything.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::path::TreePath;

/// How soon after an event there is a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// After the first event in a while, if the path is new: an editor's temporary file becomes the real one within this.
    pub settle: Duration,
    /// Without events for this long, when a file is still being written. When others were not long ago, for as long as these took to be
    /// sent, at least `rest` and at most this.
    pub quiet: Duration,
    /// Between two updates at least. While one follows the other the pause grows, up to `quiet`.
    pub rest: Duration,
    /// Since the first event, however many follow.
    pub longest: Duration,
    /// Paths above which everything is looked at.
    pub many: usize,
    /// Between two looks at everything, whatever events say.
    pub whole: Duration,
    /// The same where there are no events, or not for all directories.
    pub poll: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            settle: Duration::from_millis(8),
            quiet: Duration::from_millis(50),
            rest: Duration::from_millis(2),
            longest: Duration::from_millis(500),
            many: 1000,
            whole: Duration::from_mins(5),
            poll: Duration::from_secs(2),
        }
    }
}

/// What an event says of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Sign {
    /// It is being written; more will follow.
    Writing,
    /// It is there, and may be somebody's temporary file.
    Fresh,
    /// Something known became something else, and is as it should be.
    Done,
}

/// What is to be looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Taken {
    All,
    /// Paths, and whether also all below.
    Paths(BTreeMap<TreePath, bool>),
}

/// The dirty set. Times are since some moment that the caller knows.
#[derive(Debug)]
pub(crate) struct Dirty {
    pace: Pace,
    paths: BTreeMap<TreePath, bool>,
    all: bool,
    /// When the oldest of it was noted, the newest, and the strongest sign among them.
    first: Duration,
    last: Duration,
    sign: Sign,
    /// When the last update began, when it ended, and how long that took.
    taken: Option<Duration>,
    rested: Option<Duration>,
    took: Option<Duration>,
    /// Updates that followed one another without a pause.
    row: u32,
    /// Paths to be looked at again later, and when.
    later: BTreeMap<TreePath, Duration>,
}

impl Dirty {
    pub(crate) fn new(pace: Pace) -> Self {
        Self {
            pace,
            paths: BTreeMap::new(),
            all: false,
            first: Duration::ZERO,
            last: Duration::ZERO,
            sign: Sign::Writing,
            taken: None,
            rested: None,
            took: None,
            row: 0,
            later: BTreeMap::new(),
        }
    }

    fn is_clean(&self) -> bool {
        !self.all && self.paths.is_empty()
    }

    fn touch(&mut self, sign: Sign, now: Duration) {
        if self.is_clean() {
            (self.first, self.sign) = (now, sign);
        }
        self.last = now;
        self.sign = self.sign.max(sign);
    }

    /// Notes a path, with `below` and all below it.
    pub(crate) fn note(&mut self, path: TreePath, below: bool, sign: Sign, now: Duration) {
        // What is put off keeps changing: it is looked at when its time has come.
        if self.later.contains_key(&path) {
            return;
        }
        self.touch(sign, now);
        if self.all {
            return;
        }
        *self.paths.entry(path).or_default() |= below;
        if self.paths.len() > self.pace.many {
            self.paths.clear();
            self.all = true;
        }
    }

    /// Notes that anything may have changed.
    pub(crate) fn note_all(&mut self, now: Duration) {
        self.touch(Sign::Writing, now);
        self.paths.clear();
        self.all = true;
    }

    /// Has a path looked at again at `when`.
    pub(crate) fn postpone(&mut self, path: TreePath, when: Duration) {
        self.later.insert(path, when);
    }

    /// Takes note that an update ended.
    pub(crate) fn rest(&mut self, now: Duration) {
        self.rested = Some(now);
        // A sign of life tells nothing of how long it takes to send something.
        if let Some(taken) = self.taken.take() {
            self.took = Some(now.saturating_sub(taken));
        }
    }

    /// How long an update takes, as far as that counts: so that no more than half of the time goes into updates.
    fn calm(&self) -> Duration {
        let Pace { rest, quiet, .. } = self.pace;
        self.took.map_or(quiet, |took| took.max(rest).min(quiet))
    }

    /// Whether no update ended just before the oldest of it was noted.
    fn is_idle(&self) -> bool {
        self.rested
            .is_none_or(|rested| self.first >= rested + self.calm())
    }

    /// When the next update may begin at the latest, though more comes all the time: after a pause that is longer the more updates
    /// were in a row, so that a file that is saved every few milliseconds is behind by that, and a burst is not an update for each file.
    fn turn(&self) -> Duration {
        let pause = self.calm() * 2_u32.saturating_pow(self.row.min(8));
        self.rested.unwrap_or_default() + pause.min(self.pace.quiet)
    }

    /// When the oldest of it was noted.
    pub(crate) fn since(&self) -> Option<Duration> {
        (!self.is_clean()).then_some(self.first)
    }

    /// When to look; `None` while nothing is dirty.
    pub(crate) fn due(&self) -> Option<Duration> {
        let later = self.later.values().min().copied();
        if self.is_clean() {
            return later;
        }
        let Pace {
            settle,
            quiet,
            longest,
            ..
        } = self.pace;
        let settled = self.first + settle;
        let due = match self.sign {
            Sign::Done if self.all => self.last + quiet,
            Sign::Done if self.is_idle() => self.first,
            Sign::Done => (self.last + self.calm()).min(self.turn()),
            Sign::Fresh if self.all => self.last + quiet,
            Sign::Fresh if self.is_idle() => settled.min(self.last + self.calm().max(settle)),
            Sign::Fresh => (self.last + self.calm().max(settle)).min(self.turn().max(settled)),
            Sign::Writing => self.last + quiet,
        };
        let due = due.min(self.first + longest);
        Some(later.map_or(due, |later| later.min(due)))
    }

    /// Takes all that is dirty at `now`.
    pub(crate) fn take(&mut self, now: Duration) -> Taken {
        self.row = match self.rested {
            Some(rested) if now <= rested + self.calm() * 2 + self.pace.quiet => self.row + 1,
            _ => 0,
        };
        self.taken = Some(now);
        let due = self.later.iter().filter(|(_, when)| **when <= now);
        let due: Vec<TreePath> = due.map(|(path, _)| path.clone()).collect();
        for path in due {
            self.later.remove(&path);
            self.paths.entry(path).or_default();
        }
        let paths = std::mem::take(&mut self.paths);
        if std::mem::take(&mut self.all) {
            self.later.clear();
            Taken::All
        } else {
            Taken::Paths(paths)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::{Dirty, Pace, Sign, Taken};
    use crate::path::TreePath;

    fn path(text: &str) -> TreePath {
        TreePath::new(text.as_bytes()).unwrap()
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn names(taken: Taken) -> Vec<String> {
        let Taken::Paths(paths) = taken else {
            panic!("everything is to be looked at")
        };
        let text = |path: &TreePath| path.to_path_buf().display().to_string();
        paths.keys().map(text).collect()
    }

    #[test]
    fn the_first_save_in_a_while_is_sent_at_once_and_the_next_ones_together() {
        let mut dirty = Dirty::new(Pace::default());
        assert_eq!(dirty.due(), None);
        dirty.note(path("a"), false, Sign::Done, ms(1000));
        assert_eq!(dirty.due(), Some(ms(1000)));
        assert_eq!(names(dirty.take(ms(1000))), ["a"]);
        dirty.rest(ms(1015));
        dirty.note(path("b"), false, Sign::Done, ms(1016));
        assert_eq!(dirty.due(), Some(ms(1030)), "as long as it took");
        dirty.note(path("b"), false, Sign::Done, ms(1029));
        assert_eq!(dirty.due(), Some(ms(1030)), "whatever follows");
        assert_eq!(names(dirty.take(ms(1030))), ["b"]);
        dirty.rest(ms(1040));
        dirty.note(path("c"), false, Sign::Done, ms(1050));
        assert_eq!(dirty.due(), Some(ms(1050)), "rested long enough");
    }

    #[test]
    fn what_is_saved_all_the_time_is_behind_by_little_and_half_of_the_time_is_left() {
        let (mut dirty, mut now) = (Dirty::new(Pace::default()), 1000);
        let (mut updates, mut behind, mut since) = (0, 0, None);
        for _ in 0..1000 {
            dirty.note(path("log"), false, Sign::Done, ms(now));
            since = since.or(Some(now));
            if dirty.due().is_some_and(|due| due <= ms(now)) {
                behind = behind.max(now - since.take().unwrap());
                dirty.take(ms(now));
                // Events wait meanwhile.
                now += 6;
                dirty.rest(ms(now));
                updates += 1;
            }
            now += 3;
        }
        assert!(behind <= 55, "{behind} ms");
        assert!(
            updates * 6 < (now - 1000) / 5,
            "{updates} updates in {} ms",
            now - 1000
        );
    }

    #[test]
    fn the_longer_an_update_takes_the_longer_it_is_waited_for_more() {
        for (took, quiet) in [(1, 2), (8, 8), (30, 30), (50, 50), (400, 50)] {
            let mut dirty = Dirty::new(Pace::default());
            dirty.note(path("a"), false, Sign::Done, ms(1000));
            dirty.take(ms(1000));
            let rested = 1000 + took;
            dirty.rest(ms(rested));
            dirty.note(path("b"), false, Sign::Done, ms(rested + 1));
            assert_eq!(dirty.due(), Some(ms(rested + quiet)), "{took}");
            // What is being written is not complete the sooner for that.
            let mut dirty = Dirty::new(Pace::default());
            dirty.take(ms(1000));
            dirty.rest(ms(rested));
            dirty.note(path("b"), false, Sign::Writing, ms(rested + 1));
            assert_eq!(dirty.due(), Some(ms(rested + 51)), "{took}");
        }
    }

    #[test]
    fn a_new_file_may_be_an_editors_and_gets_a_moment_to_be_renamed() {
        let mut dirty = Dirty::new(Pace::default());
        dirty.note(path("4913~"), false, Sign::Fresh, ms(1000));
        assert_eq!(dirty.due(), Some(ms(1008)));
        dirty.note(path("main.c"), false, Sign::Done, ms(1002));
        assert_eq!(dirty.due(), Some(ms(1000)), "now it is done");
    }

    #[test]
    fn what_is_being_written_waits_for_quiet_and_not_for_ever() {
        let mut dirty = Dirty::new(Pace::default());
        let mut now = 1000;
        while dirty.due().is_none_or(|due| due > ms(now)) {
            dirty.note(path("log"), false, Sign::Writing, ms(now));
            now += 10;
        }
        assert_eq!(now, 1500);
    }

    #[test]
    fn too_many_paths_and_lost_events_are_a_look_at_everything() {
        let mut dirty = Dirty::new(Pace {
            many: 3,
            ..Pace::default()
        });
        for name in ["a", "b", "c"] {
            dirty.note(path(name), false, Sign::Done, ms(1));
        }
        assert_eq!(names(dirty.take(ms(1))).len(), 3);
        for name in ["a", "b", "c", "d"] {
            dirty.note(path(name), false, Sign::Done, ms(2));
        }
        assert_eq!(dirty.due(), Some(ms(52)), "a burst is let pass");
        assert_eq!(dirty.take(ms(2)), Taken::All);
        dirty.note(path("a"), false, Sign::Done, ms(3));
        dirty.note_all(ms(3));
        dirty.note(path("b"), false, Sign::Done, ms(3));
        assert_eq!(dirty.take(ms(3)), Taken::All);
        assert_eq!(dirty.due(), None);
    }

    #[test]
    fn what_is_put_off_comes_back_by_itself() {
        let mut dirty = Dirty::new(Pace::default());
        dirty.postpone(path("big"), ms(3000));
        assert_eq!(dirty.due(), Some(ms(3000)));
        dirty.note(path("a"), false, Sign::Done, ms(1000));
        assert_eq!(dirty.due(), Some(ms(1000)));
        assert_eq!(names(dirty.take(ms(1000))), ["a"]);
        assert_eq!(names(dirty.take(ms(3000))), ["big"]);
        assert_eq!(dirty.due(), None);
    }

    proptest! {
        /// Whatever comes when: nothing noted is forgotten, nor waits longer than the longest wait.
        #[test]
        fn nothing_is_forgotten_and_nothing_waits_for_ever(
            events in prop::collection::vec((0..8_u8, any::<bool>(), 0..3_u8, 0..40_u64, any::<bool>()), 1..60)
        ) {
            let pace = Pace { many: 4, ..Pace::default() };
            let mut dirty = Dirty::new(pace);
            let mut now = ms(1000);
            let mut owed = std::collections::BTreeMap::new();
            for (name, below, sign, pause, look) in events {
                now += ms(pause);
                let sign = [Sign::Writing, Sign::Fresh, Sign::Done][usize::from(sign)];
                let at = path(&name.to_string());
                dirty.note(at.clone(), below, sign, now);
                owed.entry(at).or_insert(now);
                let due = dirty.due().unwrap();
                let oldest = *owed.values().min().unwrap();
                prop_assert!(due <= oldest + pace.longest);
                if look || due <= now {
                    match dirty.take(now) {
                        Taken::All => {}
                        Taken::Paths(paths) => prop_assert!(paths.keys().eq(owed.keys())),
                    }
                    owed.clear();
                    dirty.rest(now);
                    prop_assert_eq!(dirty.due(), None);
                }
            }
        }
    }
}
