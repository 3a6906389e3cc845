//! System calls that no safe wrapper offers: the way to make them, and those of the library.
#![expect(
    unsafe_code,
    reason = "open-file-description locks, and what the program asks of the kernel, have no safe wrapper"
)]

use core::ffi::c_long;

use rustix::fd::{AsRawFd, BorrowedFd};
use rustix::io::Errno;

/// What is written here holds for kernels whose registers have 64 bits: structures and arguments look otherwise elsewhere.
const _: () = assert!(usize::BITS == 64, "the shim needs a 64-bit system");

/// Makes a system call; a negative result is an error.
///
/// # Safety
/// The arguments must be right for that call: above all, whatever memory it reads or writes must be there, of the
/// right form, and ours to have read or written.
///
/// # Errors
/// What the kernel says.
#[cfg(target_arch = "x86_64")]
pub unsafe fn call(number: c_long, arguments: [usize; 6]) -> Result<usize, Errno> {
    let [a, b, c, d, e, f] = arguments;
    let result: c_long;
    // SAFETY: this is how this architecture calls its kernel: the instruction changes these registers, the flags and
    // nothing else of ours but the memory that the caller answers for. It does not use the stack.
    unsafe {
        core::arch::asm!(
            "syscall",
            inlateout("rax") number => result,
            in("rdi") a,
            in("rsi") b,
            in("rdx") c,
            in("r10") d,
            in("r8") e,
            in("r9") f,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    // Nothing that a call gives, not even a place in memory, is as large as an error looks.
    usize::try_from(result).map_err(|_| {
        let errno = i32::try_from(result.wrapping_neg());
        Errno::from_raw_os_error(errno.unwrap_or(libc::EINVAL))
    })
}

/// Makes a system call; a negative result is an error.
///
/// # Safety
/// The arguments must be right for that call: above all, whatever memory it reads or writes must be there, of the
/// right form, and ours to have read or written.
///
/// # Errors
/// What the kernel says.
#[cfg(all(feature = "std", not(target_arch = "x86_64")))]
pub unsafe fn call(number: c_long, arguments: [usize; 6]) -> Result<usize, Errno> {
    let [a, b, c, d, e, f] = arguments;
    // SAFETY: the C library passes the arguments on; the caller answers for them.
    let result = unsafe { libc::syscall(number, a, b, c, d, e, f) };
    usize::try_from(result).map_err(|_| {
        let error = std::io::Error::last_os_error();
        Errno::from_io_error(&error).unwrap_or(Errno::INVAL)
    })
}

/// A descriptor or another number that is not negative, as an argument.
#[must_use]
pub fn argument(number: i32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// The values of the structure's narrow fields, which libc has as `c_int`.
mod narrow {
    #![expect(clippy::cast_possible_truncation, reason = "all three are below 4")]

    pub(super) const WRITE: libc::c_short = libc::F_WRLCK as libc::c_short;
    pub(super) const NONE: libc::c_short = libc::F_UNLCK as libc::c_short;
    pub(super) const FROM_START: libc::c_short = libc::SEEK_SET as libc::c_short;
}

fn whole_file_write_lock() -> libc::flock {
    // SAFETY: `flock` is plain old data of integers; all zero bits is a valid value of it.
    let mut lock: libc::flock = unsafe { core::mem::zeroed() };
    lock.l_type = narrow::WRITE;
    lock.l_whence = narrow::FROM_START;
    lock
}

fn lock_call(fd: BorrowedFd<'_>, command: i32, lock: &mut libc::flock) -> Result<(), Errno> {
    let lock = (&raw mut *lock).expose_provenance();
    let arguments = [argument(fd.as_raw_fd()), argument(command), lock, 0, 0, 0];
    // SAFETY: the descriptor is open for the call (borrowed) and `lock` is a valid structure, of the form the kernel
    // has on 64-bit systems, that it may read and write: it is exclusively ours for the length of the call.
    unsafe { call(libc::SYS_fcntl, arguments) }.map(drop)
}

/// Takes an exclusive OFD lock on the whole file; `false` if another description has one.
pub(crate) fn ofd_lock(fd: BorrowedFd<'_>) -> Result<bool, Errno> {
    match lock_call(fd, libc::F_OFD_SETLK, &mut whole_file_write_lock()) {
        Ok(()) => Ok(true),
        Err(Errno::AGAIN | Errno::ACCESS) => Ok(false),
        Err(e) => Err(e),
    }
}

/// Whether another description holds a lock that an exclusive one would conflict with.
pub(crate) fn ofd_is_locked(fd: BorrowedFd<'_>) -> Result<bool, Errno> {
    let mut lock = whole_file_write_lock();
    lock_call(fd, libc::F_OFD_GETLK, &mut lock)?;
    Ok(lock.l_type != narrow::NONE)
}
