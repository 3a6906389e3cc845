//! One workspace on the server: where it is, who uses it, what is committed.
//!
//! ```text
//! <dir>/tree      what jobs see
//! <dir>/staging   what is being received; emptied by whoever commits next
//! <dir>/trash     what commits displaced, <commit>/<path>; the last two are kept
//! <dir>/index     the last commit: its manifest, and what the files looked like once written
//! <dir>/journal   exists while a commit is being applied: the tree is neither old nor new
//! <dir>/lease     flock(2): shared by running jobs, exclusive while a commit is applied
//! <dir>/hold      which directory is being kept in step with the workspace, and until when it counts
//! <dir>/writer    flock(2): exclusive for one session that writes; its mtime is when the workspace was last used
//! ```
//!
//! A module for each: `index`, `journal`, `lease`, `trash`, `hold`. The tree is changed by `commit` alone, also
//! when a workspace is opened that a crash left with a journal.

pub(crate) mod hold;
pub(crate) mod index;
pub(crate) mod journal;
pub(crate) mod lease;
pub(crate) mod trash;

use std::fs::{self, FileTimes};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use self::index::Index;
use self::lease::{Kind, Lock};
use crate::commit::{self, Recovery};
use crate::digest::Digest;
use crate::error::StoreError;
use crate::faults::Faults;
use crate::manifest;
use crate::store::{self, failed};
use crate::tree::{Dir, Use};

/// An open workspace.
#[derive(Debug)]
pub struct Workspace {
    dir: PathBuf,
    boot_id: String,
    pub(crate) held: Held,
    pub(crate) faults: Faults,
}

/// The directories of a workspace, held open.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) tree: Dir,
    pub(crate) staging: Dir,
    pub(crate) trash: Dir,
}

/// Keeps commits from changing the tree, as long as it lives.
#[derive(Debug)]
pub struct SharedLease {
    _lock: Lock,
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
    /// crash interrupted. If it still cannot be completed, the workspace opens without a
    /// [`root`](Self::root), to be read, and the next commit goes on from there, or says why it cannot. `boot_id` names this boot of the machine: after another one, files are
    /// compared by content once.
    ///
    /// # Errors
    /// [`StoreError`], for one when a newer version wrote it.
    pub fn open(dir: &Path, boot_id: &str) -> Result<Self, StoreError> {
        Self::open_with(dir, boot_id, Faults::default())
    }

    /// As [`Workspace::open`]; `faults` is asked before every write.
    ///
    /// # Errors
    /// As [`Workspace::open`].
    pub fn open_with(dir: &Path, boot_id: &str, faults: Faults) -> Result<Self, StoreError> {
        let hold = |name: &str| {
            let path = dir.join(name);
            fs::create_dir_all(&path).map_err(failed("create", &path))?;
            Dir::open_own(&path).map_err(|errno| failed("open", &path)(errno.into()))
        };
        let held = Held {
            tree: hold("tree")?,
            staging: hold("staging")?,
            trash: hold("trash")?,
        };
        let workspace = Self {
            dir: dir.to_owned(),
            boot_id: boot_id.to_owned(),
            held,
            faults,
        };
        // The header is checked even if nothing is to be completed.
        journal::load_undamaged(&workspace.journal_path())?;
        if workspace.journal_path().exists() {
            workspace.recover()?;
        }
        Ok(workspace)
    }

    /// Completes an interrupted commit, unless another process has the workspace in hand.
    fn recover(&self) -> Result<(), StoreError> {
        let Some(_writer) = self.lock_writer()? else {
            return Ok(());
        };
        let Some(_lease) = self.lock_lease()? else {
            return Ok(());
        };
        commit::recover(self).map(|_: Recovery| ())
    }

    /// The directory that jobs work in.
    #[must_use]
    pub fn tree(&self) -> PathBuf {
        self.dir.join("tree")
    }

    /// The file to lock (flock(2), `LOCK_SH`) while a job runs here. A starter that takes it by
    /// itself must then find no [`journal_path`](Self::journal_path).
    #[must_use]
    pub fn lease_path(&self) -> PathBuf {
        self.dir.join("lease")
    }

    /// The file that exists while the tree is neither the old nor the new one.
    #[must_use]
    pub fn journal_path(&self) -> PathBuf {
        self.dir.join("journal")
    }

    pub(crate) fn index_path(&self) -> PathBuf {
        self.dir.join("index")
    }

    pub(crate) fn boot_id(&self) -> &str {
        &self.boot_id
    }

    pub(crate) fn hold_path(&self) -> PathBuf {
        self.dir.join("hold")
    }

    fn writer_path(&self) -> PathBuf {
        self.dir.join("writer")
    }

    pub(crate) fn lock_writer(&self) -> Result<Option<Lock>, StoreError> {
        lease::try_lock(&self.writer_path(), Kind::Exclusive)
    }

    pub(crate) fn lock_lease(&self) -> Result<Option<Lock>, StoreError> {
        lease::try_lock(&self.lease_path(), Kind::Exclusive)
    }

    pub(crate) fn index(&self) -> Result<Index, StoreError> {
        index::load(&self.index_path(), &self.boot_id)
    }

    /// The root that is committed and in place; `None` before the first commit, in a new boot, and
    /// while a commit is being applied or was interrupted.
    ///
    /// # Errors
    /// [`StoreError`] if the index is unusable.
    pub fn root(&self) -> Result<Option<Digest>, StoreError> {
        let index = self.index()?;
        let same_boot = index.boot_id == self.boot_id.as_bytes();
        let settled = same_boot && index.generation > 0 && !self.journal_path().exists();
        Ok(settled.then_some(index.root))
    }

    /// Takes the lease that keeps commits away, if `root` is what is committed; `None` if something
    /// else is, or a commit is being applied right now.
    ///
    /// # Errors
    /// [`StoreError`] if the lease cannot be opened or locked.
    pub fn share(&self, root: &Digest) -> Result<Option<SharedLease>, StoreError> {
        let Some(lock) = lease::try_lock(&self.lease_path(), Kind::Shared)? else {
            return Ok(None);
        };
        let current = self.root()?;
        Ok((current.as_ref() == Some(root)).then_some(SharedLease { _lock: lock }))
    }

    /// When the workspace was last used: pushed to, or [`touched`](Self::touch) by the caller.
    ///
    /// # Errors
    /// [`StoreError`] if that cannot be read.
    pub fn last_used(&self) -> Result<SystemTime, StoreError> {
        let path = self.writer_path();
        let used = fs::metadata(&path).and_then(|metadata| metadata.modified());
        used.map_err(failed("stat", &path))
    }

    /// Records a use at `now`.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot be written.
    pub fn touch(&self, now: SystemTime) -> Result<(), StoreError> {
        let path = self.writer_path();
        let mut options = fs::File::options();
        options.write(true).create(true).truncate(false);
        let file = store::open(&path, &mut options);
        let set = file.and_then(|file| file.set_times(FileTimes::new().set_modified(now)));
        set.map_err(failed("touch", &path))
    }

    /// What the last commits displaced, newest first.
    ///
    /// # Errors
    /// [`StoreError`] if the trash cannot be listed.
    pub fn trash(&self) -> Result<Vec<TrashDir>, StoreError> {
        trash::list(&self.held.trash)
            .map_err(|errno| failed("list", &self.dir.join("trash"))(errno.into()))
    }

    /// Bytes of the files that the mirror wrote, and of those that an interrupted commit is still to put in place: what
    /// sessions tell [`Room`](crate::receive::Room). What a session that was cut off left in the staging area does not
    /// count: it is removed.
    ///
    /// # Errors
    /// [`StoreError`] if the workspace's own files are unusable.
    pub fn measure(&self) -> Result<u64, StoreError> {
        // Who holds it counts by itself.
        if let Some(_writer) = self.lock_writer()?
            && !self.journal_path().exists()
        {
            let removed = self.held.staging.remove_all(STAGED);
            removed.map_err(|errno| failed("empty", &self.dir.join("staging"))(errno.into()))?;
        }
        let journal = journal::load_undamaged(&self.journal_path())?;
        let pending = journal.map_or(0, |journal| manifest::bytes(&journal.puts));
        Ok(self.index()?.bytes().saturating_add(pending))
    }

    /// Removes the workspace with all that is in it.
    ///
    /// # Errors
    /// [`StoreError::Busy`] while a job or a session uses it; it is then untouched.
    pub fn remove(self) -> Result<(), StoreError> {
        let busy = || StoreError::Busy {
            path: self.dir.clone(),
        };
        let _writer = self.lock_writer()?.ok_or_else(busy)?;
        let _lease = self.lock_lease()?.ok_or_else(busy)?;
        let cannot = |errno: rustix::io::Errno| failed("remove", &self.dir)(errno.into());
        let dir = Dir::open_root(&self.dir).map_err(cannot)?;
        // The locks go last: until then nobody takes this for a new, empty workspace.
        for name in [
            "tree", "staging", "trash", "index", "journal", "hold", "lease", "writer",
        ] {
            dir.remove_all(name.as_bytes()).map_err(cannot)?;
        }
        fs::remove_dir_all(&self.dir).map_err(failed("remove", &self.dir))
    }

    /// Empties the staging area and opens a new one.
    pub(crate) fn fresh_staging(&self) -> rustix::io::Result<Dir> {
        self.held.staging.remove_all(STAGED)?;
        self.held.staging.make_dir(STAGED)?;
        self.held.staging.child(STAGED, Use::Names)
    }
}

/// The directory in `staging` that has the shape of the tree.
pub(crate) const STAGED: &[u8] = b"new";
