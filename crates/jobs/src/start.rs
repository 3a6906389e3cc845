//! From a request to a running job.
//!
//! Directory, journal with its lock, spec, index row, shim, handshake: in this order. Whoever dies on the way leaves either nothing that
//! counts, or a job that everyone can see and whose lock says that nothing runs. Such a job *never ran*, and a repeated
//! start with its id starts it. A job that may have run is never started again: its journal has the shim's claim, which
//! the shim makes durable together with the spec.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use legwork_shim::journal::{Journal, Line};
use legwork_shim::spec::Spec;
use legwork_shim::{handshake, layout, lock};

use crate::accepted::Listed;
use crate::error::{JobError, StartError};
use crate::files;
use crate::id::JobId;
use crate::index::{self, Entry};
use crate::inner::{self, Inner};
use crate::job::{Asked, Job};
use crate::launcher::{LaunchOrder, Launched};
use crate::record;
use crate::state::{JobState, Liveness};
use crate::tasks;

/// How often a start looks again whether it is the first of its id.
const TURNS_MAX: u32 = 5;

/// What came of trying to be the first to start a job.
enum Begun {
    Launched(Box<Job>, Launched),
    /// Somebody else was, or is about to be.
    Existing,
}

/// Starts a job, which may be one of a batch, or finds the one that the same id started.
pub(crate) async fn start(
    inner: Arc<Inner>,
    spec: Spec,
    listed: Option<Listed>,
) -> Result<Job, StartError> {
    let (id, owner) = (JobId::from(spec.id), spec.meta.owner.clone());
    let (spec, listed) = (Arc::new(spec), Arc::new(listed));
    for _ in 0..TURNS_MAX {
        let begun = {
            let _permit = inner
                .starts
                .acquire()
                .await
                .map_err(|_| StartError::Closed)?;
            let (inner, spec, listed) = (inner.clone(), spec.clone(), listed.clone());
            tasks::blocking(move || begin(&inner, &spec, Option::as_ref(&listed)))
                .await
                .ok_or(StartError::Closed)??
        };
        match begun {
            Begun::Launched(job, launched) => return greet(&inner, *job, launched).await,
            Begun::Existing => {
                if let Some(job) = first_answer(&inner, id).await? {
                    if job.asked.meta.owner == owner {
                        return Ok(job);
                    }
                    return Err(StartError::IdTaken { id });
                }
            }
        }
    }
    Err(StartError::IdTaken { id })
}

fn begin(inner: &Inner, spec: &Spec, listed: Option<&Listed>) -> Result<Begun, StartError> {
    let id = JobId::from(spec.id);
    let dir = inner.dir(id).path;
    let fresh = files::make_private_dir(&dir).map_err(|source| told(&dir, source))?;
    let taken = take(&dir, fresh).map_err(|source| told(&dir.join(layout::JOURNAL), source))?;
    let Some(journal) = taken else {
        return Ok(Begun::Existing);
    };
    let is_ours = is_ours(inner, id, listed).map_err(unread);
    if !matches!(is_ours, Ok(true)) {
        if fresh {
            std::fs::remove_dir_all(&dir).unwrap_or(());
        }
        return is_ours.map(|_| Begun::Existing);
    }
    if !fresh && listed.is_none() {
        // The row of an earlier attempt, which came to nothing.
        inner.index.with(|db| index::delete(db, id))?;
    }
    let made = if fresh && listed.is_some() {
        // After a power failure, a directory that is not there would be a job that has not run.
        files::sync_dir(&inner.state.jobs).map_err(|source| told(&dir, source))
    } else {
        Ok(())
    };
    let launched = made.and_then(|()| launch(inner, spec, &dir, journal));
    if launched.is_err() && fresh {
        // Nothing ran, and the first error is the one to tell. What cannot be removed says that it never ran. A job of a batch
        // is one without its directory, too.
        if listed.is_none() {
            inner.index.with(|db| index::delete(db, id)).unwrap_or(());
        }
        std::fs::remove_dir_all(&dir).unwrap_or(());
    }
    launched
}

/// Whether a job whose journal we have locked is ours to start: as one of a batch unless that was called off, by itself
/// unless a batch has it.
fn is_ours(inner: &Inner, id: JobId, listed: Option<&Listed>) -> Result<bool, JobError> {
    Ok(match listed {
        Some(listed) => !listed.is_struck()?,
        None => inner.accepted.glance()?.find(id)?.is_none(),
    })
}

/// Makes the job's journal and locks it, unless its launch is somebody else's or over.
pub(crate) fn take(dir: &Path, fresh: bool) -> io::Result<Option<File>> {
    let path = dir.join(layout::JOURNAL);
    let opened = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path);
    let mut journal = match opened {
        // Somebody has just deleted what an earlier attempt left.
        Err(error) if !fresh && error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let is_held = lock::acquire(&journal)?;
    let is_deleted = journal.metadata().is_ok_and(|found| found.nlink() == 0);
    if !is_held || is_deleted {
        return Ok(None);
    }
    if !fresh {
        return Ok(clear(&mut journal)?.then_some(journal));
    }
    Ok(Some(journal))
}

/// Takes away what an earlier attempt wrote; `false` if that was launched, or is a newer legwork's.
fn clear(journal: &mut File) -> io::Result<bool> {
    let mut raw = Vec::new();
    journal.read_to_end(&mut raw)?;
    let lines = Journal::parse_ended(&raw);
    if lines.launch.is_some() || lines.exit.is_some() || record::newest(&lines).is_some() {
        return Ok(false);
    }
    journal.set_len(0)?;
    journal.rewind()?;
    Ok(true)
}

fn launch(inner: &Inner, spec: &Spec, dir: &Path, journal: File) -> Result<Begun, StartError> {
    write_spec(spec, &journal).map_err(|source| told(dir, source))?;
    let job = Job {
        id: spec.id.into(),
        asked: Asked::from(spec),
        state: JobState::Starting,
    };
    inner.index.with(|db| index::insert(db, &job))?;
    let shim = inner.shim().map_err(|(path, source)| told(&path, source))?;
    let order = LaunchOrder {
        dir,
        journal: journal.into(),
        shim,
        title: format!("legwork-shim {}", job.id),
    };
    let launched = inner
        .launcher
        .launch(order)
        .map_err(|source| StartError::Launch { source })?;
    Ok(Begun::Launched(Box::new(job), launched))
}

/// Writes the spec, which the shim makes durable together with its claim, before it lets the payload run
/// and before anybody is told of the job: one wait for the disk instead of two (see `docs/design/journal.md`).
fn write_spec(spec: &Spec, mut journal: &File) -> io::Result<()> {
    journal.write_all(&Line::Spec.encode(spec)?)
}

/// Hears from a shim whether its payload runs.
async fn greet(inner: &Arc<Inner>, job: Job, launched: Launched) -> Result<Job, StartError> {
    let Some(said) = inner.young.take(job.id, launched, &inner.tasks) else {
        return Ok(job);
    };
    let said = said.await.map_err(|_| StartError::Closed)?;
    let said = said.map_err(|source| StartError::Launch { source })?;
    let dir = inner.dir(job.id);
    let launch = said
        .starts_with(handshake::STARTED)
        .then(|| dir.launch().ok().flatten());
    if let Some(launch) = launch.flatten() {
        let (pid, since_ms) = (launch.pid, launch.started_at_ms);
        return Ok(Job {
            state: JobState::Running { pid, since_ms },
            ..job
        });
    }
    // It could not be started, and says why in its exit record; or the shim died. Its last word may be heard a moment before its lock is
    // free, and until then nobody can tell.
    let mut watch = inner.watch_directory(job.id);
    loop {
        watch.look();
        let entry = Entry {
            job: job.clone(),
            open: true,
        };
        let seen = inner::refresh(inner, entry).await.map_err(unread)?;
        // Of a launch of which nothing can be told, nothing more will be heard here.
        let unknown = || inner.launcher.liveness(&dir.path) == Liveness::Unknown;
        if seen.state != JobState::Starting || unknown() {
            return Ok(seen);
        }
        watch.changed().await;
    }
}

/// What the first start of this id answered; `None` when it came to nothing.
pub(crate) async fn first_answer(inner: &Arc<Inner>, id: JobId) -> Result<Option<Job>, StartError> {
    let mut watch = inner.watch(id);
    loop {
        watch.look();
        let looked = match inner.entry(id) {
            Ok(entry) => inner::refresh(inner, entry).await,
            Err(error) => Err(error),
        };
        match looked {
            Ok(job) if job.state != JobState::Starting => return Ok(Some(job)),
            Ok(_) => {}
            Err(JobError::NotFound { .. }) => {
                let lives = inner.launcher.liveness(&inner.dir(id).path);
                if lives == Liveness::Ended {
                    return Ok(None);
                }
            }
            Err(error) => return Err(unread(error)),
        }
        watch.changed().await;
    }
}

/// The system's word as one of ours.
pub(crate) fn told(path: &Path, source: io::Error) -> StartError {
    let path = path.to_owned();
    if files::is_full(&source) {
        StartError::DiskFull { path }
    } else {
        StartError::Directory { path, source }
    }
}

/// The job was started, but its files cannot be read.
pub(crate) fn unread(error: JobError) -> StartError {
    match error {
        JobError::Index(error) => StartError::Index(error),
        JobError::File { path, source } => told(&path, source),
        JobError::Closed => StartError::Closed,
        other => StartError::Unread(Box::new(other)),
    }
}
