//! Children: the main process and everything that falls to a sub-reaper.
//!
//! A process id means its process until somebody waits for it, and for the main process only this
//! thread can. So between two calls of [`Main::reap`] its id is safe to signal, and after the one
//! that returned its status [`Main::signal`] refuses.

use rustix::io::Errno;
use rustix::process::{Pid, WaitId, WaitIdOptions, WaitOptions, WaitStatus};

use legwork_shim::exit::{Status, Usage};

use super::{best_effort, sys};

/// The main process of the job.
#[derive(Debug)]
pub(super) struct Main {
    pid: Pid,
    status: Option<Status>,
    childless: bool,
}

impl Main {
    /// A child that has not been waited for.
    pub(super) fn new(pid: Pid) -> Self {
        Self {
            pid,
            status: None,
            childless: false,
        }
    }

    /// Its id, also after its end.
    pub(super) fn pid(&self) -> Pid {
        self.pid
    }

    /// How it ended, once it has been reaped.
    pub(super) fn status(&self) -> Option<Status> {
        self.status
    }

    /// True when no process of the tree is left. It stays true: children come from children.
    pub(super) fn childless(&self) -> bool {
        self.childless
    }

    /// Collects every child that has ended, the main process or an orphan of the tree.
    pub(super) fn reap(&mut self) {
        loop {
            match rustix::process::wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) if pid == self.pid => self.status = status_of(status),
                Ok(Some(_)) | Err(Errno::INTR) => {}
                Ok(None) => return,
                Err(_) => {
                    self.childless = true;
                    return;
                }
            }
        }
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// `ESRCH` when it has ended, else what kill(2) says.
    pub(super) fn signal(&self, number: i32) -> Result<(), Errno> {
        if self.status.is_some() {
            return Err(Errno::SRCH);
        }
        sys::kill(self.pid, number)
    }

    /// Sends the first signal of a stop. To have ended already is all that is wanted of it.
    pub(super) fn stop(&self, number: i32) {
        best_effort(self.signal(number));
        self.wake();
    }

    /// Continues it if it is stopped, so that it can act on a signal.
    fn wake(&self) {
        let stopped = WaitIdOptions::STOPPED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        if let Ok(Some(_)) = rustix::process::waitid(WaitId::Pid(self.pid), stopped) {
            best_effort(self.signal(libc::SIGCONT));
        }
    }
}

fn status_of(status: WaitStatus) -> Option<Status> {
    let signal = || status.terminating_signal().map(Status::Signal);
    status.exit_status().map(Status::Code).or_else(signal)
}

/// What all reaped processes of the tree consumed.
pub(super) fn usage() -> Usage {
    let usage = sys::children_usage();
    let micros = |time: libc::timeval| {
        u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000
            + u64::try_from(time.tv_usec).unwrap_or(0)
    };
    Usage {
        user_us: micros(usage.ru_utime),
        system_us: micros(usage.ru_stime),
        max_rss_bytes: u64::try_from(usage.ru_maxrss).unwrap_or(0) * 1024,
        ..Usage::default()
    }
}
