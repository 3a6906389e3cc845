//! What commits replaced and removed, for when it comes back: `staging/past/<hash>`. A branch that is switched to and back is not sent again.
//!
//! What a name says was so when the file was moved there; it is verified when it is taken. It gives way to whatever else needs its room.

use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;

use rustix::io::{Errno, Result};

use crate::tree::{Dir, Name, Use};

/// The directory in `staging`.
pub(crate) const PAST: &[u8] = b"past";
/// What a file counts at least: a block, and its name and inode, which are used up as well.
const LEAST: u64 = 4096;
/// How long something stays that nobody asks for, in nanoseconds.
const PATIENCE_NS: i64 = 7 * 24 * 3600 * 1_000_000_000;
/// Bytes, and files, that come in one commit without a look at how much there is.
const UNSEEN: (u64, u64) = (16 << 20, 64);
/// Commits after which there is one at any rate.
const SEEN_EVERY: u64 = 32;
/// Bytes of a file that takes a while to be freed, and how many of these are held open at most.
const LARGE: u64 = 16 << 20;
const MOST_OPEN: usize = 16;

/// What a commit moved here.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Moved {
    pub(crate) files: u64,
    pub(crate) bytes: u64,
}

impl Moved {
    pub(crate) fn add(&mut self, bytes: u64) {
        self.files += 1;
        self.bytes = self.bytes.saturating_add(bytes);
    }
}

/// The directory, made if it is not there.
pub(crate) fn open(staging: &Dir) -> Result<Dir> {
    match staging.make_dir(PAST) {
        Ok(()) | Err(Errno::EXIST) => staging.child(PAST, Use::List),
        Err(error) => Err(error),
    }
}

/// Bytes that are there.
pub(crate) fn bytes(staging: &Dir) -> Result<u64> {
    let sizes = list(staging)?.into_iter().map(|old| old.size);
    Ok(sizes.fold(0, u64::saturating_add))
}

/// After a commit: removes what is too old, and the oldest beyond so many bytes, of which each file counts some. Not after each, since that takes a look at all there is.
/// Returns the large ones, still open: a file system takes a while to free what is in them, which it does when they are closed, and nobody
/// need wait for that.
pub(crate) fn prune(
    staging: &Dir,
    moved: Moved,
    (generation, now_ns): (u64, i64),
    most: u64,
) -> Result<Vec<OwnedFd>> {
    let few = moved.bytes < UNSEEN.0 && moved.files < UNSEEN.1;
    if few && !generation.is_multiple_of(SEEN_EVERY) {
        return Ok(Vec::new());
    }
    let mut all = list(staging)?;
    all.sort_unstable_by_key(|old| std::cmp::Reverse(old.since_ns));
    let dir = open(staging)?;
    let (mut kept, mut gone): (u64, _) = (0, Vec::new());
    for old in all {
        kept = kept.saturating_add(old.size.max(LEAST));
        if kept > most || old.since_ns.saturating_add(PATIENCE_NS) < now_ns {
            if old.size >= LARGE && gone.len() < MOST_OPEN {
                gone.extend(dir.read_file(&old.name));
            }
            dir.remove_all(&old.name)?;
        }
    }
    Ok(gone)
}

/// Removes all that is there.
pub(crate) fn clear(staging: &Dir) -> Result<()> {
    let dir = open(staging)?;
    let mut all = list(staging)?.into_iter();
    all.try_for_each(|old| dir.remove_all(&old.name))
}

/// A file that is there.
struct Old {
    name: Box<[u8]>,
    size: u64,
    /// When it came, nanoseconds since the epoch.
    since_ns: i64,
}

fn list(staging: &Dir) -> Result<Vec<Old>> {
    let dir = match staging.child(PAST, Use::List) {
        Ok(dir) => dir,
        Err(Errno::NOENT) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for Name { name, .. } in dir.names(&mut vec![MaybeUninit::uninit(); 32 << 10])? {
        if let Some(look) = dir.look(&name)? {
            found.push(Old {
                name,
                size: look.size,
                since_ns: look.ctime_ns,
            });
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::{LEAST, Moved, Old, PAST, PATIENCE_NS, bytes, list, open, prune};
    use crate::tree::Dir;

    #[test]
    fn the_oldest_go_and_few_are_not_looked_at() {
        let temp = tempfile::tempdir().unwrap();
        let staging = Dir::open_root(temp.path()).unwrap();
        assert_eq!(bytes(&staging).unwrap(), 0);
        open(&staging).unwrap();
        let past = temp.path().join(std::str::from_utf8(PAST).unwrap());
        let add = |name: &str| std::fs::write(past.join(name), "1234567890").unwrap();
        let left = || {
            let left = list(&staging).unwrap();
            let mut left: Vec<_> = left.iter().map(|old| old.name[0]).collect();
            left.sort_unstable();
            left
        };
        add("a");
        let first = list(&staging).unwrap()[0].since_ns;
        // Until the clock of the file system goes on.
        for _ in 0..1_000_000 {
            add("b");
            let later = |old: &Old| &*old.name != b"b" || old.since_ns > first;
            if list(&staging).unwrap().iter().all(later) {
                break;
            }
        }
        let many = Moved {
            files: 64,
            bytes: 0,
        };
        let pruned = |moved, generation, now, most| {
            prune(&staging, moved, (generation, now), most).unwrap();
            left()
        };
        assert_eq!(bytes(&staging).unwrap(), 20);
        assert_eq!(pruned(Moved::default(), 31, first, 10), b"ab");
        assert_eq!(pruned(many, 31, first, 2 * LEAST), b"ab");
        // However short they are.
        assert_eq!(pruned(Moved::default(), 32, first, 2 * LEAST - 1), b"b");
        assert_eq!(pruned(many, 1, first + 2 * PATIENCE_NS, LEAST), b"");
        let large = std::fs::File::create(past.join("large")).unwrap();
        large.set_len(super::LARGE).unwrap();
        assert_eq!(prune(&staging, many, (1, first), 0).unwrap().len(), 1);
        assert_eq!(left(), b"");
    }
}
