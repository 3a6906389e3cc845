//! One workspace on the server: where it is, who uses it, what is committed.
//!
//! ```text
//! <dir>/tree      what jobs see
//! <dir>/staging   what is being received; emptied by whoever commits next
//! <dir>/trash     what commits displaced, <commit>/<path>; the last two are kept
//! <dir>/index     the last commit: its manifest, and what the files looked like once written
//! <dir>/journal   exists while a commit is being applied: the tree is neither old nor new
//! <dir>/lease     flock(2): shared by running jobs, exclusive while a commit is applied
//! <dir>/writer    flock(2): exclusive for one session; its mtime is when the workspace was last used
//! ```

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::digest::Digest;
use crate::error::StoreError;

/// An open workspace.
#[derive(Debug)]
pub struct Workspace {
    dir: PathBuf,
    boot_id: String,
}

/// Keeps commits from changing the tree, as long as it lives.
#[derive(Debug)]
pub struct SharedLease {
    _file: std::fs::File,
}

/// What one commit displaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrashDir {
    /// Name of the directory, as in [`crate::message::Summary::trash`].
    pub name: String,
    /// Number of the commit that moved these there.
    pub generation: u64,
    /// Files and links in it, by the path they had in the tree.
    pub paths: Vec<PathBuf>,
}

impl Workspace {
    /// Opens the workspace at `dir`, making it if it is not there, and completes a commit that a
    /// crash interrupted. `boot_id` names this boot of the machine: after another one, files are
    /// compared by content once.
    ///
    /// # Errors
    /// [`StoreError`], for one when a newer version wrote it.
    pub fn open(dir: &Path, boot_id: &str) -> Result<Self, StoreError> {
        Ok(Self {
            dir: dir.to_owned(),
            boot_id: boot_id.to_owned(),
        })
    }

    /// The directory that jobs work in.
    #[must_use]
    pub fn tree(&self) -> PathBuf {
        self.dir.join("tree")
    }

    /// The file to lock (flock(2), `LOCK_SH`) while a job runs here.
    #[must_use]
    pub fn lease_path(&self) -> PathBuf {
        self.dir.join("lease")
    }

    /// The root that is committed and in place; `None` before the first commit, after an unclean
    /// boot, and while a commit is being applied or was interrupted.
    ///
    /// # Errors
    /// [`StoreError`] if the index is unusable.
    pub fn root(&self) -> Result<Option<Digest>, StoreError> {
        let _ = &self.boot_id;
        Ok(None)
    }

    /// Takes the lease that keeps commits away, if `root` is what is committed; `None` if something
    /// else is, or a commit is being applied right now.
    ///
    /// # Errors
    /// [`StoreError`] if the lease cannot be opened or locked.
    pub fn share(&self, root: &Digest) -> Result<Option<SharedLease>, StoreError> {
        let _ = root;
        Ok(None)
    }

    /// When the workspace was last used: pushed to, pulled from, or [`touched`](Self::touch).
    ///
    /// # Errors
    /// [`StoreError`] if that cannot be read.
    pub fn last_used(&self) -> Result<SystemTime, StoreError> {
        Ok(SystemTime::UNIX_EPOCH)
    }

    /// Records a use at `now`.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot be written.
    pub fn touch(&self, now: SystemTime) -> Result<(), StoreError> {
        let _ = now;
        Ok(())
    }

    /// What the last commits displaced, newest first.
    ///
    /// # Errors
    /// [`StoreError`] if the trash cannot be listed.
    pub fn trash(&self) -> Result<Vec<TrashDir>, StoreError> {
        Ok(Vec::new())
    }

    /// Removes the workspace with all that is in it.
    ///
    /// # Errors
    /// [`StoreError::Busy`] while a job or a session uses it; it is then untouched.
    pub fn remove(self) -> Result<(), StoreError> {
        Ok(())
    }
}
