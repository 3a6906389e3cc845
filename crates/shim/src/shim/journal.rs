//! The shim's own lines of the job's journal.
//!
//! The file is opened anew for each of them: closing it is what those who watch the directory are told of.

use alloc::vec::Vec;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{FallocateFlags, Mode, OFlags};
use rustix::io::Errno;
use serde::Serialize;

use legwork_shim::journal::Line;
use legwork_shim::layout;

use super::best_effort;

/// Bytes reserved for our lines, which have some hundred each.
const SPACE: u64 = 4096;

/// Where the next line goes.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Journal {
    end: u64,
}

impl Journal {
    /// There are so many bytes of whole lines.
    pub(super) fn goes_on_at(&mut self, end: usize) {
        self.end = end as u64;
    }

    /// Reserves space for all lines to come, so that what the job writes to the same disk cannot be in their way, and
    /// appends the first of them.
    ///
    /// # Errors
    /// There is no room, or what else the file system says. One that cannot reserve is trusted to have some room later.
    pub(super) fn begin(
        &mut self,
        dir: BorrowedFd<'_>,
        kind: Line,
        record: &impl Serialize,
    ) -> Result<(), Errno> {
        let file = open(dir)?;
        let reserved = rustix::fs::fallocate(&file, FallocateFlags::KEEP_SIZE, self.end, SPACE);
        if let Err(e @ (Errno::NOSPC | Errno::DQUOT)) = reserved {
            return Err(e);
        }
        self.write(file.as_fd(), kind, record)
    }

    /// Appends a line and makes it durable. Until then it lacks its line feed, so nobody takes it for one.
    ///
    /// # Errors
    /// What the file system says; the same line may be tried again, and is then written over what there is of it.
    pub(super) fn append(
        &mut self,
        dir: BorrowedFd<'_>,
        kind: Line,
        record: &impl Serialize,
    ) -> Result<(), Errno> {
        self.write(open(dir)?.as_fd(), kind, record)
    }

    fn write(
        &mut self,
        file: BorrowedFd<'_>,
        kind: Line,
        record: &impl Serialize,
    ) -> Result<(), Errno> {
        let line = kind.encode(record).map_err(|_| Errno::INVAL)?;
        let (feed, rest) = line.split_last().ok_or(Errno::INVAL)?;
        write_all(file, rest, self.end)?;
        rustix::fs::fsync(file)?;
        write_all(file, &[*feed], self.end + rest.len() as u64)?;
        self.end += line.len() as u64;
        Ok(())
    }

    /// Takes back what an append that failed has left.
    pub(super) fn cut(self, dir: BorrowedFd<'_>) {
        best_effort(open(dir).and_then(|file| rustix::fs::ftruncate(file, self.end)));
    }
}

fn open(dir: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(
        dir,
        layout::JOURNAL,
        OFlags::WRONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )
}

fn write_all(file: BorrowedFd<'_>, bytes: &[u8], at: u64) -> Result<(), Errno> {
    let mut written = 0;
    while written < bytes.len() {
        written += rustix::io::pwrite(file, &bytes[written..], at + written as u64)?;
    }
    Ok(())
}

/// The whole of the journal, through the descriptor that the launcher has locked.
///
/// # Errors
/// What the file system says.
pub(super) fn read(file: BorrowedFd<'_>) -> Result<Vec<u8>, Errno> {
    let length = usize::try_from(rustix::fs::fstat(file)?.st_size).unwrap_or(0);
    let mut raw = Vec::with_capacity(length + 1);
    loop {
        let at = raw.len() as u64;
        if rustix::io::pread(file, rustix::buffer::spare_capacity(&mut raw), at)? == 0 {
            return Ok(raw);
        }
        raw.reserve(1);
    }
}
