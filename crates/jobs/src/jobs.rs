//! The library object.

use std::path::PathBuf;
use std::time::Duration;

use legwork_shim::spec::Spec;

use crate::config::Config;
use crate::error::{IndexError, JobError, OpenError, ResolveError, StartError};
use crate::id::JobId;
use crate::job::{Job, ListQuery, Page};
use crate::output::{Output, Read};
use crate::request::StartRequest;

/// All jobs of a state directory. Clones are the same object.
///
/// Opening needs no runtime; the asynchronous methods need a tokio runtime with I/O and time enabled,
/// and one object belongs to one runtime.
#[derive(Debug, Clone)]
pub struct Jobs {}

/// How to stop a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stop {
    /// First signal; `None` means the one in the request that started it.
    pub signal: Option<i32>,
    /// Until the whole tree is killed; `None` means what that request says. To the millisecond.
    pub grace: Option<Duration>,
    /// The principal who asks, for the record.
    pub by: String,
}

impl Jobs {
    /// Opens a state directory, and makes it if it is not there. Blocks for some file operations.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(_config: Config) -> Result<Self, OpenError> {
        todo!()
    }

    /// Re-reads every job that has not ended from its directory, kills what lost shims left behind, and tells how
    /// many jobs were found lost. A long-lived opener calls it first; others need not, for looking at a job does the same for it.
    ///
    /// # Errors
    /// When the index cannot be used.
    pub async fn recover(&self) -> Result<usize, JobError> {
        todo!()
    }

    /// Throws the index away and builds it from the job directories; tells how many jobs there are.
    ///
    /// # Errors
    /// When the index cannot be written.
    pub async fn rebuild(&self) -> Result<usize, IndexError> {
        todo!()
    }

    /// Starts a job and returns once its program was executed, or could not be: then it is finished with
    /// [`crate::Cause::NotStarted`]. With the id of an existing job, returns that one.
    ///
    /// Goes on when the caller is dropped.
    ///
    /// # Errors
    /// See [`StartError`]: then there is no such job.
    pub async fn start(&self, _request: StartRequest) -> Result<Job, StartError> {
        todo!()
    }

    /// Starts several jobs, each as [`Self::start`] would, with answers in the order of the requests.
    pub async fn start_many(&self, _requests: Vec<StartRequest>) -> Vec<Result<Job, StartError>> {
        todo!()
    }

    /// The job with the id that somebody typed; with `owner`, among that owner's jobs only.
    ///
    /// # Errors
    /// See [`ResolveError`].
    pub async fn resolve(&self, _typed: &str, _owner: Option<&str>) -> Result<JobId, ResolveError> {
        todo!()
    }

    /// A job as it is now.
    ///
    /// # Errors
    /// [`JobError::NotFound`], or what keeps it from being read.
    pub async fn get(&self, _id: JobId) -> Result<Job, JobError> {
        todo!()
    }

    /// Jobs as they are now, newest first.
    ///
    /// # Errors
    /// What keeps the index from being read.
    pub async fn list(&self, _query: &ListQuery) -> Result<Page, JobError> {
        todo!()
    }

    /// The whole of what was asked.
    ///
    /// # Errors
    /// [`JobError::NotFound`], or what keeps it from being read.
    pub async fn spec(&self, _id: JobId) -> Result<Spec, JobError> {
        todo!()
    }

    /// The main process's id, `None` when it does not run. For people: it may be gone by the time it is read.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn pid(&self, _id: JobId) -> Result<Option<u32>, JobError> {
        todo!()
    }

    /// Waits for a job's end. Cancel safe; any number may wait.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn wait(&self, _id: JobId) -> Result<Job, JobError> {
        todo!()
    }

    /// Stops a job: signal to the main process, grace, then the whole tree. Returns the finished job, which names
    /// what could not be killed. When it is dropped after the shim was told, the stop goes on. A job that has ended is returned as it is.
    ///
    /// # Errors
    /// As [`Self::get`], and [`JobError::Unreachable`].
    pub async fn stop(&self, _id: JobId, _how: Stop) -> Result<Job, JobError> {
        todo!()
    }

    /// Sends a signal, a number as in signal(7), to the main process.
    ///
    /// # Errors
    /// [`JobError::Ended`], [`JobError::NoSuchSignal`], [`JobError::Unreachable`].
    pub async fn signal(&self, _id: JobId, _number: i32) -> Result<(), JobError> {
        todo!()
    }

    /// A writer to the job's standard input.
    ///
    /// # Errors
    /// [`JobError::StdinClosed`] when it was started without, [`JobError::Ended`].
    pub async fn stdin(&self, _id: JobId) -> Result<crate::stdin::StdinWriter, JobError> {
        todo!()
    }

    /// Reads what a job printed.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn output(&self, _id: JobId, _read: Read) -> Result<Output, JobError> {
        todo!()
    }

    /// Removes a job that has ended, with its output.
    ///
    /// # Errors
    /// [`JobError::NotEnded`], or what keeps it from being removed.
    pub async fn remove(&self, _id: JobId) -> Result<(), JobError> {
        todo!()
    }

    /// The directory of a job.
    #[must_use]
    pub fn job_dir(&self, _id: JobId) -> PathBuf {
        todo!()
    }

    /// The state directory.
    #[must_use]
    pub fn state_dir(&self) -> &std::path::Path {
        todo!()
    }

    /// Ends what the library does in the background, after the starts that are under way. Jobs go on.
    pub async fn close(&self) {
        todo!()
    }
}
