//! Reading what a job printed: past, then live, then its end.
//!
//! A reader holds no queue and disturbs nobody: it reads the files of the job directory at its own pace and
//! waits for them to grow. Offsets count the bytes in the order in which the job printed them, both streams together.

mod follow;
mod lines;
mod origins;
mod pattern;
mod search;
mod sieve;
mod tail;
mod tape;

use bytes::Bytes;
pub use legwork_shim::index::Stream;

pub use self::follow::Output;
pub use self::lines::{LINE_MAX, Line, Lines, LinesEvent};
pub use self::pattern::{BadPattern, PATTERN_MAX, Pattern, Wanted};
pub use self::search::{Search, SearchEvent};
pub use self::sieve::{Found, FoundLine, Undecided};
use crate::job::Job;

/// What to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Read {
    /// Where to begin.
    pub from: Position,
    /// Whether to wait for what is yet to come, until the job ends.
    pub follow: bool,
    /// Which stream.
    pub streams: Streams,
}

/// Where to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Position {
    /// With the first byte.
    Start,
    /// With the byte of this offset.
    Offset(u64),
    /// So many lines before the present end, of the streams that are read.
    TailLines(u64),
    /// With the next byte printed.
    End,
}

/// Which streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Streams {
    /// Both, in the order of arrival.
    #[default]
    Raw,
    /// Standard output only.
    Stdout,
    /// Standard error only.
    Stderr,
}

/// What a reader sees. [`OutputEvent::End`] is always the last, and there is exactly one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OutputEvent {
    /// Bytes, contiguous in the output.
    Chunk(Chunk),
    /// Bytes that were printed and not kept.
    Gap {
        /// Offset of the first of them.
        offset: u64,
        /// How many.
        len: u64,
    },
    /// No more: the job has ended, or a reader that does not follow is at the present end.
    End {
        /// Offset after the last byte: where a later reader would go on.
        offset: u64,
        /// The finished job; `None` when it goes on.
        job: Option<Box<Job>>,
    },
}

/// Bytes of the output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// Offset of the first byte.
    pub offset: u64,
    /// The bytes, at most 256 KiB.
    pub data: Bytes,
    /// Where they came from and when. The lengths add up to that of `data`.
    pub runs: Vec<Run>,
}

/// Successive bytes of one stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// How many bytes.
    pub len: usize,
    /// Their stream.
    pub stream: Stream,
    /// When the shim read them: microseconds since the epoch.
    pub time_us: u64,
}

/// Most bytes in a [`Chunk`].
pub const CHUNK_MAX: usize = 256 * 1024;

impl Read {
    /// Everything there is, both streams, without waiting for more.
    #[must_use]
    pub const fn past() -> Self {
        Self {
            from: Position::Start,
            follow: false,
            streams: Streams::Raw,
        }
    }

    /// Everything there is and will be until the job ends, both streams.
    #[must_use]
    pub const fn all() -> Self {
        Self {
            follow: true,
            ..Self::past()
        }
    }
}

impl Streams {
    /// Whether bytes of that stream are among them.
    fn take(self, stream: Stream) -> bool {
        match self {
            Self::Raw => true,
            Self::Stdout => stream == Stream::Stdout,
            Self::Stderr => stream == Stream::Stderr,
        }
    }
}
