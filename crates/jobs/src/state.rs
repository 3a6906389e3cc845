//! What a job is doing, told from what its directory holds.
//!
//! [`observe`] is a pure function of facts. Whoever gathers the facts asks for liveness *before* it looks
//! for the exit record: a job that ends in between is then seen as ended, never as lost.

use legwork_shim::exit::{self, Exit, NotStarted, Step, Survivor, Usage};
use legwork_shim::launch::Launch;
use serde::{Deserialize, Serialize};

pub use legwork_shim::exit::Status;

use crate::record::{Newer, RecordKind};

/// What a job is doing. Every state carries what is known in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobState {
    /// Accepted; waits for something before it may start.
    Pending {
        /// What it waits for.
        why: PendingWhy,
    },
    /// Handed to the launcher; the payload has not begun.
    Starting,
    /// The payload runs.
    Running {
        /// The main process's id, for people: it may be gone by the time it is read.
        pid: u32,
        /// Milliseconds since the epoch.
        since_ms: u64,
    },
    /// The payload is held still.
    Paused {
        /// The main process's id.
        pid: u32,
        /// Milliseconds since the epoch, when it began.
        since_ms: u64,
        /// Milliseconds since the epoch, when it was paused.
        paused_ms: u64,
    },
    /// It has ended, or will never begin.
    Finished(Box<Finished>),
    /// A newer legwork wrote what this one does not understand. Such a job is shown and left alone.
    Unknown {
        /// What that is.
        what: Newer,
        /// Whether it may still be running.
        alive: bool,
    },
}

/// What a pending job waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum PendingWhy {
    /// The mirror root that it is to run on. Reserved: nothing waits for it yet.
    Root,
    /// Jobs of its batch that come before it, or room on the disk.
    Turn,
    /// A server: nobody starts the jobs of its batch now.
    Server,
    /// A newer legwork: this one does not understand what it is to run.
    Newer,
}

/// The end of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// Why it ended.
    pub cause: Cause,
    /// The main process's own status; `None` when it never ran or nobody saw its end.
    pub status: Option<Status>,
    /// Milliseconds since the epoch, at the exec; `None` when it never ran.
    pub started_at_ms: Option<u64>,
    /// Milliseconds since the epoch, when its last process was gone. Of a lost job only about when it was last seen alive (see
    /// [`Traces`]); `None` when it never ran, or nothing of it is left.
    pub ended_at_ms: Option<u64>,
    /// Milliseconds from exec to the end of the main process; of a lost job, to when it was last seen alive.
    pub elapsed_ms: u64,
    /// Offset after the last byte printed; of a lost job, after the last that was kept. `None` when nothing of it is left.
    pub output_end: Option<u64>,
    /// Bytes of the output that were not kept.
    pub output_dropped: u64,
    /// Of those, the bytes for which there was no room on the disk.
    pub output_failed: u64,
    /// What it consumed.
    pub usage: Usage,
    /// Processes of the tree that could not be killed.
    pub survivors: Vec<Survivor>,
}

/// Why a job ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// By itself: exited, or killed by a signal that was not a stop.
    Own,
    /// Its time limit.
    Timeout,
    /// Stopped on request.
    Stopped {
        /// The principal who asked.
        by: String,
    },
    /// Killed for want of memory.
    OutOfMemory,
    /// Its limit of processor time.
    CpuTime,
    /// Its directory took more disk space than it may.
    Disk,
    /// It never ran.
    NotStarted(NotStarted),
    /// It ran, and nobody knows how it ended. May turn out otherwise when an exit record arrives late.
    Lost(LostWhy),
    /// A newer legwork had a reason, of which this one knows only the word.
    Other(String),
}

/// Why nobody knows how a job ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum LostWhy {
    /// Its shim is gone without an exit record.
    ShimDied,
    /// The host was rebooted under it.
    HostRebooted,
    /// Its directory is gone.
    DirectoryGone,
}

/// What a launcher knows of a launch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Liveness {
    /// It lives.
    Alive,
    /// It has ended and will never come back.
    Ended,
    /// Nothing can be said now. Never the same as ended.
    Unknown,
}

/// What a job's directory says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Asked of the launcher.
    pub liveness: Liveness,
    /// The claim.
    pub launch: Option<Launch>,
    /// The exit record.
    pub exit: Option<Exit>,
    /// What of it only a newer version understands.
    pub newer: Option<Newer>,
    /// Milliseconds since the epoch, when it was paused, if it is.
    pub paused_ms: Option<u64>,
    /// What is left of a job that ended without one.
    pub traces: Option<Traces>,
}

/// What a job that was lost has left in its directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Traces {
    /// Offset after the last byte of output that is there.
    pub output_end: u64,
    /// Bytes before it that are not there.
    pub output_dropped: u64,
    /// Milliseconds since the epoch, when its shim last wrote a file of it. The shim may have lived on for any time after that
    /// and written nothing.
    pub seen_ms: u64,
}

/// Where facts come from. What it tells may change between one question and the next.
pub(crate) trait Source {
    /// Why something cannot be read.
    type Error;
    /// Whether the launch lives.
    fn liveness(&mut self) -> Liveness;
    /// What is written down. `ended` when it is known that nobody writes any more.
    fn told(&mut self, ended: bool) -> Result<Told, Self::Error>;
    /// What is left of it, if that can be told.
    fn traces(&mut self) -> Option<Traces>;
}

/// What its shim has written down of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Told {
    /// The claim.
    pub(crate) launch: Option<Launch>,
    /// The exit record.
    pub(crate) exit: Option<Exit>,
    /// What of it only a newer version understands.
    pub(crate) newer: Option<Newer>,
    /// When it was paused, if it is.
    pub(crate) paused_ms: Option<u64>,
}

/// Asks for the facts in the order that [`observe`] relies on.
pub(crate) fn gather<S: Source>(source: &mut S) -> Result<Facts, S::Error> {
    let mut told = source.told(false)?;
    let (mut liveness, mut traces) = (Liveness::Unknown, None);
    if told.exit.is_none() {
        liveness = source.liveness();
        // What has ended writes no more: if there is no record now, there never will be.
        if liveness == Liveness::Ended {
            told = source.told(true)?;
            if told.exit.is_none() && told.launch.is_some() {
                traces = source.traces();
            }
        }
    }
    Ok(Facts {
        liveness,
        launch: told.launch,
        exit: told.exit,
        newer: told.newer,
        paused_ms: told.paused_ms,
        traces,
    })
}

/// The state that follows from the facts, for an observer in the boot `boot_id`.
///
/// An exit record decides alone. What may be alive is not gone, whatever else is missing. Of what is not understood nothing is
/// concluded.
#[must_use]
pub fn observe(facts: &Facts, boot_id: &str) -> JobState {
    if let Some(exit) = &facts.exit {
        return JobState::ended(exit);
    }
    if let Some(what) = facts.newer {
        // Whatever else a record of an end may say in any version, the job has ended.
        let ended = matches!(what, Newer::Record { kind, .. } if kind == RecordKind::Exit);
        let alive = !ended && facts.liveness != Liveness::Ended;
        return JobState::Unknown { what, alive };
    }
    match (facts.liveness, &facts.launch) {
        (Liveness::Alive | Liveness::Unknown, Some(launch)) => {
            let (pid, since_ms) = (launch.pid, launch.started_at_ms);
            match facts.paused_ms {
                Some(paused_ms) => JobState::Paused {
                    pid,
                    since_ms,
                    paused_ms,
                },
                None => JobState::Running { pid, since_ms },
            }
        }
        (Liveness::Alive | Liveness::Unknown, None) => JobState::Starting,
        (Liveness::Ended, Some(launch)) => {
            let why = if launch.boot_id == boot_id {
                LostWhy::ShimDied
            } else {
                LostWhy::HostRebooted
            };
            let started = Some(launch.started_at_ms);
            JobState::Finished(Box::new(Finished::lost(why, started, facts.traces)))
        }
        (Liveness::Ended, None) => JobState::Finished(Box::new(Finished::abandoned())),
    }
}

impl JobState {
    /// The name of the state, without its data.
    #[must_use]
    pub const fn phase(&self) -> Phase {
        match self {
            Self::Pending { .. } => Phase::Pending,
            Self::Starting => Phase::Starting,
            Self::Running { .. } => Phase::Running,
            Self::Paused { .. } => Phase::Paused,
            Self::Finished(_) => Phase::Finished,
            Self::Unknown { .. } => Phase::Unknown,
        }
    }

    /// Whether it will do nothing more, as far as can be told.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        matches!(self, Self::Finished(_) | Self::Unknown { alive: false, .. })
    }

    /// How it ended, if it has.
    #[must_use]
    pub fn finished(&self) -> Option<&Finished> {
        match self {
            Self::Finished(finished) => Some(finished),
            _ => None,
        }
    }

    /// The end that a record tells.
    pub(crate) fn ended(exit: &Exit) -> Self {
        Self::Finished(Box::new(Finished::from(exit)))
    }

    /// Milliseconds since the epoch, when the payload began, if it has.
    #[must_use]
    pub fn started_at_ms(&self) -> Option<u64> {
        match self {
            Self::Pending { .. } | Self::Starting | Self::Unknown { .. } => None,
            Self::Running { since_ms, .. } | Self::Paused { since_ms, .. } => Some(*since_ms),
            Self::Finished(end) => end.started_at_ms,
        }
    }

    /// Whether it will never be told otherwise: it ended by one of the causes that only a record tells. Of a lost job a record may
    /// come late, and one whose launch came to nothing may be launched again.
    pub(crate) fn is_settled(&self) -> bool {
        self.finished().is_some_and(|end| match &end.cause {
            Cause::Own
            | Cause::Timeout
            | Cause::Stopped { .. }
            | Cause::OutOfMemory
            | Cause::CpuTime
            | Cause::Disk
            | Cause::Other(_) => true,
            Cause::NotStarted(why) => why.step != Step::Launch || end.ended_at_ms.is_some(),
            Cause::Lost(_) => false,
        })
    }

    /// Whether it is the end of a launch that came to nothing, of which nothing is recorded.
    pub(crate) fn came_to_nothing(&self) -> bool {
        let never = |end: &Finished| matches!(end.cause, Cause::NotStarted(_));
        !self.is_settled() && self.finished().is_some_and(never)
    }
}

/// The name of a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Phase {
    /// [`JobState::Pending`]
    Pending = 0,
    /// [`JobState::Starting`]
    Starting = 1,
    /// [`JobState::Running`]
    Running = 2,
    /// [`JobState::Paused`]
    Paused = 3,
    /// [`JobState::Finished`]
    Finished = 4,
    /// [`JobState::Unknown`]
    Unknown = 5,
}

impl Phase {
    /// All of them, in the order of a job's life.
    pub const ALL: [Self; 6] = [
        Self::Pending,
        Self::Starting,
        Self::Running,
        Self::Paused,
        Self::Finished,
        Self::Unknown,
    ];

    /// Its word, in lower case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Finished => "finished",
            Self::Unknown => "unknown",
        }
    }
}

impl Finished {
    /// The end that nobody recorded, and what can be told of it all the same.
    pub(crate) fn lost(why: LostWhy, started_at_ms: Option<u64>, left: Option<Traces>) -> Self {
        // The file system's clock is coarser than the one of the claim.
        let seen = left.map(|left| left.seen_ms.max(started_at_ms.unwrap_or(0)));
        Self {
            ended_at_ms: seen,
            elapsed_ms: seen
                .zip(started_at_ms)
                .map_or(0, |(seen, since)| seen - since),
            output_end: left.map(|left| left.output_end),
            output_dropped: left.map_or(0, |left| left.output_dropped),
            ..Self::unrecorded(Cause::Lost(why), started_at_ms)
        }
    }

    /// The launcher died before the shim claimed the launch.
    pub(crate) fn abandoned() -> Self {
        let never = NotStarted {
            step: Step::Launch,
            errno: 0,
            subject: Vec::new().into(),
        };
        Self::unrecorded(Cause::NotStarted(never), None)
    }

    fn unrecorded(cause: Cause, started_at_ms: Option<u64>) -> Self {
        Self {
            cause,
            status: None,
            started_at_ms,
            ended_at_ms: None,
            elapsed_ms: 0,
            output_end: None,
            output_dropped: 0,
            output_failed: 0,
            usage: Usage::default(),
            survivors: Vec::new(),
        }
    }
}

impl From<&Exit> for Finished {
    fn from(exit: &Exit) -> Self {
        Self {
            cause: match &exit.cause {
                exit::Cause::Own => Cause::Own,
                exit::Cause::Timeout => Cause::Timeout,
                exit::Cause::Stopped { by } => Cause::Stopped { by: by.clone() },
                exit::Cause::OutOfMemory => Cause::OutOfMemory,
                exit::Cause::CpuTime => Cause::CpuTime,
                exit::Cause::Disk => Cause::Disk,
                exit::Cause::NotStarted(why) => Cause::NotStarted(why.clone()),
                exit::Cause::Other(word) => Cause::Other(word.0.clone()),
            },
            status: exit.status,
            started_at_ms: exit.started_at_ms,
            ended_at_ms: Some(exit.ended_at_ms),
            elapsed_ms: exit.elapsed_ms,
            output_end: Some(exit.output_end),
            output_dropped: exit.output_dropped,
            output_failed: exit.output_failed,
            usage: exit.usage,
            survivors: exit.survivors.clone(),
        }
    }
}

#[cfg(test)]
mod tests;
