//! A reader of the lines that match.
//!
//! Searching is work for a processor, so it happens on threads for such work: a reader waits for output as any other, then hands all that
//! it has to such a thread, which searches what came, and what else is there by now, until it has found enough to tell, has read or worked
//! for as long as others should have to wait, or nobody wants to know any more. No more threads search at once than there are processors;
//! readers take turns.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use super::pattern::Pattern;
use super::sieve::{Found, Sieve, Undecided};
use super::{Output, OutputEvent};
use crate::error::JobError;
use crate::job::Job;
use crate::tasks;

/// Bytes found in a turn, after which they are told.
const FOUND_ENOUGH: usize = 256 << 10;
/// Bytes searched in a turn.
const TURN_MAX: u64 = 16 << 20;
/// How long a turn is, but for the chunk in which it ends.
const TURN_TIME: Duration = Duration::from_millis(50);

/// The lines of a job's output that match.
#[derive(Debug)]
pub struct Search {
    /// Here, but for its turns.
    work: Option<Box<Work>>,
    turn: Option<JoinHandle<Box<Work>>>,
    ready: VecDeque<Result<SearchEvent, JobError>>,
    /// Set when nobody wants to know any more.
    vain: Arc<AtomicBool>,
}

/// What a reader of matching lines sees. The first is always a [`SearchEvent::Found`] without lines, which says where the search begins;
/// [`SearchEvent::End`] is always the last, and there is exactly one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SearchEvent {
    /// Lines, or none: then it only tells how far the search has come.
    Found(Found),
    /// Bytes that were printed and not kept. They end the lines before them.
    Gap {
        /// Offset of the first of them.
        offset: u64,
        /// How many.
        len: u64,
    },
    /// As [`OutputEvent::End`].
    End {
        /// Offset after the last byte.
        offset: u64,
        /// The finished job; `None` when it goes on.
        job: Option<Box<Job>>,
    },
}

#[derive(Debug)]
struct Work {
    output: Output,
    sieve: Sieve,
    /// Read and not searched.
    next: Option<Result<OutputEvent, JobError>>,
    /// Bytes searched of which nothing was told.
    untold: u64,
    told: Vec<Result<SearchEvent, JobError>>,
}

impl Search {
    pub(super) fn new(mut output: Output, pattern: Pattern, from: Undecided) -> Self {
        let streams = output.read_both();
        let mut sieve = Sieve::new(pattern, streams, output.offset(), from);
        let begin = SearchEvent::Found(sieve.take());
        Self {
            work: Some(Box::new(Work {
                output,
                sieve,
                next: None,
                untold: 0,
                told: Vec::new(),
            })),
            turn: None,
            ready: VecDeque::from([Ok(begin)]),
            vain: Arc::default(),
        }
    }

    /// The next event; `None` after [`SearchEvent::End`] or an error. Cancel safe.
    pub async fn next(&mut self) -> Option<Result<SearchEvent, JobError>> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            if let Some(turn) = &mut self.turn {
                let done = tasks::finished(turn.await);
                self.turn = None;
                let Some(mut work) = done else {
                    return Some(Err(JobError::Closed));
                };
                self.ready.extend(work.told.drain(..));
                self.work = Some(work);
                continue;
            }
            let work = self.work.as_mut()?;
            if work.next.is_none() {
                work.next = work.output.next().await;
            }
            if work.next.is_none() {
                self.work = None;
                return None;
            }
            let place = work.output.searches().acquire_owned().await;
            let mut work = self.work.take()?;
            let vain = self.vain.clone();
            self.turn = Some(tokio::task::spawn_blocking(move || {
                work.turn(&vain);
                drop(place);
                work
            }));
        }
    }
}

impl Drop for Search {
    fn drop(&mut self) {
        self.vain.store(true, Ordering::Relaxed);
    }
}

impl Work {
    /// Searches what is there, for a while.
    fn turn(&mut self, vain: &AtomicBool) {
        let began = Instant::now();
        let is_vain = || vain.load(Ordering::Relaxed);
        let mut searched = 0;
        let mut event = self.next.take();
        let is_long = loop {
            match event {
                None => break false,
                Some(Ok(OutputEvent::Chunk(chunk))) => {
                    searched += chunk.data.len() as u64;
                    self.sieve.chunk(&chunk, is_vain);
                }
                Some(Ok(OutputEvent::Gap { offset, len })) => {
                    self.end_lines(offset);
                    self.told.push(Ok(SearchEvent::Gap { offset, len }));
                    self.sieve.end_lines(offset + len);
                    self.untold = 0;
                }
                Some(Ok(OutputEvent::End { offset, job })) => {
                    self.end_lines(offset);
                    self.told.push(Ok(SearchEvent::End { offset, job }));
                    return;
                }
                Some(Err(error)) => {
                    self.told.push(Err(error));
                    return;
                }
            }
            if is_vain() || self.sieve.len() >= FOUND_ENOUGH {
                break false;
            }
            if searched >= TURN_MAX || began.elapsed() >= TURN_TIME {
                break true;
            }
            event = self.output.at_once().transpose();
        };
        self.untold += searched;
        if self.sieve.len() > 0 || is_long || self.untold >= TURN_MAX {
            self.tell();
        }
    }

    /// What has begun ends; tells what it was, if it matches.
    fn end_lines(&mut self, offset: u64) {
        self.sieve.end_lines(offset);
        if self.sieve.len() > 0 {
            self.tell();
        }
    }

    fn tell(&mut self) {
        self.untold = 0;
        let found = self.sieve.take();
        self.told.push(Ok(SearchEvent::Found(found)));
    }
}
