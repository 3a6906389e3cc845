//! The index: what lists and look-ups need, in one `SQLite` file beside the job directories.
//!
//! It holds nothing that the directories do not, so it may be lost at any time and is built again when it is missing, damaged, or
//! of an earlier boot. That is why no transaction waits for the disk: within a boot the page cache survives any death of a process,
//! and after a boot the file is not trusted at all. `index.boot` names the boot in which it was last built; it and the file are
//! replaced by rename, under an flock(2) on `index.lock`. Who had the replaced file open sees that another one has its name, and opens that.
//!
//! The latest rows are in the log (`index.db-wal`), and a file without its log is sound and out of date. The log and its companion
//! (`-shm`) are made when the index is built and, as no connection of ours tidies up, stay for as long as it. So `index.boot` also
//! says which files these two are, and an index that has others, or none, is built anew. That is two stat(2) for each open.
//!
//! A row is *open* until a record has settled how its job ended. Open rows are told from the job's directory, never from the row.

mod connection;
mod query;
mod row;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;
use rusqlite::ffi::ErrorCode;

use self::connection::Files;
pub(crate) use self::query::{
    Entry, alive, count, delete, get, ids, in_range, insert, list, open_jobs, update,
};
use crate::accepted::Accepted;
use crate::config::Clock;
use crate::error::IndexError;
use crate::id::JobId;
use crate::job::{Job, Rebuilt};
use crate::state_dir::StateDir;

/// The index of one state directory.
#[derive(Debug)]
pub(crate) struct Index {
    files: Files,
    open: Mutex<Option<Opened>>,
}

#[derive(Debug)]
struct Opened {
    connection: Connection,
    /// Device and inode: which file it is.
    identity: (u64, u64),
}

/// Why a query did not work.
#[derive(Debug)]
pub(crate) enum QueryError {
    /// The database's word.
    Database(rusqlite::Error),
    /// A row that this build did not write.
    Row,
}

impl From<rusqlite::Error> for QueryError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(error)
    }
}

impl From<postcard::Error> for QueryError {
    fn from(_: postcard::Error) -> Self {
        Self::Row
    }
}

impl QueryError {
    /// Whether building the index again will help.
    fn is_damage(&self) -> bool {
        match self {
            Self::Row => true,
            Self::Database(error) => matches!(
                error.sqlite_error_code(),
                Some(
                    ErrorCode::DatabaseCorrupt
                        | ErrorCode::NotADatabase
                        | ErrorCode::CannotOpen
                        | ErrorCode::Unknown
                        | ErrorCode::SchemaChanged
                )
            ),
        }
    }

    fn told(self, path: &Path) -> IndexError {
        let path = path.to_owned();
        match self {
            Self::Row => IndexError::Database {
                path,
                source: rusqlite::Error::InvalidQuery,
            },
            Self::Database(source) => match source.sqlite_error_code() {
                Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                    IndexError::Busy { path }
                }
                Some(ErrorCode::DiskFull) => IndexError::DiskFull { path },
                Some(_) if is_full_for_log(&source) => IndexError::DiskFull { path },
                _ => IndexError::Database { path, source },
            },
        }
    }
}

/// No room for the file by which the users of the log share what they know of it.
fn is_full_for_log(error: &rusqlite::Error) -> bool {
    error
        .sqlite_error()
        .is_some_and(|error| error.extended_code == rusqlite::ffi::SQLITE_IOERR_SHMSIZE)
}

impl Index {
    /// All jobs, from their directories alone: for when there is no room for an index.
    pub(crate) fn scanned(&self) -> Result<Vec<Job>, IndexError> {
        self.files.scanned()
    }

    /// Runs a query on an index of these jobs that is in memory only.
    pub(crate) fn aside<T>(
        &self,
        jobs: &[Job],
        mut query: impl FnMut(&mut Connection) -> Result<T, QueryError>,
    ) -> Result<T, IndexError> {
        connection::in_memory(jobs)
            .and_then(|mut connection| query(&mut connection))
            .map_err(|error| error.told(self.path()))
    }

    /// Forgets a job even where there is no room to say so: then the index is to be built again.
    pub(crate) fn forget(&self, id: JobId) -> Result<(), IndexError> {
        match self.with(|db| delete(db, id)) {
            Err(IndexError::DiskFull { .. }) => self.files.discard(),
            deleted => deleted,
        }
    }

    /// An index that is opened, or built, when it is first needed.
    pub(crate) fn new(
        state: &StateDir,
        accepted: Arc<Accepted>,
        boot_id: String,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            files: Files::new(state, accepted, boot_id, clock),
            open: Mutex::new(None),
        }
    }

    /// Runs a query on a sound index. What it does may happen twice, if the index had to be built in between.
    pub(crate) fn with<T>(
        &self,
        mut query: impl FnMut(&mut Connection) -> Result<T, QueryError>,
    ) -> Result<T, IndexError> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        for attempt in 0.. {
            let opened = self.current(&mut open)?;
            match query(&mut opened.connection) {
                Ok(answer) => return Ok(answer),
                Err(error) if error.is_damage() && attempt == 0 => {
                    let damaged = opened.identity;
                    *open = None;
                    self.files.replace_damaged(damaged)?;
                }
                Err(error) => return Err(error.told(self.path())),
            }
        }
        unreachable!("the second attempt returns")
    }

    /// Builds it again from the job directories.
    pub(crate) fn rebuild(&self) -> Result<Rebuilt, IndexError> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        *open = None;
        self.files.rebuild()
    }

    fn path(&self) -> &PathBuf {
        self.files.path()
    }

    /// The connection to the file that has the index's name now.
    fn current<'a>(&self, open: &'a mut Option<Opened>) -> Result<&'a mut Opened, IndexError> {
        if open
            .as_ref()
            .is_some_and(|opened| self.files.identity() != Some(opened.identity))
        {
            *open = None;
        }
        if open.is_none() {
            *open = Some(self.files.open()?);
        }
        Ok(open.as_mut().expect("opened just now"))
    }
}
