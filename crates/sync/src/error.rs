//! What can go wrong, without a word about transports.
//!
//! Paths are those of the side that reports: below the tree for what was scanned or pulled, absolute
//! for a file of the mirror's own.

mod refusal;

use std::io;
use std::path::PathBuf;

use crate::link::Closed;
use crate::message::Refusal;

pub(crate) use self::refusal::{protocol, refusal, too_much};

/// A file of the mirror's own (index, journal, cache, record, lease) is unusable.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A system call failed.
    #[error("{what} {}: {source}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// Written by a newer version of this library.
    #[error("{} has format {found}, and this version knows {known}", path.display())]
    NewerFormat {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The newest known format.
        known: u32,
    },
    /// Not what was written.
    #[error("{} is damaged: {why}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// How one can tell.
        why: &'static str,
    },
    /// What belongs together is on two file systems, between which nothing can be renamed.
    #[error("{} and {} are on different file systems", tree.display(), dir.display())]
    Apart {
        /// The workspace's own directory.
        dir: PathBuf,
        /// Its tree.
        tree: PathBuf,
    },
    /// There is no such directory in the trash.
    #[error("there is no {name} in the trash of {}", path.display())]
    NoTrash {
        /// The workspace.
        path: PathBuf,
        /// What was asked for.
        name: String,
    },
    /// A job or a commit is using the workspace.
    #[error("{} is in use", path.display())]
    Busy {
        /// The workspace.
        path: PathBuf,
    },
}

/// A push that did not end in a commit.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// The directory to mirror cannot be opened or listed.
    #[error("cannot read {}: {source}", path.display())]
    Root {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The server said no.
    #[error(transparent)]
    Refused(Refusal),
    /// The link broke. The server may have committed; pushing again tells.
    #[error(transparent)]
    Closed(#[from] Closed),
    /// The server is older than it was at the last commit, and may not have understood. That is known now: pushing again works.
    #[error("the server speaks an older version than before")]
    Older,
    /// A file changed each time it was read.
    #[error("{} keeps changing while it is read", path.display())]
    KeepsChanging {
        /// The file, below the root.
        path: PathBuf,
    },
    /// The server sent what no server sends.
    #[error("protocol error: {0}")]
    Protocol(String),
    /// The cache was written by a newer version, or cannot be written.
    #[error(transparent)]
    Cache(#[from] StoreError),
    /// A pattern for what is to be included makes no sense.
    #[error("{0}")]
    BadInclude(String),
    /// The observer cancelled.
    #[error("cancelled")]
    Cancelled,
}

/// A session that the server side could not finish. The client has been told, where it still listens.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    /// The client went away. Nothing was changed, unless the tree was in place already.
    #[error(transparent)]
    Closed(#[from] Closed),
    /// The client was told no, for this reason.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

/// A pull that did not finish. What was brought until then is complete, file by file.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// The destination cannot be used.
    #[error("{what} {}: {source}", path.display())]
    Destination {
        /// What was tried.
        what: &'static str,
        /// The directory or file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// A pattern makes no sense.
    #[error("bad pattern {glob}: {why}")]
    BadGlob {
        /// The pattern.
        glob: String,
        /// Why.
        why: String,
    },
    /// The server said no.
    #[error(transparent)]
    Refused(Refusal),
    /// The link broke.
    #[error(transparent)]
    Closed(#[from] Closed),
    /// The server sent what was not asked for, or what no server sends.
    #[error("protocol error: {0}")]
    Protocol(String),
    /// The record of earlier pulls is unusable.
    #[error(transparent)]
    Record(#[from] StoreError),
    /// The observer cancelled.
    #[error("cancelled")]
    Cancelled,
}
