//! Which streams there are, and how their logs are doing.

use std::collections::BTreeMap;

use legwork_proto::v1 as wire;

use super::answers::Durability;
use super::{convert, records};
use crate::client::Client;
use crate::error::{CallError, Result};

/// A stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamInfo {
    /// Its name.
    pub name: String,
    /// Bytes on disk; this and what follows is 0 or absent for those who see only their own lines.
    pub disk_bytes: u64,
    /// The first number that is there.
    pub first: u64,
    /// The number that the next line will have.
    pub next: u64,
    /// The earliest and the latest time of a line, in microseconds since the epoch.
    pub times: Option<(u64, u64)>,
    /// Why the figures are missing, if they are.
    pub problem: Option<String>,
}

/// A log at one moment. Counts are since it was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogStats {
    /// The stream.
    pub info: StreamInfo,
    /// What its acknowledgements promise.
    pub durability: Durability,
    /// When it was opened, in microseconds since the epoch.
    pub opened: u64,
    /// Segments on disk.
    pub segments: u64,
    /// Bytes that are free on the disk.
    pub free_bytes: u64,
    /// Producers that are remembered.
    pub producers: u64,
    /// Bytes that wait to be written.
    pub queue_bytes: u64,
    /// Batches that were written.
    pub batches: u64,
    /// Batches that came again.
    pub duplicates: u64,
    /// Records that were accepted.
    pub accepted: u64,
    /// Records that were refused, by reason.
    pub rejected: BTreeMap<String, u64>,
    /// Bytes of lines that were written.
    pub written_bytes: u64,
    /// Syncs.
    pub syncs: u64,
    /// Those that failed.
    pub sync_failures: u64,
    /// How long they took: the number at n took up to 2^n microseconds.
    pub sync_times: Vec<u64>,
    /// Calls under way that send.
    pub senders: u64,
    /// And that read.
    pub readers: u64,
}

/// What a look at every line of a log found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogReport {
    /// Segments that were read.
    pub segments: u64,
    /// Good lines.
    pub lines: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// How many problems there are.
    pub total: u64,
    /// The first of them, at most a thousand.
    pub problems: Vec<LogProblem>,
}

/// Something in a log that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogProblem {
    /// The first number of the segment.
    pub segment: u64,
    /// Where in its lines, in bytes.
    pub offset: u64,
    /// What it is, in capitals: `DAMAGED`, `TORN_END`, `MISSING`, `OUT_OF_ORDER`, `UNFINISHED`, `INDEX`, `UNREADABLE`.
    pub kind: String,
    /// In words.
    pub message: String,
}

impl From<wire::StreamInfo> for StreamInfo {
    fn from(told: wire::StreamInfo) -> Self {
        Self {
            times: told.earliest.zip(told.latest),
            name: told.name,
            disk_bytes: told.disk_bytes,
            first: told.first,
            next: told.next,
            problem: Some(told.problem).filter(|problem| !problem.is_empty()),
        }
    }
}

impl Client {
    /// The streams of which the caller may read something, by name.
    ///
    /// # Errors
    /// What the server or the connection says.
    pub async fn streams(&self) -> Result<Vec<StreamInfo>> {
        let (mut found, mut after) = (Vec::new(), String::new());
        loop {
            let call = |channel| {
                let request = wire::ListStreamsRequest {
                    page_token: after.clone(),
                };
                async move { records(channel).list_streams(request).await }
            };
            let page = self.contact.repeat(call).await?;
            found.extend(page.streams.into_iter().map(StreamInfo::from));
            if page.next_page_token.is_empty() {
                return Ok(found);
            }
            after = page.next_page_token;
        }
    }

    /// How the log of a stream is doing.
    ///
    /// # Errors
    /// `STREAM_NOT_FOUND`, `ROLE`.
    pub async fn stream_stats(&self, stream: &str) -> Result<LogStats> {
        let call = |channel| {
            let request = wire::StreamStatsRequest {
                stream: stream.to_owned(),
            };
            async move { records(channel).stream_stats(request).await }
        };
        let told = self.contact.repeat(call).await?;
        let info = told.info.map(StreamInfo::from);
        Ok(LogStats {
            info: info.ok_or_else(|| CallError::protocol("figures of no stream"))?,
            durability: convert::durability(told.durability),
            opened: told.opened,
            segments: told.segments,
            free_bytes: told.free_bytes,
            producers: told.producers,
            queue_bytes: told.queue_bytes,
            batches: told.batches,
            duplicates: told.duplicates,
            accepted: told.accepted,
            rejected: told.rejected.into_iter().collect(),
            written_bytes: told.written_bytes,
            syncs: told.syncs,
            sync_failures: told.sync_failures,
            sync_times: told.sync_times,
            senders: told.senders,
            readers: told.readers,
        })
    }

    /// Looks at every line of a stream's log.
    ///
    /// # Errors
    /// `STREAM_NOT_FOUND`, `ROLE`.
    pub async fn fsck(&self, stream: &str) -> Result<LogReport> {
        let call = |channel| {
            let request = wire::FsckRequest {
                stream: stream.to_owned(),
            };
            async move { records(channel).fsck(request).await }
        };
        let told = self.contact.repeat(call).await?;
        let problems = told.problems.into_iter();
        Ok(LogReport {
            segments: told.segments,
            lines: told.lines,
            bytes: told.bytes,
            total: told.total,
            problems: problems
                .map(|found| LogProblem {
                    segment: found.segment,
                    offset: found.offset,
                    kind: found.kind,
                    message: found.message,
                })
                .collect(),
        })
    }
}
