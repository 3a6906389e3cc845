//! One stream that is open: its log, how it is kept, and who is at it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use legwork_records::{Clock, Log, SystemClock, Timestamp};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::figures::Alarms;
use super::rules::StreamRule;
use super::streams::is_own;

/// Bytes that one permit of [`Stream::room`] stands for.
pub(super) const PERMIT: usize = 1 << 10;
/// Bytes that stand around a record in the queue of a log, as the library counts them.
pub(super) const ENVELOPE: usize = 256;

/// A stream whose log is open. With the last handle on it, the log is closed.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) name: String,
    log: Option<Log>,
    pub(super) rule: StreamRule,
    pub(super) opened: Timestamp,
    /// Room for batches that wait for the disk. It is a little less than the log's own, so that senders wait here in turn, and the log
    /// has no reason to refuse.
    pub(super) room: Arc<Semaphore>,
    pub(super) room_permits: u32,
    used: Mutex<Instant>,
    pub(super) senders: AtomicU64,
    readers: Mutex<HashMap<u64, u64>>,
    next_reader: AtomicU64,
    alarms: Arc<Alarms>,
    closing: TaskTracker,
}

/// A reader that is counted, with how far it is, until it is dropped.
#[derive(Debug)]
pub(super) struct Reading {
    stream: Arc<Stream>,
    id: u64,
}

/// A sender that is counted, until it is dropped.
#[derive(Debug)]
pub(super) struct Sending(Arc<Stream>);

impl Stream {
    pub(super) fn new(
        name: String,
        log: Log,
        rule: StreamRule,
        queue_bytes: usize,
        alarms: Arc<Alarms>,
        closing: TaskTracker,
    ) -> Self {
        let permits = queue_bytes / PERMIT / 8 * 7;
        Self {
            name,
            log: Some(log),
            rule,
            opened: SystemClock.now(),
            room: Arc::new(Semaphore::new(permits)),
            room_permits: u32::try_from(permits).unwrap_or(u32::MAX),
            used: Mutex::new(Instant::now()),
            senders: AtomicU64::new(0),
            readers: Mutex::default(),
            next_reader: AtomicU64::new(0),
            alarms,
            closing,
        }
    }

    pub(crate) fn log(&self) -> &Log {
        self.log.as_ref().expect("it is only taken by the drop")
    }

    /// Somebody wants it.
    pub(super) fn used(&self) {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    pub(super) fn last_used(&self) -> Instant {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn readers(&self) -> MutexGuard<'_, HashMap<u64, u64>> {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn reading(self: &Arc<Self>, from: u64) -> Reading {
        let id = self.next_reader.fetch_add(1, Ordering::Relaxed);
        self.readers().insert(id, from);
        Reading {
            stream: Arc::clone(self),
            id,
        }
    }

    pub(super) fn sending(self: &Arc<Self>) -> Sending {
        self.senders.fetch_add(1, Ordering::Relaxed);
        Sending(Arc::clone(self))
    }

    /// How many read, and how many lines the slowest of them is behind.
    pub(crate) fn lag(&self) -> (u64, u64) {
        let next = self.log().next_seq();
        let readers = self.readers();
        let slowest = readers.values().min().copied().unwrap_or(next);
        (readers.len() as u64, next.saturating_sub(slowest))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let Some(log) = self.log.take() else { return };
        if !is_own(&self.name) {
            self.alarms.remember(&log.stats());
        }
        // Its threads finish a sync first.
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => {
                let closed = self.closing.spawn_blocking_on(move || drop(log), &runtime);
                drop(closed);
            }
            Err(_) => drop(log),
        }
    }
}

impl Reading {
    pub(super) fn at(&self, next: u64) {
        self.stream.readers().insert(self.id, next);
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.stream.readers().remove(&self.id);
        self.stream.used();
    }
}

impl Sending {
    pub(super) fn stream(&self) -> &Arc<Stream> {
        &self.0
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.0.senders.fetch_sub(1, Ordering::Relaxed);
        self.0.used();
    }
}
