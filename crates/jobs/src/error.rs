//! What can go wrong, free of any transport: each case a variant, its circumstances in fields.

use std::io;
use std::path::PathBuf;

use crate::id::{JobId, NotAnId};
use crate::limits::{HostError, Unavailable};
use crate::record::Newer;
use crate::request::InvalidRequest;

/// Why a state directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It belongs to somebody else.
    #[error("the state directory {} belongs to user {owner}, not to user {user}: \
             choose another one, or become that user", path.display())]
    OtherOwner {
        /// The state directory.
        path: PathBuf,
        /// The user id that owns it.
        owner: u32,
        /// The user id that asks.
        user: u32,
    },
    /// A newer legwork wrote it.
    #[error("{} was written by a newer legwork (version {found}; this one knows up to {known}): \
             upgrade, or choose another state directory", path.display())]
    Newer {
        /// The file that says so.
        path: PathBuf,
        /// Its version.
        found: u64,
        /// The newest version that this build knows.
        known: u64,
    },
    /// A directory that others may read, and that holds other things: it is not made private.
    #[error("{} exists and holds other things: choose an empty or new directory", path.display())]
    NotAState {
        /// The directory.
        path: PathBuf,
    },
    /// Something else stands in its place.
    #[error("{} is not a directory: choose another state directory", path.display())]
    NotADirectory {
        /// What is no directory.
        path: PathBuf,
    },
    /// Permissions, or a read-only file system.
    #[error("{} cannot be written: {source}", path.display())]
    NotWritable {
        /// What cannot be written.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// No space, or over the quota.
    #[error("the disk that holds {} is full: free some space and try again", path.display())]
    DiskFull {
        /// What could not be written.
        path: PathBuf,
    },
    /// A file is not what this library would have written.
    #[error("{} is damaged ({what}): move it away and try again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// Anything else that the system says.
    #[error("{}: {source}", path.display())]
    Io {
        /// What was touched.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// Jobs cannot have control groups where they are to have them.
    #[error("jobs cannot have control groups there: {0}")]
    Cgroups(#[from] HostError),
    /// The index cannot be used or rebuilt.
    #[error(transparent)]
    Index(#[from] IndexError),
}

/// Why the index of jobs cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// Somebody else kept it locked for too long.
    #[error("{} has been locked by another process for too long: try again", path.display())]
    Busy {
        /// The index.
        path: PathBuf,
    },
    /// No space, or over the quota.
    #[error("the disk that holds {} is full: free some space and try again", path.display())]
    DiskFull {
        /// What could not be written.
        path: PathBuf,
    },
    /// The system refused a file.
    #[error("{}: {source}", path.display())]
    Io {
        /// What was touched.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// Anything else that `SQLite` says.
    #[error("the index {}: {source}", path.display())]
    Database {
        /// The index.
        path: PathBuf,
        /// The database's word.
        source: rusqlite::Error,
    },
}

/// Why a job was not accepted. A command that cannot be executed is no such reason: that job is
/// accepted, and finished with [`crate::Cause::NotStarted`].
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The request cannot be a job.
    #[error(transparent)]
    Invalid(#[from] InvalidRequest),
    /// A limit that was asked for cannot be applied on this host.
    #[error(transparent)]
    Limit(#[from] Unavailable),
    /// Another owner's job has that id.
    #[error("the id {id} is taken: make a new one")]
    IdTaken {
        /// The id.
        id: JobId,
    },
    /// No space, or over the quota.
    #[error("the disk that holds {} is full: free some space and try again", path.display())]
    DiskFull {
        /// What could not be written.
        path: PathBuf,
    },
    /// The job's directory cannot be prepared.
    #[error("{}: {source}", path.display())]
    Directory {
        /// What was touched.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// The shim cannot be started, for instance for want of processes.
    #[error("the job's shim cannot be started: {source}")]
    Launch {
        /// The system's word.
        source: io::Error,
    },
    /// The index cannot be used.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// There is a job of that id, and its files cannot be read.
    #[error(transparent)]
    Unread(Box<JobError>),
    /// Too many bytes for one batch.
    #[error(
        "these jobs have {size} bytes together, over the limit of {limit}: accept them in several batches"
    )]
    BatchTooLarge {
        /// Their bytes, as they are written down.
        size: usize,
        /// The most that one batch may have.
        limit: usize,
    },
    /// Too many batches wait.
    #[error(
        "{limit} batches of accepted jobs have not been started yet: try again later, with more jobs in each"
    )]
    TooManyBatches {
        /// The most that may wait.
        limit: usize,
    },
    /// The library object was shut down.
    #[error("shutting down: no job is started any more")]
    Closed,
}

impl StartError {
    /// errno(3) of what the system refused, if that is what it was; else 0.
    pub(crate) fn errno(&self) -> i32 {
        match self {
            Self::DiskFull { .. } | Self::Index(IndexError::DiskFull { .. }) => {
                rustix::io::Errno::NOSPC.raw_os_error()
            }
            Self::Directory { source, .. } | Self::Launch { source } => {
                source.raw_os_error().unwrap_or(0)
            }
            _ => 0,
        }
    }
}

/// Why a job cannot be named by what was typed.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// It cannot be an id.
    #[error(transparent)]
    NotAnId(#[from] NotAnId),
    /// No job has such an id.
    #[error("there is no job {typed}: `ps -a` lists all")]
    NotFound {
        /// What was typed.
        typed: String,
    },
    /// More than one job has such an id.
    #[error("{typed} could be {}{}: type more of it", join(matches), if *more { " or others" } else { "" })]
    Ambiguous {
        /// What was typed.
        typed: String,
        /// Some of the jobs.
        matches: Vec<JobId>,
        /// There are more than these.
        more: bool,
    },
    /// The index cannot be used.
    #[error(transparent)]
    Index(#[from] IndexError),
}

fn named(id: Option<JobId>) -> String {
    id.map_or_else(|| "a job".to_owned(), |id| format!("job {id}"))
}

fn join(ids: &[JobId]) -> String {
    let names: Vec<_> = ids.iter().map(ToString::to_string).collect();
    names.join(", ")
}

/// Why something cannot be done with a job.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// There is no such job.
    #[error("there is no job {id}")]
    NotFound {
        /// The id.
        id: JobId,
    },
    /// It must be running for that, and is not any more.
    #[error("job {id} has ended")]
    Ended {
        /// The job.
        id: JobId,
    },
    /// It must have begun for that, and has not.
    #[error("job {id} has not been started yet: wait for that, or stop it")]
    Pending {
        /// The job.
        id: JobId,
    },
    /// It must have ended for that, and has not.
    #[error("job {id} has not ended: stop it first")]
    NotEnded {
        /// The job.
        id: JobId,
    },
    /// Its standard input is `/dev/null`, or the payload has closed it.
    #[error("job {id} reads no standard input")]
    StdinClosed {
        /// The job.
        id: JobId,
    },
    /// Its shim lives but does not answer.
    #[error(
        "job {id} is running, but its shim does not answer: look whether somebody holds it (SIGSTOP); \
         a stop without a signal or grace of its own may still get through"
    )]
    Unreachable {
        /// The job.
        id: JobId,
    },
    /// Its shim lives and has no socket, for instance for want of disk space.
    #[error(
        "job {id} is running, but its shim could not make its socket: look whether the disk is full, and try again; \
         a stop without a signal or grace of its own still gets through"
    )]
    NoSocket {
        /// The job.
        id: JobId,
    },
    /// Its shim was told to stop it, and its end is not there in time.
    #[error(
        "job {id} was told to stop, but its end has not been recorded: look whether the disk is full \
         or somebody holds its shim (SIGSTOP), and wait for it"
    )]
    StillEnding {
        /// The job.
        id: JobId,
    },
    /// Its shim is of an older legwork and cannot do that.
    #[error(
        "job {id} was started by an older legwork that cannot do that, and goes on as it is: \
         wait for it or stop it; a job that is started now can"
    )]
    Unsupported {
        /// The job.
        id: JobId,
    },
    /// A newer legwork wrote what this one does not understand.
    #[error(
        "{} is of a newer legwork and is left alone ({what}): upgrade this legwork, or use the newer one",
        named(*id)
    )]
    Newer {
        /// The job, where it is known.
        id: Option<JobId>,
        /// What it is.
        what: Newer,
    },
    /// Its shim answered with what this version does not know.
    #[error(
        "job {id} is of a newer legwork and answers what this one does not understand: \
         upgrade this legwork, or use the newer one"
    )]
    NewerAnswer {
        /// The job.
        id: JobId,
    },
    /// There is no such signal.
    #[error("there is no signal {number}")]
    NoSuchSignal {
        /// The number.
        number: i32,
    },
    /// The shim tried, and the system refused.
    #[error("job {id}: {source}")]
    Refused {
        /// The job.
        id: JobId,
        /// The system's word.
        source: io::Error,
    },
    /// A file of the job cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// A file of the job is not what this library understands.
    #[error("{} cannot be understood: {what}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The index cannot be used.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The library object was shut down.
    #[error("shutting down")]
    Closed,
}
