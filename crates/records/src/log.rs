//! A log: one stream, one directory, one writer.
//!
//! `format` says which version wrote it and tells it from other logs; `lock` is held by whoever has it open; `producers` is the
//! checkpoint of the table of producers; `quarantine/` has copies of what was damaged. The rest are segments.

mod group;
mod queue;
mod recover;
mod upkeep;
pub(crate) mod view;
mod writer;

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak, mpsc};
use std::thread::JoinHandle;

use self::queue::{Job, Queue};
pub use self::recover::Recovery;
use self::view::View;
use crate::ack::{Ack, Batch};
use crate::config::Config;
use crate::error::{AppendError, OpenError};
use crate::query::{Query, Reader};
use crate::stats::{Counters, Stats};

pub(crate) const PRODUCERS: &str = "producers";
pub(crate) const QUARANTINE: &str = "quarantine";

/// What the threads of a log and its readers share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Config,
    /// What tells this log from others.
    pub(crate) id: u64,
    pub(crate) view: View,
    queue: Queue,
    counters: Counters,
    /// Who waits for the segment to be closed, whatever its size.
    rotations: Mutex<Vec<mpsc::Sender<()>>>,
    /// The checkpoint of producers knows every line before this one.
    checkpointed: AtomicU64,
    /// Held while segments are packed or removed; says whether that is over for good.
    upkeep: Mutex<bool>,
    upkeep_due: Condvar,
}

/// A log that is open. Dropping it writes what waits and ends its threads.
#[derive(Debug)]
pub struct Log {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// Whoever has it, has the log.
    lock: Mutex<Option<File>>,
}

/// A batch that was not taken; it can be handed in again.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct NotTaken {
    /// The batch.
    pub batch: Batch,
    /// Why.
    pub error: AppendError,
}

/// As long as it is held, somebody is told of new lines.
pub struct Watch(
    #[expect(dead_code, reason = "it is held, and called through a weak reference")]
    Arc<view::Watcher>,
);

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Watch")
    }
}

impl Log {
    /// Opens a log, and makes it if it is not there. Damage is mended, and told in the answer.
    ///
    /// # Errors
    /// The directory cannot be used, is in use, or was written by a newer version.
    pub fn open(config: Config) -> Result<(Self, Recovery), OpenError> {
        recover::open(config)
    }

    fn begin(shared: Arc<Shared>, writer: writer::Writer, lock: File) -> io::Result<Self> {
        let upkeep = Arc::clone(&shared);
        let name = |what: &str| format!("records {what}");
        let threads = vec![
            std::thread::Builder::new()
                .name(name("writer"))
                .spawn(move || writer.run())?,
            std::thread::Builder::new()
                .name(name("upkeep"))
                .spawn(move || upkeep.keep_up())?,
        ];
        Ok(Self {
            shared,
            threads: Mutex::new(threads),
            lock: Mutex::new(Some(lock)),
        })
    }

    /// Hands a batch in. `done` hears the answer, on the thread that writes, so it should be quick.
    ///
    /// # Errors
    /// The batch comes back, `done` will not be called: a name is bad, too much waits already, or the log is closed.
    pub fn try_append(
        &self,
        batch: Batch,
        done: impl FnOnce(Result<Ack, AppendError>) + Send + 'static,
    ) -> Result<(), Box<NotTaken>> {
        if let Err(error) = batch.check_names() {
            return Err(Box::new(NotTaken { batch, error }));
        }
        let bytes = batch.bytes();
        let done = Box::new(done);
        let pushed = self.shared.queue.try_push(Job { batch, bytes, done });
        pushed.map_err(|refused| {
            let (batch, error) = (refused.job.batch, refused.error);
            Box::new(NotTaken { batch, error })
        })
    }

    /// Tells somebody to whom a batch came back because too much waits when it is worth another try: once, after something of
    /// that was taken to be written, or the log was closed; at once, if nothing waits. On the thread that writes, so it should be quick.
    pub fn when_drained(&self, wake: impl FnOnce() + Send + 'static) {
        self.shared.queue.when_drained(Box::new(wake));
    }

    /// Hands a batch in once there is room, and waits for the answer.
    ///
    /// # Errors
    /// It was not appended.
    pub fn append(&self, batch: Batch) -> Result<Ack, AppendError> {
        batch.check_names()?;
        let (tell, told) = mpsc::sync_channel(1);
        let bytes = batch.bytes();
        let done = Box::new(move |answer| drop(tell.send(answer)));
        let pushed = self.shared.queue.push(Job { batch, bytes, done });
        pushed.map_err(|refused| refused.error)?;
        told.recv().unwrap_or(Err(AppendError::Closed))
    }

    /// Reads lines, first those that are there, then new ones.
    pub fn read(&self, query: Query) -> Reader {
        Reader::new(Arc::clone(&self.shared), query)
    }

    /// Calls somebody whenever there are new lines, on the thread that writes, so it should be quick.
    pub fn watch(&self, tell: impl Fn() + Send + Sync + 'static) -> Watch {
        let watcher: Arc<view::Watcher> = Arc::new(tell);
        let weak: Weak<view::Watcher> = Arc::downgrade(&watcher);
        self.shared.view.watch(weak);
        Watch(watcher)
    }

    /// The number that the next line will have.
    pub fn next_seq(&self) -> u64 {
        self.shared.view.lock().next
    }

    /// What the log has done and holds.
    pub fn stats(&self) -> Stats {
        let mut stats = self.shared.counters.told();
        stats.queue_bytes = self.shared.queue.bytes();
        stats.free_bytes = free_bytes(&self.shared.config.dir).unwrap_or(0);
        let segments = self.shared.view.lock();
        let active = segments.active.as_ref().map(|index| index.summary);
        let summaries: Vec<_> = segments.closed.values().copied().chain(active).collect();
        (stats.first, stats.next) = (segments.first(), segments.next);
        drop(segments);
        stats.segments = summaries.len();
        let earliest = summaries.iter().map(|summary| summary.earliest).min();
        let latest = summaries.iter().map(|summary| summary.latest).max();
        stats.times = earliest
            .zip(latest)
            .filter(|(earliest, latest)| earliest <= latest);
        let files = summaries
            .iter()
            .map(|summary| self.shared.disk_bytes(summary.first));
        stats.disk_bytes = files.sum();
        stats
    }

    /// Bytes of segments on disk, indexes included.
    pub fn disk_bytes(&self) -> u64 {
        let segments = self.shared.view.lock();
        let active = segments.active.as_ref().map(|index| index.summary.first);
        let firsts: Vec<u64> = segments.closed.keys().copied().chain(active).collect();
        drop(segments);
        firsts
            .into_iter()
            .map(|first| self.shared.disk_bytes(first))
            .sum()
    }

    /// The first number of the oldest closed segment, and the one after its last.
    pub(crate) fn oldest_closed(&self) -> Option<(u64, u64)> {
        let segments = self.shared.view.lock();
        let oldest = segments.closed.values().next();
        oldest.map(|summary| (summary.first, summary.next))
    }

    /// Closes the segment that is written, if it has lines, and waits until that is done.
    pub fn rotate(&self) {
        let (tell, told) = mpsc::channel();
        let rotations = self.shared.rotations.lock();
        rotations.unwrap_or_else(PoisonError::into_inner).push(tell);
        self.shared.queue.nudge();
        if !self.shared.view.lock().ended {
            // The writer hangs up once it is done, or ends.
            told.recv().unwrap_or_default();
        }
    }

    /// Packs and removes segments now, as else happens from time to time.
    pub fn keep_up(&self) {
        self.shared.keep_up_once();
    }

    /// Removes closed segments that have only lines before this number. How many bytes that freed.
    pub fn remove_before(&self, seq: u64) -> u64 {
        self.shared.remove_before(seq)
    }

    /// Writes what waits, and closes the files. What is handed in afterwards is refused.
    pub fn close(&self) {
        self.shared.queue.close();
        self.shared.end_upkeep();
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        let own = std::thread::current().id();
        // Who hears an answer may have the last of the log in its hands.
        for thread in threads
            .drain(..)
            .filter(|thread| thread.thread().id() != own)
        {
            if let Err(panic) = thread.join() {
                std::panic::resume_unwind(panic);
            }
        }
        drop(
            self.lock
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take(),
        );
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.close();
        }
    }
}

/// Bytes of a file system that are free for who is not root. `None` if it cannot be asked.
fn free_bytes(dir: &Path) -> Option<u64> {
    let told = rustix::fs::statvfs(dir).ok()?;
    Some(told.f_bavail.saturating_mul(told.f_frsize))
}

/// Makes a directory for its owner only. False if it was there.
pub(crate) fn make_dir(path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::DirBuilderExt;
    match std::fs::DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}
