//! Writing down how it ended.
//!
//! The record is the one thing a shim owes to everybody, so a place for it is reserved on the disk before
//! the job is claimed ([`Journal::begin`]): what could fill the disk has not begun then, the job itself included. If it
//! cannot be written all the same, the shim stays, holding the lock and trying again: a job whose end is not recorded
//! is reported as running, or as lost when the machine goes down, but never as something that it was not.

use rustix::fd::BorrowedFd;
use rustix::fs::AtFlags;
use rustix::io::Errno;

use legwork_shim::exit::{Cause, Exit, NotStarted};
use legwork_shim::journal::Line;
use legwork_shim::layout;

use super::journal::Journal;
use super::starter::Starter;
use super::{UNRECORDED, best_effort, clock};

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

/// Writes the record and makes it durable; tries for as long as there is a journal.
pub(super) fn record(dir: BorrowedFd<'_>, mut journal: Journal, exit: &Exit) -> Outcome {
    let mut pause_ms = PAUSE_MS.0;
    loop {
        match attempt(dir, &mut journal, exit) {
            Ok(()) => return Outcome::Recorded,
            Err(Errno::NOENT) => return Outcome::DirectoryGone,
            Err(_) => clock::sleep_ms(pause_ms),
        }
        pause_ms = (pause_ms * 2).min(PAUSE_MS.1);
    }
}

fn attempt(dir: BorrowedFd<'_>, journal: &mut Journal, exit: &Exit) -> Result<(), Errno> {
    journal.append(dir, Line::Exit, exit)?;
    best_effort(rustix::fs::unlinkat(dir, layout::CONTROL, AtFlags::empty()));
    Ok(())
}

/// Records that nothing ran, tells the launcher, and says with which code to exit.
///
/// If the record cannot be written, the launcher is told all the same. Without a claim that is enough: the directory
/// then says *never ran*. With one it would say *lost*, so the shim goes on trying.
pub(super) fn refuse(
    dir: BorrowedFd<'_>,
    starter: &mut Starter,
    mut journal: Journal,
    why: NotStarted,
    claimed: bool,
) -> i32 {
    let exit = Exit::never_ran(Cause::NotStarted(why.clone()), clock::wall_ms());
    let recorded = attempt(dir, &mut journal, &exit).is_ok();
    starter.say_failed(&why);
    if recorded || !claimed {
        return REFUSED;
    }
    match record(dir, journal, &exit) {
        Outcome::Recorded => REFUSED,
        Outcome::DirectoryGone => UNRECORDED,
    }
}
