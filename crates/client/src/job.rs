//! A job as the server knows it.

use std::collections::BTreeMap;
use std::ffi::OsString;

use uuid::Uuid;

use crate::limits::{Containment, Limits};

/// A job at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Its id.
    pub id: Uuid,
    /// What people type: any unique prefix of this names the job.
    pub short_id: String,
    /// Where it is in its life.
    pub state: State,
    /// The principal who started it.
    pub owner: String,
    /// The user of the host as whom it runs, where that is known.
    pub user: Option<String>,
    /// Program and arguments.
    pub argv: Vec<OsString>,
    /// Working directory on the host.
    pub dir: OsString,
    /// A name for people.
    pub name: Option<String>,
    /// Key and value pairs to find it by.
    pub labels: BTreeMap<String, String>,
    /// The workspace that it runs in.
    pub workspace: Option<String>,
    /// When it was accepted, in milliseconds since the epoch.
    pub created_at_ms: u64,
    /// When its program was executed, in milliseconds since the epoch.
    pub started_at_ms: Option<u64>,
    /// The limits that were asked for; only of a job that was asked for by its id.
    pub limits: Option<Box<Limits>>,
    /// How it is held to them; only of a job that was asked for by its id.
    pub containment: Option<Box<Containment>>,
}

/// Where a job is in its life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Accepted, waiting.
    Pending {
        /// For what.
        why: String,
    },
    /// Handed to its shim.
    Starting,
    /// Running.
    Running {
        /// Main process.
        pid: u32,
    },
    /// Held still by a pause.
    Paused {
        /// Main process.
        pid: u32,
        /// Since when, in milliseconds since the epoch.
        since_ms: u64,
    },
    /// Over.
    Finished(Box<Finish>),
    /// Of a newer legwork: somebody on the way here does not understand everything of it.
    Unknown {
        /// What that is.
        why: String,
        /// It may still be running.
        alive: bool,
    },
}

/// How a job ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finish {
    /// Why.
    pub cause: Cause,
    /// The main process's own status; `None` if it is unknown or there was none.
    pub status: Option<Status>,
    /// What `legwork run` exits with for it.
    pub exit_code: u8,
    /// Milliseconds since the epoch; of a lost job only about when it was last seen alive.
    pub ended_at_ms: u64,
    /// Offset after the last byte printed, dropped ones included; of a lost job, after the last byte kept.
    pub output_end: u64,
    /// Bytes printed but not kept.
    pub output_dropped: u64,
    /// What it consumed.
    pub usage: Option<Usage>,
    /// Processes that could not be killed.
    pub survivors: Vec<Survivor>,
}

/// Why a job ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// By itself.
    Own,
    /// Its time limit.
    Timeout,
    /// On request.
    Stopped {
        /// Of whom.
        by: String,
    },
    /// The memory limit, or the host's.
    OutOfMemory,
    /// The disk limit.
    Disk,
    /// The limit of processor time.
    CpuTime,
    /// The outcome is unknown.
    Lost {
        /// What it was lost to.
        why: String,
    },
    /// It never ran.
    NotStarted(NotStarted),
    /// One of a newer legwork.
    Other {
        /// Its word, where it is known.
        word: String,
    },
}

/// What kept a job from starting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotStarted {
    /// The step that failed: `exec`, `dir`, `lease`, …
    pub step: String,
    /// errno(3) of it; 0 where there is none.
    pub errno: i32,
    /// What the step was about, such as the program or the directory.
    pub subject: OsString,
    /// The whole in words.
    pub why: String,
}

/// The main process's own status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Exited with this code.
    Code(i32),
    /// Killed by this signal number.
    Signal(i32),
}

/// What a job consumed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// User CPU time in microseconds.
    pub user_us: u64,
    /// System CPU time in microseconds.
    pub system_us: u64,
    /// Peak resident bytes of the largest process.
    pub max_rss_bytes: u64,
    /// The kernel has counted the processor times for the whole job; else they are lower bounds.
    pub exact: bool,
    /// Peak bytes of memory of the whole job, page cache included.
    pub memory_peak_bytes: Option<u64>,
    /// Most processes and threads at once.
    pub pids_peak: Option<u64>,
    /// Bytes read from block devices.
    pub read_bytes: Option<u64>,
    /// Bytes written to block devices.
    pub written_bytes: Option<u64>,
    /// Microseconds for which its limit of processors held it back.
    pub throttled_us: Option<u64>,
    /// Processes of it that were killed for want of memory.
    pub oom_kills: Option<u64>,
    /// Bytes that its directory took when that was counted last; only with a limit of disk space.
    pub disk_bytes: Option<u64>,
}

/// What a job has consumed until now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobStats {
    /// The job.
    pub job: Job,
    /// Since its beginning.
    pub usage: Usage,
    /// Bytes now: of the whole control group, page cache included; without one, the sum of what its processes have resident.
    pub memory_bytes: u64,
    /// Processes now; of a job with a control group, threads too.
    pub processes: u64,
    /// Milliseconds since its beginning, or from that to its end.
    pub elapsed_ms: u64,
}

/// A process that would not die.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Survivor {
    /// Its id on the host.
    pub pid: u32,
    /// The kernel's name of it.
    pub name: OsString,
}

impl Job {
    /// Whether it will do nothing more, as far as can be told.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        matches!(
            self.state,
            State::Finished(_) | State::Unknown { alive: false, .. }
        )
    }

    /// The end, if it has come.
    #[must_use]
    pub fn finish(&self) -> Option<&Finish> {
        match &self.state {
            State::Finished(finish) => Some(finish),
            _ => None,
        }
    }

    /// The main process while there is one.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        match self.state {
            State::Running { pid } | State::Paused { pid, .. } => Some(pid),
            _ => None,
        }
    }
}
