//! How much a workspace may come to hold, as somebody else decides, and what a session counts for that.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::message::Refusal;
use crate::tree::Dir;
use crate::workspace::past;

/// Decides how many bytes a workspace may hold.
///
/// Counted are the files that the mirror wrote and those that wait in the staging area to be put in place; what jobs
/// wrote, or changed, is theirs.
pub trait Room: fmt::Debug + Send + Sync {
    /// Counts the workspace with `bytes` from now on. Asked before anything is written for them.
    ///
    /// # Errors
    /// [`Full`] if it may not hold that many; then it counts as before. What is not more than before is never too much.
    fn claim(&self, bytes: u64) -> Result<(), Full>;

    /// Counts the workspace with so many files, links and directories from now on.
    ///
    /// # Errors
    /// As for bytes.
    fn claim_entries(&self, entries: u64) -> Result<(), Full> {
        let _unlimited = entries;
        Ok(())
    }

    /// Counts so many bytes in its staging area from now on.
    ///
    /// # Errors
    /// As for bytes.
    fn claim_staging(&self, bytes: u64) -> Result<(), Full> {
        let _unlimited = bytes;
        Ok(())
    }

    /// The workspace does hold so much, whatever was claimed, and nothing is in its staging area.
    fn settle(&self, held: Held);
}

/// What a workspace holds of the mirror's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Held {
    /// Bytes of files.
    pub bytes: u64,
    /// Files, links and directories.
    pub entries: u64,
}

impl Held {
    /// Both together.
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            bytes: self.bytes.saturating_add(other.bytes),
            entries: self.entries.saturating_add(other.entries),
        }
    }
}

/// There is no room for what was claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full {
    /// Bytes in all, or entries.
    pub limit: u64,
    /// Of these, taken by what is not this workspace.
    pub elsewhere: u64,
}

/// What one session counts.
///
/// A commit is refused when what it comes to does not fit. What goes is known only at the end of a round. So content
/// that fits only if something goes is not written at first: it is dropped, and asked for again once it is known what
/// goes. Only then may the old and the new be more than fits, until the commit is made.
#[derive(Debug)]
pub(crate) struct Tally<'a> {
    room: Option<&'a dyn Room>,
    /// Where what commits replaced is, which gives way to all else.
    staging: &'a Dir,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    /// What the mirror wrote until now.
    held: Held,
    /// Bytes that commits replaced and that are kept for when they come back.
    past: u64,
    /// Files of sessions that were cut off, and those that were sent since: if this one is cut off, all of them stay.
    files: u64,
    /// Bytes that came to the staging area, or are about to. What was sent twice counts twice: that is rare, and to
    /// know better takes a list of all that was sent.
    staged: u64,
    /// The same with those that were dropped.
    sent: u64,
    /// What the last round came to, which fits.
    target: Option<u64>,
}

impl<'a> Tally<'a> {
    /// Of a workspace that holds so much, and so much of sessions that were cut off, beside what commits replaced: so many bytes, if
    /// that is known.
    pub(crate) fn begin(
        room: Option<&'a dyn Room>,
        (held, past): (Held, Option<u64>),
        kept: Held,
        staging: &'a Dir,
    ) -> Self {
        // Counted only for somebody. What cannot be counted has no say.
        let count = || past::bytes(staging).unwrap_or(0);
        let past = room.map_or(0, |_| past.unwrap_or_else(count));
        let counts = Mutex::new(Counts {
            held: held.and(kept),
            files: kept.entries,
            past,
            ..Counts::default()
        });
        let tally = Self {
            room,
            staging,
            counts,
        };
        tally.rest();
        tally
    }

    /// Whether a file of `bytes` more may be staged now.
    pub(crate) fn offer(&self, bytes: u64) -> Result<bool, Refusal> {
        let Some(room) = self.room else {
            return Ok(true);
        };
        let mut counts = self.counts();
        counts.files += 1;
        let entries = counts.files.max(counts.held.entries);
        let claimed = room.claim_entries(entries);
        claimed.map_err(|full| counts.too_many(full))?;
        let staged = counts.staged.saturating_add(bytes);
        counts.sent = counts.sent.saturating_add(bytes);
        let most = counts.held.bytes.saturating_add(staged);
        let beside = self.claim(room, &mut counts, most);
        let fits = match (beside, counts.target) {
            (Ok(()), _) => Ok(true),
            // It will take the place of what it is beside until then.
            (Err(_), Some(target)) => {
                let most = staged.max(target).max(counts.held.bytes);
                self.claim(room, &mut counts, most).map(|()| true)
            }
            (Err(full), None) if counts.sent <= full.limit.saturating_sub(full.elsewhere) => {
                Ok(false)
            }
            (Err(full), None) => Err(full),
        };
        let fits = fits.map_err(|full| counts.refusal(full))?;
        if fits {
            let staging = room.claim_staging(staged);
            staging.map_err(|full| Refusal::FullStaging { limit: full.limit })?;
            counts.staged = staged;
        }
        Ok(fits)
    }

    /// A file of `bytes` that might have been staged is not, and is offered again if it has to be.
    pub(crate) fn withdraw(&self, bytes: u64) {
        let mut counts = self.counts();
        counts.files = counts.files.saturating_sub(1);
        counts.staged = counts.staged.saturating_sub(bytes);
        counts.sent = counts.sent.saturating_sub(bytes);
    }

    /// Takes the right to commit what comes to so much. That is more than was there and was sent, if files of jobs become
    /// the mirror's.
    pub(crate) fn target(&self, held: Held) -> Result<(), Refusal> {
        let Some(room) = self.room else {
            return Ok(());
        };
        let (mut counts, bytes) = (self.counts(), held.bytes);
        let claimed = room.claim_entries(held.entries.max(counts.held.entries));
        claimed.map_err(|full| counts.too_many(full))?;
        let most = match counts.target {
            None => counts.held.bytes.saturating_add(counts.staged).max(bytes),
            Some(_) => counts.staged.max(bytes).max(counts.held.bytes),
        };
        let claimed = self.claim(room, &mut counts, most);
        claimed.map_err(|full| counts.refusal(full))?;
        counts.target = Some(bytes);
        Ok(())
    }

    /// Claims so many bytes, and those that commits replaced. If these do not fit beside, they go.
    fn claim(&self, room: &dyn Room, counts: &mut Counts, bytes: u64) -> Result<(), Full> {
        let beside = room.claim(bytes.saturating_add(counts.past));
        if beside.is_ok() || counts.past == 0 || past::clear(self.staging).is_err() {
            return beside;
        }
        counts.past = 0;
        room.claim(bytes)
    }

    /// A commit is made, of so much, and so many bytes were replaced by it.
    pub(crate) fn committed(&self, held: Held, replaced: u64) {
        let mut counts = self.counts();
        counts.held = held;
        counts.past = counts.past.saturating_add(replaced);
    }

    /// So many bytes that commits replaced are left.
    pub(crate) fn pruned(&self, past: u64) {
        self.counts().past = past;
    }

    /// Bytes that commits replaced and that are kept, if they were counted.
    pub(crate) fn past(&self) -> Option<u64> {
        self.room.map(|_| self.counts().past)
    }

    /// Nothing is staged any more.
    pub(crate) fn rest(&self) {
        if let Some(room) = self.room {
            let counts = self.counts();
            // What was replaced is nobody's claim: it would keep out what another mirror has.
            room.settle(counts.held);
        }
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counts {
    fn refusal(&self, full: Full) -> Refusal {
        Refusal::Full {
            limit: full.limit,
            used: full.elsewhere.saturating_add(self.held.bytes),
        }
    }

    fn too_many(&self, full: Full) -> Refusal {
        Refusal::FullEntries {
            limit: full.limit,
            used: full.elsewhere.saturating_add(self.held.entries),
        }
    }
}
