//! The library object.

mod live;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use legwork_shim::limits::Limits;
use legwork_shim::spec::Spec;
use tokio::task::JoinHandle;

pub use self::live::Stop;
use crate::accepted;
use crate::config::Config;
use crate::ended::Ended;
use crate::error::{IndexError, JobError, OpenError, ResolveError, StartError};
use crate::id::{JobId, TypedId};
use crate::index;
use crate::inner::{self, Inner};
use crate::job::{Job, ListQuery, Page, Rebuilt};
use crate::limits::{self, Host, Mode, Unavailable};
use crate::output::{Output, Read};
use crate::remove::{self, Newcomers};
use crate::request::StartRequest;
use crate::retention::{self, Removed, Retention};
use crate::start;
use crate::state::{JobState, Phase};
use crate::tasks;

/// Jobs that an ambiguous id names at most.
const MATCHES_MAX: usize = 5;

/// All jobs of a state directory. Clones are the same object.
///
/// Opening needs no runtime; the asynchronous methods need a tokio runtime with I/O and time enabled,
/// and one object belongs to one runtime.
#[derive(Debug, Clone)]
pub struct Jobs {
    inner: Arc<Inner>,
}

impl Jobs {
    /// Opens a state directory, and makes it if it is not there. Blocks for some file operations.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(config: Config) -> Result<Self, OpenError> {
        Ok(Self {
            inner: Arc::new(Inner::open(config)?),
        })
    }

    /// Opens the index in the background, so that the first call need not. Needs a runtime.
    pub fn warm(&self) {
        let inner = Arc::clone(&self.inner);
        self.inner.tasks.aside(move || {
            // Any query reads what every query needs; whoever asks in earnest hears of what is wrong.
            let nobody = JobId::from(uuid::Uuid::nil());
            drop(inner.index.with(|db| index::get(db, nobody)));
        });
    }

    /// Re-reads every job that has not ended from its directory, kills what lost shims left behind, and tells how
    /// many jobs were found lost. A long-lived opener calls it first; others need not, for looking at a job does the same for it.
    ///
    /// # Errors
    /// When the directories cannot be read.
    pub async fn recover(&self) -> Result<usize, JobError> {
        remove::purge(&self.inner).await?;
        if let Some(groups) = &self.inner.host.cgroups {
            groups.purge(self.inner.clock.now_ms());
        }
        inner::recover(&self.inner).await
    }

    /// Throws the index away and builds it from the job directories. Deletes directories that starts left and that never became jobs.
    ///
    /// # Errors
    /// When the index cannot be written: jobs are then read from their directories, as long as it cannot.
    pub async fn rebuild(&self) -> Result<Rebuilt, IndexError> {
        let inner = self.inner.clone();
        let path = inner.state.path.clone();
        tasks::blocking(move || inner.index.rebuild())
            .await
            .unwrap_or_else(|| {
                let source = std::io::ErrorKind::Interrupted.into();
                Err(IndexError::Io { path, source })
            })
    }

    /// Starts a job and returns once its program was executed, or could not be: then it is finished with
    /// [`crate::Cause::NotStarted`]. With the id of an existing job, returns that one.
    ///
    /// Goes on when the caller is dropped.
    ///
    /// # Errors
    /// See [`StartError`]: then there is no such job.
    pub async fn start(&self, request: StartRequest) -> Result<Job, StartError> {
        self.start_at(request, self.inner.clock.now_ms()).await
    }

    async fn start_at(&self, request: StartRequest, now_ms: u64) -> Result<Job, StartError> {
        let spec = self.spec_of(request, now_ms)?;
        if self.inner.tasks.is_closed() {
            return Err(StartError::Closed);
        }
        let start = start::start(self.inner.clone(), spec, None);
        let started = self.inner.tasks.spawn(start);
        to_its_end(started).await
    }

    /// What the shim is told, if it can be a job on this host.
    fn spec_of(&self, request: StartRequest, now_ms: u64) -> Result<Spec, StartError> {
        request.validate()?;
        let (limits, mode) = (&request.limits, request.limits_mode);
        let tree = request.tree.as_ref().unwrap_or(&request.dir);
        let confinement = limits::plan(request.id, tree, limits, mode, &self.inner.host)?;
        Ok(request.into_spec(now_ms, confinement))
    }

    /// Whether jobs can be held to these limits on this host.
    ///
    /// # Errors
    /// The first that cannot be applied.
    pub fn check(&self, limits: &Limits) -> Result<(), Unavailable> {
        let nobody = JobId::from(uuid::Uuid::nil());
        limits::plan(
            nobody,
            &legwork_shim::ByteString::default(),
            limits,
            Mode::Strict,
            &self.inner.host,
        )
        .map(drop)
    }

    /// What jobs can be held to on this host.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.inner.host
    }

    /// Accepts several jobs: returns once all of them are durable, in the state [`JobState::Pending`], and starts them in the
    /// background, in their order, each as [`Self::start`] would. What this object does not come to, another one goes on with
    /// ([`Self::launch_accepted`]). Answers are in the order of the requests; an id that exists is answered with its job.
    ///
    /// A job that cannot be started ends with [`crate::Cause::NotStarted`]; as long as that cannot be written down either, it is
    /// tried again. Requests with a lease are for [`Self::start`]: nobody holds the lease for them until they start.
    ///
    /// # Errors
    /// When they cannot be made durable: then none of them is accepted.
    pub async fn accept(
        &self,
        requests: Vec<StartRequest>,
    ) -> Result<Vec<Result<Job, StartError>>, StartError> {
        if self.inner.tasks.is_closed() {
            return Err(StartError::Closed);
        }
        let now_ms = self.inner.clock.now_ms();
        let mut invalid = Vec::with_capacity(requests.len());
        let mut specs = Vec::with_capacity(requests.len());
        for request in requests {
            match self.spec_of(request, now_ms) {
                Ok(spec) => {
                    specs.push(spec);
                    invalid.push(None);
                }
                Err(error) => invalid.push(Some(error)),
            }
        }
        let accepting = accepted::accept(self.inner.clone(), specs);
        let mut answers = to_its_end(self.inner.tasks.spawn(accepting))
            .await?
            .into_iter();
        let answer = |invalid: Option<_>| match invalid {
            Some(error) => Err(error),
            None => answers.next().unwrap_or(Err(StartError::Closed)),
        };
        Ok(invalid.into_iter().map(answer).collect())
    }

    /// Goes on with the batches of accepted jobs on which nobody works, in the background, and tells how many these are. For a
    /// long-lived opener that has just opened the directory; whoever accepts jobs itself starts them without it.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn launch_accepted(&self) -> Result<usize, JobError> {
        accepted::resume(&self.inner).await
    }

    /// Starts no more jobs of accepted batches: they stay for the next opener. Such as are being started are.
    pub fn hold_accepted(&self) {
        self.inner.launching.cancel();
    }

    /// Starts several jobs, each as [`Self::start`] would, with answers in the order of the requests. All are accepted at the
    /// same moment, so that lists have them in the order of their ids.
    pub async fn start_many(&self, requests: Vec<StartRequest>) -> Vec<Result<Job, StartError>> {
        let now_ms = self.inner.clock.now_ms();
        let starts: Vec<_> = requests
            .into_iter()
            .map(|request| {
                let jobs = self.clone();
                self.inner
                    .tasks
                    .spawn(async move { jobs.start_at(request, now_ms).await })
            })
            .collect();
        let mut answers = Vec::with_capacity(starts.len());
        for start in starts {
            answers.push(start.await.unwrap_or(Err(StartError::Closed)));
        }
        answers
    }

    /// The job with the id that somebody typed; with `owner`, among that owner's jobs only.
    ///
    /// # Errors
    /// See [`ResolveError`].
    pub async fn resolve(&self, typed: &str, owner: Option<&str>) -> Result<JobId, ResolveError> {
        let (first, last) = match typed.parse()? {
            TypedId::Whole(id) => (id.number(), id.number()),
            TypedId::Prefix { first, last } => (first, last),
        };
        let find = |db: &mut _| index::in_range(db, first, last, owner, MATCHES_MAX + 1);
        let index = &self.inner.index;
        let mut matches = match index.with(find) {
            Err(_) => index.aside(&index.scanned()?, find)?,
            found => found?,
        };
        if let TypedId::Whole(id) = typed.parse()? {
            matches.retain(|found| *found == id);
        }
        match matches.as_slice() {
            [] => Err(ResolveError::NotFound {
                typed: typed.to_owned(),
            }),
            [id] => Ok(*id),
            _ => {
                let more = matches.len() > MATCHES_MAX;
                matches.truncate(MATCHES_MAX);
                Err(ResolveError::Ambiguous {
                    typed: typed.to_owned(),
                    matches,
                    more,
                })
            }
        }
    }

    /// A job as it is now.
    ///
    /// # Errors
    /// [`JobError::NotFound`], or what keeps it from being read.
    pub async fn get(&self, id: JobId) -> Result<Job, JobError> {
        inner::refresh(&self.inner, self.inner.entry(id)?).await
    }

    /// Jobs as they are now, newest first.
    ///
    /// # Errors
    /// What keeps the index from being read.
    pub async fn list(&self, query: &ListQuery) -> Result<Page, JobError> {
        inner::ask(&self.inner, |db| index::list(db, query)).await
    }

    /// How many jobs there are now in each phase, those with none left out.
    ///
    /// # Errors
    /// What keeps the index from being read.
    pub async fn count(&self) -> Result<BTreeMap<Phase, u64>, JobError> {
        inner::ask(&self.inner, |db| index::count(db)).await
    }

    /// What the jobs have consumed whose end this object, or a clone of it, has noticed.
    #[must_use]
    pub fn ended(&self) -> Ended {
        self.inner.ended.sums()
    }

    /// How many jobs of an owner have not ended. The answer is what was last seen if that is not more than `enough`; else the jobs
    /// are looked at first.
    ///
    /// # Errors
    /// What keeps the index from being read.
    pub async fn alive(&self, owner: &str, enough: usize) -> Result<usize, JobError> {
        let count = |db: &mut _| index::alive(db, owner);
        match self.inner.index.with(count) {
            Ok(seen) if seen <= enough => Ok(seen),
            _ => inner::ask(&self.inner, count).await,
        }
    }

    /// The whole of what was asked.
    ///
    /// # Errors
    /// [`JobError::NotFound`], or what keeps it from being read.
    pub async fn spec(&self, id: JobId) -> Result<Spec, JobError> {
        self.inner.spec(id)?.ok_or(JobError::NotFound { id })
    }

    /// The main process's id, `None` when it does not run. For people: it may be gone by the time it is read.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn pid(&self, id: JobId) -> Result<Option<u32>, JobError> {
        Ok(match self.get(id).await?.state {
            JobState::Running { pid, .. } | JobState::Paused { pid, .. } => Some(pid),
            JobState::Pending { .. }
            | JobState::Starting
            | JobState::Finished(_)
            | JobState::Unknown { .. } => None,
        })
    }

    /// Waits for a job's end. Cancel safe; any number may wait. Of a job of a newer legwork, the end may be [`JobState::Unknown`].
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn wait(&self, id: JobId) -> Result<Job, JobError> {
        let job = self.get(id).await?;
        if job.state.is_over() {
            return Ok(job);
        }
        let mut watch = self.inner.watch(id);
        let mut pending = job.state.phase() == Phase::Pending;
        loop {
            watch.look();
            let job = self.get(id).await?;
            if job.state.is_over() {
                return Ok(job);
            }
            if pending && job.state.phase() != Phase::Pending {
                // Now there is a directory to be watched.
                pending = false;
                watch = self.inner.watch(id);
                continue;
            }
            watch.changed().await;
        }
    }

    /// Reads what a job printed.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn output(&self, id: JobId, read: Read) -> Result<Output, JobError> {
        self.inner.entry(id)?;
        Output::open(self.inner.clone(), id, read).await
    }

    /// Removes a job that has ended, with its output.
    ///
    /// # Errors
    /// [`JobError::NotEnded`], [`JobError::Newer`], or what keeps it from being removed.
    pub async fn remove(&self, id: JobId) -> Result<(), JobError> {
        remove::remove(&self.inner, id, Newcomers::LeftAlone).await
    }

    /// The same, and also a job of which only a newer legwork understands everything, once nothing of it can be running.
    ///
    /// # Errors
    /// As [`Self::remove`], without [`JobError::Newer`].
    pub async fn remove_whatever_it_is(&self, id: JobId) -> Result<(), JobError> {
        remove::remove(&self.inner, id, Newcomers::Removed).await
    }

    /// Removes jobs that are not to be kept, and tells what it did; `None` if somebody has done so within `every`. Goes on with
    /// the next one when one cannot be removed, and ends early when this object is closed.
    ///
    /// # Errors
    /// What keeps the list of jobs from being read.
    pub async fn retain(
        &self,
        retention: Retention,
        every: Duration,
    ) -> Result<Option<Removed>, JobError> {
        retention::retain(&self.inner, retention, every).await
    }

    /// The directory of a job.
    #[must_use]
    pub fn job_dir(&self, id: JobId) -> PathBuf {
        self.inner.dir(id).path
    }

    /// The state directory.
    #[must_use]
    pub fn state_dir(&self) -> &Path {
        &self.inner.state.path
    }

    /// Ends what the library does in the background, after the starts that are under way. Jobs go on.
    pub async fn close(&self) {
        self.inner.tasks.close().await;
    }
}

/// What a task answers that goes on when its caller is dropped.
async fn to_its_end<T>(task: JoinHandle<Result<T, StartError>>) -> Result<T, StartError> {
    match task.await.map_err(tokio::task::JoinError::try_into_panic) {
        Ok(answer) => answer,
        Err(Ok(panic)) => std::panic::resume_unwind(panic),
        Err(Err(_)) => Err(StartError::Closed),
    }
}
