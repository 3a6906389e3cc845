//! Jobs that are accepted before they are started: what is promised of them, and where it is kept.
//!
//! A batch is a file `accepted/<uuid>` of the state directory: the spec of each of its jobs, in the order in which they are to
//! begin. It is durable before the call that brought it is answered, and never changed but in one way: the line of a job that is not to be
//! started any more is *struck*, by writing over its first byte. One byte is never torn, needs no room on the disk, and several
//! processes may do it at once.
//!
//! A job of a batch is *pending* as long as its directory has neither a claim nor an exit record. So nothing about a batch has to be
//! written when a job of it begins: whoever goes on with a batch after a crash asks the directories, as everybody does.
//! Three rules keep a job from running twice, or from running after it was told that it never will:
//!
//! - Whoever starts a job of a batch looks whether its line is struck *after* it has the lock on the job's journal.
//! - Whoever removes a job strikes its line, durably, *before* the directory goes ([`Accepted::strike`]).
//! - Whoever stops a pending job writes the end into the job's directory, under the same lock as a start (`conclude`).
//!
//! Whoever starts the jobs of a batch holds a lock on its file ([`legwork_shim::lock`]), so two openers never work on the same one, and
//! everybody can tell whether somebody does. When all its jobs have a claim or an exit record, it deletes the file.
//!
//! A file is on its way to its name as `<uuid>.new`, and one with lines that cannot be read ends as `<uuid>.damaged`, for people. One with
//! lines of a newer legwork stays: their jobs are pending until such a one comes.

mod accept;
mod batch;
mod conclude;
mod launch;

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use legwork_shim::spec::Spec;
use uuid::Uuid;

pub(crate) use self::accept::accept;
use self::batch::Batch;
pub(crate) use self::conclude::withdraw;
pub(crate) use self::launch::resume;
use crate::error::JobError;
use crate::files;
use crate::id::JobId;
use crate::job::{Asked, Job};
use crate::state::{JobState, PendingWhy};

/// The batches of one state directory.
#[derive(Debug)]
pub(crate) struct Accepted {
    dir: PathBuf,
    /// Those that were read, which is done once.
    read: Mutex<Batches>,
}

type Batches = HashMap<Uuid, Arc<Batch>>;

/// The batches at one moment.
#[derive(Debug)]
pub(crate) struct Glance {
    batches: Vec<Seen>,
}

#[derive(Debug)]
struct Seen {
    batch: Arc<Batch>,
    /// Somebody works on it.
    held: bool,
}

/// A job of a batch.
#[derive(Debug, Clone)]
pub(crate) struct Listed {
    batch: Arc<Batch>,
    place: usize,
    held: bool,
}

impl Accepted {
    pub(crate) fn new(state: &Path) -> Self {
        Self {
            dir: state.join("accepted"),
            read: Mutex::default(),
        }
    }

    /// What is there now. Quick where there is nothing, which is usual.
    pub(crate) fn glance(&self) -> Result<Glance, JobError> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let names = self.names().map_err(|source| self.told(source))?;
        read.retain(|name, _| names.contains(name));
        let mut batches = Vec::new();
        for name in names {
            let batch = match self.open(&mut read, name) {
                Ok(batch) => batch,
                // Its last job has begun just now.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(source) => return Err(self.told(source)),
            };
            let held = batch.is_held().map_err(|source| self.told(source))?;
            batches.push(Seen { batch, held });
        }
        Ok(Glance { batches })
    }

    /// One of them.
    fn batch(&self, name: Uuid) -> io::Result<Arc<Batch>> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        self.open(&mut read, name)
    }

    fn open(&self, read: &mut Batches, name: Uuid) -> io::Result<Arc<Batch>> {
        if let Some(batch) = read.get(&name) {
            return Ok(Arc::clone(batch));
        }
        let batch = Arc::new(Batch::open(&self.path(name))?);
        read.insert(name, Arc::clone(&batch));
        Ok(batch)
    }

    /// Sees to it, durably, that no batch starts this job any more.
    pub(crate) fn strike(&self, id: JobId) -> Result<(), JobError> {
        for seen in self.glance()?.batches {
            if let Some(place) = seen.batch.place(id) {
                let struck = seen.batch.strike(place);
                struck.map_err(|source| self.told(source))?;
            }
        }
        Ok(())
    }

    /// The names of the batches, in the order of their acceptance.
    fn names(&self) -> io::Result<Vec<Uuid>> {
        let entries = match std::fs::read_dir(&self.dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut names = Vec::new();
        for entry in entries {
            names.extend(name_of(&entry?.file_name()));
        }
        names.sort_unstable();
        Ok(names)
    }

    fn path(&self, name: Uuid) -> PathBuf {
        self.dir.join(name.to_string())
    }

    /// Makes the directory if it is not there, and keeps everybody else from accepting for as long as the file is open.
    fn take_turn(&self) -> io::Result<File> {
        if files::make_private_dir(&self.dir)? {
            self.dir.parent().map_or(Ok(()), files::sync_dir)?;
        }
        let turn = File::open(&self.dir)?;
        turn.lock()?;
        Ok(turn)
    }

    fn told(&self, source: io::Error) -> JobError {
        let path = self.dir.clone();
        JobError::File { path, source }
    }
}

fn name_of(file: &OsStr) -> Option<Uuid> {
    Uuid::try_parse(file.to_str()?).ok()
}

impl Glance {
    /// The job, if one of the batches is to start it.
    pub(crate) fn find(&self, id: JobId) -> Result<Option<Listed>, JobError> {
        for seen in &self.batches {
            let Some(place) = seen.batch.place(id) else {
                continue;
            };
            let listed = Listed {
                batch: Arc::clone(&seen.batch),
                place,
                held: seen.held,
            };
            if !listed.is_struck()? {
                return Ok(Some(listed));
            }
        }
        Ok(None)
    }

    /// Every job that one of the batches is to start, as if it had not begun.
    pub(crate) fn jobs(&self) -> Vec<Job> {
        let of = |seen: &Seen| {
            let places = 0..seen.batch.len();
            let waiting = |place| {
                Some(Job {
                    id: seen.batch.id(place),
                    asked: seen.batch.asked(place).ok()??,
                    state: JobState::Pending {
                        why: why(&seen.batch, place, seen.held),
                    },
                })
            };
            places.filter_map(waiting).collect::<Vec<_>>()
        };
        self.batches.iter().flat_map(of).collect()
    }
}

impl Listed {
    /// Whether it is not to be started any more.
    pub(crate) fn is_struck(&self) -> Result<bool, JobError> {
        let struck = self.batch.is_struck(self.place);
        struck.map_err(|source| self.batch.told(source))
    }

    /// What is to be run; `None` if that was called off.
    pub(crate) fn spec(&self) -> Result<Option<Spec>, JobError> {
        self.batch.spec(self.place)
    }

    /// The same, or as much of it as can be told.
    pub(crate) fn asked(&self) -> Result<Option<Asked>, JobError> {
        self.batch.asked(self.place)
    }

    /// Why it has not begun.
    pub(crate) fn why(&self) -> PendingWhy {
        why(&self.batch, self.place, self.held)
    }
}

/// A job that waits.
fn pending(spec: &Spec, why: PendingWhy) -> Job {
    Job {
        id: spec.id.into(),
        asked: Asked::from(spec),
        state: JobState::Pending { why },
    }
}

fn why(batch: &Batch, place: usize, held: bool) -> PendingWhy {
    if batch.is_newer(place) {
        PendingWhy::Newer
    } else if held {
        PendingWhy::Turn
    } else {
        PendingWhy::Server
    }
}
