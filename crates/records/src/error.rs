//! What can go wrong with a log, without a word about transports.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// A log that cannot be opened. Damage is no reason for that.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A file cannot be made, read or written.
    #[error("{what} {}: {source}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// Another process has it open, or this one twice.
    #[error("{} is in use by another process", path.display())]
    Busy {
        /// The directory.
        path: PathBuf,
    },
    /// Written by a newer version.
    #[error("{} has format {found}, and this version knows {known}", path.display())]
    Newer {
        /// The directory.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The newest known one.
        known: u32,
    },
    /// The name of the stream cannot stand in a line.
    #[error(
        "{name:?} is no name of a stream: 1 to 128 bytes, no control character, quotation mark or backslash"
    )]
    BadName {
        /// The name.
        name: String,
    },
}

pub(crate) trait During<T> {
    /// Says what was tried on which file.
    fn during(self, what: &'static str, path: &std::path::Path) -> Result<T, OpenError>;
}

impl<T> During<T> for io::Result<T> {
    fn during(self, what: &'static str, path: &std::path::Path) -> Result<T, OpenError> {
        self.map_err(|source| {
            let path = path.to_owned();
            OpenError::Io { what, path, source }
        })
    }
}

/// A batch that was not appended. Nothing of it is in the log, and its number is still expected, unless it says otherwise.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AppendError {
    /// A name cannot stand in a line.
    #[error(
        "{what} {name:?} is not 1 to 128 bytes without control characters, quotation marks and backslashes"
    )]
    BadName {
        /// Whose name.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// The producer left out a number. It has to send the expected one.
    #[error("batch {sequence} of producer {producer} came where {expected} is expected")]
    OutOfOrder {
        /// The producer.
        producer: String,
        /// What it sent.
        sequence: u64,
        /// What is to come next.
        expected: u64,
    },
    /// Another batch with this number is in the log: two senders use one producer. This one needs another.
    #[error(
        "batch {sequence} of producer {producer} is in the log with another content: two senders use this producer"
    )]
    Conflict {
        /// The producer.
        producer: String,
        /// The number.
        sequence: u64,
    },
    /// More is waiting to be written than there is room for. Later it may be taken.
    #[error("{bytes} bytes are waiting to be written already")]
    Congested {
        /// How many bytes wait.
        bytes: usize,
    },
    /// The disk is full, or nearly. Later it may be taken.
    #[error("the disk has too little room: {free} bytes are free, {wanted} have to be")]
    DiskFull {
        /// Bytes that are free.
        free: u64,
        /// Bytes that have to stay free.
        wanted: u64,
    },
    /// The disk failed. Whether the batch is on it is not known, so its repeat will be looked up. Later it may be taken.
    #[error("cannot {what}: {source}")]
    Disk {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        source: Arc<io::Error>,
    },
    /// The log is being closed.
    #[error("the log is closed")]
    Closed,
}

impl AppendError {
    /// Whether the same batch may be taken later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::BadName { .. } | Self::OutOfOrder { .. } | Self::Conflict { .. } => false,
            Self::Congested { .. } | Self::DiskFull { .. } | Self::Disk { .. } | Self::Closed => {
                true
            }
        }
    }
}

/// A log that cannot be read at this place.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The disk failed.
    #[error("cannot read the segment of line {segment}: {source}")]
    Io {
        /// The first number of the segment.
        segment: u64,
        /// Why.
        source: io::Error,
    },
}
