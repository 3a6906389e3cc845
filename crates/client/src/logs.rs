//! A job's output as a stream of events.

use std::sync::Arc;

use bytes::Bytes;
use legwork_proto::v1 as wire;
use tonic::{Status, Streaming};

use crate::client::jobs;
use crate::contact::{Contact, Live};
use crate::convert;
use crate::error::{CallError, Result};
use crate::job::Job;
use crate::lost::is_lost;

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

/// The events of one job's output. Ends after [`LogEvent::End`], and never without it.
#[derive(Debug)]
pub struct Logs {
    contact: Arc<Contact>,
    id: String,
    options: LogOptions,
    open: Option<(Live, Streaming<wire::LogsResponse>)>,
    ended: bool,
}

impl Logs {
    pub(crate) async fn open(
        contact: Arc<Contact>,
        id: String,
        options: LogOptions,
    ) -> Result<Self> {
        let mut logs = Self {
            contact,
            id,
            options,
            open: None,
            ended: false,
        };
        if options.from == LogFrom::Live && options.follow && logs.contact.is_kept() {
            logs.fix_now().await?;
        }
        logs.open = Some(logs.connect().await?);
        Ok(logs)
    }

    /// Finds out which byte comes next. A request for *what comes next* that is repeated later would skip
    /// what came in between.
    async fn fix_now(&mut self) -> Result<()> {
        let look = LogOptions {
            follow: false,
            ..self.options
        };
        let mut now = Self {
            contact: Arc::clone(&self.contact),
            id: self.id.clone(),
            options: look,
            open: None,
            ended: false,
        };
        while let Some(event) = Box::pin(now.next()).await? {
            if let LogEvent::End { offset, .. } = event {
                self.options.from = LogFrom::Offset(offset);
            }
        }
        Ok(())
    }

    async fn connect(&self) -> Result<(Live, Streaming<wire::LogsResponse>)> {
        loop {
            let live = self.contact.live_alone().await?;
            let request = convert::logs_request(&self.id, self.options);
            match jobs(live.channel.clone()).logs(request).await {
                Ok(answer) => return Ok((live, answer.into_inner())),
                Err(status) if is_lost(&status) => self.contact.lost(&live, status).await?,
                Err(status) => return Err(status.into()),
            }
        }
    }

    /// The next event; `None` after the end. Cancel safe.
    ///
    /// # Errors
    /// What the server says, and the connection when there will be no other.
    pub async fn next(&mut self) -> Result<Option<LogEvent>> {
        while !self.ended {
            let (live, events) = match &mut self.open {
                Some(open) => open,
                None => {
                    let opened = self.connect().await?;
                    self.open.insert(opened)
                }
            };
            let lost = match events.message().await {
                Ok(Some(message)) => {
                    self.contact.progress();
                    return self.take(message).map(Some);
                }
                Ok(None) => Status::unavailable("the output ended without its end"),
                Err(status) if is_lost(&status) => status,
                Err(status) => return Err(status.into()),
            };
            let live = live.clone();
            self.contact.lost(&live, lost).await?;
            self.open = None;
        }
        Ok(None)
    }

    /// Converts an event, and takes note of where the next one begins.
    fn take(&mut self, message: wire::LogsResponse) -> Result<LogEvent> {
        let (event, next) = match message
            .event
            .ok_or_else(|| CallError::protocol("a log message without an event"))?
        {
            wire::logs_response::Event::Chunk(chunk) => {
                let next = chunk.offset.saturating_add(chunk.data.len() as u64);
                let chunk = Chunk {
                    offset: chunk.offset,
                    runs: chunk.runs.iter().map(convert::run).collect(),
                    data: chunk.data,
                };
                (LogEvent::Chunk(chunk), next)
            }
            wire::logs_response::Event::Gap(gap) => {
                let (offset, length) = (gap.offset, gap.length);
                let next = offset.saturating_add(length);
                (LogEvent::Gap { offset, length }, next)
            }
            wire::logs_response::Event::End(end) => {
                self.ended = true;
                if let Some((live, events)) = self.open.take() {
                    drop(events);
                    self.contact.give_back(live);
                }
                let job = end.job.map(convert::job).transpose()?.map(Box::new);
                let offset = end.offset;
                (LogEvent::End { offset, job }, offset)
            }
        };
        self.options.from = LogFrom::Offset(next);
        Ok(event)
    }
}
