//! What control requests do to a job.

use alloc::borrow::ToOwned;

use legwork_shim::control::{Reply, Request, Stop};
use legwork_shim::exit::Cause;

use super::cgroup::Cgroup;
use super::clock;
use super::course::Course;
use super::held::Held;
use super::reap::Main;
use super::stdin::{Offer, Stdin};
use super::sys;

/// Longest name of a principal in the exit record, in bytes.
const BY_MAX: usize = 512;

/// What control requests may touch.
pub(super) struct Desk<'a, 'b> {
    /// To be signalled.
    pub(super) main: &'a Main,
    /// To be told of stops.
    pub(super) course: &'a mut Course,
    /// To be fed.
    pub(super) stdin: &'a mut Stdin,
    /// To be frozen.
    pub(super) cgroup: Option<&'a Cgroup>,
    /// Whether it is.
    pub(super) held: &'a mut Held<'b>,
}

impl Desk<'_, '_> {
    /// The reply, or `None` while it must wait.
    pub(super) fn answer(&mut self, request: &Request) -> Option<Reply> {
        Some(match request {
            Request::Stdin { offset, data } => match self.stdin.offer(*offset, data) {
                Offer::Taken(upto) => Reply::StdinTaken(upto),
                Offer::Full => return None,
                Offer::Closed => Reply::StdinClosed,
                Offer::Gap => Reply::Failed(libc::EINVAL),
            },
            Request::StdinEnd if self.stdin.was_given() => {
                self.stdin.close();
                Reply::Done
            }
            Request::StdinEnd => Reply::StdinClosed,
            Request::Signal(number) => match self.main.signal(*number) {
                Ok(()) => Reply::Done,
                Err(e) => Reply::Failed(e.raw_os_error()),
            },
            Request::Stop(stop) => self.stop(stop),
            Request::Pause if self.main.status().is_some() => Reply::Failed(libc::ESRCH),
            Request::Pause => match self.held.hold(self.cgroup) {
                Ok(()) => Reply::Done,
                Err(e) => Reply::Failed(e.raw_os_error()),
            },
            Request::Resume => {
                self.held.release(self.cgroup);
                Reply::Done
            }
        })
    }

    fn stop(&mut self, stop: &Stop) -> Reply {
        if stop
            .signal
            .is_some_and(|number| !(1..=sys::LAST_SIGNAL).contains(&number))
        {
            return Reply::Failed(libc::EINVAL);
        }
        let by = stop.by[..stop.by.floor_char_boundary(BY_MAX)].to_owned();
        let cause = Cause::Stopped { by };
        let first = self
            .course
            .stop(clock::mono_ms(), cause, stop.signal, stop.grace_ms);
        self.held.release(self.cgroup);
        self.main.stop(first);
        Reply::Done
    }
}
