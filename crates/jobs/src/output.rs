//! Reading what a job printed: past, then live, then its end.
//!
//! A reader holds no queue and disturbs nobody: it reads the files of the job directory at its own pace and
//! waits for them to grow. Offsets count the bytes in the order in which the job printed them, both streams together.

use bytes::Bytes;
pub use legwork_shim::index::Stream;

use crate::error::JobError;
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

/// The output of one job, for one reader.
#[derive(Debug)]
pub struct Output {}

impl Output {
    /// The next event; `None` after [`OutputEvent::End`] or an error. Cancel safe.
    pub async fn next(&mut self) -> Option<Result<OutputEvent, JobError>> {
        todo!()
    }

    /// The same output cut into lines.
    #[must_use]
    pub fn lines(self) -> Lines {
        todo!()
    }
}

/// Lines of a job's output, as many at a time as there are.
#[derive(Debug)]
pub struct Lines {}

impl Lines {
    /// The next event; `None` after [`LinesEvent::End`] or an error. Cancel safe.
    pub async fn next(&mut self) -> Option<Result<LinesEvent, JobError>> {
        todo!()
    }
}

/// What a reader of lines sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinesEvent {
    /// Lines, in the order of their ends.
    Lines(Vec<Line>),
    /// Bytes that were printed and not kept.
    Gap {
        /// Offset of the first of them.
        offset: u64,
        /// How many.
        len: u64,
    },
    /// As [`OutputEvent::End`].
    End {
        /// Offset after the last byte.
        offset: u64,
        /// The finished job; `None` when it goes on.
        job: Option<Box<Job>>,
    },
}

/// A line, or a part of one that is longer than [`LINE_MAX`], without its newline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Offset of its first byte.
    pub offset: u64,
    /// The bytes.
    pub data: Bytes,
    /// Its stream.
    pub stream: Stream,
    /// When its first byte came: microseconds since the epoch.
    pub time_us: u64,
    /// A newline ended it.
    pub complete: bool,
}

/// Bytes of a line that are given in one piece.
pub const LINE_MAX: usize = 1 << 20;
