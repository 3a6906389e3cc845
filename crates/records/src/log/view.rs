//! What readers may see of a log: its segments, and how far the newest goes.
//!
//! With `durable`, that is what has been acknowledged: no crash unmakes what a reader has seen.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use crate::segment::index::{Added, Index, Summary};
use crate::timestamp::Timestamp;

/// Told of news.
pub(crate) type Watcher = dyn Fn() + Send + Sync;

/// The segments.
#[derive(Debug, Default)]
pub(crate) struct Segments {
    pub(crate) closed: BTreeMap<u64, Summary>,
    /// The one that is written. Its index is whole at any time.
    pub(crate) active: Option<Index>,
    /// The number that the next line will have.
    pub(crate) next: u64,
    /// No line will come any more.
    pub(crate) ended: bool,
}

/// A place to go on reading at.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) first: u64,
    pub(crate) next: u64,
    pub(crate) bytes: u64,
    pub(crate) earliest: Timestamp,
    pub(crate) latest: Timestamp,
    /// More may be added to it.
    pub(crate) growing: bool,
}

impl Segments {
    /// The segment in which a number is, or else the next one behind it.
    pub(crate) fn at(&self, seq: u64) -> Option<Place> {
        let closed = self
            .closed
            .values()
            .rev()
            .take_while(|summary| summary.next > seq);
        let active = self.active.as_ref().map(|index| &index.summary);
        let active = active.filter(|summary| summary.next > seq);
        let growing =
            |summary: &Summary| active.is_some_and(|active| active.first == summary.first);
        closed
            .chain(active)
            .min_by_key(|summary| summary.first)
            .map(|summary| Place {
                first: summary.first,
                next: summary.next,
                bytes: summary.bytes,
                earliest: summary.earliest,
                latest: summary.latest,
                growing: growing(summary),
            })
    }

    /// The first number there is; the next one if there is none.
    pub(crate) fn first(&self) -> u64 {
        let active = self.active.as_ref().map(|index| index.summary.first);
        let oldest = self.closed.keys().next().copied();
        oldest.or(active).unwrap_or(self.next)
    }
}

/// The segments, and who waits for news of them.
#[derive(Default)]
pub(crate) struct View {
    segments: Mutex<Segments>,
    grown: Condvar,
    watchers: Mutex<Vec<Weak<Watcher>>>,
}

impl View {
    pub(crate) fn new(segments: Segments) -> Self {
        Self {
            segments: Mutex::new(segments),
            ..Self::default()
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Segments> {
        self.segments.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows batches that were appended to the newest segment.
    pub(crate) fn publish(&self, added: &[Added], next: u64) {
        let mut segments = self.lock();
        if let Some(index) = &mut segments.active {
            added.iter().for_each(|added| index.add(added));
        }
        segments.next = next;
        drop(segments);
        self.tell();
    }

    /// Says that there is something new.
    pub(crate) fn tell(&self) {
        self.grown.notify_all();
        let mut watchers = self.watchers.lock().unwrap_or_else(PoisonError::into_inner);
        watchers.retain(|watcher| watcher.upgrade().map(|watcher| watcher()).is_some());
    }

    pub(crate) fn watch(&self, watcher: Weak<Watcher>) {
        let mut watchers = self.watchers.lock().unwrap_or_else(PoisonError::into_inner);
        watchers.push(watcher);
    }

    /// Waits until there is a line with this number, or there never will be. False if neither came in time.
    pub(crate) fn wait(&self, seq: u64, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        let mut segments = self.lock();
        while segments.next <= seq && !segments.ended {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let woken = self.grown.wait_timeout(segments, left);
            segments = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

impl std::fmt::Debug for View {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("View")
            .field("segments", &self.segments)
            .finish_non_exhaustive()
    }
}
