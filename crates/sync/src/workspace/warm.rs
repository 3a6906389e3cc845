//! What a server remembers between the sessions of a watch: the last commit as it is in the index, with what was hashed of it.
//!
//! The index on disk is the truth. What is here is taken only if that is still the very file that was written with it, and says
//! the same generation and root; whoever else writes an index, in whatever process, makes this worthless by that. It is there for
//! as long as a watch holds the workspace: a server has many mirrors, and few are watched.

use std::io::Read;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use crate::manifest::branches::Branches;
use crate::push::since_epoch;
use crate::stat::FileStat;
use crate::store;
use crate::tree::read;
use crate::workspace::hold::LASTS;
use crate::workspace::index::{self, Index};

/// Bytes at the beginning of an index in which its boot id, generation and root are.
const HEAD: u64 = 4096;

/// The last commit.
#[derive(Debug)]
pub(crate) struct Commit {
    pub(crate) index: Index,
    pub(crate) branches: Branches,
    /// Bytes that commits replaced and that are kept; `None` if they were not counted.
    pub(crate) past: Option<u64>,
}

#[derive(Debug)]
struct Kept {
    commit: Commit,
    /// What the file of the index looked like.
    look: FileStat,
    /// When a session used it last, nanoseconds since the epoch.
    used_ns: i64,
}

/// What is remembered, if anything is.
#[derive(Debug, Default)]
pub(crate) struct Warm(Mutex<Option<Kept>>);

impl Warm {
    /// Takes what is remembered of the index at `path`, if that is still what it was. The caller has the writer lock.
    pub(crate) fn take(&self, path: &Path) -> Option<Commit> {
        let Kept { commit, look, .. } = self.kept().take()?;
        let Index {
            boot_id,
            generation,
            root,
            ..
        } = &commit.index;
        let (now, head) = glance(path)?;
        let same = now == look
            && (&head.boot_id, &head.generation, &head.root) == (boot_id, generation, root);
        same.then_some(commit)
    }

    /// Remembers what is in the index at `path`. The caller has the writer lock.
    pub(crate) fn keep(&self, path: &Path, commit: Commit, now: SystemTime) {
        *self.kept() = glance(path).map(|(look, _)| Kept {
            commit,
            look,
            used_ns: since_epoch(now),
        });
    }

    /// Forgets what no session used for as long as a hold lasts.
    pub(crate) fn cool(&self, now: SystemTime) {
        let lasts = i64::try_from(LASTS.as_nanos()).unwrap_or(i64::MAX);
        let since = since_epoch(now).saturating_sub(lasts);
        let mut kept = self.kept();
        if kept.as_ref().is_some_and(|kept| kept.used_ns < since) {
            *kept = None;
        }
    }

    /// Whether anything is remembered.
    #[cfg(test)]
    pub(crate) fn is_there(&self) -> bool {
        self.kept().is_some()
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Option<Kept>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the index at `path` looks like, and what it says of itself.
fn glance(path: &Path) -> Option<(FileStat, Index)> {
    let file = store::open(path, std::fs::File::options().read(true)).ok()?;
    let look = read::look(&file).ok()?;
    let mut head = Vec::new();
    file.take(HEAD).read_to_end(&mut head).ok()?;
    Some((look, index::glance(&head)?))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;
    use std::time::{Duration, SystemTime};

    use super::{Commit, Warm};
    use crate::manifest::branches::Branches;
    use crate::workspace::hold::LASTS;
    use crate::workspace::index::{self, Index};

    fn index(generation: u64) -> Index {
        Index {
            boot_id: b"boot".to_vec(),
            generation,
            root: crate::manifest::empty_root(),
            entries: Vec::new(),
            retained: Vec::new(),
        }
    }

    fn kept(path: &Path) -> (Warm, SystemTime) {
        let (warm, now) = (Warm::default(), SystemTime::UNIX_EPOCH + LASTS * 3);
        index::save(path, &mut index(7)).unwrap();
        let commit = Commit {
            index: index(7),
            branches: Branches::default(),
            past: None,
        };
        warm.keep(path, commit, now);
        (warm, now)
    }

    #[test]
    fn it_is_taken_once_and_only_for_the_file_that_it_was_written_with() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("index");
        let (warm, _) = kept(&path);
        assert_eq!(warm.take(&path).unwrap().index, index(7));
        assert!(warm.take(&path).is_none());

        let (warm, _) = kept(&path);
        let text = fs::read(&path).unwrap();
        fs::rename(&path, temp.path().join("aside")).unwrap();
        assert!(warm.take(&path).is_none(), "it is gone");
        let (warm, _) = kept(&path);
        fs::rename(&path, temp.path().join("aside")).unwrap();
        fs::write(&path, text).unwrap();
        assert!(warm.take(&path).is_none(), "it is another, though equal");
        let (warm, _) = kept(&path);
        index::save(&path, &mut index(8)).unwrap();
        assert!(warm.take(&path).is_none(), "somebody committed");
    }

    #[test]
    fn it_is_forgotten_with_the_hold() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("index");
        let (warm, now) = kept(&path);
        warm.cool(now + LASTS);
        assert!(warm.take(&path).is_some());
        let (warm, now) = kept(&path);
        warm.cool(now + LASTS + Duration::from_secs(1));
        assert!(warm.take(&path).is_none());
    }
}
