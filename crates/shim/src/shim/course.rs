//! What must happen next, and when: the course of a job as pure arithmetic over events and a clock.
//!
//! All times are milliseconds of the monotonic clock. The rules:
//!
//! - A stop, or the time limit, signals the main process and sets the moment at which the whole tree
//!   is killed. A repeated stop signals again and can only bring that moment forward.
//! - When the main process has ended, output is read to its end, or until it has been quiet for
//!   [`IDLE_MS`], but at most for [`DRAIN_MS`]. Then the rest of the tree is killed, or awaited if the
//!   spec says so.
//! - A kill that has not emptied the tree after [`KILL_MS`] is given up, and the record names the rest.
//! - The cause is the first reason that was there while the job was running by its own rule: a stop that
//!   comes when only left-overs are being killed does not make the job a stopped one.

use legwork_shim::exit::Cause;
use legwork_shim::spec::OnExit;

/// Quiet after which a pipe that outlives the main process is no longer read.
const IDLE_MS: u64 = 300;
/// Longest reading after the main process.
const DRAIN_MS: u64 = 5000;
/// Longest time for killing a tree.
const KILL_MS: u64 = 10_000;

/// Where a job stands.
#[derive(Debug)]
pub(super) struct Course {
    on_exit: OnExit,
    stop_signal: i32,
    stop_grace_ms: u64,
    timeout_at: Option<u64>,
    cause: Option<Cause>,
    kill_at: Option<u64>,
    give_up_at: Option<u64>,
    main_ended_at: Option<u64>,
    childless_at: Option<u64>,
    last_output_at: u64,
}

/// What is true outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sight {
    /// Now.
    pub(super) now: u64,
    /// The main process has been reaped.
    pub(super) main_ended: bool,
    /// No process of the tree is left.
    pub(super) childless: bool,
    /// Somebody may still write output.
    pub(super) output_open: bool,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Wait for events, at most until then.
    Wait(Option<u64>),
    /// Send this signal to the main process, then ask again.
    Signal(i32),
    /// Kill all there is, then wait for events for a moment.
    Kill,
    /// Write the end down.
    End,
}

/// The earlier of two moments that may never come.
fn earlier(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

impl Course {
    /// The course of a job that runs since `started`.
    pub(super) fn new(rules: &super::start::Rules, started: u64) -> Self {
        Self {
            on_exit: rules.on_exit,
            stop_signal: rules.stop_signal,
            stop_grace_ms: rules.stop_grace_ms,
            timeout_at: rules.timeout_ms.map(|limit| started.saturating_add(limit)),
            cause: None,
            kill_at: None,
            give_up_at: None,
            main_ended_at: None,
            childless_at: None,
            last_output_at: started,
        }
    }

    /// Output has come.
    pub(super) fn output(&mut self, now: u64) {
        self.last_output_at = now;
    }

    /// Somebody wants an end of it. The result is the signal to send now.
    pub(super) fn stop(
        &mut self,
        now: u64,
        cause: Cause,
        signal: Option<i32>,
        grace_ms: Option<u64>,
    ) -> i32 {
        if self.runs() {
            self.cause.get_or_insert(cause);
        }
        let grace = grace_ms.unwrap_or(self.stop_grace_ms);
        self.kill_at = earlier(self.kill_at, Some(now.saturating_add(grace)));
        signal.unwrap_or(self.stop_signal)
    }

    /// Whether the job is running by its own rule.
    fn runs(&self) -> bool {
        self.main_ended_at.is_none()
            || (self.on_exit == OnExit::Wait && self.childless_at.is_none())
    }

    /// When the main process ended.
    pub(super) fn main_ended_at(&self) -> Option<u64> {
        self.main_ended_at
    }

    /// Why the job ended.
    pub(super) fn cause(&self) -> Cause {
        self.cause.clone().unwrap_or(Cause::Own)
    }

    /// What to do now.
    pub(super) fn next(&mut self, sight: Sight) -> Next {
        let now = sight.now;
        if sight.main_ended {
            self.main_ended_at.get_or_insert(now);
        }
        if sight.childless {
            self.childless_at.get_or_insert(now);
        }
        if let Some(childless_at) = self.childless_at {
            return self.drain(sight, childless_at);
        }
        if let Some(give_up_at) = self.give_up_at {
            return if now >= give_up_at {
                Next::End
            } else {
                Next::Kill
            };
        }
        if self.runs() && self.cause.is_none() && self.timeout_at.is_some_and(|at| now >= at) {
            return Next::Signal(self.stop(now, Cause::Timeout, None, None));
        }
        let due = match (self.main_ended_at, self.on_exit) {
            (Some(ended), OnExit::Kill) => {
                earlier(Some(self.drained_at(sight, ended)), self.kill_at)
            }
            (Some(_), OnExit::Wait) | (None, _) => self.kill_at,
        };
        if due.is_some_and(|at| now >= at) {
            self.give_up_at = Some(now + KILL_MS);
            return Next::Kill;
        }
        let timeout = self
            .timeout_at
            .filter(|_| self.runs() && self.cause.is_none());
        Next::Wait(earlier(due, timeout))
    }

    /// Nobody of the tree is left; whoever still holds the pipe got it from outside.
    fn drain(&self, sight: Sight, since: u64) -> Next {
        let until = self.drained_at(sight, since);
        if sight.now >= until {
            return Next::End;
        }
        Next::Wait(Some(until))
    }

    /// When reading may end, if nothing more comes.
    fn drained_at(&self, sight: Sight, since: u64) -> u64 {
        if !sight.output_open {
            return sight.now;
        }
        (self.last_output_at.max(since) + IDLE_MS).min(since + DRAIN_MS)
    }
}

#[cfg(test)]
mod tests {
    use legwork_shim::exit::Cause;
    use legwork_shim::spec::OnExit;

    use super::super::start::Rules;
    use super::{Course, DRAIN_MS, IDLE_MS, KILL_MS, Next, Sight};

    const BEGIN: u64 = 1_000_000;

    fn course(on_exit: OnExit, timeout_ms: Option<u64>) -> Course {
        let rules = Rules {
            timeout_ms,
            stop_signal: 15,
            stop_grace_ms: 100,
            output_limit: 0,
            on_exit,
            cpu_time_ms: None,
            disk: None,
        };
        Course::new(&rules, BEGIN)
    }

    /// The main process runs and may print.
    fn running(after: u64) -> Sight {
        Sight {
            now: BEGIN + after,
            main_ended: false,
            childless: false,
            output_open: true,
        }
    }

    /// It has ended, others live and may print.
    fn left(after: u64) -> Sight {
        Sight {
            main_ended: true,
            ..running(after)
        }
    }

    /// Nobody lives, somebody outside may print.
    fn alone(after: u64) -> Sight {
        Sight {
            childless: true,
            ..left(after)
        }
    }

    fn silent(sight: Sight) -> Sight {
        Sight {
            output_open: false,
            ..sight
        }
    }

    fn until(after: u64) -> Next {
        Next::Wait(Some(BEGIN + after))
    }

    fn asked() -> Cause {
        Cause::Stopped { by: "me".into() }
    }

    #[test]
    fn a_job_without_limits_waits_for_events_alone() {
        let mut course = course(OnExit::Kill, None);
        assert_eq!(course.next(running(5)), Next::Wait(None));
        assert_eq!(course.next(silent(alone(9))), Next::End);
        assert_eq!(course.cause(), Cause::Own);
        assert_eq!(course.main_ended_at(), Some(BEGIN + 9));
    }

    #[test]
    fn the_time_limit_signals_once_then_kills_then_gives_up() {
        let mut course = course(OnExit::Kill, Some(50));
        assert_eq!(course.next(running(49)), until(50));
        assert_eq!(course.next(running(50)), Next::Signal(15));
        assert_eq!(course.next(running(51)), until(150));
        assert_eq!(course.next(running(150)), Next::Kill);
        assert_eq!(course.next(left(160)), Next::Kill);
        assert_eq!(course.next(left(150 + KILL_MS)), Next::End);
        assert_eq!(course.cause(), Cause::Timeout);
    }

    #[test]
    fn the_first_cause_stays_and_the_earliest_kill_counts() {
        let mut course = course(OnExit::Kill, Some(50));
        assert_eq!(course.stop(BEGIN + 10, asked(), None, Some(1000)), 15);
        assert_eq!(course.next(running(60)), until(1010));
        assert_eq!(
            course.stop(BEGIN + 70, Cause::Timeout, Some(2), Some(30)),
            2
        );
        assert_eq!(course.next(running(71)), until(100));
        course.stop(BEGIN + 72, asked(), None, Some(u64::MAX));
        assert_eq!(course.next(running(73)), until(100));
        assert_eq!(course.cause(), asked());
    }

    #[test]
    fn left_overs_are_read_until_they_are_quiet_and_then_killed() {
        let mut course = course(OnExit::Kill, Some(400));
        assert_eq!(course.next(left(10)), until(10 + IDLE_MS));
        course.output(BEGIN + 200);
        assert_eq!(course.next(left(200)), until(200 + IDLE_MS));
        // The limit is one of the main process, which has kept it.
        assert_eq!(course.next(left(200 + IDLE_MS)), Next::Kill);
        course.stop(BEGIN + 600, asked(), None, None);
        assert_eq!(course.next(silent(alone(610))), Next::End);
        assert_eq!(course.cause(), Cause::Own);
    }

    #[test]
    fn left_overs_that_go_on_printing_are_killed_in_the_end() {
        let mut course = course(OnExit::Kill, None);
        let mut now = 0;
        while course.next(left(now)) != Next::Kill {
            course.output(BEGIN + now);
            now += IDLE_MS / 2;
            assert!(now <= DRAIN_MS + IDLE_MS);
        }
        assert!(now >= DRAIN_MS);
    }

    #[test]
    fn left_overs_that_cannot_print_are_killed_at_once() {
        let mut course = course(OnExit::Kill, None);
        assert_eq!(course.next(silent(left(10))), Next::Kill);
    }

    #[test]
    fn awaited_left_overs_are_part_of_the_job() {
        let mut course = course(OnExit::Wait, Some(100_000));
        assert_eq!(course.next(silent(left(10))), until(100_000));
        course.stop(BEGIN + 20_000, asked(), None, None);
        assert_eq!(course.next(silent(left(20_000))), until(20_100));
        assert_eq!(course.next(silent(left(20_100))), Next::Kill);
        assert_eq!(course.next(silent(alone(20_110))), Next::End);
        assert_eq!(course.cause(), asked());
        assert_eq!(course.main_ended_at(), Some(BEGIN + 10));
    }

    #[test]
    fn a_pipe_that_somebody_outside_holds_is_not_waited_for_for_ever() {
        let mut course = course(OnExit::Wait, None);
        assert_eq!(course.next(alone(10)), until(10 + IDLE_MS));
        assert_eq!(course.next(alone(10 + IDLE_MS)), Next::End);
    }
}
