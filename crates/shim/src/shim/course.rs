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
