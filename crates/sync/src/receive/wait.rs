//! Waiting: for what the client says, for the other session that writes, for jobs to end.
//!
//! Only one session writes, and it may be that its client says nothing more and stays. Who takes the workspace over says so before it
//! has its turn, and the session that has it ends then.

use std::mem;
use std::thread;
use std::time::{Duration, Instant};

use super::{Received, Session};
use crate::digest::Digest;
use crate::error::{ReceiveError, StoreError};
use crate::message::{Down, End, Hello, Up, Waiting};
use crate::workspace::Workspace;
use crate::workspace::hold;
use crate::workspace::lease::{Lock, POLL};

/// How long to wait for a message before looking around.
const TICK: Duration = Duration::from_secs(1);
/// Messages that are kept for later while the session waits.
const MAX_EARLY: usize = 32;
const POLLS_PER_REMINDER: u32 = 100;
/// Where the count of polls for the writer lock begins: a fifth of a second passes before the client is
/// told. Commits are short, and one that changes nothing does not wait at all.
const BEFORE_WRITER_IS_TOLD: u32 = POLLS_PER_REMINDER - 20;
/// How a session came in.
pub(super) enum Entered {
    /// Alone.
    Writing(Lock),
    /// It had nothing to write, and is over.
    Passed(Box<Received>),
}

/// The turn of a session that writes.
pub(super) struct Turn {
    /// Who may hold the workspace meanwhile: its client, and whoever did when it began.
    holders: Vec<Digest>,
    /// When it last looked who does.
    looked: Instant,
}

impl Turn {
    /// Begins, for the client of this hello.
    pub(super) fn begin(workspace: &Workspace, hello: &Hello) -> Result<Self, StoreError> {
        let client = hello.writer.as_ref().map(|writer| writer.id);
        let holder = hold::holder(&workspace.hold_path())?;
        Ok(Self {
            holders: client.into_iter().chain(holder).collect(),
            looked: Instant::now(),
        })
    }
}

impl Session<'_> {
    pub(super) fn next(&mut self) -> Result<Up, ReceiveError> {
        if let Some(message) = self.early.pop_front() {
            return Ok(message);
        }
        loop {
            let message = self.receiver.receive(TICK)?;
            self.give_way()?;
            if let Some(message) = message {
                return Ok(message);
            }
        }
    }

    /// Takes the writer lock, waiting for it, unless the session has nothing to write.
    pub(super) fn enter(&mut self, hello: &Hello) -> Result<Entered, ReceiveError> {
        let (mut polls, mut tried, mut announced) = (BEFORE_WRITER_IS_TOLD, false, false);
        loop {
            if let Some(lock) = self.workspace.lock_writer()? {
                return Ok(Entered::Writing(lock));
            }
            // Nothing came before the end: the client has what it had at the last commit.
            if let Some(Up::End(End { root, .. })) = self.early.front()
                && !mem::replace(&mut tried, true)
                && let Some(received) = self.pass(hello, *root)?
            {
                return Ok(Entered::Passed(Box::new(received)));
            }
            let taker = hello.writer.as_ref().filter(|writer| writer.takeover);
            if let Some(taker) = taker
                && !mem::replace(&mut announced, true)
            {
                hold::hold(&self.workspace.hold_path(), taker, (self.clock)())?;
            }
            self.poll(Waiting::Writer, &mut polls)?;
        }
    }

    /// Takes a lock, waiting as long as the client does.
    pub(super) fn wait(
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
            self.give_way()?;
        }
    }

    /// Ends a session that has its turn when somebody takes the workspace over.
    fn give_way(&mut self) -> Result<(), ReceiveError> {
        let Some(turn) = &mut self.turn else {
            return Ok(());
        };
        if turn.looked.elapsed() < TICK {
            return Ok(());
        }
        turn.looked = Instant::now();
        let path = self.workspace.hold_path();
        Ok(hold::check(&path, &turn.holders, (self.clock)())?)
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
