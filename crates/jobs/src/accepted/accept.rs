//! From requests to a batch that is durable.

use std::cell::OnceCell;
use std::collections::HashSet;
use std::fs::File;
use std::sync::Arc;

use legwork_shim::spec::Spec;
use uuid::Uuid;

use super::batch::{self, Batch};
use super::{Glance, launch, pending};
use crate::error::{JobError, StartError};
use crate::files;
use crate::id::JobId;
use crate::index;
use crate::inner::Inner;
use crate::job::Job;
use crate::start;
use crate::state::{Liveness, PendingWhy};
use crate::tasks;

/// Bytes of the file of a batch.
const BATCH_BYTES_MAX: usize = 128 << 20;

/// Batches whose jobs have not all begun: each is two open files, of everybody who looks.
const BATCHES_MAX: usize = 128;

/// What became of one request.
enum Answer {
    Accepted(Box<Job>),
    /// There is one of that id.
    Known(JobId),
}

/// A batch that is durable, and the lock on it.
type Published = (Uuid, File);

/// Accepts jobs: they are durable when this returns, and started in the background. Of an id that there is already,
/// the first answer is told.
pub(crate) async fn accept(
    inner: Arc<Inner>,
    specs: Vec<Spec>,
) -> Result<Vec<Result<Job, StartError>>, StartError> {
    let owners: Vec<_> = specs.iter().map(|spec| spec.meta.owner.clone()).collect();
    let accepting = inner.clone();
    let accepted = tasks::blocking(move || publish(&accepting, &specs));
    let (answers, published) = accepted.await.ok_or(StartError::Closed)??;
    if let Some((name, held)) = published {
        launch::begin(&inner, name, held);
    }
    let mut told = Vec::with_capacity(answers.len());
    for (answer, owner) in answers.into_iter().zip(owners) {
        told.push(match answer {
            Answer::Accepted(job) => Ok(*job),
            Answer::Known(id) => match start::first_answer(&inner, id).await {
                Ok(Some(job)) if job.asked.meta.owner == owner => Ok(job),
                Ok(_) => Err(StartError::IdTaken { id }),
                Err(error) => Err(error),
            },
        });
    }
    Ok(told)
}

fn publish(inner: &Inner, specs: &[Spec]) -> Result<(Vec<Answer>, Option<Published>), StartError> {
    let accepted = &inner.accepted;
    let told = |source| start::told(&accepted.dir, source);
    // Two calls with the same ids come one after the other.
    let turn = accepted.take_turn().map_err(told)?;
    let known = known(inner, specs)?;
    let (mut seen, mut lines) = (HashSet::new(), Vec::new());
    let mut answers = Vec::with_capacity(specs.len());
    let mut rows = Vec::new();
    for spec in specs {
        let id = JobId::from(spec.id);
        if known.contains(&id) || !seen.insert(id) {
            answers.push(Answer::Known(id));
            continue;
        }
        lines.extend(batch::line(spec).map_err(told)?);
        let job = pending(spec, PendingWhy::Turn);
        rows.push(job.clone());
        answers.push(Answer::Accepted(Box::new(job)));
    }
    if lines.len() > BATCH_BYTES_MAX {
        return Err(StartError::BatchTooLarge {
            size: lines.len(),
            limit: BATCH_BYTES_MAX,
        });
    }
    if rows.is_empty() {
        return Ok((answers, None));
    }
    if accepted.names().map_err(told)?.len() >= BATCHES_MAX {
        return Err(StartError::TooManyBatches { limit: BATCHES_MAX });
    }
    let name = JobId::generate(inner.clock.now_ms()).uuid();
    let path = accepted.path(name);
    let held = Batch::publish(&path, &lines).map_err(told)?;
    if let Err(error) = note(inner, &rows) {
        // Nobody has been told of it, and the lock on it has kept everybody from starting anything.
        std::fs::remove_file(&path).map_err(told)?;
        files::sync_dir(&accepted.dir).map_err(told)?;
        return Err(error);
    }
    drop(turn);
    Ok((answers, Some((name, held))))
}

fn note(inner: &Inner, rows: &[Job]) -> Result<(), StartError> {
    let noted = inner.index.with(|db| {
        let transaction = db.transaction()?;
        for job in rows {
            // The row of an earlier attempt, which came to nothing, is of another time.
            index::delete(&transaction, job.id)?;
            index::insert(&transaction, job)?;
        }
        Ok(transaction.commit()?)
    });
    Ok(noted?)
}

/// Those of these jobs that there are already. What came to nothing is none.
fn known(inner: &Inner, specs: &[Spec]) -> Result<HashSet<JobId>, StartError> {
    let ids: Vec<_> = specs.iter().map(|spec| JobId::from(spec.id)).collect();
    let rows = inner.index.with(|db| {
        let mut rows = HashSet::new();
        for id in &ids {
            if index::get(db, *id)?.is_some() {
                rows.insert(*id);
            }
        }
        Ok(rows)
    })?;
    let glance = inner.accepted.glance().map_err(start::unread)?;
    let mut known = HashSet::new();
    for id in ids {
        if is_known(inner, &glance, id, rows.contains(&id)).map_err(start::unread)? {
            known.insert(id);
        }
    }
    Ok(known)
}

fn is_known(inner: &Inner, glance: &Glance, id: JobId, row: bool) -> Result<bool, JobError> {
    if glance.find(id)?.is_some() {
        return Ok(true);
    }
    if !row && !inner.dir(id).exists() {
        return Ok(false);
    }
    match inner.entry(id) {
        Ok(entry) => Ok(!inner.observe(&entry, &OnceCell::new())?.came_to_nothing()),
        // Somebody starts it now, or somebody's start came to nothing.
        Err(JobError::NotFound { .. }) => {
            let lives = inner.launcher.liveness(&inner.dir(id).path);
            Ok(lives != Liveness::Ended)
        }
        Err(error) => Err(error),
    }
}
