//! Killing everything that a job has started, without control groups.
//!
//! The shim is the sub-reaper: whatever loses its parent, by a double fork or because the parent was
//! killed, becomes a child of the shim. A sweep kills all descendants it can see; what it misses
//! (forked meanwhile) is a descendant still and is met by the next sweep. Sweeps go on until wait(2) says that there are
//! no children, which nothing in user space can prevent, or until the caller's patience ends.
//!
//! **No stranger is ever killed.** A number means a process until its parent has waited for it. For the
//! shim's own children that parent is this thread, which waits for nobody during a sweep. A deeper
//! process X is held by a pidfd, opened before its parent is read: if that parent is the
//! shim, or a process P known to be of the tree, X is of the tree too. That P's own number still means P
//! is proved by killing P through its pidfd *after* X was read: a process that takes a signal has
//! not been waited for. If P is gone by then, what was read under it is forgotten, and met again
//! by the next sweep as the shim's own child.

use alloc::format;
use alloc::vec::Vec;

use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal};

use legwork_shim::ByteString;
use legwork_shim::exit::Survivor;

use super::{best_effort, files, reap};

/// Processes held in one sweep; the next one goes on where it ends.
const SWEEP_MAX: usize = 512;
/// Generations below the shim's children that get a signal.
const DEEPEST: usize = 256;
/// Survivors named in the exit record.
const NAMED_MAX: usize = 32;

/// A process of the tree.
struct Member {
    pid: Pid,
    /// Holds it, unless it is the shim's own child and cannot be mistaken.
    handle: Option<OwnedFd>,
}

impl Member {
    /// A process that names `parent` as its parent, or has become the shim's own meanwhile.
    fn below(pid: Pid, parent: Pid, me: Pid) -> Option<Self> {
        let handle = Some(pidfd_open(pid, PidfdFlags::empty()).ok()?);
        let now = parent_of(pid)?;
        (now == parent || now == me).then_some(Self { pid, handle })
    }

    fn send(&self, signal: Signal) -> Result<(), Errno> {
        match &self.handle {
            Some(handle) => pidfd_send_signal(handle, signal),
            None => kill_process(self.pid, signal),
        }
    }

    /// Kills it; false if its number may mean somebody else by now.
    fn kill(&self) -> bool {
        // EPERM (it has another user) proves as much as success.
        self.send(Signal::KILL) != Err(Errno::SRCH)
    }
}

/// Kills every descendant that can be seen now.
pub(super) fn sweep() {
    let me = rustix::process::getpid();
    let own = |pid| Member { pid, handle: None };
    let mut open: Vec<Member> = children(me).into_iter().map(own).collect();
    let mut held = 0;
    while let Some(member) = open.pop() {
        let below = if held < SWEEP_MAX {
            members(member.pid, me)
        } else {
            Vec::new()
        };
        if member.kill() {
            held += below.len();
            open.extend(below);
        }
    }
}

/// The processes that name `parent` as their parent, or have become the shim's own meanwhile.
fn members(parent: Pid, me: Pid) -> Vec<Member> {
    children(parent)
        .into_iter()
        .filter_map(|pid| Member::below(pid, parent, me))
        .collect()
}

/// Names the shim's remaining children and theirs, and these others, a bounded number of them.
pub(super) fn survivors(others: Vec<Pid>) -> Vec<Survivor> {
    let mut open = others;
    open.extend(children(rustix::process::getpid()));
    let mut named: Vec<Survivor> = Vec::new();
    while let Some(pid) = open.pop() {
        if named.len() == NAMED_MAX {
            break;
        }
        let number = pid.as_raw_nonzero().get().unsigned_abs();
        if named.iter().any(|other| other.pid == number) {
            continue;
        }
        let name = files::read_of_kernel(format!("/proc/{pid}/comm")).unwrap_or_default();
        named.push(Survivor {
            pid: number,
            name: ByteString(name.trim_ascii_end().to_vec()),
        });
        open.extend(children(pid));
    }
    named
}

/// Sends a signal to every descendant that can be seen now, parents before children. No stranger gets it, as in a [`sweep`]: here the proof
/// that a parent's number still means it is made for each of its children, so that a wide tree needs no more descriptors than a deep one.
pub(super) fn signal(signal: Signal) {
    let me = rustix::process::getpid();
    for pid in children(me) {
        let own = Member { pid, handle: None };
        best_effort(own.send(signal));
        signal_below(&own, me, signal, DEEPEST);
    }
}

fn signal_below(parent: &Member, me: Pid, signal: Signal, depth: usize) {
    for pid in children(parent.pid) {
        let Some(member) = Member::below(pid, parent.pid, me) else {
            continue;
        };
        // Once more, for the proof: those that a job is held still with do no more the second time.
        if parent.send(signal) == Err(Errno::SRCH) {
            return;
        }
        best_effort(member.send(signal));
        if depth > 0 {
            signal_below(&member, me, signal, depth - 1);
        }
    }
}

/// Ticks in a second, in what the kernel tells of processes (`USER_HZ`).
const TICKS: u64 = 100;

/// Microseconds of processor time of all descendants, those that have been waited for included.
pub(super) fn cpu_us() -> u64 {
    let reaped = reap::usage();
    let used = reaped.user_us + reaped.system_us;
    let ticks = pids().into_iter().filter_map(ticks_of);
    used + ticks.map(|ticks| ticks * (1_000_000 / TICKS)).sum::<u64>()
}

/// All descendants that can be seen now.
pub(super) fn pids() -> Vec<Pid> {
    let mut found = children(rustix::process::getpid());
    let mut next = 0;
    while let Some(pid) = found.get(next) {
        let below = children(*pid);
        found.extend(below);
        next += 1;
    }
    found
}

/// Of a process and of those that it has waited for: fields 14 to 17 of `proc_pid_stat(5)`.
fn ticks_of(pid: Pid) -> Option<u64> {
    let fields = after_name(pid)?;
    let times = words(&fields).skip(11).take(4);
    times
        .map(|word| u64::try_from(files::number(word)?).ok())
        .sum()
}

/// The children of all threads of a process.
fn children(parent: Pid) -> Vec<Pid> {
    let Ok(threads) = files::numbers(format!("/proc/{parent}/task")) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for thread in threads {
        match files::read_of_kernel(format!("/proc/{parent}/task/{thread}/children")) {
            Ok(list) => found.extend(words(&list).filter_map(pid_in)),
            Err(Errno::NOENT) => return children_by_scan(parent),
            Err(_) => {}
        }
    }
    found
}

/// For kernels without `children` files: everybody whose parent it is.
fn children_by_scan(parent: Pid) -> Vec<Pid> {
    let all = files::numbers("/proc").unwrap_or_default();
    all.into_iter()
        .filter_map(Pid::from_raw)
        .filter(|pid| parent_of(*pid) == Some(parent))
        .collect()
}

fn words(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(u8::is_ascii_whitespace)
        .filter(|word| !word.is_empty())
}

fn pid_in(word: &[u8]) -> Option<Pid> {
    Pid::from_raw(files::number(word)?)
}

/// The parent's id, from the second field after the name in parentheses, which may hold anything.
fn parent_of(pid: Pid) -> Option<Pid> {
    pid_in(words(&after_name(pid)?).nth(1)?)
}

/// What the kernel tells of a process after its name, which ends with the last parenthesis.
fn after_name(pid: Pid) -> Option<Vec<u8>> {
    let mut raw = files::read_of_kernel(format!("/proc/{pid}/stat")).ok()?;
    let after = raw.iter().rposition(|byte| *byte == b')')?;
    Some(raw.split_off(after + 1))
}
