//! The one who started us, for as long as the job is young.
//!
//! It hears over the handshake pipe how the start went, and then, while the job is one of the short ones, of each output that was
//! written: so it knows of a short job's whole life without asking the kernel for news of its directory, the giving up of which
//! costs a millisecond. What it does not read in time it is not told: nothing here ever waits for it.

use alloc::format;
use alloc::string::String;
use core::fmt::Write as _;

use rustix::fd::{BorrowedFd, OwnedFd};
use rustix::fs::OFlags;
use rustix::io::Errno;

use legwork_shim::exit::NotStarted;
use legwork_shim::handshake;

use super::{best_effort, sys};

/// The writing end of the handshake pipe.
#[derive(Debug)]
pub(super) struct Starter {
    pipe: Option<OwnedFd>,
}

impl Starter {
    /// Takes the pipe from where a launcher leaves it, so that the payload does not get it.
    ///
    /// # Errors
    /// When there is no such descriptor, or none to spare.
    pub(super) fn take(null: BorrowedFd<'_>) -> Result<Self, Errno> {
        let pipe = rustix::io::fcntl_dupfd_cloexec(sys::stdout(), 3)?;
        rustix::stdio::dup2_stdout(null)?;
        let flags = rustix::fs::fcntl_getfl(&pipe)?;
        rustix::fs::fcntl_setfl(&pipe, flags | OFlags::NONBLOCK)?;
        Ok(Self { pipe: Some(pipe) })
    }

    /// The payload runs.
    pub(super) fn say_started(&self, pid: rustix::process::Pid) {
        let mut line = String::new();
        if writeln!(line, "{}{pid}", handshake::STARTED).is_ok() {
            self.say(line.as_bytes());
        }
    }

    /// Nothing runs, for this reason.
    pub(super) fn say_failed(&mut self, why: &NotStarted) {
        if let Ok(why) = serde_json::to_string(why) {
            self.say(format!("{}{why}\n", handshake::FAILED).as_bytes());
        }
        self.pipe = None;
    }

    /// Output was written.
    pub(super) fn say_grown(&self) {
        self.say(handshake::GROWN);
    }

    /// The job is not one of the short ones: nothing more will be said.
    pub(super) fn leave(&mut self) {
        self.say(handshake::SETTLED);
        self.pipe = None;
    }

    /// A starter that has gone away is no reason to do anything else: the job directory tells whoever comes next. (SIGPIPE is
    /// blocked like every signal.)
    fn say(&self, words: &[u8]) {
        if let Some(pipe) = &self.pipe {
            best_effort(rustix::io::write(pipe, words));
        }
    }
}
