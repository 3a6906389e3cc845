//! Holding a job still, and letting it go on.
//!
//! A control group is frozen whole, and what is in it cannot tell. Without one, every process that can be seen is sent SIGSTOP, and
//! SIGCONT later, so that also those go on that had been stopped before. A file in the job directory says so to everybody who
//! looks at the job. The time limit goes on.

use alloc::format;

use rustix::fd::BorrowedFd;
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use rustix::process::Signal;

use legwork_shim::layout;

use super::cgroup::Cgroup;
use super::{best_effort, clock, tree};

/// Passes over a tree that is told to stop: what one has missed is the child of somebody who has stopped meanwhile.
const PASSES: u32 = 3;

/// Whether a job is held still.
#[derive(Debug)]
pub(super) struct Held<'a> {
    dir: BorrowedFd<'a>,
    still: bool,
}

impl<'a> Held<'a> {
    /// A job that is not, in this directory.
    pub(super) fn new(dir: BorrowedFd<'a>) -> Self {
        Self { dir, still: false }
    }

    /// Holds it still.
    ///
    /// # Errors
    /// What the kernel says; then it goes on.
    pub(super) fn hold(&mut self, group: Option<&Cgroup>) -> Result<(), Errno> {
        if self.still {
            return Ok(());
        }
        self.still = true;
        let told = self.tell().and_then(|()| match group {
            Some(group) => group.freeze(true),
            None => {
                (0..PASSES).for_each(|_| tree::signal(Signal::STOP));
                Ok(())
            }
        });
        if told.is_err() {
            self.release(group);
        }
        told
    }

    /// Lets it go on.
    pub(super) fn release(&mut self, group: Option<&Cgroup>) {
        if !core::mem::replace(&mut self.still, false) {
            return;
        }
        match group {
            Some(group) => best_effort(group.freeze(false)),
            None => tree::signal(Signal::CONT),
        }
        best_effort(rustix::fs::unlinkat(
            self.dir,
            layout::PAUSED,
            AtFlags::empty(),
        ));
    }

    fn tell(&self) -> Result<(), Errno> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(0o600);
        let file = rustix::fs::openat(self.dir, layout::PAUSED, flags, mode)?;
        rustix::io::write(file, format!("{}", clock::wall_ms()).as_bytes()).map(drop)
    }
}
