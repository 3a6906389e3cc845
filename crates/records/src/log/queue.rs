//! Batches that wait for the writer, bounded in bytes.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::ack::{Ack, Batch};
use crate::error::AppendError;

/// Hears the answer.
pub(crate) type Done = Box<dyn FnOnce(Result<Ack, AppendError>) + Send>;

/// A batch, and who waits for its answer.
pub(crate) struct Job {
    pub(crate) batch: Batch,
    pub(crate) bytes: usize,
    pub(crate) done: Done,
}

/// A job that was not taken, and why.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) job: Job,
    pub(crate) error: AppendError,
}

impl Refused {
    fn with(job: Job, error: AppendError) -> Box<Self> {
        Box::new(Self { job, error })
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job")
            .field("batch", &self.batch)
            .finish_non_exhaustive()
    }
}

/// What the writer has to do next.
#[derive(Debug)]
pub(crate) enum Next {
    /// Batches to write together.
    Group(Vec<Job>),
    /// Somebody asked for a sync, or nothing came for as long as was said.
    Idle,
    /// Nothing will come any more.
    Closed,
}

#[derive(Debug, Default)]
struct Waiting {
    jobs: VecDeque<Job>,
    bytes: usize,
    nudged: bool,
    closed: bool,
}

/// The queue.
#[derive(Debug)]
pub(crate) struct Queue {
    waiting: Mutex<Waiting>,
    filled: Condvar,
    drained: Condvar,
    max: usize,
}

impl Queue {
    pub(crate) fn new(max: usize) -> Self {
        Self {
            waiting: Mutex::default(),
            filled: Condvar::new(),
            drained: Condvar::new(),
            max,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a job if there is room. One that is larger than the whole queue is taken when nothing else waits.
    pub(crate) fn try_push(&self, job: Job) -> Result<(), Box<Refused>> {
        self.put(self.lock(), job)
    }

    /// Takes a job, and waits for room.
    pub(crate) fn push(&self, job: Job) -> Result<(), Box<Refused>> {
        let full = |waiting: &mut Waiting| {
            !waiting.closed && waiting.bytes > 0 && waiting.bytes + job.bytes > self.max
        };
        let waiting = self.drained.wait_while(self.lock(), full);
        self.put(waiting.unwrap_or_else(PoisonError::into_inner), job)
    }

    fn put(&self, mut waiting: MutexGuard<'_, Waiting>, job: Job) -> Result<(), Box<Refused>> {
        if waiting.closed {
            return Err(Refused::with(job, AppendError::Closed));
        }
        let bytes = waiting.bytes;
        if bytes > 0 && bytes + job.bytes > self.max {
            return Err(Refused::with(job, AppendError::Congested { bytes }));
        }
        waiting.bytes += job.bytes;
        waiting.jobs.push_back(job);
        drop(waiting);
        self.filled.notify_one();
        Ok(())
    }

    /// Waits for jobs, until the deadline if there is one, and takes as many as make a group.
    pub(crate) fn next(&self, group: usize, patience: Option<Duration>) -> Next {
        let deadline = patience.map(|patience| Instant::now() + patience);
        let mut waiting = self.lock();
        while waiting.jobs.is_empty() {
            if waiting.closed {
                return Next::Closed;
            }
            if std::mem::take(&mut waiting.nudged) {
                return Next::Idle;
            }
            waiting =
                match deadline.map(|deadline| deadline.saturating_duration_since(Instant::now())) {
                    Some(Duration::ZERO) => return Next::Idle,
                    Some(left) => {
                        let woken = self.filled.wait_timeout(waiting, left);
                        woken.unwrap_or_else(PoisonError::into_inner).0
                    }
                    None => self
                        .filled
                        .wait(waiting)
                        .unwrap_or_else(PoisonError::into_inner),
                };
        }
        let (mut jobs, mut bytes) = (Vec::new(), 0);
        while let Some(job) = waiting.jobs.pop_front() {
            bytes += job.bytes;
            jobs.push(job);
            if bytes >= group {
                break;
            }
        }
        waiting.bytes -= bytes;
        drop(waiting);
        self.drained.notify_all();
        Next::Group(jobs)
    }

    /// Wakes the writer though nothing is to be written.
    pub(crate) fn nudge(&self) {
        self.lock().nudged = true;
        self.filled.notify_one();
    }

    /// Nothing is taken any more. What waits is still written.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.filled.notify_all();
        self.drained.notify_all();
    }

    /// Bytes that wait.
    pub(crate) fn bytes(&self) -> usize {
        self.lock().bytes
    }
}
