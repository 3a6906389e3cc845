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

/// Hears, once, that there may be room.
type Wake = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Waiting {
    jobs: VecDeque<Job>,
    /// Who found no room.
    refused: Vec<Wake>,
    bytes: usize,
    nudged: bool,
    closed: bool,
}

impl fmt::Debug for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiting")
            .field("jobs", &self.jobs)
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
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
        let refused = std::mem::take(&mut waiting.refused);
        drop(waiting);
        self.drained.notify_all();
        refused.into_iter().for_each(|wake| wake());
        Next::Group(jobs)
    }

    /// Wakes the writer though nothing is to be written.
    pub(crate) fn nudge(&self) {
        self.lock().nudged = true;
        self.filled.notify_one();
    }

    /// Nothing is taken any more. What waits is still written.
    pub(crate) fn close(&self) {
        let mut waiting = self.lock();
        waiting.closed = true;
        let refused = std::mem::take(&mut waiting.refused);
        drop(waiting);
        self.filled.notify_all();
        self.drained.notify_all();
        refused.into_iter().for_each(|wake| wake());
    }

    /// Tells once when there is room for more than now, or never will be: at once, if nothing waits.
    pub(crate) fn when_drained(&self, wake: Wake) {
        let mut waiting = self.lock();
        if waiting.closed || waiting.jobs.is_empty() {
            drop(waiting);
            wake();
        } else {
            waiting.refused.push(wake);
        }
    }

    /// Bytes that wait.
    pub(crate) fn bytes(&self) -> usize {
        self.lock().bytes
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::{Job, Next, Queue};
    use crate::ack::{Batch, Content};
    use crate::missing::{Gap, GapWhy};
    use crate::timestamp::Timestamp;

    fn job(bytes: usize) -> Job {
        let (from, to) = (Timestamp::MIN, Timestamp::MIN);
        let content = Content::Gap(Gap {
            first: 1,
            records: 1,
            from,
            to,
            why: GapWhy::SpoolFull,
        });
        Job {
            batch: Batch {
                client: "c".to_owned(),
                host: "h".to_owned(),
                origin: None,
                content,
            },
            bytes,
            done: Box::new(|_| {}),
        }
    }

    #[test]
    fn who_found_no_room_is_told_once_that_there_may_be_some() {
        let (queue, told) = (Queue::new(10), Arc::new(AtomicU32::new(0)));
        let count = || told.load(Ordering::SeqCst);
        let hear = || {
            let told = Arc::clone(&told);
            queue.when_drained(Box::new(move || {
                told.fetch_add(1, Ordering::SeqCst);
            }));
        };
        hear();
        assert_eq!(count(), 1, "nothing waits");
        queue.try_push(job(8)).unwrap();
        queue.try_push(job(8)).unwrap_err();
        hear();
        assert_eq!(count(), 1);
        assert!(matches!(queue.next(1, None), Next::Group(_)));
        assert_eq!(count(), 2);
        queue.try_push(job(8)).unwrap();
        hear();
        queue.close();
        assert_eq!(count(), 3);
        hear();
        assert_eq!(count(), 4, "nothing comes any more");
    }
}
