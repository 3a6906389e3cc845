//! Adding up what a directory tree takes on its disk, a little at a time.
//!
//! The one thread that walks has output to move, so it does so in steps. It takes a tree as it comes: what is made, moved or removed
//! while it walks is counted or not. What may not be read, lies too deep, or is one of too many, is not counted either, so the sum
//! is a lower bound; nothing that a job leaves in its way makes the walk wait, follow a link, leave the file system or grow without
//! bound.

use alloc::borrow::ToOwned;
use alloc::ffi::CString;
use alloc::vec::Vec;
use core::mem::MaybeUninit;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, Stat};
use rustix::io::Errno;

use super::files;

/// Directories that lie in each other and are open at once.
const DEEPEST: usize = 128;
/// Directories that are known and have not been entered, of one tree.
const WAITING: usize = 1 << 16;
/// Bytes of a block, of which stat(2) tells the number.
pub(super) const BLOCK: u64 = 512;
/// Bytes for names read at once.
const ROOM: usize = 4096;

/// A walk that has not come to its end.
#[derive(Debug)]
pub(super) struct Walk {
    device: u64,
    open: Vec<Level>,
    waiting: usize,
    bytes: u64,
}

/// A directory that has been entered.
#[derive(Debug)]
struct Level {
    dir: OwnedFd,
    /// Those in it that have not.
    below: Vec<CString>,
    read: bool,
}

impl Level {
    fn new(dir: OwnedFd) -> Self {
        Self {
            dir,
            below: Vec::new(),
            read: false,
        }
    }
}

impl Walk {
    /// A walk over everything in this directory.
    ///
    /// # Errors
    /// It cannot be opened for reading.
    pub(super) fn begin(root: BorrowedFd<'_>) -> Result<Self, Errno> {
        let dir = files::open(root, ".")?;
        let found = rustix::fs::fstat(&dir)?;
        let mut walk = Self {
            device: found.st_dev,
            open: Vec::new(),
            waiting: 0,
            bytes: 0,
        };
        walk.bytes = taken(&found);
        walk.open.push(Level::new(dir));
        Ok(walk)
    }

    /// The file system that it does not leave.
    pub(super) fn device(&self) -> u64 {
        self.device
    }

    /// Goes on by at least so many entries, if there are as many. The sum, once it is complete.
    pub(super) fn step(&mut self, entries: usize) -> Option<u64> {
        let mut seen = 0;
        while seen < entries {
            let Some(level) = self.open.last_mut() else {
                return Some(self.bytes);
            };
            if !level.read {
                seen += self.read();
            } else if let Some(name) = level.below.pop() {
                seen += 1;
                self.waiting -= 1;
                self.enter(&name);
            } else {
                self.open.pop();
            }
        }
        None
    }

    fn enter(&mut self, name: &CString) {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let Some(level) = self.open.last() else {
            return;
        };
        if let Ok(dir) = rustix::fs::openat(&level.dir, name, flags, Mode::empty()) {
            self.open.push(Level::new(dir));
        }
    }

    /// Reads some of the innermost directory's names; how many.
    fn read(&mut self) -> usize {
        let deeper = self.open.len() < DEEPEST;
        let Some(level) = self.open.last_mut() else {
            return 0;
        };
        let mut room = [MaybeUninit::uninit(); ROOM];
        let mut names = RawDir::new(level.dir.as_fd(), &mut room);
        let mut seen = 0;
        loop {
            let Some(Ok(entry)) = names.next() else {
                level.read = true;
                break;
            };
            seen += 1;
            let name = entry.file_name();
            let own = matches!(name.to_bytes(), b"." | b"..");
            let found = rustix::fs::statat(&level.dir, name, AtFlags::SYMLINK_NOFOLLOW);
            if let Ok(found) = found
                && !own
                && found.st_dev == self.device
            {
                self.bytes = self.bytes.saturating_add(taken(&found));
                let directory = FileType::from_raw_mode(found.st_mode) == FileType::Directory;
                if directory && deeper && self.waiting < WAITING {
                    self.waiting += 1;
                    level.below.push(name.to_owned());
                }
            }
            if names.is_buffer_empty() {
                break;
            }
        }
        seen
    }
}

/// The part that one of a file's names has in what the file takes.
fn taken(found: &Stat) -> u64 {
    let bytes = u64::try_from(found.st_blocks).unwrap_or(0) * BLOCK;
    if FileType::from_raw_mode(found.st_mode) == FileType::Directory {
        return bytes;
    }
    #[allow(
        clippy::useless_conversion,
        clippy::allow_attributes,
        reason = "the type differs by architecture"
    )]
    let names = u64::from(found.st_nlink);
    bytes / names.max(1)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::fs;
    use std::os::fd::AsFd;
    use std::os::unix::fs::MetadataExt;
    use std::path::Path;

    use rustix::fs::{CWD, FileType, Mode};

    use super::Walk;

    fn sum(dir: &Path, entries: usize) -> u64 {
        let root = fs::File::open(dir).unwrap();
        let mut walk = Walk::begin(root.as_fd()).unwrap();
        for _ in 0..100_000 {
            if let Some(bytes) = walk.step(entries) {
                assert_eq!(walk.waiting, 0);
                return bytes;
            }
        }
        panic!("the walk does not end");
    }

    /// What du(1) would tell: every file once, whatever its names.
    fn told(dir: &Path, seen: &mut HashSet<u64>) -> u64 {
        let mut sum = dir.symlink_metadata().unwrap().blocks() * 512;
        for entry in fs::read_dir(dir).unwrap() {
            let entry = entry.unwrap();
            let found = entry.metadata().unwrap();
            if found.is_dir() {
                sum += told(&entry.path(), seen);
            } else if seen.insert(found.ino()) {
                sum += found.blocks() * 512;
            }
        }
        sum
    }

    #[test]
    fn every_file_counts_once_however_small_the_steps() {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path();
        for dir in 0..20 {
            let below = root.join(format!("{dir}/a/b"));
            fs::create_dir_all(&below).unwrap();
            for file in 0..dir * 3 {
                fs::write(below.join(format!("{file}")), vec![1; file * 100]).unwrap();
            }
        }
        fs::write(root.join("big"), vec![1; 1 << 20]).unwrap();
        fs::hard_link(root.join("big"), root.join("3/again")).unwrap();
        std::os::unix::fs::symlink("/", root.join("link")).unwrap();
        let sparse = fs::File::create(root.join("sparse")).unwrap();
        sparse.set_len(1 << 40).unwrap();
        let expected = told(root, &mut HashSet::new());
        assert!(expected > 1 << 20);
        for entries in [1, 7, 100_000] {
            assert_eq!(sum(root, entries), expected);
        }
    }

    #[test]
    fn what_is_in_the_way_is_passed_by() {
        let temp = tempfile::tempdir().unwrap();
        let mut deep = temp.path().to_owned();
        for _ in 0..150 {
            deep.push("d");
        }
        fs::create_dir_all(&deep).unwrap();
        fs::write(deep.join("file"), vec![1; 1 << 20]).unwrap();
        let (pipe, mode) = (temp.path().join("pipe"), Mode::RUSR);
        rustix::fs::mknodat(CWD, pipe, FileType::Fifo, mode, 0).unwrap();
        assert!(sum(temp.path(), 10) < 1 << 20);
    }

    #[test]
    fn what_vanishes_meanwhile_is_no_error() {
        let temp = tempfile::tempdir().unwrap();
        for dir in 0..50 {
            fs::create_dir(temp.path().join(format!("{dir}"))).unwrap();
        }
        let root = fs::File::open(temp.path()).unwrap();
        let mut walk = Walk::begin(root.as_fd()).unwrap();
        assert_eq!(walk.step(60), None);
        fs::remove_dir_all(temp.path()).unwrap();
        assert!(walk.step(1000).is_some());
        assert_eq!(root.metadata().unwrap().nlink(), 0);
    }
}
