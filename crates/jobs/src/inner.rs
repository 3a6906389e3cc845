//! What all clones of a library object share.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::io;
use std::num::NonZero;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::available_parallelism;

use legwork_shim::exit::Survivor;
use legwork_shim::spec::Spec;
use rusqlite::Connection;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::accepted::{Accepted, Glance};
use crate::config::{Clock, Config};
use crate::ended::Ends;
use crate::error::{IndexError, JobError, OpenError};
use crate::id::JobId;
use crate::index::{self, Entry, Index, QueryError};
use crate::job::{Asked, Job};
use crate::job_dir::JobDir;
use crate::launcher::{Launcher, LocalLauncher};
use crate::limits::Host;
use crate::shim_image;
use crate::state::{self, Cause, Finished, JobState, LostWhy};
use crate::state_dir::{self, StateDir};
use crate::sweep::{self, LostGroup};
use crate::tasks::{self, Tasks};
use crate::watch::{Watch, Watcher};
use crate::young::Young;

/// Starts under way at once: each holds a thread while it waits for the disk and for fork.
const STARTS_MAX: usize = 16;
/// Of them, those of batches: whoever waits for an answer finds a place.
const BATCH_STARTS_MAX: usize = 8;
/// Open jobs that are looked at without leaving the thread: some 20 µs each.
const INLINE_MAX: usize = 16;

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) state: StateDir,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) launcher: Arc<dyn Launcher>,
    pub(crate) index: Index,
    pub(crate) tasks: Tasks,
    pub(crate) starts: Semaphore,
    pub(crate) batch_starts: Arc<Semaphore>,
    /// Places for threads that search output.
    pub(crate) searches: Arc<Semaphore>,
    pub(crate) accepted: Arc<Accepted>,
    /// Cancelled when no job of a batch is to be started any more.
    pub(crate) launching: CancellationToken,
    /// What jobs can be held to.
    pub(crate) host: Host,
    /// Jobs that were started by this object a moment ago.
    pub(crate) young: Arc<Young>,
    /// Jobs whose end was noticed.
    pub(crate) ended: Ends,
    boot_id: String,
    watcher: Watcher,
    shim: OnceLock<OwnedFd>,
    /// Held while the shim's file is written, so that one thread does it.
    shim_turn: Mutex<()>,
}

impl Inner {
    pub(crate) fn open(config: Config) -> Result<Self, OpenError> {
        let state = StateDir::prepare(&config)?;
        let boot_id = config.boot_id.map_or_else(this_boot, Ok)?;
        let accepted = Arc::new(Accepted::new(&state.path));
        let tasks = Tasks::default();
        let host = Host::look(&config.cgroups)?;
        Ok(Self {
            index: Index::new(
                &state,
                accepted.clone(),
                boot_id.clone(),
                config.clock.clone(),
            ),
            watcher: if config.poll {
                Watcher::by_the_clock()
            } else {
                Watcher::new(&state.jobs)
            },
            state,
            clock: config.clock,
            launcher: config.launcher.unwrap_or_else(|| Arc::new(LocalLauncher)),
            launching: tasks.stopping().child_token(),
            tasks,
            starts: Semaphore::new(STARTS_MAX),
            batch_starts: Arc::new(Semaphore::new(BATCH_STARTS_MAX)),
            searches: Arc::new(Semaphore::new(
                available_parallelism().map_or(1, NonZero::get),
            )),
            accepted,
            host,
            young: Arc::default(),
            ended: Ends::default(),
            boot_id,
            shim: OnceLock::new(),
            shim_turn: Mutex::default(),
        })
    }

    /// The directory of a job, whether it is there or not.
    pub(crate) fn dir(&self, id: JobId) -> JobDir {
        let mut buffer = uuid::Uuid::encode_buffer();
        let name = id.uuid().hyphenated().encode_lower(&mut buffer);
        JobDir {
            path: self.state.jobs.join(name),
        }
    }

    /// This boot of the host.
    pub(crate) fn boot_id(&self) -> &str {
        &self.boot_id
    }

    /// News of a job's directory.
    pub(crate) fn watch(self: &Arc<Self>, id: JobId) -> Watch {
        match self.young.news(id) {
            Some(news) if !self.watcher.is_by_the_clock() => Watch::young(news, self.clone(), id),
            _ => self.watch_directory(id),
        }
    }

    /// The same for one that has settled, or was started elsewhere.
    pub(crate) fn watch_directory(&self, id: JobId) -> Watch {
        self.watcher.watch(&self.dir(id).path, &self.tasks)
    }

    /// The shim's program. Blocks when it has to be written first.
    pub(crate) fn shim(&self) -> Result<&OwnedFd, (PathBuf, io::Error)> {
        if let Some(shim) = self.shim.get() {
            return Ok(shim);
        }
        let _turn = self
            .shim_turn
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(shim) = self.shim.get() {
            return Ok(shim);
        }
        let shim = shim_image::open(&self.state.path)?;
        Ok(self.shim.get_or_init(|| shim))
    }

    /// A job as the index knows it; one that only its directory knows is taken into the index.
    pub(crate) fn entry(&self, id: JobId) -> Result<Entry, JobError> {
        if let Ok(Some(entry)) = self.index.with(|db| index::get(db, id)) {
            return Ok(entry);
        }
        let asked = match self.dir(id).asked()? {
            Some(asked) => asked,
            None => self.waiting(id)?.ok_or(JobError::NotFound { id })?,
        };
        let job = Job {
            id,
            asked,
            state: JobState::Starting,
        };
        // As in `note`.
        self.index.with(|db| index::insert(db, &job)).unwrap_or(());
        Ok(Entry { job, open: true })
    }

    /// What was asked, by a start or by a batch.
    pub(crate) fn spec(&self, id: JobId) -> Result<Option<Spec>, JobError> {
        if let Some(spec) = self.dir(id).spec()? {
            return Ok(Some(spec));
        }
        let listed = self.accepted.glance()?.find(id)?;
        listed.map_or(Ok(None), |listed| listed.spec())
    }

    /// What was asked by a batch.
    fn waiting(&self, id: JobId) -> Result<Option<Asked>, JobError> {
        let listed = self.accepted.glance()?.find(id)?;
        listed.map_or(Ok(None), |listed| listed.asked())
    }

    /// What a job is doing, as far as its files tell. The batches are looked at once for all jobs that are asked with the same cell.
    pub(crate) fn observe(
        &self,
        entry: &Entry,
        batches: &OnceCell<Glance>,
    ) -> Result<JobState, JobError> {
        let known = &entry.job.state;
        if !entry.open {
            return Ok(known.clone());
        }
        let dir = self.dir(entry.job.id);
        if known.is_lost() {
            match dir.exit_of_ended() {
                Err(JobError::Newer { .. }) => {}
                told => {
                    let known = || known.clone();
                    return Ok(told?.map_or_else(known, |exit| JobState::ended(&exit)));
                }
            }
        }
        let facts = || dir.facts(&*self.launcher);
        let mut state = state::observe(&facts()?, &self.boot_id);
        // Where nobody knows whether it lives, either: without a journal it was never launched.
        if state.came_to_nothing() || (state == JobState::Starting && !dir.is_whole()) {
            let batches = match batches.get() {
                Some(batches) => batches,
                None => {
                    let glance = self.accepted.glance()?;
                    batches.get_or_init(|| glance)
                }
            };
            if let Some(listed) = batches.find(entry.job.id)? {
                return Ok(JobState::Pending { why: listed.why() });
            }
            // A batch goes when all its jobs have begun or ended, which may have been after the first look.
            if matches!(known, JobState::Pending { .. }) {
                state = state::observe(&facts()?, &self.boot_id);
            }
        }
        let Some(end) = state.finished().filter(|_| !state.is_settled()) else {
            return Ok(state);
        };
        // Whoever deletes a directory takes its files one by one: what has begun, and what has a row, had a journal.
        let never_ran = end.started_at_ms.is_none();
        let emptied = !dir.is_whole() || (never_ran && known.started_at_ms().is_some());
        if dir.exists() && !emptied {
            return Ok(state);
        }
        let gone = Finished::lost(LostWhy::DirectoryGone, known.started_at_ms(), None);
        Ok(JobState::Finished(Box::new(gone)))
    }

    /// Writes down what has become of jobs, where it is news.
    ///
    /// The directories are the truth: what was read there is told even where it cannot be noted, and read there again the next time.
    fn note(&self, changed: &[(JobId, JobState)]) -> Result<(), IndexError> {
        let ended = match changed {
            [] => return Ok(()),
            [(id, state)] => vec![self.index.with(|db| index::update(db, *id, state))?],
            many => self.index.with(|db| {
                let transaction = db.transaction()?;
                let updates = many.iter();
                let ended = updates.map(|(id, state)| index::update(&transaction, *id, state));
                let ended: Vec<bool> = ended.collect::<Result<_, _>>()?;
                transaction.commit()?;
                Ok(ended)
            })?,
        };
        let ended = changed.iter().zip(ended).filter(|(_, ended)| *ended);
        for end in ended.filter_map(|((_, state), _)| state.finished()) {
            self.ended.add(end);
        }
        Ok(())
    }
}

/// Asks about all jobs as they are now, from their directories where the index cannot be used.
pub(crate) async fn ask<T>(
    inner: &Arc<Inner>,
    mut query: impl FnMut(&mut Connection) -> Result<T, QueryError>,
) -> Result<T, JobError> {
    let answered = match refresh_open(inner).await {
        Ok(_) => inner.index.with(&mut query),
        Err(JobError::Index(error)) => Err(error),
        Err(error) => return Err(error),
    };
    match answered {
        Err(_) => {
            let (jobs, _) = scan(inner).await?;
            Ok(inner.index.aside(&jobs, query)?)
        }
        Ok(answer) => Ok(answer),
    }
}

/// Looks at all jobs that may not have ended, as [`refresh_open`] does, and does without the index where it must.
pub(crate) async fn recover(inner: &Arc<Inner>) -> Result<usize, JobError> {
    match refresh_open(inner).await {
        Err(JobError::Index(_)) => Ok(scan(inner).await?.1),
        recovered => recovered,
    }
}

/// All jobs as they are now, from their directories alone, and how many of them turned out to be lost.
async fn scan(inner: &Arc<Inner>) -> Result<(Vec<Job>, usize), JobError> {
    let scanning = inner.clone();
    let scanned = tasks::blocking(move || scanning.index.scanned());
    let mut jobs = scanned.await.ok_or(JobError::Closed)??;
    let open = jobs.iter().filter(|job| !job.state.is_settled());
    let open = open.cloned().map(|job| Entry { job, open: true }).collect();
    let mut news: HashMap<_, _> = look(inner, open).await?.into_iter().collect();
    let lost = news.values().filter(|state| state.is_lost()).count();
    for job in &mut jobs {
        if let Some(state) = news.remove(&job.id) {
            job.state = state;
        }
    }
    Ok((jobs, lost))
}

/// Looks at one job.
pub(crate) async fn refresh(inner: &Arc<Inner>, entry: Entry) -> Result<Job, JobError> {
    let mut state = inner.observe(&entry, &OnceCell::new())?;
    if state == entry.job.state {
        return Ok(entry.job);
    }
    let id = entry.job.id;
    if state.lost_its_shim() {
        let survivors = swept(inner, vec![id]).await?;
        state = with_survivors(state, id, &survivors);
    }
    // That it runs is read from its directory anyway, for as long as its row is open: it is noted when jobs are listed.
    if state.finished().is_some() {
        inner.note(&[(id, state.clone())]).unwrap_or(());
    }
    Ok(Job { state, ..entry.job })
}

/// Looks at all jobs that are open; tells how many turned out to be lost.
async fn refresh_open(inner: &Arc<Inner>) -> Result<usize, JobError> {
    let open = inner.index.with(|db| index::open_jobs(db))?;
    if open.is_empty() {
        return Ok(0);
    }
    let changed = look(inner, open).await?;
    // An index that says less than was seen here cannot be asked for a list.
    inner.note(&changed)?;
    Ok(changed.iter().filter(|(_, state)| state.is_lost()).count())
}

/// What has become of open jobs, where it is news; kills what lost shims left behind. A job whose files
/// cannot be understood stays as it is: it says so when it is asked for by its id.
async fn look(inner: &Arc<Inner>, open: Vec<Entry>) -> Result<Vec<(JobId, JobState)>, JobError> {
    let (looking, few) = (inner.clone(), open.len() <= INLINE_MAX);
    let look = move || -> Vec<_> {
        let batches = OnceCell::new();
        let news = |entry: &Entry| {
            let state = looking.observe(entry, &batches).ok()?;
            (state != entry.job.state).then_some((entry.job.id, state))
        };
        open.iter().filter_map(news).collect()
    };
    let mut changed = if few {
        look()
    } else {
        tasks::blocking(look).await.ok_or(JobError::Closed)?
    };
    let lost: Vec<_> = changed
        .iter()
        .filter(|(_, state)| state.lost_its_shim())
        .map(|(id, _)| *id)
        .collect();
    if !lost.is_empty() {
        let survivors = swept(inner, lost).await?;
        for (id, state) in &mut changed {
            let swept = std::mem::replace(state, JobState::Starting);
            *state = with_survivors(swept, *id, &survivors);
        }
    }
    Ok(changed)
}

/// Kills what these jobs left behind.
async fn swept(
    inner: &Arc<Inner>,
    lost: Vec<JobId>,
) -> Result<HashMap<JobId, Vec<Survivor>>, JobError> {
    let inner = inner.clone();
    let sweep = move || {
        let groups = lost.iter().filter_map(|id| {
            let spec = inner.dir(*id).spec().ok().flatten()?;
            let path = PathBuf::from(spec.confinement.cgroup?.path.as_os_str());
            Some((*id, LostGroup::new(path)))
        });
        sweep::sweep(&lost, &groups.collect())
    };
    tasks::blocking(sweep).await.ok_or(JobError::Closed)
}

fn with_survivors(
    state: JobState,
    id: JobId,
    survivors: &HashMap<JobId, Vec<Survivor>>,
) -> JobState {
    match (state, survivors.get(&id)) {
        (JobState::Finished(mut end), Some(survivors)) => {
            end.survivors.clone_from(survivors);
            JobState::Finished(end)
        }
        (state, _) => state,
    }
}

impl JobState {
    fn is_lost(&self) -> bool {
        matches!(self.finished(), Some(end) if matches!(end.cause, Cause::Lost(_)))
    }

    fn lost_its_shim(&self) -> bool {
        matches!(self.finished(), Some(end) if end.cause == Cause::Lost(LostWhy::ShimDied))
    }
}

fn this_boot() -> Result<String, OpenError> {
    let path = PathBuf::from("/proc/sys/kernel/random/boot_id");
    std::fs::read_to_string(&path)
        .map(|text| text.trim_end().to_owned())
        .map_err(|source| state_dir::told(&path, source))
}
