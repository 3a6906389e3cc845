//! Waiting for what others have: the writer's lock, and the lease.
//!
//! Whoever waits goes on listening to the client, tells it why now and then, and notices that way when it is gone.

use std::thread;

use crate::error::{ReceiveError, StoreError};
use crate::message::{Down, End, Hello, Up, Waiting};
use crate::receive::{Received, Session};
use crate::workspace::Workspace;
use crate::workspace::lease::{Lock, POLL};

/// Messages that are kept for later while the session waits.
const MAX_EARLY: usize = 32;
const POLLS_PER_REMINDER: u32 = 100;
/// Where the count of polls for the writer lock begins: a fifth of a second passes before the client is
/// told. Commits are short, and one that changes nothing does not wait at all.
const BEFORE_WRITER_IS_TOLD: u32 = POLLS_PER_REMINDER - 20;

/// How a session came in.
pub(crate) enum Entered {
    /// Alone.
    Writing(Lock),
    /// It had nothing to write, and is over.
    Passed(Box<Received>),
}

impl Session<'_> {
    /// Takes the writer lock, waiting for it, unless the session has nothing to write.
    pub(crate) fn enter(&mut self, hello: &Hello) -> Result<Entered, ReceiveError> {
        let (mut polls, mut tried) = (BEFORE_WRITER_IS_TOLD, false);
        loop {
            if let Some(lock) = self.workspace.lock_writer()? {
                return Ok(Entered::Writing(lock));
            }
            // Nothing came before the end: the client has what it had at the last commit.
            if let Some(Up::End(End { root, .. })) = self.early.front()
                && !std::mem::replace(&mut tried, true)
                && let Some(received) = self.pass(hello, *root)?
            {
                return Ok(Entered::Passed(Box::new(received)));
            }
            self.poll(Waiting::Writer, &mut polls)?;
        }
    }

    /// Takes a lock, waiting as long as the client does.
    pub(crate) fn wait(
        &mut self,
        reason: Waiting,
        lock: impl Fn(&Workspace) -> Result<Option<Lock>, StoreError>,
    ) -> Result<Lock, ReceiveError> {
        let mut polls = 0;
        loop {
            if let Some(lock) = lock(self.workspace)? {
                return Ok(lock);
            }
            self.poll(reason, &mut polls)?;
        }
    }

    /// Waits a moment for a lock, listening to the client.
    fn poll(&mut self, reason: Waiting, polls: &mut u32) -> Result<(), ReceiveError> {
        // Said again now and then: that also finds out whether the client is still there.
        if polls.is_multiple_of(POLLS_PER_REMINDER) {
            self.sender.send(Down::Waiting(reason))?;
        }
        *polls += 1;
        if self.early.len() < MAX_EARLY {
            self.early.extend(self.receiver.receive(POLL)?);
        } else {
            thread::sleep(POLL);
        }
        Ok(())
    }
}
