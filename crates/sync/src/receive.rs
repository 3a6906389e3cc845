//! The server's side of a push, as a session of rounds.
//!
//! `round` checks what the client sends and hands content to the writers of `commit`; when a round
//! ends, `turn` decides what follows from it: more content is needed, the lease must be waited for,
//! or the tree is committed. `cut` keeps what came before a session was cut off, `tell` is what the client is told meanwhile, `room` counts what the workspace comes to hold, `same` serves who has nothing new, `wait` waits, `summary` tells the client what that did.

mod cut;
mod room;
mod round;
mod same;
mod summary;
mod tell;
mod turn;
mod wait;

use std::collections::VecDeque;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, Scope};
use std::time::SystemTime;

use self::room::Tally;
pub use self::room::{Full, Held, Room};
use self::round::Rounds;
use self::same::{Begun, Ground, Looking};
use self::turn::{Context, Turn};
use self::wait::Entered;
use crate::commit::sources::Sources;
use crate::commit::stage::{self, Bad, Stage, Work, Writers};
use crate::commit::{self, Recovery, StagedFiles, access};
use crate::error::{ReceiveError, StoreError, protocol, refusal};
use crate::link::{Link, Receiving, Sending};
use crate::message::{Down, End, Hello, Refusal, Summary, Up, VERSION, Waiting};
use crate::push::since_epoch;
use crate::tree::Use;
use crate::workspace::Workspace;
use crate::workspace::hold;
use crate::workspace::index::{self, Index};
use crate::workspace::kept::Kept;
use crate::workspace::{TrashBounds, trash, warm};

/// Bounds and threads of the server's side.
#[derive(Debug, Clone)]
pub struct Options {
    /// Entries in a tree at most.
    pub max_entries: u64,
    /// Bytes of content that one session may send.
    pub max_bytes: u64,
    /// Bytes of one file.
    pub max_file_bytes: u64,
    /// Threads that write, and that look for drift; 1 to 16.
    pub threads: usize,
    /// Bytes of what commits replaced and removed that a workspace keeps for when they come back, about; 0 for none.
    pub past_bytes: u64,
    /// Who is asked before the workspace comes to hold more; `None` if it may.
    pub room: Option<Arc<dyn Room>>,
    /// How much of what commits displace is kept.
    pub trash: TrashBounds,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_entries: 2_000_000,
            max_bytes: 1 << 40,
            max_file_bytes: u64::MAX,
            threads: 2,
            past_bytes: 256 << 20,
            room: None,
            trash: TrashBounds::default(),
        }
    }
}

/// How a session ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Received {
    /// The client's tree is in place.
    Committed(Summary),
    /// It was a dry run.
    Planned(Summary),
}

/// Serves one push over `link`: receives, verifies, and commits to `workspace`.
///
/// Waits, telling the client, while another session commits or a job holds the lease, if something
/// would change; a client that still has what it had at the last commit never waits. Gives up when the client goes away. A refusal is sent to the client and returned.
///
/// # Errors
/// See [`ReceiveError`].
pub fn receive<S, R>(
    workspace: &Workspace,
    options: &Options,
    link: Link<S, R>,
    clock: &(dyn Fn() -> SystemTime + Sync),
) -> Result<Received, ReceiveError>
where
    S: Sending<Down>,
    R: Receiving<Up>,
{
    let Link {
        mut sender,
        mut receiver,
    } = link;
    let early = VecDeque::new();
    let mut session = Session {
        workspace,
        options,
        clock,
        sender: &mut sender,
        receiver: &mut receiver,
        early,
        turn: None,
        marked: false,
        gone: Vec::new(),
    };
    let received = session.serve();
    match &received {
        Ok(Received::Committed(summary)) => {
            session.tidy_trash(summary);
            session.sender.send(Down::Committed(summary.clone()))?;
        }
        Ok(Received::Planned(summary)) => session.sender.send(Down::Planned(summary.clone()))?,
        Err(ReceiveError::Refused(refusal)) => {
            // The refusal is the result, whether the client still hears it or not.
            let _heard = session.sender.send(Down::Refused(refusal.clone()));
        }
        Err(ReceiveError::Closed(_)) => {}
    }
    received
}

/// Rounds that one session may have.
const MAX_ROUNDS: u32 = 6;

struct Session<'a> {
    workspace: &'a Workspace,
    options: &'a Options,
    clock: &'a (dyn Fn() -> SystemTime + Sync),
    sender: &'a mut dyn Sending<Down>,
    receiver: &'a mut dyn Receiving<Up>,
    /// Came while the session waited for something else.
    early: VecDeque<Up>,
    /// While it is the one that writes.
    turn: Option<wait::Turn>,
    /// No job ran when the look at the tree began, and it will be known if one did since.
    marked: bool,
    /// Removed files that are freed when the session is over.
    gone: Vec<OwnedFd>,
}

impl From<StoreError> for ReceiveError {
    fn from(error: StoreError) -> Self {
        Self::Refused(error.into())
    }
}

impl Session<'_> {
    fn serve(&mut self) -> Result<Received, ReceiveError> {
        let Up::Hello(hello) = self.next()? else {
            return Err(protocol("no hello").into());
        };
        if hello.version == 0 {
            return Err(Refusal::Version {
                client: hello.version,
                newest: VERSION,
            }
            .into());
        }
        let workspace = self.workspace;
        let _writer = match self.enter(&hello)? {
            Entered::Writing(lock) => lock,
            Entered::Passed(received) => return Ok(*received),
        };
        self.claim(&hello)?;
        self.turn = Some(wait::Turn::begin(workspace, &hello)?);
        if !hello.dry_run {
            // Nothing to see without it. What stays closed is named by the first look.
            let _closed = workspace.held.tree.permit();
        }
        let unsettled = self.settle(&hello)?;
        let kept = cut::kept(workspace, &hello, (self.clock)())?;
        let begun = Begun {
            hello,
            kept,
            unsettled,
        };
        let path = workspace.index_path();
        let warm = begun.hello.touched_only.then(|| workspace.warm.take(&path));
        if let Some(warm) = warm.flatten()
            && self.may_be_same(&begun, &warm.index)
        {
            return self.serve_warm(begun, warm);
        }
        match index::open(&path)? {
            Some(stored) if self.may_be_same(&begun, &stored.head) => {
                self.serve_same(begun, &stored)
            }
            Some(stored) => self.serve_on(begun, stored.index()),
            None => self.serve_on(begun, workspace.index()?),
        }
    }

    /// Serves a session that has been welcomed, against the last commit; `known` is whether that is the client's base.
    fn rounds_on(
        &mut self,
        begun: Begun,
        ground: Ground,
        (known, looking): (bool, Option<Looking<'_>>),
    ) -> Result<Received, ReceiveError> {
        let (workspace, hello) = (self.workspace, begun.hello);
        let Ground {
            commit:
                warm::Commit {
                    index,
                    branches,
                    past: past_bytes,
                },
            is_warm,
        } = ground;
        let index = &index;
        let hello_is_dry = hello.dry_run;
        let staging = if hello.dry_run {
            workspace.held.staging.child(b".", Use::Names)
        } else {
            workspace.fresh_staging()
        };
        let staging = staging.map_err(|errno| refusal("stage", &[], errno))?;
        let tracked = index.tracked();
        let past = cut::past(workspace, &hello, self.options)?;
        let (room, kept) = (self.options.room.as_deref(), begun.kept.held());
        let held = (index.held(), past_bytes);
        let tally = Tally::begin(room, held, kept, &workspace.held.staging);
        let context = Context {
            workspace,
            options: self.options,
            hello,
            index,
            tracked: &tracked,
            trust: index.boot_id == workspace.boot_id().as_bytes(),
            unsettled: begun.unsettled,
            staging: &staging,
            kept: &begun.kept,
            past: past.as_ref(),
            now_ns: since_epoch((self.clock)()),
            tally: &tally,
            branches: Mutex::new(branches),
            is_warm,
            gone: Mutex::default(),
        };
        let mut staged = StagedFiles::new();
        let received = self.rounds(&context, (known, looking), &mut staged);
        let over = !workspace.journal_path().exists();
        if over && received.is_err() && !hello_is_dry && workspace.faults.before("tidy").is_ok() {
            cut::leave(&context, &received, &staged);
        }
        // A commit that is still to be completed keeps what it claimed.
        if over || hello_is_dry {
            // Where it failed after the commit was made, that counts.
            if received.is_err()
                && let Ok(held) = workspace.held()
            {
                let kept = Kept::look(&workspace.held.staging);
                let kept = kept.map(|kept| kept.held()).unwrap_or_default();
                tally.committed(held.and(kept), 0);
            }
            tally.rest();
        }
        self.gone = context
            .gone
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        received
    }

    /// Completes an interrupted commit; says whether there is still one that is not complete.
    fn settle(&mut self, hello: &Hello) -> Result<bool, ReceiveError> {
        let workspace = self.workspace;
        if hello.dry_run || !workspace.journal_path().exists() {
            return Ok(workspace.journal_path().exists());
        }
        let _lease = self.wait(Waiting::Lease, Workspace::lock_lease)?;
        Ok(match commit::recover(workspace)? {
            Recovery::Settled => false,
            Recovery::Unsettled => true,
            // This push may not need that path. If it does, it is told.
            Recovery::Failed(refusal) if access::is_stuck(&refusal) => {
                commit::settle(workspace)?;
                false
            }
            Recovery::Failed(refusal) => return Err(refusal.into()),
        })
    }

    /// Takes note of the use, if this client may write at all.
    fn claim(&self, hello: &Hello) -> Result<(), ReceiveError> {
        let now = (self.clock)();
        if let Some(writer) = hello.writer.as_ref().filter(|_| !hello.dry_run) {
            hold::claim(&self.workspace.hold_path(), writer, now)?;
        }
        Ok(self.workspace.touch(now)?)
    }

    fn rounds(
        &mut self,
        context: &Context<'_>,
        (known, looking): (bool, Option<Looking<'_>>),
        staged: &mut StagedFiles,
    ) -> Result<Received, ReceiveError> {
        let keep_mtimes_until = self.keep_mtimes_until(context.index)?;
        let mut rounds = Rounds::new(self.options, context.tally, keep_mtimes_until, !known);
        rounds.early = !context.hello.dry_run;
        let stage = Stage {
            dir: context.staging,
            parts: &context.kept.dir,
            sources: Sources::of(&self.workspace.held.tree, context.tracked),
            faults: &self.workspace.faults,
            failed: AtomicBool::new(false),
        };
        let mut lease = None;
        thread::scope(|scope| {
            // What changes little says where to look, in the end.
            let look = || -> Looking<'_> {
                let looking = scope.spawn(|| context.look());
                Box::new(|| looking.join().expect("a look does not panic"))
            };
            let mut looking = looking.or_else(|| (!context.is_partial()).then(look));
            if !known {
                self.manifest(context.index)?;
            }
            loop {
                let end = self.collect(scope, &stage, &mut rounds, staged)?;
                let target = context.target(&mut rounds, &end, staged)?;
                let marked = looking.is_some() && self.marked;
                if context.is_partial() && lease.is_none() && !context.hello.live {
                    // The look takes no time: with the lease in hand it need not be repeated.
                    lease = self.workspace.lock_lease()?;
                }
                let early = marked || context.is_partial();
                let mut drift = match looking.take() {
                    Some(looked) => looked(),
                    None => context.look_for(&target),
                };
                if marked {
                    // No job ran since before the look: it need not be repeated.
                    lease = self.workspace.undisturbed()?;
                }
                let mut may_open = !context.hello.dry_run;
                loop {
                    let leased = lease.is_some() || context.hello.live;
                    let turn = drift.and_then(|at| context.turn(&target, &at, staged, leased));
                    let closed = match turn {
                        Ok(Turn::Done(received)) => return Ok(received),
                        Ok(Turn::Planned(summary, pages)) => {
                            for page in pages {
                                self.sender.send(Down::Plan(page))?;
                            }
                            return Ok(Received::Planned(*summary));
                        }
                        Ok(Turn::Need(paths)) => {
                            if early {
                                lease = None;
                            }
                            break self.need(&paths, rounds.round)?;
                        }
                        Ok(Turn::Lease) => false,
                        Err(refused) if may_open && access::is_closed(&refused) => true,
                        Err(refused) => return Err(refused.into()),
                    };
                    if !leased {
                        lease = Some(self.wait(Waiting::Lease, Workspace::lock_lease)?);
                    }
                    if closed {
                        context.open_closed(&target);
                        may_open = false;
                    }
                    drift = context.look_for(&target);
                }
            }
        })
    }

    /// The commit is made: what keeps the trash from being tidied is no reason to fail it.
    fn tidy_trash(&self, summary: &Summary) {
        if summary.trash.is_empty() {
            return;
        }
        let (trash, now) = (&self.workspace.held.trash, (self.clock)());
        let _untidy = trash::stamp(trash, summary.generation, now)
            .and_then(|()| trash::prune(trash, &self.options.trash, now));
    }

    /// In an empty workspace files keep the client's times, as far as they are not in the future.
    fn keep_mtimes_until(&self, index: &Index) -> Result<Option<i64>, Refusal> {
        if index.generation > 0 {
            return Ok(None);
        }
        let tree = self.workspace.held.tree.child(b".", Use::List);
        let names = tree.and_then(|tree| tree.names(&mut [MaybeUninit::uninit(); 4096]));
        let names = names.map_err(|errno| refusal("list", b"tree", errno))?;
        Ok(names.is_empty().then(|| since_epoch((self.clock)())))
    }

    /// Receives one round, to its end; that says which root the client has.
    fn collect<'scope, 'env>(
        &mut self,
        scope: &'scope Scope<'scope, 'env>,
        stage: &'env Stage<'env>,
        rounds: &mut Rounds<'_>,
        staged: &mut StagedFiles,
    ) -> Result<End, ReceiveError> {
        let (mut writers, mut only) = (None, None);
        let threads = self.options.threads;
        let start = || Writers::start(scope, stage, threads);
        let ended = self.messages(rounds, stage, |work: Work| {
            // What may be all there is waits for what follows.
            if writers.is_none() && only.is_none() && work.is_little() {
                only = Some(work);
                return;
            }
            let writers = writers.get_or_insert_with(start);
            only.take()
                .into_iter()
                .for_each(|first| writers.give(first));
            writers.give(work);
        });
        let mut outcomes = match only {
            Some(work) => stage::write([work], stage),
            None => Vec::new(),
        };
        outcomes.extend(writers.map(Writers::finish).unwrap_or_default());
        for (path, outcome) in outcomes {
            match outcome {
                Ok(done) => staged.insert(path, done),
                Err(Bad::Hash) => staged.remove(&path),
                Err(Bad::Io(_)) if ended.is_err() => None,
                Err(Bad::Io(errno)) => return Err(refusal("write", path.as_bytes(), errno).into()),
            };
        }
        rounds.made(staged);
        ended?.ok_or_else(|| protocol("a writer failed").into())
    }

    /// Hands over the work of one round; returns its end, or `None` if that is not worth waiting for.
    fn messages(
        &mut self,
        rounds: &mut Rounds<'_>,
        stage: &Stage<'_>,
        mut give: impl FnMut(Work),
    ) -> Result<Option<End>, ReceiveError> {
        loop {
            let work = match self.next()? {
                Up::Rebase if rounds.void => {
                    rounds.rebase();
                    Vec::new()
                }
                Up::Delta(delta) => rounds.delta(delta)?,
                Up::Data(data) => Vec::from_iter(rounds.data(data)?),
                Up::Reuse(reuse) => rounds.reuse(&reuse)?,
                Up::End(_) if rounds.void => Vec::new(),
                Up::End(end) => return Ok(Some(end)),
                Up::Hello(_) | Up::Rebase => return Err(protocol("a message out of place").into()),
            };
            work.into_iter().for_each(&mut give);
            if stage.failed.load(Ordering::Relaxed) {
                return Ok(None);
            }
        }
    }
}
