//! Everything that is done to files of a log, and faults on purpose: tests fail or stop it before any step.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

/// A step that changes something on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// A file is made.
    Create,
    /// Bytes are appended.
    Write,
    /// A file is made durable.
    Sync,
    /// The entries of a directory are made durable.
    SyncDir,
    /// A file is shortened.
    Truncate,
    /// A file gets another name.
    Rename,
    /// A file goes.
    Unlink,
}

type Hook = dyn Fn(Step, &Path) -> io::Result<()> + Send + Sync;

/// Called before every change of a file; an error stops it there, as a full disk, a broken one or a crash would.
#[derive(Clone, Default)]
pub struct Faults(Option<Arc<Hook>>);

impl Faults {
    /// Asks `hook`, which is told what is next and on which file.
    pub fn new(hook: impl Fn(Step, &Path) -> io::Result<()> + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(hook)))
    }

    fn before(&self, step: Step, path: &Path) -> io::Result<()> {
        self.0.as_ref().map_or(Ok(()), |hook| hook(step, path))
    }

    /// Makes a file that is not there, for its owner only.
    pub(crate) fn create(&self, path: &Path) -> io::Result<File> {
        self.before(Step::Create, path)?;
        let mut options = OpenOptions::new();
        options.read(true).append(true).create_new(true).mode(0o600);
        options.open(path)
    }

    /// Appends to a file that was opened for it.
    pub(crate) fn append(&self, path: &Path, mut file: &File, bytes: &[u8]) -> io::Result<()> {
        self.before(Step::Write, path)?;
        file.write_all(bytes)
    }

    pub(crate) fn sync(&self, path: &Path, file: &File) -> io::Result<()> {
        self.before(Step::Sync, path)?;
        file.sync_data()
    }

    pub(crate) fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.before(Step::SyncDir, path)?;
        File::open(path)?.sync_all()
    }

    pub(crate) fn truncate(&self, path: &Path, file: &File, length: u64) -> io::Result<()> {
        self.before(Step::Truncate, path)?;
        file.set_len(length)
    }

    pub(crate) fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.before(Step::Rename, from)?;
        std::fs::rename(from, to)
    }

    /// Deletes a file. One that is gone already is no error.
    pub(crate) fn unlink(&self, path: &Path) -> io::Result<()> {
        self.before(Step::Unlink, path)?;
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Puts a file in place, whole or not at all. Its directory is for the caller to sync.
    pub(crate) fn replace(
        &self,
        path: &Path,
        write: impl FnOnce(&File) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut name = path.as_os_str().to_owned();
        name.push(".new");
        let temporary = Path::new(&name);
        self.unlink(temporary)?;
        let file = self.create(temporary)?;
        let written = self
            .before(Step::Write, temporary)
            .and_then(|()| write(&file))
            .and_then(|()| self.sync(temporary, &file))
            .and_then(|()| self.rename(temporary, path));
        if written.is_err() {
            // The first error is the one to tell.
            drop(std::fs::remove_file(temporary));
        }
        written
    }
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.0.is_some() { "hook" } else { "none" };
        write!(f, "Faults({what})")
    }
}

/// No space, or over the quota.
pub(crate) fn is_full(error: &io::Error) -> bool {
    use rustix::io::Errno;
    Errno::from_io_error(error).is_some_and(|errno| [Errno::NOSPC, Errno::DQUOT].contains(&errno))
}
