//! Bringing results back: named patterns only, into a directory the client names.

use std::path::{Path, PathBuf};

use crate::error::{PullError, ReceiveError};
use crate::link::{Closed, Link, Receiving, Sending};
use crate::message::{PullDown, PullUp};
use crate::observer::Observer;
use crate::push::Unreadable;
use crate::workspace::Workspace;

/// What to pull.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Patterns over paths in the workspace; `*` does not match `/`, `**` does. A pattern that
    /// matches a directory takes all below it.
    pub globs: Vec<String>,
    /// Replace files that were modified locally.
    pub force: bool,
}

/// What a pull came to. Paths are relative to the destination.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pulled {
    /// Written, or replaced.
    pub written: Vec<PathBuf>,
    /// Bytes of those.
    pub written_bytes: u64,
    /// Files that were there already, identical.
    pub same: u64,
    /// Left alone, because something else is there that no earlier pull brought.
    pub refused: Vec<PathBuf>,
    /// Vanished or changed on the server while they were read.
    pub gone: Vec<PathBuf>,
    /// Not readable there, or not writable here.
    pub failed: Vec<Unreadable>,
}

/// Brings what matches `options.globs` from the workspace at the other end of `link` into `into`.
///
/// Reads what is on disk there, whoever wrote it. Replaces a local file only if an earlier pull
/// brought it and nobody changed it since (`record` is the file that remembers this, one for each
/// destination and workspace), or if forced.
///
/// # Errors
/// See [`PullError`]. Paths that only by themselves failed are in [`Pulled`].
pub fn pull<S, R>(
    into: &Path,
    options: &Options,
    record: &Path,
    link: Link<S, R>,
    observer: &dyn Observer,
) -> Result<Pulled, PullError>
where
    S: Sending<PullUp>,
    R: Receiving<PullDown>,
{
    let _ = (into, options, record, link, observer.cancelled());
    Err(Closed.into())
}

/// Serves one pull from `workspace` over `link`. Reads only; needs no lease.
///
/// # Errors
/// See [`ReceiveError`].
pub fn serve<S, R>(workspace: &Workspace, link: Link<S, R>) -> Result<(), ReceiveError>
where
    S: Sending<PullDown>,
    R: Receiving<PullUp>,
{
    let _ = (workspace, link);
    Err(Closed.into())
}
