//! Writing down how it ended.
//!
//! The record is the one thing a shim owes to everybody, so a place for it is reserved on the disk before
//! the job is claimed ([`reserve`]): what could fill the disk has not begun then, the job itself included. If it
//! cannot be written all the same, the shim stays, holding the lock and trying again: a job whose end is not recorded
//! is reported as running, or as lost when the machine goes down, but never as something that it was not.

use alloc::vec::Vec;

use rustix::fd::{BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, FallocateFlags, Mode, OFlags};
use rustix::io::Errno;

use legwork_shim::exit::{self, Cause, Exit, NotStarted, Usage};
use legwork_shim::layout;

use super::inherited::Inherited;
use super::{UNRECORDED, best_effort, clock};

/// The record before it has its name.
const DRAFT: &str = "exit.tmp";
/// Bytes reserved for it.
const DRAFT_SPACE: u64 = 4096;
/// Pause between two attempts in milliseconds: first, and longest.
const PAUSE_MS: (u64, u64) = (50, 5000);
/// Exit code of a shim whose payload did not start, which is recorded.
const REFUSED: i32 = 2;

/// What became of the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It is durable.
    Recorded,
    /// There is no place for it any more: the job has been removed under its shim.
    DirectoryGone,
}

/// Reserves the place.
///
/// # Errors
/// There is no room. A file system that cannot reserve is trusted to have some later.
pub(super) fn reserve(dir: BorrowedFd<'_>) -> Result<(), Errno> {
    let draft = open_draft(dir)?;
    let reserved = rustix::fs::fallocate(&draft, FallocateFlags::empty(), 0, DRAFT_SPACE);
    match reserved {
        Err(e @ (Errno::NOSPC | Errno::DQUOT)) => {
            best_effort(rustix::fs::unlinkat(dir, DRAFT, AtFlags::empty()));
            Err(e)
        }
        _ => Ok(()),
    }
}

fn open_draft(dir: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(
        dir,
        DRAFT,
        OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC,
        Mode::RUSR | Mode::WUSR,
    )
}

/// Writes the record and makes it durable; tries for as long as there is a directory.
pub(super) fn record(dir: BorrowedFd<'_>, exit: &Exit) -> Outcome {
    let mut pause_ms = PAUSE_MS.0;
    loop {
        match attempt(dir, exit) {
            Ok(()) => return Outcome::Recorded,
            Err(e) if is_gone(dir, e) => return Outcome::DirectoryGone,
            Err(_) => clock::sleep_ms(pause_ms),
        }
        pause_ms = (pause_ms * 2).min(PAUSE_MS.1);
    }
}

fn is_gone(dir: BorrowedFd<'_>, error: Errno) -> bool {
    error == Errno::NOENT && rustix::fs::fstat(dir).is_ok_and(|stat| stat.st_nlink == 0)
}

fn attempt(dir: BorrowedFd<'_>, exit: &Exit) -> Result<(), Errno> {
    let raw = serde_json::to_vec(exit).map_err(|_| Errno::INVAL)?;
    let draft = open_draft(dir)?;
    let mut written = 0;
    while written < raw.len() {
        written += rustix::io::pwrite(&draft, &raw[written..], written as u64)?;
    }
    rustix::fs::ftruncate(&draft, raw.len() as u64)?;
    rustix::fs::fsync(&draft)?;
    rustix::fs::renameat(dir, DRAFT, dir, layout::EXIT)?;
    best_effort(rustix::fs::unlinkat(dir, layout::CONTROL, AtFlags::empty()));
    rustix::fs::fsync(dir)
}

/// Records that nothing ran, tells the launcher, and says with which code to exit.
///
/// If the record cannot be written, the launcher is told all the same. Without a claim that is enough: the directory
/// then says *never ran*. With one it would say *lost*, so the shim goes on trying.
pub(super) fn refuse(inherited: &mut Inherited, why: NotStarted, claimed: bool) -> i32 {
    let exit = never_ran(why.clone());
    let recorded = attempt(inherited.dir(), &exit).is_ok();
    inherited.say_failed(&why);
    if recorded || !claimed {
        return REFUSED;
    }
    match record(inherited.dir(), &exit) {
        Outcome::Recorded => REFUSED,
        Outcome::DirectoryGone => UNRECORDED,
    }
}

fn never_ran(why: NotStarted) -> Exit {
    Exit {
        version: exit::VERSION,
        cause: Cause::NotStarted(why),
        status: None,
        started_at_ms: None,
        ended_at_ms: clock::wall_ms(),
        elapsed_ms: 0,
        output_end: 0,
        output_dropped: 0,
        output_failed: 0,
        usage: Usage::default(),
        survivors: Vec::new(),
    }
}
