//! Who takes what a scan looked at anew: it was read once, to be hashed and perhaps sent.

use std::os::fd::OwnedFd;

use crate::message::Node;
use crate::path::TreePath;

/// Bytes of the largest file that is read whole, unless the sink says otherwise; a larger one is sent in parts.
const WHOLE: usize = 256 << 10;

/// A file's content, at the moment it was hashed.
#[derive(Debug)]
pub(crate) enum Content<'a> {
    /// The end of the sink's buffer, from this offset.
    Buffered(usize),
    /// An open file, already read to its end.
    File(&'a OwnedFd),
    /// A directory or link has none.
    None,
}

/// Where a worker's fresh entries go.
pub(crate) trait Sink: Send {
    /// Where small files are read to. The scan appends; the sink may empty it between files.
    fn buffer(&mut self) -> &mut Vec<u8>;

    /// An entry that was looked at anew. The sink takes the content, or cuts the buffer back.
    fn offer(&mut self, path: &TreePath, node: &Node, mtime_ns: i64, content: Content<'_>);

    /// Bytes of the largest file that is read whole.
    fn whole(&self) -> usize {
        WHOLE
    }

    /// Whether to give up.
    fn stop(&self) -> bool;
}

/// Keeps nothing.
#[derive(Debug, Default)]
pub(crate) struct Discard(Vec<u8>);

impl Sink for Discard {
    fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }

    fn offer(&mut self, _path: &TreePath, _node: &Node, _mtime_ns: i64, _content: Content<'_>) {
        self.0.clear();
    }

    fn stop(&self) -> bool {
        false
    }
}
