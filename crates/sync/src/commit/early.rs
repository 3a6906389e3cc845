//! Small files that were moved or copied, made while the rest of a round is still under way.
//!
//! Whether such a file will be needed is known at the end of a round, and where its content is for certain as well. But over a slow link a
//! round takes longer than its copies do, so they are made of what the mirror wrote as their names come in. It is a
//! guess: what is not the promised content, or cannot be made, is left to [`make`](super::make), which says what is the matter.
//! Large files wait for it too, for what is known by then may save reading them.

use crate::commit::sources::Sources;
use crate::commit::stage::{self, Offered, Staged};
use crate::faults::Faults;
use crate::tree::{Dir, Parents, copy, read};

/// Files that are copied by one writer in a row.
pub(crate) const SHARE: usize = 64;

/// Whether a file of this size is made early.
pub(crate) fn is_small(size: u64) -> bool {
    (1..copy::LARGE).contains(&size)
}

/// Makes files in the staging area.
pub(crate) struct Early<'a> {
    sources: &'a Sources<'a>,
    faults: &'a Faults,
    from: Parents<'a>,
    to: Parents<'a>,
}

impl<'a> Early<'a> {
    pub(crate) fn new(sources: &'a Sources<'a>, staging: &'a Dir, faults: &'a Faults) -> Self {
        Self {
            sources,
            faults,
            from: Parents::of(sources.tree()),
            to: Parents::making(staging),
        }
    }

    /// Makes one; `None`, and nothing is there, if that is not possible now.
    pub(crate) fn copy(&mut self, file: &Offered) -> Option<Staged> {
        // What only gets another mode is not written.
        let place = self
            .sources
            .place(&file.hash)
            .filter(|&at| *at != file.path)?;
        let (parent, name) = place.split();
        let (source, _) = read::open(self.from.get(parent).ok()?, name).ok()?;
        self.faults.before("copy").ok()?;
        let created = stage::create(&mut self.to, &file.path, file.exec).ok()?;
        let copied = copy::whole(&source, &created, (file.size, &file.hash), None)
            .and_then(|same| same.then(|| stage::complete(&created, file)).transpose());
        if let Ok(Some(staged)) = copied {
            return Some(staged);
        }
        // If it stays, whoever makes the file finds it there.
        let _stays = stage::discard(&mut self.to, &file.path);
        None
    }
}
