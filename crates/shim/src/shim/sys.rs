//! The program's system calls that no safe wrapper offers.
//!
//! All of it rests on one fact: a shim has exactly one thread, before and after the fork.
#![expect(
    unsafe_code,
    reason = "fork, exec and signal masks have no safe wrapper"
)]

use alloc::ffi::CString;
use alloc::vec::Vec;
use core::ffi::{CStr, c_char, c_int};
use core::ptr;

use rustix::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use rustix::io::Errno;
use rustix::process::Pid;

use legwork_shim::sys::{argument, call};

use super::files;

/// The largest number of a signal.
pub(super) const LAST_SIGNAL: c_int = 64;
/// Every signal, in the kernel's form: the lowest bit is signal 1.
const ALL_SIGNALS: u64 = u64::MAX;
/// Bytes of that form.
const SIGNAL_SET: usize = size_of::<u64>();

/// Where something that the kernel reads or writes lies.
fn place<T: ?Sized>(of: *const T) -> usize {
    of.expose_provenance()
}

fn number_of(result: usize) -> c_int {
    c_int::try_from(result).unwrap_or(c_int::MAX)
}

/// One of the three descriptors that every program begins with.
fn standard(number: c_int) -> BorrowedFd<'static> {
    // SAFETY: the launcher gives all three (see `shim`), and nothing here closes them: others are put in their places.
    unsafe { BorrowedFd::borrow_raw(number) }
}

/// Standard input.
pub(super) fn stdin() -> BorrowedFd<'static> {
    standard(libc::STDIN_FILENO)
}

/// Standard output.
pub(super) fn stdout() -> BorrowedFd<'static> {
    standard(libc::STDOUT_FILENO)
}

/// Standard error.
#[cfg(not(any(test, feature = "std")))]
pub(crate) fn stderr() -> BorrowedFd<'static> {
    standard(libc::STDERR_FILENO)
}

/// Closes every descriptor above the three standard ones.
pub(super) fn close_the_rest() -> Result<(), Errno> {
    let last = usize::try_from(u32::MAX).unwrap_or(usize::MAX);
    // SAFETY: called before anything else has been opened, so no descriptor above 2 has an owner in
    // this program that could be surprised. No memory is passed.
    match unsafe { call(libc::SYS_close_range, [3, last, 0, 0, 0, 0]) } {
        Err(Errno::NOSYS) => close_one_by_one(),
        done => done.map(drop),
    }
}

/// The same for kernels before 5.9.
fn close_one_by_one() -> Result<(), Errno> {
    for fd in descriptors_above_the_standard_ones()? {
        // SAFETY: as above. The descriptor through which the list was read is in it and closed already;
        // closing it again fails without harm, because nothing has been opened since.
        let closed = unsafe { call(libc::SYS_close, [argument(fd), 0, 0, 0, 0, 0]) };
        super::best_effort(closed);
    }
    Ok(())
}

fn descriptors_above_the_standard_ones() -> Result<Vec<c_int>, Errno> {
    let mut numbers = files::numbers("/proc/self/fd")?;
    numbers.retain(|fd| *fd > 2);
    Ok(numbers)
}

/// Forks; `None` in the child.
pub(super) fn fork() -> Result<Option<Pid>, Errno> {
    let mut arguments = [0; 6];
    // Everything else is zero, so that only the place of the flags matters, which one architecture has second.
    arguments[usize::from(cfg!(target_arch = "s390x"))] = argument(libc::SIGCHLD);
    // SAFETY: without flags this is fork(2): the child has a copy of all memory, its stack included. The process has
    // one thread, so the copy is whole: no lock can be held by a thread that is missing in it, and it may allocate.
    let pid = unsafe { call(libc::SYS_clone, arguments) }?;
    Ok(Pid::from_raw(number_of(pid)))
}

/// The arguments of clone3(2), as of the version that has the last of these fields.
#[repr(C)]
#[derive(Default)]
struct CloneArguments {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// Makes the child a member of another control group from its first moment.
const CLONE_INTO_CGROUP: u64 = 1 << 33;

/// Forks into a control group; `None` in the child.
///
/// # Errors
/// `ENOSYS`, `EINVAL` or `E2BIG` where the kernel is older than 5.7 or does not let us; else what clone3(2) says.
pub(super) fn fork_into(cgroup: BorrowedFd<'_>) -> Result<Option<Pid>, Errno> {
    let wanted = CloneArguments {
        flags: CLONE_INTO_CGROUP,
        exit_signal: u64::from(libc::SIGCHLD.unsigned_abs()),
        cgroup: u64::from(cgroup.as_raw_fd().unsigned_abs()),
        ..CloneArguments::default()
    };
    let arguments = [
        place(&raw const wanted),
        size_of::<CloneArguments>(),
        0,
        0,
        0,
        0,
    ];
    // SAFETY: the kernel only reads `wanted`, which has the layout of its structure and the size that is told. Without a stack
    // and without sharing flags this is fork(2), for which `fork` says why it is sound here.
    let pid = unsafe { call(libc::SYS_clone3, arguments) }?;
    Ok(Pid::from_raw(number_of(pid)))
}

/// Ends the process at once, without exit handlers.
pub(crate) fn leave(code: c_int) -> ! {
    loop {
        // SAFETY: exit_group(2) has no preconditions and does not return.
        super::best_effort(unsafe { call(libc::SYS_exit_group, [argument(code), 0, 0, 0, 0, 0]) });
    }
}

fn set_mask(set: u64) -> Result<(), Errno> {
    let arguments = [
        argument(libc::SIG_SETMASK),
        place(&raw const set),
        0,
        SIGNAL_SET,
        0,
        0,
    ];
    // SAFETY: `set` is a signal set in the kernel's form that the call only reads; the old mask is not asked for.
    unsafe { call(libc::SYS_rt_sigprocmask, arguments) }.map(drop)
}

/// The kernel's `sigaction` for the default action is all zeros, in whatever order its fields are; no
/// architecture's is larger than this.
static DEFAULT_ACTION: [u64; 8] = [0; 8];

fn set_default_action(number: c_int) -> Result<(), Errno> {
    let action = place(&raw const DEFAULT_ACTION);
    // SAFETY: the kernel reads one `sigaction` from `action`, which is large enough, and writes nothing
    // because the place for the old one is null. No handler of ours will run.
    unsafe {
        call(
            libc::SYS_rt_sigaction,
            [argument(number), action, 0, SIGNAL_SET, 0, 0],
        )
    }
    .map(drop)
}

/// Blocks every signal, so that each is either read from the [`signal_queue`] or waits for ever, and makes
/// sure that ended children wait to be reaped whatever the launcher ignored.
pub(super) fn block_signals() -> Result<(), Errno> {
    set_mask(ALL_SIGNALS)?;
    set_default_action(libc::SIGCHLD)
}

/// The state in which a program expects its signals: none blocked, none ignored. That includes the
/// two that a C library keeps for itself and hides from its callers.
pub(super) fn restore_signals() -> Result<(), Errno> {
    for number in 1..=LAST_SIGNAL {
        // Those that cannot be changed are refused.
        super::best_effort(set_default_action(number));
    }
    set_mask(0)
}

/// Dies of SIGABRT, whatever has been done about it.
#[cfg(not(any(test, feature = "std")))]
pub(crate) fn abort() -> ! {
    super::best_effort(set_default_action(libc::SIGABRT));
    // Only this one: others may wait, such as the one of a pipe that nobody reads any more.
    super::best_effort(set_mask(ALL_SIGNALS & !(1 << (libc::SIGABRT - 1))));
    super::best_effort(kill(rustix::process::getpid(), libc::SIGABRT));
    leave(127)
}

/// A descriptor from which these signals are read.
pub(super) fn signal_queue(numbers: &[c_int]) -> Result<OwnedFd, Errno> {
    let set = numbers
        .iter()
        .fold(0_u64, |set, number| set | 1 << (number - 1));
    let new_descriptor = usize::MAX;
    let flags = argument(libc::SFD_CLOEXEC | libc::SFD_NONBLOCK);
    let arguments = [
        new_descriptor,
        place(&raw const set),
        SIGNAL_SET,
        flags,
        0,
        0,
    ];
    // SAFETY: the set is in the kernel's form and only read.
    let fd = unsafe { call(libc::SYS_signalfd4, arguments) }?;
    // SAFETY: the kernel has just made this descriptor for us and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(number_of(fd)) })
}

/// Sends a signal by number, real-time ones and 0 included.
pub(super) fn kill(pid: Pid, number: c_int) -> Result<(), Errno> {
    let pid = argument(pid.as_raw_nonzero().get());
    // A number that is none must not become another one.
    let signal = usize::try_from(number).map_err(|_| Errno::INVAL)?;
    // SAFETY: kill(2) touches no memory of ours. That the id still means the process that the caller
    // thinks of is the caller's to know: see `reap::Main`.
    unsafe { call(libc::SYS_kill, [pid, signal, 0, 0, 0, 0]) }.map(drop)
}

/// Consumption of all children that were waited for, and of theirs.
pub(super) fn children_usage() -> libc::rusage {
    // SAFETY: `rusage` is plain old data, for which all zero bits is a valid value.
    let mut usage: libc::rusage = unsafe { core::mem::zeroed() };
    // The kernel takes who is meant as an `int`: the lower half of this.
    let children = usize::MAX;
    const { assert!(libc::RUSAGE_CHILDREN == -1) };
    let arguments = [children, place(&raw mut usage), 0, 0, 0, 0];
    // SAFETY: the structure is exclusively ours and of the form that the kernel of a 64-bit system fills in. It fails
    // for a bad pointer or an unknown `who` only, and then leaves zeros.
    super::best_effort(unsafe { call(libc::SYS_getrusage, arguments) });
    usage
}

/// A clock's time.
pub(super) fn clock(id: libc::clockid_t) -> libc::timespec {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let arguments = [argument(id), place(&raw mut now), 0, 0, 0, 0];
    // SAFETY: the structure is exclusively ours and of the form that the kernel of a 64-bit system fills in. It fails
    // for a bad pointer or an unknown clock only.
    super::best_effort(unsafe { call(libc::SYS_clock_gettime, arguments) });
    now
}

/// Starts writing a part of a file to the disk, without waiting for it to get there.
pub(super) fn start_writeback(file: BorrowedFd<'_>, from: u64, length: u64) -> Result<(), Errno> {
    let offset = |bytes: u64| {
        let offset = i64::try_from(bytes).unwrap_or(i64::MAX);
        usize::try_from(offset).unwrap_or(usize::MAX)
    };
    let (file, from, length) = (argument(file.as_raw_fd()), offset(from), offset(length));
    let flags = libc::SYNC_FILE_RANGE_WRITE as usize;
    // SAFETY: the descriptor is open for the call (borrowed); no memory is passed.
    unsafe { call(libc::SYS_sync_file_range, [file, from, length, flags, 0, 0]) }.map(drop)
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
pub(super) fn exec(path: &CStr, argv: &StringArray, env: &StringArray) -> Errno {
    let (argv, env) = (argv.pointers.as_ptr(), env.pointers.as_ptr());
    let arguments = [place(path.as_ptr()), place(argv), place(env), 0, 0, 0];
    // SAFETY: `path` is a C string; both arrays end with a null pointer, and every other pointer in
    // them points to a C string that the array owns and has not moved (the heap block of a `CString`
    // stays where it is when the `Vec` around it moves).
    match unsafe { call(libc::SYS_execve, arguments) } {
        Ok(_) => unreachable!("a program that runs does not come back"),
        Err(error) => error,
    }
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
