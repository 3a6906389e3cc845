//! A job's output as a stream of events.

use std::sync::Arc;

use bytes::Bytes;
use legwork_proto::v1 as wire;
use tonic::{Code, Response, Status, Streaming};

use crate::client::jobs;
use crate::contact::Contact;
use crate::convert;
use crate::error::{CallError, Result};
use crate::job::Job;
use crate::live::Live;
use crate::lost::is_lost;
use crate::spec::JobSpec;

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

impl LogOptions {
    /// All of it, until the job has ended.
    #[must_use]
    pub fn followed() -> Self {
        Self {
            follow: true,
            ..Self::default()
        }
    }
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

/// Which lines of a job's output.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogFilter {
    /// A regular expression in the syntax of the crate `regex`, on bytes with Unicode's classes.
    pub pattern: String,
    /// It is text, not an expression.
    pub fixed: bool,
    /// Capital and small letters are the same.
    pub ignore_case: bool,
}

/// What comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogEvent {
    /// Bytes as printed; never with a filter.
    Chunk(Chunk),
    /// Lines that match; only with a filter.
    Found(Found),
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

/// Lines that match, in the order of their ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The lines as printed, one after the other, with the newlines that they have.
    pub data: Bytes,
    /// What they are; their lengths add up to that of `data`.
    pub lines: Vec<FoundLine>,
}

/// A line that matches, or a piece of one that is longer than 1 MiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FoundLine {
    /// Position of its first byte in the raw output.
    pub offset: u64,
    /// Bytes of it.
    pub length: usize,
    /// Where it came from; never `Raw`.
    pub stream: LogStream,
    /// Microseconds since the epoch, when the host read its first byte.
    pub time_us: u64,
}

/// The first byte of each stream on which a search has not decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Undecided {
    pub(crate) stdout: u64,
    pub(crate) stderr: u64,
}

/// A filter, and where it is.
#[derive(Debug, Clone)]
pub(crate) struct Search {
    pub(crate) filter: LogFilter,
    /// Where to go on, if it has begun.
    pub(crate) from: Option<Undecided>,
    /// The server at the other end has shown that it searches.
    is_heard: bool,
}

/// The events of one job's output. Ends after [`LogEvent::End`], and never without it.
#[derive(Debug)]
pub struct Logs {
    contact: Arc<Contact>,
    id: String,
    options: LogOptions,
    search: Option<Search>,
    open: Option<(Live, Streaming<wire::LogsResponse>)>,
    ended: bool,
}

impl Logs {
    pub(crate) async fn open(
        contact: Arc<Contact>,
        id: String,
        options: LogOptions,
        filter: Option<LogFilter>,
    ) -> Result<Self> {
        let search = filter.map(|filter| Search {
            filter,
            from: None,
            is_heard: false,
        });
        let mut logs = Self {
            contact,
            id,
            options,
            search,
            open: None,
            ended: false,
        };
        if options.from == LogFrom::Live && options.follow && logs.contact.is_kept() {
            logs.fix_now().await?;
        }
        logs.open = Some(logs.connect().await?);
        Ok(logs)
    }

    /// Starts a job and follows its output from the first byte.
    pub(crate) async fn run(contact: Arc<Contact>, spec: &JobSpec) -> Result<(Job, Self)> {
        let request = wire::RunRequest {
            spec: Some(convert::spec(spec)),
        };
        let call = |channel| {
            let request = request.clone();
            async move { begin(jobs(channel).run(request).await?).await }
        };
        let (live, (job, events)) = contact.repeat_alone(call).await?;
        let job = convert::job(job)?;
        let logs = Self {
            contact,
            id: job.id.to_string(),
            options: LogOptions::followed(),
            search: None,
            open: Some((live, events)),
            ended: false,
        };
        Ok((job, logs))
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
            search: None,
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
            let request = convert::logs_request(&self.id, self.options, self.search.as_ref());
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
    /// What the server says, and the connection when there will be no other. `SEARCH_UNKNOWN` from a server that is too old to know
    /// filters.
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
                    match self.take(message)? {
                        Some(event) => return Ok(Some(event)),
                        None => continue,
                    }
                }
                Ok(None) => Status::unavailable("the output ended without its end"),
                Err(status) if is_lost(&status) => status,
                Err(status) => return Err(status.into()),
            };
            let live = live.clone();
            self.contact.lost(&live, lost).await?;
            self.open = None;
            if let Some(search) = &mut self.search {
                search.is_heard = false;
            }
        }
        Ok(None)
    }

    /// Converts an event, and takes note of where the next one begins. `None` for one that tells only that.
    fn take(&mut self, message: wire::LogsResponse) -> Result<Option<LogEvent>> {
        use wire::logs_response::Event;
        let event = message
            .event
            .ok_or_else(|| CallError::protocol("a log message without an event"))?;
        if let Some(search) = &mut self.search {
            search.hear(&event)?;
        }
        let (event, next) = match event {
            Event::Chunk(chunk) => {
                let next = chunk.offset.saturating_add(chunk.data.len() as u64);
                let chunk = Chunk {
                    offset: chunk.offset,
                    runs: chunk.runs.iter().map(convert::run).collect(),
                    data: chunk.data,
                };
                (LogEvent::Chunk(chunk), next)
            }
            Event::Found(found) => return Ok(self.found(found)),
            Event::Started(_) => {
                return Err(CallError::protocol("a job that was started, in its output"));
            }
            Event::Gap(gap) => {
                let (offset, length) = (gap.offset, gap.length);
                let next = offset.saturating_add(length);
                (LogEvent::Gap { offset, length }, next)
            }
            Event::End(end) => {
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
        if let Some(search) = &mut self.search {
            search.from = None;
        }
        Ok(Some(event))
    }

    fn found(&mut self, found: wire::LogFound) -> Option<LogEvent> {
        let (stdout, stderr) = (found.stdout_next, found.stderr_next);
        self.options.from = LogFrom::Offset(stdout.min(stderr));
        if let Some(search) = &mut self.search {
            search.from = Some(Undecided { stdout, stderr });
        }
        (!found.lines.is_empty()).then(|| {
            LogEvent::Found(Found {
                lines: found.lines.iter().map(convert::found_line).collect(),
                data: found.data,
            })
        })
    }
}

/// Waits for the job that is told before its output.
async fn begin(
    answer: Response<Streaming<wire::LogsResponse>>,
) -> std::result::Result<Response<(wire::Job, Streaming<wire::LogsResponse>)>, Status> {
    let (metadata, mut events, extensions) = answer.into_parts();
    let first = events.message().await?.and_then(|message| message.event);
    let Some(wire::logs_response::Event::Started(job)) = first else {
        return Err(Status::internal("the answer does not begin with the job"));
    };
    Ok(Response::from_parts(metadata, (job, events), extensions))
}

impl Search {
    /// A server that does not know filters gives everything, and its first event shows it. Nothing of that is shown.
    fn hear(&mut self, event: &wire::logs_response::Event) -> Result<()> {
        use wire::logs_response::Event;
        self.is_heard |= matches!(event, Event::Found(_));
        if self.is_heard && !matches!(event, Event::Chunk(_)) {
            return Ok(());
        }
        Err(CallError::new(
            Code::Unimplemented,
            "SEARCH_UNKNOWN",
            "the server is older than this client and cannot search output",
        ))
    }
}

#[cfg(test)]
mod tests {
    use legwork_proto::v1 as wire;
    use wire::logs_response::Event;

    use super::{LogFilter, Search};

    #[test]
    fn nothing_is_taken_for_found_before_the_server_has_shown_that_it_searches() {
        let new = || Search {
            filter: LogFilter::default(),
            from: None,
            is_heard: false,
        };
        let found = Event::Found(wire::LogFound::default());
        let chunk = Event::Chunk(wire::LogChunk::default());
        let end = Event::End(wire::LogEnd::default());
        for event in [&chunk, &end, &Event::Gap(wire::LogGap::default())] {
            assert_eq!(new().hear(event).unwrap_err().reason, "SEARCH_UNKNOWN");
        }
        let mut search = new();
        search.hear(&found).unwrap();
        search.hear(&end).unwrap();
        assert!(search.hear(&chunk).is_err());
    }
}
