//! What a log has done and what it holds.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::rejection::{Reason, Rejections};
use crate::timestamp::Timestamp;

/// Buckets of [`Stats::sync_times`]: up to 2^n microseconds, the last one everything above.
pub const SYNC_BUCKETS: usize = 24;

/// A log at one moment. Counts are since it was opened.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Stats {
    /// Segments on disk.
    pub segments: usize,
    /// Bytes of files on disk, indexes included.
    pub disk_bytes: u64,
    /// Bytes that are free on the disk for who is not root.
    pub free_bytes: u64,
    /// The first number there is.
    pub first: u64,
    /// The number that the next line will have.
    pub next: u64,
    /// The earliest and the latest time of a line that is there.
    pub times: Option<(Timestamp, Timestamp)>,
    /// Producers that are remembered.
    pub producers: usize,
    /// Bytes that wait to be written.
    pub queue_bytes: usize,
    /// Batches that were written.
    pub batches: u64,
    /// Batches that had been written before.
    pub duplicates: u64,
    /// Records that were accepted.
    pub accepted: u64,
    /// Records that were refused, by reason.
    pub rejected: BTreeMap<String, u64>,
    /// Bytes of lines that were written.
    pub written_bytes: u64,
    /// Syncs, and how many of them failed.
    pub syncs: u64,
    /// Syncs that failed.
    pub sync_failures: u64,
    /// How long syncs took: the number in bucket n took up to 2^n microseconds.
    pub sync_times: [u64; SYNC_BUCKETS],
    /// How long they took together, in microseconds.
    pub sync_micros: u64,
}

/// Counts, added up by the writer.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) batches: AtomicU64,
    pub(crate) duplicates: AtomicU64,
    pub(crate) accepted: AtomicU64,
    pub(crate) written: AtomicU64,
    pub(crate) producers: AtomicU64,
    syncs: AtomicU64,
    sync_failures: AtomicU64,
    sync_times: [AtomicU64; SYNC_BUCKETS],
    sync_micros: AtomicU64,
    rejected: Mutex<BTreeMap<String, u64>>,
}

pub(crate) fn add(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Ordering::Relaxed);
}

impl Counters {
    pub(crate) fn sync(&self, took: Duration, failed: bool) {
        add(&self.syncs, 1);
        add(&self.sync_failures, u64::from(failed));
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1);
        add(&self.sync_micros, micros);
        let bucket = micros.next_power_of_two().trailing_zeros() as usize;
        add(&self.sync_times[bucket.min(SYNC_BUCKETS - 1)], 1);
    }

    /// Counts what was refused. Those that are not told one by one count as `OTHER`.
    pub(crate) fn rejected(&self, rejections: &Rejections) {
        if rejections.is_empty() {
            return;
        }
        let mut rejected = self.rejected.lock().unwrap_or_else(PoisonError::into_inner);
        let mut count = |reason: Reason, n: u64| {
            let word = serde_json::to_value(reason).ok();
            let word = word
                .as_ref()
                .and_then(|word| word.as_str())
                .unwrap_or("OTHER");
            *rejected.entry(word.to_owned()).or_default() += n;
        };
        for rejection in &rejections.records {
            count(rejection.reason, 1);
        }
        let untold = rejections.total - rejections.records.len() as u64;
        if untold > 0 {
            count(Reason::Other, untold);
        }
    }

    /// The counts, as a part of the whole.
    pub(crate) fn told(&self) -> Stats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let rejected = self.rejected.lock().unwrap_or_else(PoisonError::into_inner);
        Stats {
            producers: usize::try_from(read(&self.producers)).unwrap_or(usize::MAX),
            batches: read(&self.batches),
            duplicates: read(&self.duplicates),
            accepted: read(&self.accepted),
            rejected: rejected.clone(),
            written_bytes: read(&self.written),
            syncs: read(&self.syncs),
            sync_failures: read(&self.sync_failures),
            sync_times: std::array::from_fn(|n| read(&self.sync_times[n])),
            sync_micros: read(&self.sync_micros),
            ..Stats::default()
        }
    }
}
