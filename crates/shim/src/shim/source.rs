//! The reading end of an output pipe.

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::pipe::fcntl_setpipe_size;

use legwork_shim::index::Stream;

use super::best_effort;

/// Bytes that an ordinary pipe holds. One that was found full belongs to a busy job.
const ORDINARY: usize = 64 * 1024;
/// Bytes that a busy pipe is to hold.
const WIDE: usize = 1024 * 1024;

/// One of a job's output streams.
///
/// Pipes begin at the system's own size and grow only when they are found full: what all pipes
/// of a user may hold is limited by the kernel (pipe(7), `pipe-user-pages-soft`), and idle jobs must not
/// use that up for everybody else.
#[derive(Debug)]
pub(super) struct Source {
    pipe: OwnedFd,
    stream: Stream,
    wide: bool,
    busy: bool,
}

impl Source {
    /// A stream that has not been read.
    pub(super) fn new(pipe: OwnedFd, stream: Stream) -> Self {
        Self {
            pipe,
            stream,
            wide: false,
            busy: false,
        }
    }

    /// The descriptor to read and wait for.
    pub(super) fn pipe(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }

    /// Which stream it is.
    pub(super) fn stream(&self) -> Stream {
        self.stream
    }

    /// Whether there is something to read.
    pub(super) fn has_more(&self) -> bool {
        rustix::io::ioctl_fionread(&self.pipe).is_ok_and(|bytes| bytes > 0)
    }

    /// Grows after a read of so many bytes, if that was all it could hold.
    pub(super) fn took(&mut self, bytes: u64) {
        self.busy = true;
        if !self.wide && bytes >= ORDINARY as u64 {
            self.wide = true;
            best_effort(fcntl_setpipe_size(&self.pipe, WIDE));
        }
    }

    /// Shrinks if nothing has come since the last call; true if it is still wide.
    pub(super) fn rest(&mut self) -> bool {
        if !core::mem::take(&mut self.busy) && self.wide {
            self.wide = false;
            best_effort(fcntl_setpipe_size(&self.pipe, ORDINARY));
        }
        self.wide
    }
}
