//! One workspace on the server: where it is, who uses it, what is committed.
//!
//! ```text
//! <dir>/tree      what jobs see
//! <dir>/staging   what is being received (`new`), what came in a session that was cut off (`cut`), and what commits
//!                 replaced and removed (`past`)
//! <dir>/trash     what commits displaced, <commit>/<path>, as far as its bounds allow
//! <dir>/index     the last commit: its manifest, and what the files looked like once written
//! <dir>/journal   exists while a commit is being applied: the tree is neither old nor new
//! <dir>/lease     flock(2): shared by running jobs, exclusive while a commit is applied; its mtime is when a job began, or zero if
//!                 none did since a session looked
//! <dir>/hold      which directory is being kept in step with the workspace, and until when it counts
//! <dir>/writer    flock(2): exclusive for one session that writes; its mtime is when the workspace was last used
//! ```
//!
//! The tree may also be a directory of somebody's choosing elsewhere on the same file system ([`Workspace::open_at`]); nothing of
//! the mirror's own is in it.
//!
//! A module for each: `index`, `journal`, `hold`, `kept`, `past`, `lease`, `trash` and the way out of it, `restore`. The tree is changed by `commit` alone, also
//! when a workspace is opened that a crash left with a journal.

pub(crate) mod hold;
pub(crate) mod index;
pub(crate) mod journal;
pub(crate) mod kept;
pub(crate) mod lease;
pub(crate) mod past;
mod restore;
pub(crate) mod trash;

use std::fs::{self, FileTimes};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use self::index::Index;
use self::kept::Kept;
use self::lease::{Kind, Lock};
pub use self::restore::{Restored, Wanted};
pub use self::trash::{Bounds as TrashBounds, TrashDir};
use crate::commit::{self, Recovery};
use crate::digest::Digest;
use crate::error::StoreError;
use crate::faults::Faults;
use crate::manifest;
use crate::receive::Held;
use crate::store::{self, failed};
use crate::tree::{Dir, Use};

/// An open workspace.
#[derive(Debug)]
pub struct Workspace {
    dir: PathBuf,
    tree: PathBuf,
    boot_id: String,
    pub(crate) held: Dirs,
    pub(crate) faults: Faults,
}

/// The directories of a workspace, held open.
#[derive(Debug)]
pub(crate) struct Dirs {
    pub(crate) tree: Dir,
    pub(crate) staging: Dir,
    pub(crate) trash: Dir,
}

/// Keeps commits from changing the tree, as long as it lives.
#[derive(Debug)]
pub struct SharedLease {
    _lock: Lock,
}

/// What the mirror wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Contents {
    /// Number of commits so far.
    pub generation: u64,
    /// How much it is.
    pub held: Held,
}

/// Keeps everybody else from using the workspace, as long as it lives.
#[derive(Debug)]
pub struct Exclusive {
    _writer: Lock,
    _lease: Lock,
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
        let tree = dir.join("tree");
        fs::create_dir_all(&tree).map_err(failed("create", &tree))?;
        Self::open_both(dir, &tree, boot_id, faults)
    }

    /// Opens the workspace whose own files are in `dir`, which is made if it is not there, and whose tree is the
    /// directory `tree`, which has to be there, outside of `dir` and on the same file system.
    ///
    /// # Errors
    /// As [`Workspace::open`], and [`StoreError::Apart`].
    pub fn open_at(dir: &Path, tree: &Path, boot_id: &str) -> Result<Self, StoreError> {
        Self::open_both(dir, tree, boot_id, Faults::default())
    }

    fn open_both(
        dir: &Path,
        tree: &Path,
        boot_id: &str,
        faults: Faults,
    ) -> Result<Self, StoreError> {
        let open =
            |path: &Path| Dir::open_own(path).map_err(|errno| failed("open", path)(errno.into()));
        let hold = |name: &str| {
            let path = dir.join(name);
            fs::create_dir_all(&path).map_err(failed("create", &path))?;
            open(&path)
        };
        let held = Dirs {
            tree: open(tree)?,
            staging: hold("staging")?,
            trash: hold("trash")?,
        };
        let device = |dir: &Dir| rustix::fs::fstat(dir).map(|stat| stat.st_dev);
        let same = |other: &Dir| Ok::<_, rustix::io::Errno>(device(&held.tree)? == device(other)?);
        let together = same(&held.staging).and_then(|first| Ok(first && same(&held.trash)?));
        if !together.map_err(|errno| failed("stat", dir)(errno.into()))? {
            return Err(StoreError::Apart {
                dir: dir.to_owned(),
                tree: tree.to_owned(),
            });
        }
        let workspace = Self {
            dir: dir.to_owned(),
            tree: tree.to_owned(),
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
        self.tree.clone()
    }

    /// The file to lock (flock(2), `LOCK_SH`) while a job runs here. A starter that takes it by
    /// itself must then set its modification time to now, and find no [`journal_path`](Self::journal_path).
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

    /// Whether no job runs, which is noted: if none was started until the lease is taken, [`Self::undisturbed`] gives it.
    pub(crate) fn mark_lease(&self) -> Result<bool, StoreError> {
        let lock = self.lock_lease()?;
        Ok(lock.is_some_and(|lock| lock.mark_unused().is_ok()))
    }

    /// The lease, if no job had it since it was marked.
    pub(crate) fn undisturbed(&self) -> Result<Option<Lock>, StoreError> {
        let lock = self.lock_lease()?;
        Ok(lock.filter(|lock| lock.is_unused().is_ok_and(|unused| unused)))
    }

    pub(crate) fn lock_lease(&self) -> Result<Option<Lock>, StoreError> {
        lease::try_lock(&self.lease_path(), Kind::Exclusive)
    }

    pub(crate) fn index(&self) -> Result<Index, StoreError> {
        index::load(&self.index_path(), &self.boot_id)
    }

    /// The same without the entries.
    pub(crate) fn index_head(&self) -> Result<Index, StoreError> {
        index::head(&self.index_path(), &self.boot_id)
    }

    /// The root that is committed and in place; `None` before the first commit, in a new boot, and
    /// while a commit is being applied or was interrupted.
    ///
    /// # Errors
    /// [`StoreError`] if the index is unusable.
    pub fn root(&self) -> Result<Option<Digest>, StoreError> {
        let index = self.index_head()?;
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
        let path = self.lease_path();
        let Some(lock) = lease::try_lock(&path, Kind::Shared)? else {
            return Ok(None);
        };
        lock.mark_used()
            .map_err(|errno| failed("touch", &path)(errno.into()))?;
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
        self.trash_with(usize::MAX)
    }

    /// The same with so many paths of each commit at most.
    ///
    /// # Errors
    /// As [`Workspace::trash`].
    pub fn trash_with(&self, most: usize) -> Result<Vec<TrashDir>, StoreError> {
        trash::list(&self.held.trash, most)
            .map_err(|errno| failed("list", &self.dir.join("trash"))(errno.into()))
    }

    /// What the mirror wrote, the files that an interrupted commit is still to put in place, and the bytes of what a session
    /// brought that was cut off: what sessions tell
    /// [`Room`](crate::receive::Room). What a killed server left beside that in the
    /// staging area does not count: it is removed.
    ///
    /// # Errors
    /// [`StoreError`] if the workspace's own files are unusable.
    pub fn measure(&self) -> Result<Held, StoreError> {
        let cannot =
            |errno: rustix::io::Errno| failed("empty", &self.dir.join("staging"))(errno.into());
        // Who holds it counts by itself.
        if let Some(_writer) = self.lock_writer()?
            && !self.journal_path().exists()
        {
            self.held.staging.remove_all(STAGED).map_err(cannot)?;
        }
        let journal = journal::load_undamaged(&self.journal_path())?;
        let puts = journal.map_or_else(Vec::new, |journal| journal.puts);
        let kept = Kept::look(&self.held.staging).map_err(cannot)?;
        let held = self.held()?.and(kept.held());
        Ok(Held {
            bytes: held.bytes.saturating_add(manifest::bytes(&puts)),
            entries: held.entries.saturating_add(puts.len() as u64),
        })
    }

    /// Removes from the trash what is beyond `bounds` at `now`, unless a session is at work, which does so itself.
    ///
    /// # Errors
    /// [`StoreError`] if the trash cannot be listed.
    pub fn prune_trash(&self, bounds: &TrashBounds, now: SystemTime) -> Result<(), StoreError> {
        let Some(_writer) = self.lock_writer()? else {
            return Ok(());
        };
        trash::prune(&self.held.trash, bounds, now)
            .map_err(|errno| failed("prune", &self.dir.join("trash"))(errno.into()))
    }

    /// Moves what is wanted of what a commit displaced, by the name of its trash directory, back to where it was. It is
    /// a job's from then on: the next push treats it like anything that a job made.
    ///
    /// # Errors
    /// [`StoreError::Busy`] while a job or a session uses the workspace, [`StoreError::NoTrash`], and what keeps
    /// files from being moved.
    pub fn restore(&self, name: &str, wanted: &Wanted) -> Result<Restored, StoreError> {
        let _alone = self.claim()?;
        let cannot = |errno: rustix::io::Errno| failed("restore", &self.dir)(errno.into());
        let no_trash = || StoreError::NoTrash {
            path: self.dir.clone(),
            name: name.to_owned(),
        };
        let there = trash::list_names(&self.held.trash).map_err(cannot)?;
        if !there.iter().any(|known| known == name) {
            return Err(no_trash());
        }
        let trash = &self.held.trash;
        let from = trash.child(name.as_bytes(), Use::List).map_err(cannot)?;
        let into = trash::name(self.index_head()?.generation);
        let into = || trash.make_beneath(into.as_bytes());
        let restored = restore::restore(&from, &self.held.tree, wanted, &into).map_err(cannot)?;
        // Not empty where something stayed.
        let _left = trash.remove_dir(name.as_bytes());
        Ok(restored)
    }

    /// Takes the workspace for oneself.
    ///
    /// # Errors
    /// [`StoreError::Busy`] while a job or a session uses it.
    pub fn claim(&self) -> Result<Exclusive, StoreError> {
        let busy = || StoreError::Busy {
            path: self.dir.clone(),
        };
        Ok(Exclusive {
            _writer: self.lock_writer()?.ok_or_else(busy)?,
            _lease: self.lock_lease()?.ok_or_else(busy)?,
        })
    }

    /// What the mirror wrote, as of the last commit.
    ///
    /// # Errors
    /// [`StoreError`] if the index is unusable.
    pub fn contents(&self) -> Result<Contents, StoreError> {
        Ok(Contents {
            generation: self.index_head()?.generation,
            held: self.held()?,
        })
    }

    /// How much the mirror wrote.
    pub(crate) fn held(&self) -> Result<Held, StoreError> {
        match index::open(&self.index_path())? {
            Some(stored) => Ok(stored.held()),
            None => Ok(self.index()?.held()),
        }
    }

    /// Removes the workspace with all that is in it; a tree that is elsewhere stays.
    ///
    /// # Errors
    /// [`StoreError::Busy`] while a job or a session uses it; it is then untouched.
    pub fn remove(self) -> Result<(), StoreError> {
        let _alone = self.claim()?;
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

/// Removes what is in the directory of a workspace that nobody can open any more.
///
/// # Errors
/// [`StoreError`] if something cannot be removed.
pub fn empty(dir: &Path) -> Result<(), StoreError> {
    let cannot = |errno: rustix::io::Errno| failed("remove", dir)(errno.into());
    let open = match Dir::open_own(dir) {
        Err(rustix::io::Errno::NOENT) => return Ok(()),
        open => open.map_err(cannot)?,
    };
    let mut buffer = [std::mem::MaybeUninit::uninit(); 4096];
    for name in open.names(&mut buffer).map_err(cannot)? {
        open.remove_all(&name.name).map_err(cannot)?;
    }
    Ok(())
}

/// The directory in `staging` that has the shape of the tree.
pub(crate) const STAGED: &[u8] = b"new";
