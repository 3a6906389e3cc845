//! The binary's system calls that no safe wrapper offers, and its entry point.
//!
//! All of it rests on one fact: a shim has exactly one thread, before and after the fork.
#![expect(
    unsafe_code,
    reason = "fork, exec, signal masks and the entry point have no safe wrapper"
)]

use std::ffi::{CStr, CString, c_char, c_int};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;

use rustix::process::Pid;

/// Where the C runtime begins. Without the standard library's own start there is no handler for stack
/// overflow, no alternate stack and no change to SIGPIPE: pages and calls that a shim has no use for.
#[cfg(not(test))]
// SAFETY: `main` is the symbol the C runtime calls, with this signature at the most; nothing else in the
// program defines it, because the crate is `no_main`.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn main(_argc: c_int, _argv: *const *const c_char) -> c_int {
    super::run()
}

fn checked(result: c_int) -> io::Result<c_int> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(result)
}

/// Closes every descriptor above the three standard ones.
pub(super) fn close_the_rest() -> io::Result<()> {
    // SAFETY: called before anything else has been opened, so no descriptor above 2 has an owner in
    // this program that could be surprised.
    match checked(unsafe { libc::close_range(3, libc::c_uint::MAX, 0) }) {
        Err(e) if e.raw_os_error() == Some(libc::ENOSYS) => close_one_by_one(),
        done => done.map(drop),
    }
}

/// The same for kernels before 5.9.
fn close_one_by_one() -> io::Result<()> {
    for fd in descriptors_above_the_standard_ones()? {
        // SAFETY: as above. The descriptor through which the list was read is in it and closed already;
        // closing it again fails without harm, because nothing has been opened since.
        unsafe { libc::close(fd) };
    }
    Ok(())
}

fn descriptors_above_the_standard_ones() -> io::Result<Vec<c_int>> {
    let names = std::fs::read_dir("/proc/self/fd")?;
    let numbers = names.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    Ok(numbers.filter(|fd| *fd > 2).collect())
}

/// Forks; `None` in the child.
pub(super) fn fork() -> io::Result<Option<Pid>> {
    // SAFETY: the process has one thread, so the child is a whole copy: no lock can be held by a thread
    // that is missing in it, and it may allocate.
    let pid = checked(unsafe { libc::fork() })?;
    Ok(Pid::from_raw(pid))
}

/// Ends the process at once, without exit handlers: for the child that failed to become the payload.
pub(super) fn leave(code: c_int) -> ! {
    // SAFETY: `_exit` has no preconditions and does not return.
    unsafe { libc::_exit(code) }
}

fn all_signals() -> libc::sigset_t {
    // SAFETY: `sigset_t` is plain old data, for which all zero bits is a valid value.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: the set is a valid, exclusively borrowed `sigset_t`.
    unsafe { libc::sigfillset(&raw mut set) };
    set
}

fn no_signals() -> libc::sigset_t {
    // SAFETY: `sigset_t` is plain old data, for which all zero bits is a valid value.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: the set is a valid, exclusively borrowed `sigset_t`.
    unsafe { libc::sigemptyset(&raw mut set) };
    set
}

fn set_mask(set: &libc::sigset_t) -> io::Result<()> {
    // SAFETY: `set` is a valid `sigset_t` that the call only reads; the old mask is not asked for.
    checked(unsafe { libc::sigprocmask(libc::SIG_SETMASK, set, ptr::null_mut()) }).map(drop)
}

/// Blocks every signal, so that each is either read from the [`signal_queue`] or waits for ever, and makes
/// sure that ended children wait to be reaped whatever the launcher ignored.
pub(super) fn block_signals() -> io::Result<()> {
    set_mask(&all_signals())?;
    // SAFETY: the default action for SIGCHLD is installed; no handler of ours runs.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
    Ok(())
}

/// The kernel's `sigaction` for the default action is all zeros, in whatever order its fields are; no
/// architecture's is larger than this.
const DEFAULT_ACTION: [u64; 8] = [0; 8];
/// Bytes of the kernel's own signal set.
const SIGNAL_SET: usize = 8;

/// The state in which a program expects its signals: none blocked, none ignored. That includes the
/// two that the C library keeps for itself and hides from its callers.
pub(super) fn restore_signals() -> io::Result<()> {
    let (action, old) = (DEFAULT_ACTION.as_ptr(), ptr::null_mut::<u64>());
    for number in 1..=libc::SIGRTMAX() {
        // SAFETY: the kernel reads one `sigaction` from `action`, which is large enough, and writes
        // nothing because `old` is null. Only default actions are installed; numbers that cannot be
        // changed are refused with an error that does not matter.
        unsafe { libc::syscall(libc::SYS_rt_sigaction, number, action, old, SIGNAL_SET) };
    }
    set_mask(&no_signals())
}

/// A descriptor from which these signals are read.
pub(super) fn signal_queue(numbers: &[c_int]) -> io::Result<OwnedFd> {
    let mut set = no_signals();
    for number in numbers {
        // SAFETY: the set is a valid, exclusively borrowed `sigset_t`.
        unsafe { libc::sigaddset(&raw mut set, *number) };
    }
    // SAFETY: the set is valid and only read; -1 asks for a new descriptor.
    let fd = unsafe { libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
    let fd = checked(fd)?;
    // SAFETY: the kernel has just made this descriptor for us and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Sends a signal by number, real-time ones and 0 included.
pub(super) fn kill(pid: Pid, number: c_int) -> io::Result<()> {
    // SAFETY: kill(2) touches no memory of ours. That the id still means the process that the caller
    // thinks of is the caller's to know: see `reap::Main`.
    checked(unsafe { libc::kill(pid.as_raw_nonzero().get(), number) }).map(drop)
}

/// Consumption of all children that were waited for, and of theirs.
pub(super) fn children_usage() -> libc::rusage {
    // SAFETY: `rusage` is plain old data, for which all zero bits is a valid value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the structure is valid, exclusively ours and of the type the call fills in. It fails for a
    // bad pointer or an unknown `who` only, and then leaves zeros.
    unsafe { libc::getrusage(libc::RUSAGE_CHILDREN, &raw mut usage) };
    usage
}

/// Gives unused heap pages back to the kernel.
pub(super) fn release_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: the allocator's own maintenance call; it has no preconditions.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Starts writing a part of a file to the disk, without waiting for it to get there.
pub(super) fn start_writeback(file: BorrowedFd<'_>, from: u64, length: u64) -> io::Result<()> {
    let offset = |bytes: u64| libc::off64_t::try_from(bytes).unwrap_or(libc::off64_t::MAX);
    let (from, length) = (offset(from), offset(length));
    // SAFETY: the descriptor is open for the call (borrowed); no memory is passed.
    checked(unsafe {
        libc::sync_file_range(file.as_raw_fd(), from, length, libc::SYNC_FILE_RANGE_WRITE)
    })
    .map(drop)
}

/// C strings and the null-terminated array of pointers to them that exec wants.
#[derive(Debug)]
pub(super) struct StringArray {
    pointers: Vec<*const c_char>,
    _strings: Vec<CString>,
}

impl StringArray {
    /// Keeps the strings for as long as the pointers.
    pub(super) fn new(strings: Vec<CString>) -> Self {
        let pointers = strings
            .iter()
            .map(|string| string.as_ptr())
            .chain([ptr::null()])
            .collect();
        Self {
            pointers,
            _strings: strings,
        }
    }
}

/// Becomes another program; returns only to say why not.
pub(super) fn exec(path: &CStr, argv: &StringArray, env: &StringArray) -> io::Error {
    // SAFETY: `path` is a C string; both arrays end with a null pointer, and every other pointer in
    // them points to a C string that the array owns and has not moved (the heap block of a `CString`
    // stays where it is when the `Vec` around it moves).
    unsafe { libc::execve(path.as_ptr(), argv.pointers.as_ptr(), env.pointers.as_ptr()) };
    io::Error::last_os_error()
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::descriptors_above_the_standard_ones;

    #[test]
    fn open_descriptors_are_found() {
        let file = std::fs::File::open("/dev/null").unwrap();
        let found = descriptors_above_the_standard_ones().unwrap();
        assert!(found.contains(&file.as_raw_fd()));
        assert!(found.iter().all(|fd| *fd > 2));
    }
}
