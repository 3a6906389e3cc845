//! What a caller may want to know, or say, while a transfer is under way.

use crate::message::Waiting;

/// Sees progress and may cancel. Called from several threads; each method has an empty default.
pub trait Observer: Sync {
    /// The tree has been scanned that far.
    fn scanned(&self, progress: Progress) {
        let _unused = progress;
    }

    /// That many more files, and bytes of them, were handed to the link, or received in a pull.
    fn transferred(&self, progress: Progress) {
        let _unused = progress;
    }

    /// That many more files, and bytes of them, need not be sent, since the server has them elsewhere.
    fn reused(&self, progress: Progress) {
        let _unused = progress;
    }

    /// The server waits before it commits; said again about every second.
    fn waiting(&self, reason: Waiting) {
        let _unused = reason;
    }

    /// Whether to give up; asked again and again.
    fn cancelled(&self) -> bool {
        false
    }
}

/// An amount, to be added to those reported before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Files.
    pub files: u64,
    /// Bytes of their content.
    pub bytes: u64,
}

/// Sees nothing, never cancels.
impl Observer for () {}
