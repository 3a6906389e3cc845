//! Removing jobs.
//!
//! The directory is first renamed to a name that is no job's, then the row goes, then the files. Who stops in between has removed
//! the job or left a row without a directory, which a second attempt removes; files that stay under such a name are purged later.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{IndexError, JobError};
use crate::id::JobId;
use crate::index;
use crate::inner::{self, Inner};
use crate::job_dir;
use crate::leftover;
use crate::tasks;

/// First part of the name of a directory that is no job's any more.
const REMOVED: &str = ".removed-";

/// What becomes of jobs that only a newer legwork understands: there may be more to them than their directories.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Newcomers {
    LeftAlone,
    Removed,
}

/// Removes a job that has ended.
pub(crate) async fn remove(
    inner: &Arc<Inner>,
    id: JobId,
    newcomers: Newcomers,
) -> Result<(), JobError> {
    let job = inner::refresh(inner, inner.entry(id)?).await?;
    if newcomers == Newcomers::LeftAlone
        && let Some(what) = inner.dir(id).newer()?
    {
        return Err(JobError::Newer { id: Some(id), what });
    }
    if !job.state.is_over() {
        return Err(JobError::NotEnded { id });
    }
    let inner = inner.clone();
    let work = move || {
        let dir = inner.dir(id).path;
        // Without its directory, only this keeps a batch from starting it again.
        inner.accepted.strike(id)?;
        let aside = aside(&inner.state.jobs, id.uuid().to_string().as_ref());
        delete(&aside)?;
        match std::fs::rename(&dir, &aside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(JobError::File {
                    path: dir,
                    source: error,
                });
            }
            _ => {}
        }
        match inner.index.with(|db| index::delete(db, id)) {
            // Now there may be room; and where there is none, a row must not outlive its job.
            Err(IndexError::DiskFull { .. }) => {
                delete(&aside)?;
                Ok(inner.index.forget(id)?)
            }
            deleted => deleted
                .map_err(JobError::from)
                .and_then(|()| delete(&aside)),
        }
    };
    tasks::blocking(work).await.unwrap_or(Err(JobError::Closed))
}

/// Where a job's directory goes on the way out.
pub(crate) fn aside(jobs: &Path, name: &OsStr) -> PathBuf {
    let mut removed = OsString::from(REMOVED);
    removed.push(name);
    jobs.join(removed)
}

/// Deletes what earlier removals left, and earlier starts that came to nothing. What cannot be deleted now is for the next time.
pub(crate) async fn purge(inner: &Arc<Inner>) -> Result<(), JobError> {
    let inner = inner.clone();
    let work = move || {
        let jobs = &inner.state.jobs;
        let names = job_dir::scan(jobs).unwrap_or_default();
        let known = inner.index.with(|db| index::ids(db)).ok();
        for name in &names {
            if name.as_encoded_bytes().starts_with(REMOVED.as_bytes()) {
                delete(&jobs.join(name)).unwrap_or(());
            } else if let (Some(known), Some(id)) = (&known, job_dir::id_of(name))
                && !known.contains(&id)
            {
                leftover::clear(jobs, name, inner.clock.now_ms());
            }
        }
    };
    tasks::blocking(work).await.ok_or(JobError::Closed)
}

fn delete(dir: &Path) -> Result<(), JobError> {
    match std::fs::remove_dir_all(dir) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(JobError::File {
            path: dir.to_owned(),
            source,
        }),
        _ => Ok(()),
    }
}
