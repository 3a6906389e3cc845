//! The one thread that writes: it takes what waits, writes and syncs it at once, and then answers.
//!
//! A sync that fails is never tried again on the same file, because the kernel may have dropped the pages and called them clean. The segment is
//! sealed where it was durable last, the batches that waited are refused, and a new segment is begun under the number that
//! follows; its name cuts off whatever the failed one may still hold. Where acks promised less than *durable*, the lines that were
//! acknowledged and not synced are read back and written to the new segment.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use super::Shared;
use super::group::{Group, Start};
use super::queue::{Job, Next};
use crate::alarm::Alarm;
use crate::config::Durability;
use crate::error::AppendError;
use crate::faults::is_full;
use crate::missing::Lost;
use crate::producers::Producers;
use crate::segment::index::Index;
use crate::segment::replay;
use crate::segment::{Content, data_path, index_path};
use crate::stats::add;
use crate::timestamp::Timestamp;

/// How often the writer looks at the age of its segment.
const LOOK: Duration = Duration::from_secs(10);

/// The segment that is written.
#[derive(Debug)]
pub(crate) struct Active {
    pub(crate) path: PathBuf,
    pub(crate) file: File,
    /// Bytes in it, and how many of them are on the disk.
    pub(crate) written: u64,
    pub(crate) durable: u64,
    /// When its first line was received.
    pub(crate) begun: Timestamp,
}

/// The writer.
pub(crate) struct Writer {
    pub(crate) shared: Arc<Shared>,
    pub(crate) active: Option<Active>,
    pub(crate) producers: Producers,
    /// The number of the next line.
    pub(crate) next: u64,
    /// Everything up to this number is on the disk.
    pub(crate) synced: u64,
    /// The time of the last line.
    pub(crate) last: Timestamp,
    /// Since when something has been written and not synced.
    pub(crate) unsynced: Option<Instant>,
    /// Lines that were acknowledged, not synced, and are to be written to the next segment.
    pub(crate) carried: Vec<u8>,
    /// An alarm was raised, and not taken back.
    pub(crate) troubled: bool,
}

/// A step that failed.
type Failed = (&'static str, io::Error);

impl Writer {
    /// Works until the queue is closed and empty.
    pub(crate) fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        let mut group = Group::default();
        loop {
            match shared
                .queue
                .next(shared.config.group_bytes, Some(self.patience()))
            {
                Next::Group(jobs) => self.commit(jobs, &mut group),
                Next::Idle => {}
                Next::Closed => break,
            }
            self.look_around();
        }
        // What was promised less is on the disk after an orderly end all the same.
        self.sync_now();
        if self.carried.is_empty() {
            self.checkpoint();
        }
    }

    /// Writes down which batches are in the log, all of which are on the disk.
    fn checkpoint(&mut self) {
        let config = &self.shared.config;
        let path = config.dir.join(super::PRODUCERS);
        self.producers.forget(config.clock.now());
        match self.producers.write(&path, self.next, &config.faults) {
            Ok(()) => self.shared.checkpointed.store(self.next, Ordering::Release),
            Err(error) => self.upkeep_failed("write the table of producers", &error),
        }
    }

    fn patience(&self) -> Duration {
        match (self.shared.config.durability, self.unsynced) {
            (Durability::Interval(every), Some(since)) => {
                every.saturating_sub(since.elapsed()).min(LOOK)
            }
            _ => LOOK,
        }
    }

    /// What is to be done between groups.
    fn look_around(&mut self) {
        if let Durability::Interval(every) = self.shared.config.durability
            && self.unsynced.is_some_and(|since| since.elapsed() >= every)
        {
            self.sync_now();
        }
        let config = &self.shared.config;
        let over = self.active.as_ref().is_some_and(|active| {
            let age = config.clock.now().since(active.begun);
            active.written >= config.segment_bytes
                || active.written > 0 && age >= config.segment_age
        });
        let asked = self.shared.rotations.lock();
        let asked = std::mem::take(&mut *asked.unwrap_or_else(PoisonError::into_inner));
        if over || !asked.is_empty() {
            self.rotate();
        }
    }

    fn commit(&mut self, jobs: Vec<Job>, group: &mut Group) {
        if let Err(error) = self.make_ready() {
            jobs.into_iter()
                .for_each(|job| (job.done)(Err(error.clone())));
            return;
        }
        let start = self.start();
        let config = &self.shared.config;
        group.compose(jobs, &start, &mut self.producers, config);
        let written = if group.lines.is_empty() {
            Ok(())
        } else {
            self.put(group, start.now)
        };
        match written {
            Ok(()) => {
                group.undo.clear();
                self.count(group);
                for (done, ack) in group.waiting.drain(..) {
                    done(Ok(ack));
                }
            }
            Err(failed) => {
                let error = self.refusal(failed);
                for undo in group.undo.drain(..).rev() {
                    self.producers.undo(undo);
                }
                for (done, _) in group.waiting.drain(..) {
                    done(Err(error.clone()));
                }
            }
        }
    }

    fn start(&self) -> Start {
        Start {
            next: self.next,
            offset: self.active.as_ref().map_or(0, |active| active.written),
            synced: self.synced,
            now: self.shared.config.clock.now(),
            before: self.last,
        }
    }

    /// Says in the log what of it is lost. If that cannot be written, readers still see that numbers are missing.
    pub(crate) fn tell_lost(&mut self, lost: &Lost) {
        if self.make_ready().is_ok() {
            let start = self.start();
            let group = Group::lost(lost, &start, &self.shared.config);
            drop(self.put(&group, start.now));
        }
    }

    /// Writes the lines, makes them as durable as is promised, and shows them.
    fn put(&mut self, group: &Group, now: Timestamp) -> Result<(), Failed> {
        let shared = Arc::clone(&self.shared);
        let faults = &shared.config.faults;
        let Some(active) = &mut self.active else {
            return Err(("append to the log", io::ErrorKind::NotFound.into()));
        };
        if let Err(error) = faults.append(&active.path, &active.file, &group.lines) {
            // Part of it may be there. If it cannot be taken back, the segment ends here.
            if faults
                .truncate(&active.path, &active.file, active.written)
                .is_err()
            {
                self.seal();
            }
            return Err(("append to the log", error));
        }
        if active.written == 0 {
            active.begun = now;
        }
        active.written += group.lines.len() as u64;
        if shared.config.durability == Durability::Durable {
            self.sync().map_err(|error| ("sync the log", error))?;
            self.synced = group.next - 1;
        } else {
            self.unsynced.get_or_insert_with(Instant::now);
        }
        self.recovered();
        self.next = group.next;
        self.last = now;
        shared.view.publish(&group.added, group.next);
        Ok(())
    }

    /// Syncs the segment, and seals it if that fails.
    fn sync(&mut self) -> io::Result<()> {
        let Some(active) = &mut self.active else {
            return Ok(());
        };
        let config = &self.shared.config;
        let since = Instant::now();
        let synced = config.faults.sync(&active.path, &active.file);
        self.shared.counters.sync(since.elapsed(), synced.is_err());
        match synced {
            Ok(()) => active.durable = active.written,
            Err(ref error) => {
                let why = error.to_string();
                config.alarm(&Alarm::SyncFailed { why });
                self.troubled = true;
                self.seal();
            }
        }
        synced
    }

    /// Syncs what was written with a weaker promise.
    fn sync_now(&mut self) {
        if self.unsynced.take().is_some() && self.sync().is_ok() {
            self.synced = self.next - 1;
        }
        if !self.carried.is_empty() {
            // A failure has raised its alarm, and the next group tries again.
            drop(self.make_ready());
        }
    }

    /// Ends a segment that failed where it was durable last.
    fn seal(&mut self) {
        let Some(active) = self.active.take() else {
            return;
        };
        let shared = Arc::clone(&self.shared);
        let mut segments = shared.view.lock();
        let Some(mut index) = segments.active.take() else {
            return;
        };
        let first = index.summary.first;
        if index.summary.bytes > active.durable {
            // Acknowledged with a weaker promise: the kernel still has it, unless it does not.
            let (content, end) = (Content::Plain(active.file), index.summary.bytes);
            let mut lines = Vec::new();
            let length = end - active.durable;
            let read = content.read(active.durable, length, end, &mut lines);
            if read.is_ok() {
                self.carried.append(&mut lines);
            }
            index.cut(active.durable, self.synced + 1);
            self.next = self.synced + 1;
            segments.next = self.next;
        }
        // Not needed for the truth: the name of the next segment cuts it as well.
        drop(
            File::options()
                .write(true)
                .open(&active.path)
                .and_then(|file| {
                    shared
                        .config
                        .faults
                        .truncate(&active.path, &file, active.durable)
                }),
        );
        if index.summary.bytes == 0 {
            drop(segments);
            self.discard(first);
        } else {
            drop(index.write(
                &index_path(&shared.config.dir, first),
                &shared.config.faults,
            ));
            segments.closed.insert(first, index.summary);
        }
    }

    /// Sees to it that there is a segment to write to, and room on the disk.
    fn make_ready(&mut self) -> Result<(), AppendError> {
        let config = &self.shared.config;
        let free = super::free_bytes(&config.dir);
        if let Some(free) = free.filter(|&free| free < config.free_bytes_min) {
            let wanted = config.free_bytes_min;
            if !std::mem::replace(&mut self.troubled, true) {
                config.alarm(&Alarm::DiskFull { free });
            }
            return Err(AppendError::DiskFull { free, wanted });
        }
        if self.active.is_none() {
            let begun = self.begin();
            begun.map_err(|error| self.refusal(("begin a segment of the log", error)))?;
        }
        Ok(())
    }

    /// Something was written: what was wrong is over. That a disk says it has room means nothing yet.
    fn recovered(&mut self) {
        if std::mem::take(&mut self.troubled) {
            self.shared.config.alarm(&Alarm::Recovered);
        }
    }

    /// Begins a segment with the next number, and writes to it what was carried over.
    fn begin(&mut self) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        let (dir, faults) = (&shared.config.dir, &shared.config.faults);
        let first = self.next;
        let path = data_path(dir, first);
        if path.exists() {
            // It failed before anything in it was durable.
            self.discard(first);
        }
        let file = faults.create(&path)?;
        let mut index = Index::new(first);
        if !self.carried.is_empty() {
            faults.append(&path, &file, &self.carried)?;
            faults.sync(&path, &file)?;
            let content = Content::Plain(file.try_clone()?);
            index = replay::index(&content, first, self.carried.len() as u64, u64::MAX)?;
        }
        faults.sync_dir(dir)?;
        self.carried.clear();
        let (written, begun) = (index.summary.bytes, index.summary.earliest);
        self.next = index.summary.next;
        self.synced = self.next - 1;
        self.active = Some(Active {
            path,
            file,
            written,
            durable: written,
            begun,
        });
        let mut segments = shared.view.lock();
        segments.next = self.next;
        segments.active = Some(index);
        drop(segments);
        shared.view.tell();
        Ok(())
    }

    /// Closes the segment and begins the next.
    fn rotate(&mut self) {
        if self.unsynced.is_some() {
            self.sync_now();
        }
        let Some(active) = self.active.take_if(|active| active.written > 0) else {
            return;
        };
        drop(active);
        // Before anything of a closed segment may be removed, its producers are known without it.
        self.checkpoint();
        let config = &self.shared.config;
        let index = {
            let mut segments = self.shared.view.lock();
            let index = segments.active.take();
            if let Some(index) = &index {
                segments.closed.insert(index.summary.first, index.summary);
            }
            index
        };
        if let Some(index) = index {
            let path = index_path(&config.dir, index.summary.first);
            if let Err(error) = index.write(&path, &config.faults) {
                self.upkeep_failed("write an index", &error);
            }
        }
        // The directory is synced with the new segment. If it cannot be begun, the next group tries again.
        if self.make_ready().is_ok() {
            self.shared.wake_upkeep();
        }
    }

    /// Removes a file of which nothing is part of the log. If that fails, so does the making of the next one, which tells.
    fn discard(&self, first: u64) {
        let config = &self.shared.config;
        drop(config.faults.unlink(&data_path(&config.dir, first)));
    }

    fn refusal(&mut self, (what, error): Failed) -> AppendError {
        let config = &self.shared.config;
        let troubled = std::mem::replace(&mut self.troubled, true);
        if is_full(&error) {
            let free = super::free_bytes(&config.dir).unwrap_or(0);
            if !troubled {
                config.alarm(&Alarm::DiskFull { free });
            }
            let wanted = config.free_bytes_min;
            return AppendError::DiskFull { free, wanted };
        }
        if !troubled {
            let why = format!("cannot {what}: {error}");
            config.alarm(&Alarm::WriteFailed { why });
        }
        let source = Arc::new(error);
        AppendError::Disk { what, source }
    }

    fn upkeep_failed(&self, what: &str, error: &io::Error) {
        let why = format!("cannot {what}: {error}");
        self.shared.config.alarm(&Alarm::Upkeep { why });
    }

    fn count(&self, group: &Group) {
        let counters = &self.shared.counters;
        add(&counters.written, group.lines.len() as u64);
        counters
            .producers
            .store(self.producers.len() as u64, Ordering::Relaxed);
        for (_, ack) in &group.waiting {
            if ack.duplicate {
                add(&counters.duplicates, 1);
            } else {
                add(&counters.batches, 1);
                add(
                    &counters.accepted,
                    ack.accepted.map_or(0, |accepted| accepted.count),
                );
                counters.rejected(&ack.rejections);
            }
        }
    }
}

/// However the writer ends: nobody waits for it any more.
impl Drop for Writer {
    fn drop(&mut self) {
        self.shared.queue.close();
        while let Next::Group(jobs) = self.shared.queue.next(usize::MAX, None) {
            jobs.into_iter()
                .for_each(|job| (job.done)(Err(AppendError::Closed)));
        }
        self.shared.view.lock().ended = true;
        let rotations = self.shared.rotations.lock();
        rotations.unwrap_or_else(PoisonError::into_inner).clear();
        self.shared.view.tell();
    }
}
