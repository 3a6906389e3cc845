//! Keeping the disk busy beside a busy job, so that little is left to wait for at its end.
//!
//! A disk that makes this wait is slower than the job. It is left to the kernel for a while: the payload
//! must not feel it.

use rustix::fd::BorrowedFd;

use super::{best_effort, clock, sys};

/// New bytes of a file after which the disk gets to work on them.
const STEP: u64 = 8 * 1024 * 1024;
/// Handing them over takes less than this many milliseconds, or the disk is too slow for it.
const SLOW_MS: u64 = 10;
/// How many milliseconds a slow disk is then left to the kernel.
const SLOW_REST_MS: u64 = 2000;

/// How far the disk has been put to work on the open file.
#[derive(Debug, Default)]
pub(super) struct WriteBack {
    upto: u64,
    not_before_ms: u64,
}

impl WriteBack {
    /// Another file has been opened.
    pub(super) fn new_file(&mut self) {
        self.upto = 0;
    }

    /// The file is so long now.
    pub(super) fn grown(&mut self, file: BorrowedFd<'_>, length: u64) {
        let new = length - self.upto;
        if new < STEP {
            return;
        }
        let begun = clock::mono_ms();
        if begun >= self.not_before_ms {
            best_effort(sys::start_writeback(file, self.upto, new));
            let ended = clock::mono_ms();
            if ended - begun >= SLOW_MS {
                self.not_before_ms = ended + SLOW_REST_MS;
            }
        }
        self.upto = length;
    }
}
