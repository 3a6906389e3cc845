//! What can be done with a job that has not ended: stop it, signal it, hold it still, feed it, ask what it uses.

use std::path::Path;
use std::time::Duration;

use legwork_shim::control::{self, Request};
use legwork_shim::spec::Stdin;

use super::Jobs;
use crate::accepted;
use crate::consumption::{self, Consumption};
use crate::control as shims;
use crate::error::JobError;
use crate::id::JobId;
use crate::job::Job;
use crate::request::SIGNAL_MAX;
use crate::shim_process::ShimProcess;
use crate::state::Phase;
use crate::stdin::StdinWriter;
use crate::tasks;

/// How long a stopped job's end may take after the grace: the shim kills for ten seconds, reads what was printed for five, and
/// writes output to the disk.
const ENDING_MAX: Duration = Duration::from_secs(60);

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
    /// Stops a job: signal to the main process, grace, then the whole tree. Returns the finished job, which names
    /// what could not be killed. When it is dropped after the shim was told, the stop goes on. A job that has ended is returned as it is.
    ///
    /// # Errors
    /// As [`Self::get`], [`JobError::Unreachable`] and [`JobError::NoSocket`] when the shim cannot be told, and
    /// [`JobError::StillEnding`] when it was and the end does not come.
    pub async fn stop(&self, id: JobId, how: Stop) -> Result<Job, JobError> {
        if let Some(number) = how.signal {
            check_signal(number)?;
        }
        let grace = how.grace.map(|grace| grace.as_millis());
        let stop = control::Stop {
            signal: how.signal,
            grace_ms: grace.map(|ms| u64::try_from(ms).unwrap_or(u64::MAX)),
            by: how.by,
        };
        let job = self.begun(id, &stop.by).await?;
        if job.state.is_over() {
            return Ok(job);
        }
        let grace = Duration::from_millis(stop.grace_ms.unwrap_or(job.asked.stop_grace_ms));
        match shims::stop(&self.inner, id, stop).await {
            Ok(()) | Err(JobError::Ended { .. }) => {}
            Err(error) => return Err(error),
        }
        tokio::time::timeout(grace.saturating_add(ENDING_MAX), self.wait(id))
            .await
            .unwrap_or(Err(JobError::StillEnding { id }))
    }

    /// A job that is not pending, or not any more: then it was stopped.
    async fn begun(&self, id: JobId, by: &str) -> Result<Job, JobError> {
        let mut watch = self.inner.watch(id);
        loop {
            watch.look();
            let job = self.get(id).await?;
            if job.state.phase() != Phase::Pending {
                return Ok(job);
            }
            let (inner, by) = (self.inner.clone(), by.to_owned());
            let withdrawn = tasks::blocking(move || accepted::withdraw(&inner, id, by));
            // Where it was not, somebody is about to start it.
            if !withdrawn.await.ok_or(JobError::Closed)?? {
                watch.changed().await;
            }
        }
    }

    /// Sends a signal, a number as in signal(7), to the main process.
    ///
    /// # Errors
    /// [`JobError::Pending`], [`JobError::Ended`], [`JobError::NoSuchSignal`], [`JobError::Unreachable`], [`JobError::NoSocket`].
    pub async fn signal(&self, id: JobId, number: i32) -> Result<(), JobError> {
        check_signal(number)?;
        if self.get(id).await?.state.is_over() {
            return Err(JobError::Ended { id });
        }
        shims::ask(&self.inner, id, &Request::Signal(number)).await
    }

    /// Holds a job still, all of it. Returns the paused job; one that is paused is returned as it is. Its time limit goes on.
    ///
    /// # Errors
    /// As [`Self::signal`], and [`JobError::Unsupported`] when it was started by a version that could not.
    pub async fn pause(&self, id: JobId) -> Result<Job, JobError> {
        self.hold(id, &Request::Pause).await
    }

    /// Lets a paused job go on.
    ///
    /// # Errors
    /// As [`Self::pause`].
    pub async fn resume(&self, id: JobId) -> Result<Job, JobError> {
        self.hold(id, &Request::Resume).await
    }

    async fn hold(&self, id: JobId, request: &Request) -> Result<Job, JobError> {
        if self.get(id).await?.state.is_over() {
            return Err(JobError::Ended { id });
        }
        shims::ask(&self.inner, id, request).await?;
        self.get(id).await
    }

    /// What a job has consumed until now; of one that has ended, what its record tells. May block for as long as it takes to look at
    /// all its processes.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn consumption(&self, id: JobId) -> Result<Consumption, JobError> {
        let job = self.get(id).await?;
        if let Some(end) = job.state.finished() {
            return Ok(Consumption {
                usage: end.usage,
                elapsed_ms: end.elapsed_ms,
                ..Consumption::default()
            });
        }
        let since_ms = job.state.started_at_ms();
        let elapsed = since_ms.map_or(0, |since| self.inner.clock.now_ms().saturating_sub(since));
        let inner = self.inner.clone();
        let look = move || {
            let dir = inner.dir(id);
            let spec = dir.spec()?;
            let group = spec.and_then(|spec| spec.confinement.cgroup);
            let group =
                group.and_then(|group| consumption::of_group(Path::new(group.path.as_os_str())));
            let tree = || {
                Some(consumption::of_tree(&ShimProcess::of(
                    &dir,
                    inner.boot_id(),
                )?))
            };
            Ok(group.or_else(tree).unwrap_or_default())
        };
        let seen: Result<Consumption, JobError> =
            tasks::blocking(look).await.ok_or(JobError::Closed)?;
        Ok(Consumption {
            elapsed_ms: elapsed,
            ..seen?
        })
    }

    /// A writer to the job's standard input.
    ///
    /// # Errors
    /// [`JobError::StdinClosed`] when it was started without, [`JobError::Ended`].
    pub async fn stdin(&self, id: JobId) -> Result<StdinWriter, JobError> {
        let job = self.get(id).await?;
        if job.asked.stdin == Stdin::Null {
            return Err(JobError::StdinClosed { id });
        }
        if job.state.is_over() {
            return Err(JobError::Ended { id });
        }
        Ok(StdinWriter::new(self.inner.clone(), id))
    }
}

fn check_signal(number: i32) -> Result<(), JobError> {
    if (1..=SIGNAL_MAX).contains(&number) {
        return Ok(());
    }
    Err(JobError::NoSuchSignal { number })
}
