//! A session that most likely changes nothing: the client has what was committed last, as far as it knew when it began.
//!
//! Whether jobs changed something is looked for while the client looks at its own tree. If neither did, the index was only compared where it
//! is, and what a session needs to commit is never made.

use std::thread::{self, ScopedJoinHandle};

use crate::commit::drift::{self, Drift};
use crate::digest::Digest;
use crate::error::{ReceiveError, StoreError, refusal};
use crate::message::{Hello, Refusal, Up};
use crate::receive::room::Tally;
use crate::receive::{Received, Session, summary, turn};
use crate::workspace::index::{self, Index, Stored};
use crate::workspace::kept::{CUT, Kept};

/// A session before its first round.
pub(crate) struct Begun {
    pub(crate) hello: Hello,
    pub(crate) kept: Kept,
    /// An interrupted commit could not be completed.
    pub(crate) unsettled: bool,
}

/// Waits for a look at the tree that is under way.
pub(crate) type Looking<'a> = Box<dyn FnOnce() -> Result<Drift, Refusal> + 'a>;

impl Session<'_> {
    /// Whether there is nothing to do if the client has what it had, and jobs changed nothing.
    pub(crate) fn may_be_same(&self, begun: &Begun, stored: &Stored) -> bool {
        let index = &stored.head;
        begun.hello.base == Some(index.root)
            && index.boot_id == self.workspace.boot_id().as_bytes()
            && index.generation > 0
            && index.retained.is_empty()
            && !begun.unsettled
            && !turn::is_due(&begun.hello, index)
    }

    /// Serves a client whose base is ours. As long as nothing is known to differ, nothing of the index is decoded.
    pub(crate) fn serve_same(
        &mut self,
        begun: Begun,
        stored: &Stored,
    ) -> Result<Received, ReceiveError> {
        let (tree, threads) = (&self.workspace.held.tree, self.options.threads);
        let hello = &begun.hello;
        let looks = !hello.touched_only;
        self.marked = looks && !hello.dry_run && !hello.live && self.workspace.mark_lease()?;
        thread::scope(|scope| {
            // What changes little says where to look, in the end.
            let looking = looks.then(|| {
                let look = || drift::find_packed(tree, &stored.list, threads).map_err(turn::failed);
                scope.spawn(look)
            });
            self.welcome(&begun.hello, &stored.head, &begun.kept)?;
            let first = self.next()?;
            let ended = matches!(&first, Up::End(end) if end.root == stored.head.root);
            self.early.push_front(first);
            let join = |looking: ScopedJoinHandle<'_, _>| -> Result<Drift, Refusal> {
                looking.join().expect("a look does not panic")
            };
            if !ended {
                let index = stored.index();
                let looking = looking.map(|looking| -> Looking<'_> { Box::new(|| join(looking)) });
                return self.rounds_on(begun, &index, (true, looking));
            }
            match looking.map(join) {
                None => Ok(self.unchanged(&begun, stored)),
                Some(Ok(drift)) if drift == Drift::default() => Ok(self.unchanged(&begun, stored)),
                Some(looked) => {
                    let looking: Looking<'_> = Box::new(|| looked);
                    self.rounds_on(begun, &stored.index(), (true, Some(looking)))
                }
            }
        })
    }

    /// Serves any other.
    pub(crate) fn serve_on(
        &mut self,
        begun: Begun,
        index: &Index,
    ) -> Result<Received, ReceiveError> {
        let known = self.welcome(&begun.hello, index, &begun.kept)?;
        self.rounds_on(begun, index, (known, None))
    }

    fn unchanged(&self, begun: &Begun, stored: &Stored) -> Received {
        let (hello, staging) = (&begun.hello, &self.workspace.held.staging);
        let room = self.options.room.as_deref();
        Tally::begin(room, stored.held(), begun.kept.held(), staging).rest();
        done(hello, stored)
    }

    /// Ends a session that changes nothing beside another that writes, or waits for a job to end
    /// before it does; `None` if something would have to be written.
    pub(crate) fn pass(
        &mut self,
        hello: &Hello,
        root: Digest,
    ) -> Result<Option<Received>, ReceiveError> {
        let workspace = self.workspace;
        let Some(stored) = index::open(&workspace.index_path())? else {
            return Ok(None);
        };
        let index = &stored.head;
        let settled = || Ok::<_, StoreError>(workspace.root()? == Some(root));
        let same = hello.base == Some(root) && index.root == root && !turn::is_due(hello, index);
        if !same || !settled()? {
            return Ok(None);
        }
        let (tree, threads) = (&workspace.held.tree, self.options.threads);
        let drift = if index.retained.is_empty() {
            drift::find_packed(tree, &stored.list, threads)
        } else {
            drift::find(tree, &stored.index().tracked(), true, threads)
        };
        // Looked at as one tree only if no commit began meanwhile: asked after the look.
        if !drift.is_ok_and(|drift| drift.changed.is_empty()) || !settled()? {
            return Ok(None);
        }
        workspace.touch((self.clock)())?;
        let nothing = Kept::nothing(&workspace.held.staging);
        let nothing = nothing.map_err(|errno| refusal("stage", CUT, errno))?;
        self.welcome(hello, index, &nothing)?;
        Ok(Some(done(hello, &stored)))
    }
}

/// Nothing was to be done.
fn done(hello: &Hello, stored: &Stored) -> Received {
    let (index, entries) = (&stored.head, stored.list.len());
    let summary = summary::unchanged(index.root, index.generation, entries as u64);
    if hello.dry_run {
        Received::Planned(summary)
    } else {
        Received::Committed(summary)
    }
}
