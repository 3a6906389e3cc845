//! Sums over the jobs whose end a library object has noticed.
//!
//! An end is noticed once, when the row of a job in the index turns finished: those that ended while nobody looked are noticed when
//! somebody does. So figures that only grow can be made of them without keeping anything for each job.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::state::{Cause, Finished};

/// What ended jobs have consumed together.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ended {
    /// How many, by a word for the cause of their end.
    pub jobs: BTreeMap<&'static str, u64>,
    /// User processor time in microseconds.
    pub user_us: u64,
    /// System processor time in microseconds.
    pub system_us: u64,
    /// Bytes read from block devices, of jobs for which that was counted.
    pub read_bytes: u64,
    /// Bytes written to block devices, of jobs for which that was counted.
    pub written_bytes: u64,
    /// Bytes printed, kept or not.
    pub output_bytes: u64,
}

impl Ended {
    fn add(&mut self, end: &Finished) {
        *self.jobs.entry(word(&end.cause)).or_default() += 1;
        let usage = &end.usage;
        for (sum, part) in [
            (&mut self.user_us, usage.user_us),
            (&mut self.system_us, usage.system_us),
            (&mut self.read_bytes, usage.read_bytes.unwrap_or(0)),
            (&mut self.written_bytes, usage.written_bytes.unwrap_or(0)),
            (&mut self.output_bytes, end.output_end.unwrap_or(0)),
        ] {
            // What a record says is what somebody has written to a file.
            *sum = sum.saturating_add(part);
        }
    }
}

/// The word of a cause that every job may have.
const fn word(cause: &Cause) -> &'static str {
    match cause {
        Cause::Own => "own",
        Cause::Timeout => "timeout",
        Cause::Stopped { .. } => "stopped",
        Cause::OutOfMemory => "out_of_memory",
        Cause::CpuTime => "cpu_time",
        Cause::Disk => "disk",
        Cause::NotStarted(_) => "not_started",
        Cause::Lost(_) => "lost",
        Cause::Other(_) => "other",
    }
}

/// The sums of one library object.
#[derive(Debug, Default)]
pub(crate) struct Ends(Mutex<Ended>);

impl Ends {
    pub(crate) fn add(&self, end: &Finished) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .add(end);
    }

    pub(crate) fn sums(&self) -> Ended {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}
