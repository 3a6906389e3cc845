//! Starting the jobs of a batch, in the background, until none is left.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use legwork_shim::ByteString;
use legwork_shim::exit::{Cause, NotStarted, Step};
use legwork_shim::spec::Spec;
use tokio::time::sleep;
use uuid::Uuid;

use super::batch::Batch;
use super::conclude::{End, conclude};
use super::{Accepted, Listed};
use crate::error::{JobError, StartError};
use crate::files;
use crate::index;
use crate::inner::Inner;
use crate::start;
use crate::state::JobState;
use crate::tasks;

/// How long to wait before what could not be started, nor its end be written, is tried again: at first, and in the end.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// How often a job is tried whose shim dies before it claims the launch.
const TRIES_MAX: u32 = 3;

/// Takes up the batches on which nobody works, and tells how many these are. Their jobs are started in the background.
pub(crate) async fn resume(inner: &Arc<Inner>) -> Result<usize, JobError> {
    let taking = inner.clone();
    let taken = tasks::blocking(move || take_up(&taking));
    let taken = taken.await.ok_or(JobError::Closed)??;
    let count = taken.len();
    for (name, held) in taken {
        begin(inner, name, held);
    }
    Ok(count)
}

fn take_up(inner: &Inner) -> Result<Vec<(Uuid, File)>, JobError> {
    let accepted = &inner.accepted;
    let told = |source| accepted.told(source);
    if !accepted.dir.exists() {
        return Ok(Vec::new());
    }
    let turn = accepted.take_turn().map_err(told)?;
    clear(accepted).map_err(told)?;
    drop(turn);
    let mut taken = Vec::new();
    for name in accepted.names().map_err(told)? {
        let path = accepted.path(name);
        if let Some(held) = Batch::hold(&path).map_err(told)? {
            taken.push((name, held));
        }
    }
    // The files are the truth, and whoever asks for a job by its id is told of it all the same.
    note(inner).unwrap_or(());
    Ok(taken)
}

/// Deletes what calls left that were killed before they answered. The caller has kept others from accepting.
fn clear(accepted: &Accepted) -> io::Result<()> {
    for entry in std::fs::read_dir(&accepted.dir)? {
        let path = entry?.path();
        if path.extension() == Some(OsStr::new("new")) {
            std::fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// Takes those jobs into the index of which whoever accepted them died before it could.
fn note(inner: &Inner) -> Result<(), JobError> {
    let glance = inner.accepted.glance()?;
    let waiting = glance.jobs();
    inner.index.with(|db| {
        let transaction = db.transaction()?;
        for job in &waiting {
            if index::get(&transaction, job.id)?.is_none() {
                index::insert(&transaction, job)?;
            }
        }
        Ok(transaction.commit()?)
    })?;
    Ok(())
}

/// Starts the jobs of a batch in the background. The lock on it is kept until that is done, or the library object is closed.
pub(super) fn begin(inner: &Arc<Inner>, name: Uuid, held: File) {
    drop(inner.tasks.spawn(work(inner.clone(), name, held)));
}

async fn work(inner: Arc<Inner>, name: Uuid, held: File) {
    let mut pause = PAUSE_MIN;
    let batch = loop {
        let opening = inner.clone();
        match tasks::blocking(move || opening.accepted.batch(name)).await {
            Some(Ok(batch)) => break batch,
            Some(Err(error)) if error.kind() != io::ErrorKind::NotFound => {}
            _ => return,
        }
        if !rest(&inner, &mut pause).await {
            return;
        }
    };
    let mut left: Vec<usize> = (0..batch.len())
        .filter(|place| !batch.is_newer(*place))
        .collect();
    pause = PAUSE_MIN;
    for round in 1.. {
        let before = left.len();
        left = start_all(&inner, &batch, left, round).await;
        if left.is_empty() {
            break;
        }
        if left.len() < before {
            pause = PAUSE_MIN;
        }
        if !rest(&inner, &mut pause).await {
            return;
        }
    }
    tasks::blocking(move || {
        // A file that stays is taken up again by the next server, which finds that nothing is left to be done.
        let durable = files::sync_dir(&inner.state.jobs);
        durable.and_then(|()| batch.retire()).unwrap_or(());
        drop(held);
    })
    .await;
}

/// Waits, longer each time; `false` when no job is to be started any more.
async fn rest(inner: &Inner, pause: &mut Duration) -> bool {
    let waiting = inner.launching.run_until_cancelled(sleep(*pause));
    *pause = (*pause * 2).min(PAUSE_MAX);
    waiting.await.is_some()
}

/// Starts these jobs of a batch in their order, several at once, and tells which are to be tried again.
async fn start_all(
    inner: &Arc<Inner>,
    batch: &Arc<Batch>,
    places: Vec<usize>,
    round: u32,
) -> Vec<usize> {
    let (mut left, mut under_way) = (Vec::new(), Vec::new());
    for place in places {
        let slot = inner.batch_starts.clone().acquire_owned();
        let Some(Ok(slot)) = inner.launching.run_until_cancelled(slot).await else {
            left.push(place);
            continue;
        };
        let listed = Listed {
            batch: Arc::clone(batch),
            place,
            held: true,
        };
        let inner_ = inner.clone();
        let start = async move {
            let done = start_one(&inner_, listed, round).await;
            drop(slot);
            done
        };
        under_way.push((place, inner.tasks.spawn(start)));
    }
    for (place, start) in under_way {
        if !start.await.unwrap_or(false) {
            left.push(place);
        }
    }
    left.sort_unstable();
    left
}

/// Starts a job, or writes down why it cannot be; `false` if neither could be done now.
async fn start_one(inner: &Arc<Inner>, listed: Listed, round: u32) -> bool {
    let spec = match look(inner, &listed).await {
        Looked::Waits(spec) => spec,
        Looked::Done => return true,
        Looked::Unknown => return false,
    };
    let started = start::start(inner.clone(), (*spec).clone(), Some(listed.clone())).await;
    let why = match started {
        Ok(job) => match job.state {
            JobState::Running { .. }
            | JobState::Paused { .. }
            | JobState::Finished(_)
            // What a newer legwork has made of it is not for us to change.
            | JobState::Unknown { .. } => {
                return true;
            }
            // Its shim died before the claim; or somebody else had the job's lock for a moment.
            JobState::Pending { .. } if round >= TRIES_MAX => NotStarted {
                step: Step::Launch,
                errno: 0,
                subject: ByteString::default(),
            },
            JobState::Pending { .. } | JobState::Starting => return false,
        },
        Err(StartError::Closed) => return false,
        Err(error) => NotStarted {
            step: Step::Launch,
            errno: error.errno(),
            subject: error.to_string().into(),
        },
    };
    // What failed may have begun all the same, and then nobody may say that it did not.
    if matches!(look(inner, &listed).await, Looked::Done) {
        return true;
    }
    let (inner, at_ms) = (inner.clone(), inner.clock.now_ms());
    let concluded = tasks::blocking(move || {
        let cause = Cause::NotStarted(why);
        conclude(&inner, &spec, &listed, End { cause, at_ms })
    });
    matches!(concluded.await, Some(Ok(true)))
}

/// What is to be done about a job of a batch.
enum Looked {
    /// It is to be started.
    Waits(Arc<Spec>),
    /// It has begun or ended, or is not to be started any more.
    Done,
    /// That cannot be told now.
    Unknown,
}

async fn look(inner: &Arc<Inner>, listed: &Listed) -> Looked {
    let (inner, listed) = (inner.clone(), listed.clone());
    let looked = tasks::blocking(move || match listed.spec() {
        Ok(None) => Looked::Done,
        Ok(Some(spec)) => match inner.dir(spec.id.into()).has_begun() {
            Ok(true) => Looked::Done,
            Ok(false) => Looked::Waits(Arc::new(spec)),
            Err(_) => Looked::Unknown,
        },
        Err(_) => Looked::Unknown,
    });
    looked.await.unwrap_or(Looked::Unknown)
}
