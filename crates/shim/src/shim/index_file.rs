//! The index on disk: an entry before the bytes it describes, and not more entries than help.
//!
//! A new entry is due when the stream changes and when the last one is older than a gap. The gap
//! begins at a millisecond and doubles with every 65,536 entries up to a second, so that the times of
//! a job that prints for weeks become coarser rather than its index larger than its output.

use rustix::fd::{BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use legwork_shim::index::{ENTRY_LEN, Entry, Stream};
use legwork_shim::layout;

use super::best_effort;

/// Least time between two entries of one run, in microseconds, at first.
const GAP_US: u64 = 1000;
/// Entries after which the gap doubles.
const COARSER_AFTER: u64 = 1 << 16;
/// How often it doubles.
const COARSEST: u64 = 10;

/// The index of one job, made with its first entry.
#[derive(Debug, Default)]
pub(super) struct IndexFile {
    file: Option<OwnedFd>,
    entries: u64,
    last: Option<Entry>,
    dirty: bool,
}

impl IndexFile {
    /// Sees to it that the index tells where bytes at `entry.offset` come from.
    ///
    /// # Errors
    /// What the disk says; the index is as before.
    pub(super) fn note(&mut self, dir: BorrowedFd<'_>, entry: Entry) -> Result<(), Errno> {
        if self
            .last
            .is_some_and(|last| covers(last, entry, self.gap_us()))
        {
            return Ok(());
        }
        let file = match &self.file {
            Some(file) => file,
            None => self.file.insert(create(dir)?),
        };
        // At its own offset, so that a torn entry is overwritten by the next attempt.
        let at = self.entries * ENTRY_LEN as u64;
        if rustix::io::pwrite(file, &entry.encode(), at)? < ENTRY_LEN {
            return Err(Errno::NOSPC);
        }
        self.entries += 1;
        self.last = Some(entry);
        self.dirty = true;
        Ok(())
    }

    fn gap_us(&self) -> u64 {
        GAP_US << (self.entries / COARSER_AFTER).min(COARSEST)
    }

    /// Makes it durable.
    pub(super) fn sync(&mut self) {
        if let (Some(file), true) = (&self.file, core::mem::take(&mut self.dirty)) {
            best_effort(rustix::fs::fdatasync(file));
        }
    }
}

/// Whether the last entry says all that a new one would.
fn covers(last: Entry, new: Entry, gap_us: u64) -> bool {
    let young = new.time_us.abs_diff(last.time_us) < gap_us;
    last.stream == new.stream && (young || last.stream == Stream::Dropped)
}

fn create(dir: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(
        dir,
        layout::INDEX,
        OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC,
        Mode::RUSR | Mode::WUSR,
    )
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use legwork_shim::index::{Entry, Stream};

    use super::{COARSER_AFTER, COARSEST, GAP_US, IndexFile};

    fn entry(offset: u64, time_us: u64, stream: Stream) -> Entry {
        Entry {
            offset,
            time_us,
            stream,
        }
    }

    #[test]
    fn an_entry_is_due_when_the_stream_changes_or_time_has_passed() {
        let here = tempfile::tempdir().unwrap();
        let dir = std::fs::File::open(here.path()).unwrap();
        let mut index = IndexFile::default();
        for (offset, time_us, stream, entries) in [
            (0, 0, Stream::Stdout, 1),
            (1, GAP_US - 1, Stream::Stdout, 1),
            (2, GAP_US - 1, Stream::Stderr, 2),
            (3, GAP_US, Stream::Stderr, 2),
            (4, 2 * GAP_US, Stream::Stderr, 3),
            (5, 2 * GAP_US, Stream::Dropped, 4),
            (6, 9 * GAP_US, Stream::Dropped, 4),
            (7, 9 * GAP_US, Stream::Stderr, 5),
            // A clock that was set back is no reason to lose time.
            (8, 0, Stream::Stderr, 6),
        ] {
            index
                .note(dir.as_fd(), entry(offset, time_us, stream))
                .unwrap();
            assert_eq!(index.entries, entries, "at {offset}");
        }
        assert_eq!(
            std::fs::read(here.path().join("index")).unwrap().len(),
            6 * 24
        );
    }

    #[test]
    fn the_gap_grows_with_the_index_up_to_a_second() {
        let mut index = IndexFile::default();
        assert_eq!(index.gap_us(), GAP_US);
        index.entries = 3 * COARSER_AFTER;
        assert_eq!(index.gap_us(), 8 * GAP_US);
        index.entries = u64::MAX / 32;
        assert_eq!(index.gap_us(), GAP_US << COARSEST);
    }
}
