//! The library's system calls that no safe wrapper offers.
#![expect(
    unsafe_code,
    reason = "open-file-description locks have no safe wrapper"
)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// The values of the structure's narrow fields, which libc has as `c_int`.
mod narrow {
    #![expect(clippy::cast_possible_truncation, reason = "all three are below 4")]

    pub(super) const WRITE: libc::c_short = libc::F_WRLCK as libc::c_short;
    pub(super) const NONE: libc::c_short = libc::F_UNLCK as libc::c_short;
    pub(super) const FROM_START: libc::c_short = libc::SEEK_SET as libc::c_short;
}

fn whole_file_write_lock() -> libc::flock {
    // SAFETY: `flock` is plain old data of integers; all zero bits is a valid value of it.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = narrow::WRITE;
    lock.l_whence = narrow::FROM_START;
    lock
}

/// Takes an exclusive OFD lock on the whole file; `false` if another description has one.
pub(crate) fn ofd_lock(fd: BorrowedFd<'_>) -> io::Result<bool> {
    let lock = whole_file_write_lock();
    // SAFETY: the descriptor is open for the call (borrowed) and `lock` outlives it; the kernel only
    // reads the structure for F_OFD_SETLK.
    let done = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_OFD_SETLK, &raw const lock) };
    if done == 0 {
        return Ok(true);
    }
    match io::Error::last_os_error() {
        e if matches!(e.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => Ok(false),
        e => Err(e),
    }
}

/// Whether another description holds a lock that an exclusive one would conflict with.
pub(crate) fn ofd_is_locked(fd: BorrowedFd<'_>) -> io::Result<bool> {
    let mut lock = whole_file_write_lock();
    // SAFETY: the descriptor is open for the call (borrowed) and `lock` is a valid structure that the
    // kernel may write, exclusively ours for the length of the call.
    let done = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_OFD_GETLK, &raw mut lock) };
    if done != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(lock.l_type != narrow::NONE)
}
