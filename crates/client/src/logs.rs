//! A job's output as a stream of events.

use bytes::Bytes;
use legwork_proto::v1 as wire;
use tonic::Streaming;

use crate::convert;
use crate::error::{CallError, Result};
use crate::job::Job;

/// What to read of a job's output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LogOptions {
    /// Which of its streams.
    pub stream: LogStream,
    /// Where to begin.
    pub from: LogFrom,
    /// Go on with what comes, until the job has ended.
    pub follow: bool,
}

/// One of a job's streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogStream {
    /// Both, in order of arrival.
    #[default]
    Raw,
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Where to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFrom {
    /// At this byte of the raw output.
    Offset(u64),
    /// At the last lines, this many.
    Tail(u64),
    /// At what comes next.
    Live,
}

impl Default for LogFrom {
    fn default() -> Self {
        Self::Offset(0)
    }
}

/// What comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogEvent {
    /// Bytes as printed.
    Chunk(Chunk),
    /// Bytes that were printed but not kept.
    Gap {
        /// Position of the first of them.
        offset: u64,
        /// How many.
        length: u64,
    },
    /// The last event.
    End {
        /// Where a later call would go on.
        offset: u64,
        /// The job, if it has finished.
        job: Option<Box<Job>>,
    },
}

/// Bytes as printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// Position of the first byte in the raw output.
    pub offset: u64,
    /// The bytes.
    pub data: Bytes,
    /// The parts of `data` by origin; their lengths add up to its length.
    pub runs: Vec<Run>,
}

/// A part of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// Bytes of it.
    pub length: usize,
    /// Where it came from; never `Raw`.
    pub stream: LogStream,
    /// Microseconds since the epoch, when the host read it.
    pub time_us: u64,
}

/// The events of one job's output. Ends after [`LogEvent::End`].
#[derive(Debug)]
pub struct Logs {
    events: Streaming<wire::LogsResponse>,
}

impl Logs {
    pub(crate) fn new(events: Streaming<wire::LogsResponse>) -> Self {
        Self { events }
    }

    /// The next event; `None` after the end.
    ///
    /// # Errors
    /// What the server or the connection says. A stream that stops without its end is an error too.
    pub async fn next(&mut self) -> Result<Option<LogEvent>> {
        let Some(message) = self.events.message().await? else {
            return Ok(None);
        };
        match message
            .event
            .ok_or_else(|| CallError::protocol("a log message without an event"))?
        {
            wire::logs_response::Event::Chunk(chunk) => Ok(Some(LogEvent::Chunk(Chunk {
                offset: chunk.offset,
                runs: chunk.runs.iter().map(convert::run).collect(),
                data: chunk.data,
            }))),
            wire::logs_response::Event::Gap(gap) => Ok(Some(LogEvent::Gap {
                offset: gap.offset,
                length: gap.length,
            })),
            wire::logs_response::Event::End(end) => Ok(Some(LogEvent::End {
                offset: end.offset,
                job: end.job.map(convert::job).transpose()?.map(Box::new),
            })),
        }
    }
}
