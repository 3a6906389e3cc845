//! The server's side of a commit.

use std::time::SystemTime;

use crate::error::ReceiveError;
use crate::link::{Closed, Link, Receiving, Sending};
use crate::message::{Down, Summary, Up};
use crate::workspace::Workspace;

/// Bounds and threads of the server's side.
#[derive(Debug, Clone)]
pub struct Options {
    /// Entries in a tree at most.
    pub max_entries: u64,
    /// Bytes of content that one session may send.
    pub max_bytes: u64,
    /// Threads that write, and that look for drift; 1 to 16.
    pub threads: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_entries: 2_000_000,
            max_bytes: 1 << 40,
            threads: 2,
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
/// Waits, telling the client, while another session commits or a job holds the lease and something
/// would change; gives up when the client goes away. A refusal is sent to the client and returned.
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
    let _ = (workspace, options, link, clock());
    Err(Closed.into())
}
