//! Exports: streams of records that are sent on to whoever takes OTLP.
//!
//! One task for each export goes through its streams in turn, reads lines that are new ([`batch`](Reading::batch)), sends them, and once they are taken
//! writes down how far it is ([`cursor`]), durably, before it goes on. So after any crash only the batch that was under way is sent again: at least
//! once, in order. Nothing waits for an export, and what cannot be sent stays in the log, as long as that keeps it; how far behind it is, metrics tell.
//!
//! A receiver that is away, or has something against us, is tried again later and later ([`Backoff`]). Only what it says is no request
//! at all (`INVALID_ARGUMENT`) is given up: the batch is halved until the record is found that it does not take, and that one is counted and left out.

mod channel;
mod cursor;
mod rule;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use legwork_proto::opentelemetry::proto::collector::logs::v1::ExportLogsServiceRequest;
use legwork_proto::opentelemetry::proto::collector::logs::v1::logs_service_client::LogsServiceClient;
use legwork_records::Watch;
use legwork_records::query::{Cursor, Item, Query, Reader};
use tokio::sync::Notify;
use tonic::codec::CompressionEncoding;
use tonic::metadata::MetadataMap;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use self::channel::Channel;
use self::cursor::CursorFile;
pub use self::rule::ExportRule;
use crate::otlp::back::{self, Line};
use crate::problem::Problem;
use crate::records::Stream;
use crate::server::Shared;
use crate::workspaces::blocking;

/// How often a stream that is not there is looked for, when there is nothing else to do.
const LOOK: Duration = Duration::from_secs(2);
/// Reads from the disk for a batch, each some 256 KiB.
const READS: u32 = 16;
/// The first and the longest pause between attempts; a receiver may ask for a longer one.
const PAUSE_MIN: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(60);
const PAUSE_ASKED_MAX: Duration = Duration::from_mins(10);

/// What an export has done.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) sent: AtomicU64,
    /// What the receiver did not take, of requests that it took.
    pub(crate) rejected: AtomicU64,
    /// What it could not be brought to take.
    pub(crate) given_up: AtomicU64,
    /// Lines that were removed or damaged before they were sent.
    pub(crate) missed: AtomicU64,
    pub(crate) failures: AtomicU64,
    /// Lines that are to be sent.
    pub(crate) lag: AtomicU64,
}

/// Begins all exports.
pub(crate) fn begin(shared: &Arc<Shared>) {
    for (name, rule) in &shared.records.streams.rules.exports {
        let counts = shared.records.exports.lock();
        let mut counts = counts.unwrap_or_else(PoisonError::into_inner);
        let own = Arc::clone(counts.entry(name.clone()).or_default());
        let export = Export::new(shared, name, rule, own);
        let draining = shared.draining.clone();
        drop(shared.tasks.spawn(async move {
            draining.run_until_cancelled(Box::pin(export.run())).await;
        }));
    }
}

/// One export.
struct Export {
    shared: Arc<Shared>,
    name: String,
    rule: ExportRule,
    counts: Arc<Counts>,
    readings: Vec<Reading>,
    channel: Option<Channel>,
    news: Arc<Notify>,
}

/// One of its streams.
struct Reading {
    stream: String,
    file: CursorFile,
    open: Option<Open>,
    lag: u64,
}

/// The stream, once it is there.
struct Open {
    stream: Arc<Stream>,
    reader: Reader,
    _watch: Watch,
}

/// Lines to send, and where the next ones begin.
struct Batch {
    lines: Vec<Line>,
    next: Cursor,
    missed: u64,
}

impl Export {
    fn new(shared: &Arc<Shared>, name: &str, rule: &ExportRule, counts: Arc<Counts>) -> Self {
        let state = shared.jobs.state_dir();
        let readings = rule.streams.iter().map(|stream| Reading {
            stream: stream.clone(),
            file: CursorFile::new(state, name, stream),
            open: None,
            lag: 0,
        });
        Self {
            readings: readings.collect(),
            shared: Arc::clone(shared),
            name: name.to_owned(),
            rule: rule.clone(),
            counts,
            channel: None,
            news: Arc::default(),
        }
    }

    async fn run(mut self) {
        loop {
            let mut idle = true;
            for at in 0..self.readings.len() {
                match self.next(at).await {
                    Ok(worked) => idle &= !worked,
                    Err(problem) => {
                        let (export, stream) = (&self.name, &self.readings[at].stream);
                        tracing::warn!(%export, %stream, %problem, "an export waits");
                    }
                }
            }
            if idle {
                // The log tells of what comes; of a stream that is made, nobody does.
                drop(tokio::time::timeout(LOOK, self.news.notified()).await);
            }
        }
    }

    /// Sends the next lines of a stream. False: there are none.
    async fn next(&mut self, at: usize) -> Result<bool, Problem> {
        let reading = &mut self.readings[at];
        if reading.open.is_none() && !reading.open(&self.shared, &self.news).await? {
            return Ok(false);
        }
        let batch = reading.batch(&self.rule).await?;
        self.tell_lag();
        let Some(batch) = batch else {
            return Ok(false);
        };
        if batch.missed > 0 {
            let (export, stream, lines) = (&self.name, &self.readings[at].stream, batch.missed);
            tracing::warn!(%export, %stream, lines, "lines were gone before they were exported");
            self.counts.missed.fetch_add(lines, Ordering::Relaxed);
        }
        self.send(batch.lines).await;
        let reading = &mut self.readings[at];
        let (file, next) = (reading.file.clone(), batch.next);
        let mut backoff = Backoff::default();
        // What is not written down is sent again after a restart, so nothing more is sent before.
        loop {
            let writing = file.clone();
            match blocking(move || writing.write(next)).await? {
                Ok(()) => break,
                Err(error) => {
                    let export = &self.name;
                    tracing::error!(%export, %error, "how far an export is cannot be written");
                    tokio::time::sleep(backoff.next(None)).await;
                }
            }
        }
        reading.lag = reading.behind();
        self.tell_lag();
        Ok(true)
    }

    fn tell_lag(&self) {
        let lag = self.readings.iter().map(|reading| reading.lag).sum();
        self.counts.lag.store(lag, Ordering::Relaxed);
    }

    /// Sends lines until they are taken, or known not to be taken ever.
    async fn send(&mut self, lines: Vec<Line>) {
        let mut waiting = vec![lines];
        let mut backoff = Backoff::default();
        while let Some(mut lines) = waiting.pop() {
            if lines.is_empty() {
                continue;
            }
            let count = lines.len() as u64;
            let Err(status) = self.attempt(lines.clone()).await else {
                self.counts.sent.fetch_add(count, Ordering::Relaxed);
                backoff = Backoff::default();
                continue;
            };
            self.counts.failures.fetch_add(1, Ordering::Relaxed);
            let (export, code, message) = (&self.name, status.code(), status.message());
            let halved = match (code, lines.len()) {
                (Code::InvalidArgument, 1) => {
                    tracing::error!(%export, %message, "a record is not taken, and left out of the export");
                    self.counts.given_up.fetch_add(1, Ordering::Relaxed);
                    continue;
                }
                (Code::InvalidArgument, _) => true,
                (Code::ResourceExhausted, many) => many > 1,
                _ => false,
            };
            if halved {
                let rest = lines.split_off(lines.len() / 2);
                waiting.push(rest);
            }
            waiting.push(lines);
            if code != Code::InvalidArgument {
                let pause = backoff.next(asked(&status));
                tracing::warn!(%export, ?code, %message, ?pause, "an export is tried again later");
                tokio::time::sleep(pause).await;
            }
        }
    }

    /// One request.
    async fn attempt(&mut self, lines: Vec<Line>) -> Result<(), Status> {
        let answered = tokio::time::timeout(self.rule.timeout, self.call(lines)).await;
        let answered = answered.unwrap_or_else(|_late| {
            Err(Status::deadline_exceeded(
                "the receiver did not answer in time",
            ))
        });
        // Whatever it was, another connection may do better; and a good one is soon made.
        self.channel = self.channel.take().filter(|_| answered.is_ok());
        answered
    }

    async fn call(&mut self, lines: Vec<Line>) -> Result<(), Status> {
        let channel = match self.channel.clone() {
            Some(channel) => channel,
            None => self
                .rule
                .endpoint
                .connect(&self.shared.tasks)
                .await
                .map_err(Status::unavailable)?,
        };
        self.channel = Some(channel.clone());
        let mut client = LogsServiceClient::with_origin(channel, self.rule.endpoint.uri())
            .accept_compressed(CompressionEncoding::Gzip);
        if self.rule.gzip {
            client = client.send_compressed(CompressionEncoding::Gzip);
        }
        let mut request = tonic::Request::new(ExportLogsServiceRequest {
            resource_logs: back::grouped(lines),
        });
        *request.metadata_mut() = MetadataMap::from_headers(self.rule.headers.clone());
        let answer = client.export(request).await?.into_inner();
        if let Some(told) = answer.partial_success {
            let (rejected, message) = (told.rejected_log_records, told.error_message);
            let count = u64::try_from(rejected).unwrap_or(0);
            self.counts.rejected.fetch_add(count, Ordering::Relaxed);
            let export = &self.name;
            tracing::warn!(%export, rejected, %message, "the receiver of an export has objections");
        }
        Ok(())
    }
}

/// When the receiver asks us to come again.
fn asked(status: &Status) -> Option<Duration> {
    status.get_details_retry_info()?.retry_delay
}

impl Reading {
    /// Opens the stream, if it is there.
    async fn open(&mut self, shared: &Shared, news: &Arc<Notify>) -> Result<bool, Problem> {
        let stream = match shared.records.streams.existing(&self.stream).await {
            Ok(stream) => stream,
            Err(problem) if problem.code == Code::NotFound => return Ok(false),
            Err(problem) => return Err(problem),
        };
        let file = self.file.clone();
        let from = blocking(move || file.read()).await?;
        let news = Arc::clone(news);
        let query = Query {
            from,
            ..Query::default()
        };
        self.open = Some(Open {
            reader: stream.log().read(query),
            _watch: stream.log().watch(move || news.notify_one()),
            stream,
        });
        Ok(true)
    }

    /// Lines that are to be sent.
    fn behind(&self) -> u64 {
        let open = self.open.as_ref();
        open.map_or(0, |open| {
            let next = open.reader.cursor().next;
            open.stream.log().next_seq().saturating_sub(next)
        })
    }

    /// The next lines; `None` if there are none.
    async fn batch(&mut self, rule: &ExportRule) -> Result<Option<Batch>, Problem> {
        let Some(mut open) = self.open.take() else {
            return Ok(None);
        };
        let (records, bytes) = (rule.batch_records, rule.batch_bytes);
        let (open, batch) = blocking(move || {
            let batch = read(&mut open, records, bytes);
            (open, batch)
        })
        .await?;
        // What failed is read again from where it was written down.
        let batch = batch?;
        self.open = Some(open);
        // Those that are read and not yet taken are behind, too.
        self.lag = self.behind() + batch.as_ref().map_or(0, |batch| batch.lines.len() as u64);
        Ok(batch)
    }
}

/// Reads on, as much as a batch may have. Blocks.
fn read(open: &mut Open, records: usize, bytes: usize) -> Result<Option<Batch>, Problem> {
    let (mut lines, mut size, mut missed, mut reads) = (Vec::new(), 0, 0, READS);
    let before = open.reader.cursor();
    while lines.len() < records && size < bytes {
        match open.reader.next_within(&mut reads)? {
            None => break,
            Some(Item::Missing { from, to, .. }) => missed += to - from + 1,
            Some(Item::Entry(entry)) => {
                size += entry.line.len();
                lines.push(back::line(&entry, &open.stream.name));
            }
        }
    }
    let next = open.reader.cursor();
    Ok((next != before).then_some(Batch {
        lines,
        next,
        missed,
    }))
}

/// How long to wait before the next attempt.
#[derive(Debug, Default)]
struct Backoff(u32);

impl Backoff {
    /// Twice as long each time, and not with all others at once: between half of it and all of it. As long as the receiver asks for, if it does.
    fn next(&mut self, asked: Option<Duration>) -> Duration {
        let usual = PAUSE_MIN.saturating_mul(1 << self.0.min(10)).min(PAUSE_MAX);
        self.0 += 1;
        let asked = asked.map(|asked| asked.min(PAUSE_ASKED_MAX));
        let least = asked.unwrap_or(usual / 2);
        let chance = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), self.0);
        let part = u32::try_from(chance % 1000).unwrap_or(0);
        least + usual / 2 * part / 1000
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Backoff, PAUSE_MAX, PAUSE_MIN};

    #[test]
    fn pauses_grow_to_a_bound_and_differ() {
        let mut backoff = Backoff::default();
        let pauses: Vec<Duration> = (0..50).map(|_| backoff.next(None)).collect();
        assert!(pauses[0] >= PAUSE_MIN / 2 && pauses[0] <= PAUSE_MIN);
        let last = &pauses[20..];
        assert!(
            last.iter()
                .all(|pause| (PAUSE_MAX / 2..=PAUSE_MAX).contains(pause))
        );
        assert!(last.iter().any(|pause| pause != &last[0]));
        let asked = backoff.next(Some(Duration::from_secs(100)));
        assert!(asked >= Duration::from_secs(100));
        let much = backoff.next(Some(Duration::from_hours(9)));
        assert!(much < Duration::from_mins(12));
    }
}
