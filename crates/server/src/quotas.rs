//! How much of the server one identity may have at a time: jobs that have not ended, streams, and bytes in mirrors
//! ([`space`](crate::space) counts those).
//!
//! Users of the host are not counted: they may open the state directory, so a limit here would only send them
//! another way. Connections have limits of their own, before anybody is known (`listen::admission`).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use legwork_identity::{Principal, PrincipalId, Via};
use legwork_jobs::{JobError, Jobs};
use legwork_sync::receive;
use legwork_sync::workspace::TrashBounds;
use tonic::Code;
use uuid::Uuid;

use crate::in_flight::InFlight;
use crate::problem::Problem;

/// What one identity may have at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quotas {
    /// Jobs that have not ended.
    pub jobs: usize,
    /// Calls under way whose answers go on until somebody ends them: followers, input, mirrors.
    pub streams: usize,
    /// Mirrors.
    pub workspaces: usize,
    /// Bytes of files that its mirrors wrote or are receiving, over all of them.
    pub workspace_bytes: u64,
    /// Files, links and directories that its mirrors wrote or are receiving, over all of them.
    pub workspace_entries: u64,
    /// Bytes that its mirrors are receiving at a time and have not committed.
    pub staging_bytes: u64,
    /// Files, links and directories in one of its mirrors.
    pub tree_entries: u64,
    /// Bytes of content that one commit may send.
    pub commit_bytes: u64,
    /// Bytes of one file.
    pub file_bytes: u64,
    /// Bytes of what commits replaced and removed that each of its mirrors keeps for when they come back, about; 0 for none.
    pub past_bytes: u64,
    /// What stays in the trash of each of its mirrors.
    pub trash: TrashBounds,
}

impl Default for Quotas {
    fn default() -> Self {
        Self {
            jobs: 10_000,
            streams: 1024,
            workspaces: 1000,
            workspace_bytes: 64 << 30,
            workspace_entries: 4_000_000,
            staging_bytes: 64 << 30,
            tree_entries: receive::Options::default().max_entries,
            commit_bytes: receive::Options::default().max_bytes,
            file_bytes: receive::Options::default().max_file_bytes,
            past_bytes: receive::Options::default().past_bytes,
            trash: TrashBounds::default(),
        }
    }
}

/// Counts what identities have. What is not on disk is counted here.
#[derive(Debug, Default)]
pub(crate) struct Usage {
    quotas: OnceLock<Quotas>,
    /// Held by whoever finds out how many jobs may be started.
    turn: tokio::sync::Mutex<()>,
    counts: Arc<Mutex<Counts>>,
    /// What their calls have in memory.
    pub(crate) in_flight: InFlight,
}

#[derive(Debug, Default)]
struct Counts {
    /// Jobs between having been let through and having a row in the index, by owner.
    starting: HashMap<String, usize>,
    streams: HashMap<Uuid, usize>,
    searches: HashMap<Uuid, usize>,
}

/// The right to start some jobs; given back when the jobs can be counted by themselves.
#[derive(Debug)]
pub(crate) struct Starting {
    counts: Arc<Mutex<Counts>>,
    /// Whose they are, and how many, if they are limited.
    counted: Option<(String, usize)>,
    /// How many of those asked for may still be started.
    left: usize,
    /// That was fewer than were asked for, from the beginning.
    short: bool,
}

/// A stream that is counted, until it is dropped.
#[derive(Debug)]
pub(crate) struct Stream {
    counts: Arc<Mutex<Counts>>,
    id: Uuid,
}

/// A search of output that is counted, if it is an identity's, until it is dropped.
#[derive(Debug)]
pub(crate) struct Searching {
    counts: Arc<Mutex<Counts>>,
    id: Option<Uuid>,
}

/// Searches of output that one identity may have open: each may hold some MiB, and keep a processor busy.
const SEARCHES_MAX: usize = 16;

impl Usage {
    /// From now on identities have these limits; the first time counts.
    pub(crate) fn limit(&self, quotas: Quotas) {
        self.quotas.get_or_init(|| quotas);
    }

    /// Lets a caller start up to `asked` jobs more.
    pub(crate) async fn start(
        &self,
        caller: &Principal,
        jobs: &Jobs,
        asked: usize,
    ) -> Result<Starting, JobError> {
        let owner = caller.owner();
        let counts = Arc::clone(&self.counts);
        let quota = match caller.via {
            Via::Certificate => self.quotas.get().map(|quotas| quotas.jobs),
            Via::LocalSocket { .. } | Via::InProcess => None,
        };
        let Some(quota) = quota else {
            return Ok(Starting {
                counts,
                counted: None,
                left: asked,
                short: false,
            });
        };
        let _turn = self.turn.lock().await;
        let lock = || counts.lock().unwrap_or_else(PoisonError::into_inner);
        // In this order: a job that gets its row in between is counted twice, and none is missed.
        let starting = lock().starting.get(&owner).copied().unwrap_or_default();
        let room = quota.saturating_sub(starting);
        let alive = jobs.alive(&owner, room.saturating_sub(asked)).await?;
        let granted = room.saturating_sub(alive).min(asked);
        if granted > 0 {
            *lock().starting.entry(owner.clone()).or_default() += granted;
        }
        Ok(Starting {
            counts,
            counted: (granted > 0).then_some((owner, granted)),
            left: granted,
            short: granted < asked,
        })
    }

    /// Lets an identity have one more stream.
    pub(crate) fn stream(&self, id: Uuid) -> Result<Stream, Problem> {
        let counts = Arc::clone(&self.counts);
        let mut locked = counts.lock().unwrap_or_else(PoisonError::into_inner);
        let streams = locked.streams.entry(id).or_default();
        if let Some(quotas) = self.quotas.get()
            && *streams >= quotas.streams
        {
            return Err(too_many_streams(quotas.streams));
        }
        *streams += 1;
        drop(locked);
        Ok(Stream { counts, id })
    }

    /// Lets a caller have one more search of output.
    pub(crate) fn search(&self, caller: &Principal) -> Result<Searching, Problem> {
        let counts = Arc::clone(&self.counts);
        let PrincipalId::Identity(id) = caller.id else {
            return Ok(Searching { counts, id: None });
        };
        let mut locked = counts.lock().unwrap_or_else(PoisonError::into_inner);
        let searches = locked.searches.entry(id).or_default();
        if *searches >= SEARCHES_MAX {
            return Err(too_many_searches());
        }
        *searches += 1;
        drop(locked);
        let id = Some(id);
        Ok(Searching { counts, id })
    }

    /// What identities may have, if that is limited.
    pub(crate) fn quotas(&self) -> Option<Quotas> {
        self.quotas.get().copied()
    }

    /// What stays in the trash of each mirror.
    pub(crate) fn trash(&self) -> TrashBounds {
        self.quotas().unwrap_or_default().trash
    }

    /// Why a job is not started.
    pub(crate) fn too_many_jobs(&self) -> Problem {
        let limit = self.quotas.get().map_or(0, |quotas| quotas.jobs);
        let message = format!(
            "{limit} jobs of yours have not ended, which is as many as you may have here: \
             wait for one, or stop one"
        );
        Problem::new(Code::ResourceExhausted, "TOO_MANY_JOBS", message).with("limit", limit)
    }
}

impl Starting {
    /// Whether some of those asked for may not be started.
    pub(crate) const fn is_short(&self) -> bool {
        self.short
    }

    /// Takes the right to start one; `false` when all are taken.
    pub(crate) fn take(&mut self) -> bool {
        let left = self.left.checked_sub(1);
        self.left = left.unwrap_or(0);
        left.is_some()
    }
}

/// Why whatever is called on a connection beyond the limit is refused.
pub(crate) fn too_many_connections(name: &str, limit: usize) -> Problem {
    let message = format!(
        "{name} has {limit} connections to this server, which is as many as one identity may have here: end some of \
         the commands that run as {name}, or ask the server's admin to raise `connections_each`"
    );
    Problem::new(Code::ResourceExhausted, "TOO_MANY_CONNECTIONS", message)
        .with("identity", name)
        .with("limit", limit)
}

fn too_many_streams(limit: usize) -> Problem {
    let message =
        format!("you have {limit} streams open, which is as many as you may have here: close one");
    Problem::new(Code::ResourceExhausted, "TOO_MANY_STREAMS", message).with("limit", limit)
}

fn too_many_searches() -> Problem {
    let message = format!(
        "you have {SEARCHES_MAX} searches of output open, which is as many as you may have here: close one"
    );
    Problem::new(Code::ResourceExhausted, "TOO_MANY_SEARCHES", message).with("limit", SEARCHES_MAX)
}

/// Why a mirror is not made.
pub(crate) fn too_many_workspaces(limit: usize) -> Problem {
    let message = format!(
        "you have {limit} mirrors here, which is as many as you may have: remove one that you do not need (`legwork workspaces` \
         lists them, `legwork workspaces rm` removes), or ask the server's admin to raise `workspaces_each`"
    );
    Problem::new(Code::ResourceExhausted, "TOO_MANY_WORKSPACES", message).with("limit", limit)
}

/// Why a commit is refused.
pub(crate) fn too_many_bytes(used: u64, limit: u64) -> Problem {
    let message = format!(
        "your mirrors hold {} and may hold {} here, which this commit would go beyond: leave files out by \
         .legworkignore, delete some here or in another of your mirrors and sync it, or ask the server's admin for more",
        size(used),
        size(limit)
    );
    Problem::new(Code::ResourceExhausted, "TOO_MANY_BYTES", message)
        .with("limit", limit)
        .with("used", used)
}

/// The same for files, links and directories.
pub(crate) fn too_many_entries(used: u64, limit: u64) -> Problem {
    let message = format!(
        "your mirrors hold {used} files, links and directories and may hold {limit} here, which this commit would go beyond: \
         leave some out by .legworkignore, remove a mirror that you do not need (`legwork workspaces rm`), or ask the server's \
         admin for more"
    );
    Problem::new(Code::ResourceExhausted, "TOO_MANY_ENTRIES", message)
        .with("limit", limit)
        .with("used", used)
}

/// The same for what is received at a time.
pub(crate) fn too_much_staged(limit: u64) -> Problem {
    let message = format!(
        "your mirrors may receive {} at a time here, which this commit would go beyond: wait for another one of yours to end, \
         sync in parts (leave directories out by .legworkignore at first), or ask the server's admin for more",
        size(limit)
    );
    Problem::new(Code::ResourceExhausted, "TOO_MUCH_STAGED", message).with("limit", limit)
}

/// As people write it, with a tenth.
fn size(bytes: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut tenths = u128::from(bytes) * 10;
    let mut unit = "bytes";
    for larger in units {
        if tenths < 10_240 {
            break;
        }
        (tenths, unit) = (tenths / 1024, larger);
    }
    match tenths % 10 {
        0 => format!("{} {unit}", tenths / 10),
        rest => format!("{}.{rest} {unit}", tenths / 10),
    }
}

fn take<K: std::hash::Hash + Eq>(counts: &mut HashMap<K, usize>, key: &K, count: usize) {
    if let Some(left) = counts.get_mut(key) {
        *left -= count;
        if *left == 0 {
            counts.remove(key);
        }
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((owner, granted)) = &self.counted {
            take(&mut counts.starting, owner, *granted);
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        take(&mut counts.streams, &self.id, 1);
    }
}

impl Drop for Searching {
    fn drop(&mut self) {
        let Some(id) = self.id else { return };
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        take(&mut counts.searches, &id, 1);
    }
}

#[cfg(test)]
mod tests {
    use legwork_identity::{Principal, PrincipalId, Role, Via};
    use uuid::Uuid;

    use super::{SEARCHES_MAX, Usage, size, too_many_bytes};

    #[test]
    fn an_identity_has_some_searches_and_one_that_ends_makes_room() {
        let usage = Usage::default();
        let who = |number| Principal {
            id: PrincipalId::Identity(Uuid::from_u128(number)),
            name: "alice".to_owned(),
            roles: Role::Read.into(),
            via: Via::Certificate,
        };
        let search = |number| usage.search(&who(number));
        let mut open: Vec<_> = (0..SEARCHES_MAX).map(|_| search(1).unwrap()).collect();
        assert_eq!(search(1).unwrap_err().reason, "TOO_MANY_SEARCHES");
        assert!(search(2).is_ok(), "others have theirs");
        open.pop();
        assert!(search(1).is_ok());
        let host = Principal::local(0, "root");
        open.extend((0..2 * SEARCHES_MAX).map(|_| usage.search(&host).unwrap()));
    }

    #[test]
    fn sizes_are_written_for_people() {
        for (bytes, text) in [
            (0, "0 bytes"),
            (1023, "1023 bytes"),
            (1536, "1.5 KiB"),
            (64 << 30, "64 GiB"),
            ((64 << 30) - 1, "63.9 GiB"),
            (u64::MAX, "15.9 EiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
        let problem = too_many_bytes(1536, 2048);
        let told = "your mirrors hold 1.5 KiB and may hold 2 KiB here";
        assert!(problem.message.starts_with(told), "{problem}");
        assert_eq!(problem.metadata["limit"], "2048");
    }
}
