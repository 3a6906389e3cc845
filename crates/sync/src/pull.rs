//! Bringing results back: named patterns only, into a directory the client names.
//!
//! `serve` offers the entries that match (`globs`); the client's `puller` compares them with what is
//! there, asks for what differs, and puts complete files in place by rename. Its `record` says which
//! files an earlier pull brought, since only those may be replaced, and what the last push sent.

pub(crate) mod globs;
mod puller;
pub(crate) mod record;
mod serve;

use std::path::{Path, PathBuf};

use rustix::io::Errno;

use self::globs::Globs;
use self::puller::Puller;
use self::record::{Known, load, save};
pub use self::serve::serve;
use crate::error::PullError;
use crate::link::{Link, Receiving, Sending};
use crate::message::{Ask, MAX_PAGE, PullDown, PullUp, VERSION, Want};
use crate::observer::Observer;
use crate::pack::Compress;
use crate::push::Unreadable;
use crate::tree::Dir;

/// What to pull.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Patterns over paths in the workspace; `*` does not match `/`, `**` does. A pattern that
    /// matches a directory takes all below it, but for a `.git`, `.hg` or `.svn` that no pattern names.
    pub globs: Vec<String>,
    /// Replace files that were modified locally.
    pub force: bool,
    /// The cache of the pushes that went from this very directory to that workspace. Local files that
    /// are as they were pushed may be replaced: they hold nothing that nobody else has seen.
    pub pushed: Option<PathBuf>,
    /// Whether content is compressed on its way.
    pub compress: Compress,
}

/// What a pull came to. Paths are relative to the destination.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pulled {
    /// Written, or replaced.
    pub written: Vec<PathBuf>,
    /// Bytes of those.
    pub written_bytes: u64,
    /// Bytes of content as they came: fewer than they are, if they were compressed.
    pub wire_bytes: u64,
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
/// destination and workspace), if it is what the last push sent, or if forced.
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
    let globs = Globs::new(&options.globs)?;
    let cannot = |errno: Errno| PullError::Destination {
        what: "open",
        path: into.to_owned(),
        source: errno.into(),
    };
    let dir = Dir::open_root(into).map_err(cannot)?;
    let Link {
        mut sender,
        mut receiver,
    } = link;
    sender.send(PullUp::Ask(Ask {
        version: VERSION,
        globs: options.globs.clone(),
        compress: options.compress,
    }))?;
    let known = Known::new(load(record)?, options);
    let mut puller = Puller::new(&dir, known, &mut receiver, observer);
    let offered = puller.offered(&globs)?;
    let wanted = puller.compare(&offered);
    let mut pages = wanted.chunks(MAX_PAGE).peekable();
    loop {
        let (files, last) = (
            pages.next().unwrap_or_default().to_vec(),
            pages.peek().is_none(),
        );
        sender.send(PullUp::Want(Want { files, last }))?;
        if last {
            break;
        }
    }
    let received = puller.take(&offered, &wanted);
    puller.drop_unfinished(&offered);
    save(record, &puller.known.record)?;
    received?;
    puller.pulled.written.sort();
    Ok(puller.pulled)
}
