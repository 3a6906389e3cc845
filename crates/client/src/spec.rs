//! What to run.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use uuid::{NoContext, Timestamp, Uuid};

use crate::limits::{Limits, LimitsMode, OnExit};

/// A job to start. Keep it until the start is answered: repeating it is safe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobSpec {
    /// Made by [`JobSpec::new`].
    pub id: Uuid,
    /// Program and arguments; not empty.
    pub argv: Vec<OsString>,
    /// Environment variables on top of the server's base.
    pub env: Vec<(OsString, OsString)>,
    /// Where it runs.
    pub place: Place,
    /// What it reads.
    pub stdin: Stdin,
    /// Both output streams through one pipe, in exact order.
    pub merge: bool,
    /// Time limit in milliseconds.
    pub timeout_ms: Option<u64>,
    /// First signal of a stop; SIGTERM if absent.
    pub stop_signal: Option<i32>,
    /// Milliseconds between that and the end of the whole tree; 10 s if absent.
    pub stop_grace_ms: Option<u64>,
    /// Bytes of output kept.
    pub output_limit: Option<u64>,
    /// A name for people.
    pub name: Option<String>,
    /// Key and value pairs to find it by.
    pub labels: BTreeMap<String, String>,
    /// What it may consume.
    pub limits: Limits,
    /// What to do about limits that the host cannot apply.
    pub limits_mode: LimitsMode,
    /// What becomes of processes that the main process leaves behind.
    pub on_exit: OnExit,
}

/// Where a job runs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Place {
    /// In the tree of this mirror.
    pub workspace: Option<WorkspaceRef>,
    /// Only once this root is committed there.
    pub require_root: Option<[u8; 32]>,
    /// How long to wait for that root, in milliseconds; as long as the server allows if absent.
    pub root_wait_ms: Option<u64>,
    /// Relative to the mirror's tree, or absolute on the host.
    pub dir: PathBuf,
}

/// A mirror, by what identifies it to its owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WorkspaceRef {
    /// A name that the owner chose.
    Name(String),
    /// The directory that it mirrors.
    Origin {
        /// This machine's own random id.
        machine_id: String,
        /// Canonical absolute path here.
        root: PathBuf,
    },
}

/// What a job reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Stdin {
    /// End of file at once.
    #[default]
    Null,
    /// What [`crate::Client::input`] sends.
    Pipe,
}

impl JobSpec {
    /// A job that runs `argv`, with a fresh id and everything else at its default.
    #[must_use]
    pub fn new(argv: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        Self {
            id: fresh_id(),
            argv: argv.into_iter().map(Into::into).collect(),
            env: Vec::new(),
            place: Place::default(),
            stdin: Stdin::Null,
            merge: false,
            timeout_ms: None,
            stop_signal: None,
            stop_grace_ms: None,
            output_limit: None,
            name: None,
            labels: BTreeMap::new(),
            limits: Limits::default(),
            limits_mode: LimitsMode::Strict,
            on_exit: OnExit::Kill,
        }
    }
}

/// A `UUIDv7` that sorts after those that this process made before. Only the upper half counts: short ids are made of the lower one,
/// all of it random, and ids of one moment must not look alike, as they would with the usual counter in them.
fn fresh_id() -> Uuid {
    /// Milliseconds in the upper 52 bits and a sequence number in the lower 12, ever growing.
    static LAST: AtomicU64 = AtomicU64::new(0);
    let (high, random) = Uuid::new_v7(Timestamp::now(NoContext)).as_u64_pair();
    let now = high >> 16 << 12;
    let after = |last: u64| now.max(last + 1);
    let last = LAST.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| {
        Some(after(last))
    });
    let (Ok(last) | Err(last)) = last;
    let tick = after(last);
    Uuid::from_u64_pair(tick >> 12 << 16 | VERSION_7 | tick & 0xfff, random)
}

/// Where a uuid says that it is of version 7.
const VERSION_7: u64 = 0x7000;

#[cfg(test)]
mod tests {
    use super::JobSpec;

    #[test]
    fn ids_sort_in_the_order_in_which_they_were_made() {
        let ids: Vec<_> = (0..10_000).map(|_| super::fresh_id()).collect();
        assert!(ids.is_sorted_by(|a, b| a < b));
        assert!(ids.iter().all(|id| id.get_version_num() == 7));
    }

    #[test]
    fn ids_of_one_moment_do_not_look_alike() {
        let tail = |spec: JobSpec| spec.id.to_string()[24..28].to_owned();
        let tails: std::collections::HashSet<_> =
            (0..100).map(|_| tail(JobSpec::new(["true"]))).collect();
        assert!(tails.len() > 90, "{tails:?}");
    }
}
