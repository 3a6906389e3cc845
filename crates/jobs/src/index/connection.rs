//! Opening the index's file, and building it when there is none to be trusted.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use legwork_shim::spec;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::query;
use super::{Opened, QueryError};
use crate::accepted::Accepted;
use crate::config::Clock;
use crate::error::{IndexError, JobError};
use crate::files;
use crate::job::{Job, Rebuilt};
use crate::job_dir::{self, JobDir};
use crate::leftover;
use crate::state::{Finished, JobState};
use crate::state_dir::StateDir;

/// The form of the tables and of the blobs in them.
const FORM: i64 = 6;
/// Who understands other specs builds it anew: rows are made from what could be understood of a spec. Below zero, because builds
/// from before the first release refuse a number above theirs, and replace one below it as everybody does since.
const VERSION: i64 = -(FORM << 8 | spec::VERSION as i64);

/// How long to wait for another process's transaction. They take well under a millisecond.
const BUSY: Duration = Duration::from_secs(10);

/// Pages in the log before it is folded into the file. Command lines come one after the other, and the first
/// to open the index after everybody has left reads the whole log: so it is kept short.
const LOG_PAGES: u32 = 32;

pub(super) const SCHEMA: &str = "
    CREATE TABLE job (
        created_ms INTEGER NOT NULL,
        id         BLOB    NOT NULL,
        code       INTEGER NOT NULL,
        owner      TEXT    NOT NULL,
        name       TEXT,
        phase      INTEGER NOT NULL,
        open       INTEGER NOT NULL,
        asked      BLOB    NOT NULL,
        state      BLOB    NOT NULL,
        PRIMARY KEY (created_ms, id)
    ) WITHOUT ROWID;
    CREATE INDEX job_code ON job (code);
    CREATE INDEX job_open ON job (open) WHERE open;
";

/// Where the parts of the index are, and from what it is built.
#[derive(Debug)]
pub(crate) struct Files {
    path: PathBuf,
    boot: PathBuf,
    lock: PathBuf,
    jobs: PathBuf,
    accepted: Arc<Accepted>,
    boot_id: String,
    clock: Arc<dyn Clock>,
}

/// What the job directories say.
struct Scanned {
    jobs: Vec<Job>,
    /// Names of directories that say nothing.
    unread: Vec<OsString>,
}

impl Files {
    pub(super) fn new(
        state: &StateDir,
        accepted: Arc<Accepted>,
        boot_id: String,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            path: state.path.join("index.db"),
            boot: state.path.join("index.boot"),
            lock: state.path.join("index.lock"),
            jobs: state.jobs.clone(),
            accepted,
            boot_id,
            clock,
        }
    }

    pub(super) fn path(&self) -> &PathBuf {
        &self.path
    }

    /// Device and inode of the file that has the index's name now.
    pub(super) fn identity(&self) -> Option<(u64, u64)> {
        let found = std::fs::metadata(&self.path).ok()?;
        Some((found.dev(), found.ino()))
    }

    /// What `index.boot` says of an index that can be trusted: the boot, and which files are the log and its companion.
    fn mark(&self) -> String {
        let mut mark = self.boot_id.clone();
        for suffix in ["-wal", "-shm"] {
            mark.push('\n');
            if let Ok(found) = std::fs::metadata(sibling(&self.path, suffix)) {
                // The number of a deleted file is soon another's, so there is its birth as well, where the file system tells it.
                let born = found.created().unwrap_or(UNIX_EPOCH);
                let born = born.duration_since(UNIX_EPOCH).unwrap_or_default();
                mark.push_str(&format!(
                    "{} {} {}",
                    found.dev(),
                    found.ino(),
                    born.as_nanos()
                ));
            }
        }
        mark
    }

    /// Opens the index of this boot, and builds it first where there is none.
    pub(super) fn open(&self) -> Result<Opened, IndexError> {
        if let Some(opened) = self.open_sound()? {
            return Ok(opened);
        }
        let _turn = self.take_turn()?;
        if let Some(opened) = self.open_sound()? {
            return Ok(opened);
        }
        self.build()?;
        self.open_sound()?.ok_or_else(|| IndexError::Io {
            path: self.path.clone(),
            source: io::ErrorKind::NotFound.into(),
        })
    }

    /// Builds it again, unless somebody already has.
    pub(super) fn replace_damaged(&self, damaged: (u64, u64)) -> Result<(), IndexError> {
        let _turn = self.take_turn()?;
        if self.identity() == Some(damaged) {
            self.build()?;
        }
        Ok(())
    }

    pub(super) fn rebuild(&self) -> Result<Rebuilt, IndexError> {
        let _turn = self.take_turn()?;
        let Scanned { jobs, unread } = self.build()?;
        let dir = |name: &OsString| JobDir {
            path: self.jobs.join(name),
        };
        let damaged = unread.iter().filter(|name| !dir(name).is_leftover());
        Ok(Rebuilt {
            jobs: jobs.len(),
            damaged: damaged.filter_map(|name| job_dir::id_of(name)).collect(),
        })
    }

    /// Takes the index away, which needs no room.
    pub(super) fn discard(&self) -> Result<(), IndexError> {
        [&self.boot, &self.path]
            .into_iter()
            .try_for_each(|path| remove_if_there(path))
            .map_err(|source| self.told(source))
    }

    /// What the job directories say.
    pub(super) fn scanned(&self) -> Result<Vec<Job>, IndexError> {
        Ok(self.scan()?.jobs)
    }

    /// What the job directories say, and of jobs that have none yet, the batches.
    fn scan(&self) -> Result<Scanned, IndexError> {
        // In this order: a batch that goes in between has left directories.
        let glance = self.accepted.glance().map_err(|error| match error {
            JobError::File { source, .. } => self.told(source),
            other => self.told(io::Error::other(other)),
        })?;
        let mut scanned = scan(&self.jobs).map_err(|source| self.told(source))?;
        let found: HashSet<_> = scanned.jobs.iter().map(|job| job.id).collect();
        let waiting = glance.jobs().into_iter();
        let waiting = waiting.filter(|job| !found.contains(&job.id));
        scanned.jobs.extend(waiting);
        Ok(scanned)
    }

    fn told(&self, source: io::Error) -> IndexError {
        let path = self.path.clone();
        if files::is_full(&source) {
            return IndexError::DiskFull { path };
        }
        IndexError::Io { path, source }
    }

    fn take_turn(&self) -> Result<File, IndexError> {
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&self.lock)
            .map_err(|source| self.told(source))?;
        lock.lock().map_err(|source| self.told(source))?;
        Ok(lock)
    }

    /// The file as it is, if it is there, of this boot, and not damaged on its face.
    fn open_sound(&self) -> Result<Option<Opened>, IndexError> {
        let boot = files::read_if_there(&self.boot).map_err(|source| self.told(source))?;
        if boot.as_deref() != Some(self.mark().as_bytes()) {
            return Ok(None);
        }
        let Some(identity) = self.identity() else {
            return Ok(None);
        };
        match connect(&self.path, OpenFlags::SQLITE_OPEN_READ_WRITE) {
            Ok((connection, VERSION)) => Ok(Some(Opened {
                connection,
                identity,
            })),
            // Of another version, older or newer: nothing is in it that the directories do not tell.
            Ok(_) => Ok(None),
            Err(error) => match QueryError::from(error) {
                error if error.is_damage() => Ok(None),
                error => Err(error.told(&self.path)),
            },
        }
    }

    /// Puts an empty file in place and fills it from the job directories. The lock is held.
    ///
    /// In this order: a job that somebody is starting now is either written to the new file by its starter, who waits for the
    /// lock to open it, or its spec was there before the new file was, and is found.
    fn build(&self) -> Result<Scanned, IndexError> {
        let io = |source| self.told(source);
        remove_if_there(&self.boot).map_err(io)?;
        let fresh = self.path.with_extension("db.new");
        for suffix in ["", "-wal", "-shm"] {
            remove_if_there(&sibling(&fresh, suffix)).map_err(io)?;
        }
        make_private(&fresh).map_err(io)?;
        create(&fresh).map_err(|error| error.told(&self.path))?;
        for suffix in ["-wal", "-shm"] {
            remove_if_there(&sibling(&self.path, suffix)).map_err(io)?;
        }
        std::fs::rename(&fresh, &self.path).map_err(io)?;
        let scanned = self.scan()?;
        for name in &scanned.unread {
            leftover::clear(&self.jobs, name, self.clock.now_ms());
        }
        fill(&self.path, &scanned.jobs).map_err(|error| error.told(&self.path))?;
        files::replace(&self.boot, self.mark().as_bytes(), 0o600).map_err(io)?;
        Ok(scanned)
    }
}

fn sibling(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn connect(path: &Path, flags: OpenFlags) -> rusqlite::Result<(Connection, i64)> {
    let connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY)?;
    // The next opener reads the log as well as the file; folding one into the other is for the automatic checkpoint.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.pragma_update(None, "synchronous", "OFF")?;
    connection.pragma_update(None, "wal_autocheckpoint", LOG_PAGES)?;
    let version = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    Ok((connection, version))
}

/// `SQLite` takes an empty file for a new database, and gives those beside it the same mode.
fn make_private(path: &Path) -> io::Result<()> {
    let mut options = File::options();
    options.write(true).create_new(true).mode(0o600);
    options.open(path).map(drop)
}

fn create(path: &Path) -> Result<(), QueryError> {
    let (connection, _) = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.execute_batch(SCHEMA)?;
    connection.pragma_update(None, "user_version", VERSION)?;
    // Closing folds the log into the file, which is then renamed without it.
    connection.close().map_err(|(_, error)| error.into())
}

/// An index that needs no disk.
pub(super) fn in_memory(jobs: &[Job]) -> Result<Connection, QueryError> {
    let connection = Connection::open_in_memory()?;
    connection.execute_batch(SCHEMA)?;
    for job in jobs {
        query::insert(&connection, job)?;
    }
    Ok(connection)
}

fn fill(path: &Path, jobs: &[Job]) -> Result<(), QueryError> {
    let (mut connection, _) = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let transaction = connection.transaction()?;
    for job in jobs {
        query::insert(&transaction, job)?;
    }
    Ok(transaction.commit()?)
}

/// What the job directories say. A job without an exit record is open, whatever else is true of it.
///
/// What cannot be read is left out: it can still be asked for by its id, and says then what is wrong.
fn scan(jobs: &Path) -> io::Result<Scanned> {
    let mut scanned = Scanned {
        jobs: Vec::new(),
        unread: Vec::new(),
    };
    let read = |name: &OsStr, id| {
        let dir = JobDir {
            path: jobs.join(name),
        };
        let (asked, exit) = dir.asked_and_exit().ok()?;
        let state = match exit {
            Some(exit) => JobState::Finished(Box::new(Finished::from(&exit))),
            None => JobState::Starting,
        };
        Some(Job {
            id,
            asked: asked?,
            state,
        })
    };
    for name in job_dir::scan(jobs)? {
        let Some(id) = job_dir::id_of(&name) else {
            continue;
        };
        match read(&name, id) {
            Some(job) => scanned.jobs.push(job),
            None => scanned.unread.push(name),
        }
    }
    Ok(scanned)
}
