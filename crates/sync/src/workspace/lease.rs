//! Locks on a workspace: flock(2) on files that are never removed while it exists.
//!
//! The *lease* is shared by running jobs and exclusive while a commit is applied; the *writer* lock
//! is exclusive for one session that writes, also while it waits for the lease. The kernel frees both when their holder dies. Waiting is a short
//! poll, so that whoever waits can notice meanwhile that the client went away.
//!
//! The modification time of the lease says whether there was a job: who takes it for one sets it to now, so what a
//! session set it to before, when there was none, is not there any more.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use rustix::fs::FlockOperation;
use rustix::io::{Errno, Result};

use crate::error::StoreError;
use crate::store::{self, failed};
use crate::tree::{read, write};

/// Between two tries for a lock.
pub(crate) const POLL: Duration = Duration::from_millis(10);

/// How a lock is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Shared,
    Exclusive,
}

/// A lock, until dropped.
#[derive(Debug)]
pub(crate) struct Lock {
    file: OwnedFd,
}

/// The modification time of a lease that no job had since a session looked, nanoseconds since the epoch.
const UNUSED_NS: i64 = 0;

impl Lock {
    /// Notes that there is no job, as who holds the lease alone knows.
    pub(crate) fn mark_unused(&self) -> Result<()> {
        write::set_mtime(&self.file, UNUSED_NS)
    }

    /// Whether there was no job since that was noted.
    pub(crate) fn is_unused(&self) -> Result<bool> {
        Ok(read::look(&self.file)?.mtime_ns == UNUSED_NS)
    }

    /// Notes that there is one.
    pub(crate) fn mark_used(&self) -> Result<()> {
        write::touch(&self.file)
    }
}

/// Takes the lock on the file at `path`, if it is free.
pub(crate) fn try_lock(path: &Path, kind: Kind) -> std::result::Result<Option<Lock>, StoreError> {
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(false);
    let file = store::open(path, &mut options).map_err(failed("open", path))?;
    let operation = match kind {
        Kind::Shared => FlockOperation::NonBlockingLockShared,
        Kind::Exclusive => FlockOperation::NonBlockingLockExclusive,
    };
    match rustix::io::retry_on_intr(|| rustix::fs::flock(&file, operation)) {
        Ok(()) => Ok(Some(Lock { file: file.into() })),
        Err(Errno::WOULDBLOCK) => Ok(None),
        Err(errno) => Err(failed("lock", path)(errno.into())),
    }
}
