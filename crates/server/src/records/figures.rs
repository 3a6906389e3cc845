//! What logs have done, added up for metrics, and what was wrong with them.
//!
//! A log counts since it was opened. What those had counted that are closed is kept here, so that sums never go back.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use legwork_records::{Alarm, SYNC_BUCKETS, Stats};

use super::streams::{Streams, is_own};

/// Sums over all streams.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Sums {
    pub(crate) accepted: u64,
    pub(crate) duplicates: u64,
    pub(crate) batches: u64,
    pub(crate) written_bytes: u64,
    pub(crate) rejected: BTreeMap<String, u64>,
    pub(crate) syncs: u64,
    pub(crate) sync_failures: u64,
    pub(crate) sync_times: [u64; SYNC_BUCKETS],
    pub(crate) sync_micros: u64,
}

/// What is true at a moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Now {
    pub(crate) open: u64,
    pub(crate) queue_bytes: u64,
    pub(crate) senders: u64,
    pub(crate) readers: u64,
    /// Lines that the slowest reader is behind.
    pub(crate) lag: u64,
    /// Batches that were refused as a whole, by reason.
    pub(crate) refused: BTreeMap<&'static str, u64>,
    pub(crate) alarms: BTreeMap<&'static str, u64>,
}

/// Counts what was wrong, and remembers what closed logs had counted.
#[derive(Debug, Default)]
pub(crate) struct Alarms(Mutex<Past>);

#[derive(Debug, Default)]
struct Past {
    sums: Sums,
    refused: BTreeMap<&'static str, u64>,
    alarms: BTreeMap<&'static str, u64>,
}

impl Sums {
    fn add(&mut self, stats: &Stats) {
        self.accepted += stats.accepted;
        self.duplicates += stats.duplicates;
        self.batches += stats.batches;
        self.written_bytes += stats.written_bytes;
        self.syncs += stats.syncs;
        self.sync_failures += stats.sync_failures;
        self.sync_micros += stats.sync_micros;
        for (sum, count) in self.sync_times.iter_mut().zip(&stats.sync_times) {
            *sum += count;
        }
        for (reason, count) in &stats.rejected {
            *self.rejected.entry(reason.clone()).or_default() += count;
        }
    }
}

impl Alarms {
    fn lock(&self) -> MutexGuard<'_, Past> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A log is closed.
    pub(super) fn remember(&self, stats: &Stats) {
        self.lock().sums.add(stats);
    }

    /// A batch was refused.
    pub(super) fn refused(&self, reason: &'static str) {
        *self.lock().refused.entry(reason).or_default() += 1;
    }

    /// A record was refused before it came to its log.
    pub(super) fn rejected(&self, reason: &str) {
        let mut past = self.lock();
        *past.sums.rejected.entry(reason.to_owned()).or_default() += 1;
    }

    /// One identity sends from two hosts at a time.
    pub(super) fn two_hosts(&self, client: &str, hosts: &[String]) {
        *self.lock().alarms.entry("two_hosts").or_default() += 1;
        tracing::warn!(%client, ?hosts, "one identity sends records from several hosts: was its key copied?");
    }

    /// A log tells of something.
    pub(super) fn raise(&self, stream: &str, alarm: &Alarm) {
        let kind = match alarm {
            Alarm::SyncFailed { .. } => "sync_failed",
            Alarm::WriteFailed { .. } => "write_failed",
            Alarm::DiskFull { .. } => "disk_full",
            Alarm::Recovered => {
                tracing::info!(%stream, "records are taken again");
                return;
            }
            Alarm::ClockBack { .. } => "clock_back",
            Alarm::Rivals { .. } => "rivals",
            Alarm::Conflict { .. } => "conflict",
            Alarm::Damaged(_) => "damaged",
            Alarm::Upkeep { .. } => "upkeep",
            _ => "other",
        };
        *self.lock().alarms.entry(kind).or_default() += 1;
        tracing::error!(%stream, kind, ?alarm, "a log of records raises an alarm");
    }
}

impl Streams {
    /// Everything that metrics tell.
    pub(crate) fn figures(&self) -> (Sums, Now) {
        let (mut sums, mut now) = {
            let past = self.alarms.lock();
            let now = Now {
                refused: past.refused.clone(),
                alarms: past.alarms.clone(),
                ..Now::default()
            };
            (past.sums.clone(), now)
        };
        // What the server itself writes has figures of its own.
        for stream in self
            .all()
            .into_iter()
            .filter(|stream| !is_own(&stream.name))
        {
            let stats = stream.log().stats();
            let (readers, lag) = stream.lag();
            sums.add(&stats);
            now.open += 1;
            now.queue_bytes += stats.queue_bytes as u64;
            now.senders += stream.senders.load(std::sync::atomic::Ordering::Relaxed);
            now.readers += readers;
            now.lag = now.lag.max(lag);
        }
        (sums, now)
    }
}

#[cfg(test)]
impl Alarms {
    /// How often this was raised.
    pub(super) fn count(&self, kind: &str) -> u64 {
        self.lock().alarms.get(kind).copied().unwrap_or_default()
    }
}
