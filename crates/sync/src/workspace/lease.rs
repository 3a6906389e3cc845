//! Locks on a workspace: flock(2) on files that are never removed while it exists.
//!
//! The *lease* is shared by running jobs and exclusive while a commit is applied; the *writer* lock
//! is exclusive for one session that writes, also while it waits for the lease. The kernel frees both when their holder dies. Waiting is a short
//! poll, so that whoever waits can notice meanwhile that the client went away.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use rustix::fs::FlockOperation;
use rustix::io::Errno;

use crate::error::StoreError;
use crate::store::{self, failed};

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
    _file: File,
}

/// Takes the lock on the file at `path`, if it is free.
pub(crate) fn try_lock(path: &Path, kind: Kind) -> Result<Option<Lock>, StoreError> {
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(false);
    let file = store::open(path, &mut options).map_err(failed("open", path))?;
    let operation = match kind {
        Kind::Shared => FlockOperation::NonBlockingLockShared,
        Kind::Exclusive => FlockOperation::NonBlockingLockExclusive,
    };
    match rustix::io::retry_on_intr(|| rustix::fs::flock(&file, operation)) {
        Ok(()) => Ok(Some(Lock { _file: file })),
        Err(Errno::WOULDBLOCK) => Ok(None),
        Err(errno) => Err(failed("lock", path)(errno.into())),
    }
}
