//! The limit of what a job's directory takes on its disk.
//!
//! Linux has no such limit that every file system knows, so the directory is measured, which takes a walk over all of it. So that this
//! is not done all the time, the file system is asked how much room it has, which costs next to nothing: the job cannot have come to take
//! more than what is gone from there since the last walk. Only when that would be too much, and now and then because others may have made
//! room, is there another walk. What is used up faster than it is looked at is over the limit by what is written meanwhile: nothing
//! keeps a process from writing.
//!
//! What the job's processes have open without a name counts too, wherever it lies on that file system.
//!
//! Times are milliseconds of the monotonic clock.

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags};

use legwork_shim::limits::Disk as Asked;

use super::tree;
use super::unnamed::Unnamed;
use super::walk::Walk;

/// Entries that are looked at before output is, which waits 0.1 ms for them.
const ENTRIES: usize = 64;
/// Steps of a walk between two rests.
const STEPS: u32 = 8;
/// Such a rest, for the sake of others who need the processor.
const REST_MS: u64 = 1;
/// Shortest and longest time between two looks at the room.
const LOOK_MS: (u64, u64) = (100, 5000);
/// What a disk writes in a millisecond at the most, in bytes: what is left cannot be used up sooner.
const SWIFTEST: u64 = 4 << 20;
/// Longest time without a walk.
const WALK_MS: u64 = 30_000;
/// Rest after a walk, as a multiple of the time that it took.
const REST: u64 = 8;

/// A count on its way.
#[derive(Debug)]
enum Count {
    /// Of what is in the directory.
    Named(Walk),
    /// After that, of files without a name.
    Unnamed(Unnamed),
}

impl Count {
    /// The sum, once it is complete; `self` then has no more to tell.
    fn step(&mut self) -> Option<u64> {
        match self {
            Self::Named(walk) => {
                let bytes = walk.step(ENTRIES)?;
                *self = Self::Unnamed(Unnamed::begin(walk.device(), tree::pids(), bytes));
                None
            }
            Self::Unnamed(unnamed) => unnamed.step(),
        }
    }
}

/// What a directory may still take.
#[derive(Debug)]
pub(super) struct Disk {
    root: OwnedFd,
    limit: u64,
    /// What the last walk found, if there was one.
    held: Option<u64>,
    /// Bytes of room before that walk, or the one on its way.
    room: u64,
    count: Option<Count>,
    /// Of the count on its way.
    steps: u32,
    began: u64,
    /// No walk before, and one not later than.
    walks: (u64, u64),
    look_at: u64,
}

impl Disk {
    /// Of a job that runs since `now`. `None` if its directory cannot be opened: then the job could not have entered it.
    pub(super) fn new(asked: &Asked, now: u64) -> Option<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::openat(CWD, asked.path.as_bytes(), flags, Mode::empty()).ok()?;
        // Most jobs are over by then, and a walk costs more than the rest of such a job. What they write in that time is within what any
        // job may write between two looks.
        let first = now + LOOK_MS.0;
        Some(Self {
            root,
            limit: asked.bytes,
            held: None,
            room: 0,
            count: None,
            steps: 0,
            began: now,
            walks: (first, first),
            look_at: first,
        })
    }

    /// When to look again.
    pub(super) fn look_at(&self) -> u64 {
        self.look_at
    }

    /// Bytes that were held when they were counted last.
    pub(super) fn held(&self) -> Option<u64> {
        self.held
    }

    /// Whether the directory takes more than it may.
    pub(super) fn is_over(&mut self, now: u64) -> bool {
        if self.count.is_none() && !self.begins(now) {
            return false;
        }
        let Some(bytes) = self.count.as_mut().and_then(Count::step) else {
            self.steps += 1;
            let rests = self.steps.is_multiple_of(STEPS);
            self.look_at = if rests { now + REST_MS } else { now };
            return false;
        };
        self.count = None;
        self.held = Some(bytes);
        let rest = (now - self.began).saturating_mul(REST);
        self.walks = (now + rest, now + rest.max(WALK_MS));
        self.look_at = now + until(self.limit.saturating_sub(bytes));
        bytes > self.limit
    }

    /// Whether it is time for a walk, which then begins.
    fn begins(&mut self, now: u64) -> bool {
        let room = room(&self.root);
        let left = self.held.map_or(0, |held| {
            let gone = self.room.saturating_sub(room);
            self.limit.saturating_sub(held.saturating_add(gone))
        });
        let (soonest, latest) = self.walks;
        if now < soonest || (left > 0 && now < latest) {
            self.look_at = now + until(left);
            return false;
        }
        self.count = Walk::begin(self.root.as_fd()).ok().map(Count::Named);
        (self.room, self.began, self.steps) = (room, now, 0);
        if self.count.is_none() {
            // It was taken away, or its permissions were.
            self.walks = (now + LOOK_MS.1, now + LOOK_MS.1);
            self.look_at = now + LOOK_MS.1;
        }
        self.count.is_some()
    }
}

/// When so much can have been written at the earliest.
fn until(left: u64) -> u64 {
    (left / SWIFTEST).clamp(LOOK_MS.0, LOOK_MS.1)
}

/// Bytes that the file system has left.
fn room(dir: &OwnedFd) -> u64 {
    rustix::fs::fstatvfs(dir).map_or(0, |told| told.f_bfree.saturating_mul(told.f_frsize))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use legwork_shim::limits::Disk as Asked;

    use super::{Disk, LOOK_MS, WALK_MS, until};

    fn limited(dir: &Path, bytes: u64) -> Disk {
        let path = dir.into();
        Disk::new(&Asked { path, bytes }, 1000).unwrap()
    }

    /// Looks as often as it wants to, until it has measured again or the time is over.
    fn looked(disk: &mut Disk, until: u64) -> Option<u64> {
        let before = disk.walks;
        while disk.look_at() <= until {
            let now = disk.look_at();
            if disk.is_over(now) {
                return Some(now);
            }
            if disk.walks != before {
                break;
            }
        }
        None
    }

    #[test]
    fn too_much_at_the_beginning_is_too_much() {
        let temp = tempfile::tempdir().unwrap();
        fs::write(temp.path().join("file"), vec![1; 1 << 20]).unwrap();
        let mut disk = limited(temp.path(), 1 << 19);
        assert!(looked(&mut disk, 2000).is_some());
        assert!(disk.held().unwrap() > 1 << 20);
        let mut disk = limited(temp.path(), 1 << 30);
        assert_eq!(looked(&mut disk, 2000), None);
        assert!(disk.held().unwrap() > 1 << 20);
    }

    #[test]
    fn a_directory_is_measured_anew_though_others_have_made_room() {
        let temp = tempfile::tempdir().unwrap();
        let mut disk = limited(temp.path(), 1 << 20);
        assert_eq!(looked(&mut disk, 2000), None);
        // As if the file system had more room than before.
        disk.room = 0;
        fs::write(temp.path().join("file"), vec![1; 2 << 20]).unwrap();
        let (at, begun) = (disk.walks.1, disk.look_at());
        assert!(at >= begun + WALK_MS - LOOK_MS.0);
        assert!(looked(&mut disk, at + LOOK_MS.1).unwrap() >= at);
    }

    #[test]
    fn a_short_job_is_not_measured() {
        let temp = tempfile::tempdir().unwrap();
        let disk = limited(temp.path(), 1 << 20);
        assert_eq!(disk.look_at(), 1000 + LOOK_MS.0);
    }

    #[test]
    fn a_directory_that_is_gone_is_not_measured() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("dir");
        fs::create_dir(&dir).unwrap();
        let mut disk = limited(&dir, 1 << 20);
        fs::remove_dir(&dir).unwrap();
        assert_eq!(looked(&mut disk, 100_000), None);
    }

    #[test]
    fn the_less_is_left_the_sooner_it_is_looked_at() {
        assert_eq!(until(0), 100);
        assert_eq!(until(1 << 30), 256);
        assert_eq!(until(u64::MAX), 5000);
    }
}
