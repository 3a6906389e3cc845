//! What happens to closed segments: they are packed, and removed when they are too old or too many.
//!
//! A packed segment is synced, read back and compared before its plain form goes. A crash in between leaves both, and the opening
//! removes one.

use std::io;
use std::path::Path;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Shared;
use crate::alarm::Alarm;
use crate::config::Packing;
use crate::segment::index::{Index, Summary};
use crate::segment::packed::{Packed, pack, same};
use crate::segment::{Content, data_path, index_path, packed_path, replay};

/// How often it looks.
const EVERY: Duration = Duration::from_secs(60);

impl Shared {
    /// Works until the log is closed.
    pub(super) fn keep_up(&self) {
        loop {
            self.keep_up_once();
            let over = self.upkeep.lock().unwrap_or_else(PoisonError::into_inner);
            if *over {
                return;
            }
            let woken = self.upkeep_due.wait_timeout(over, EVERY);
            if *woken.unwrap_or_else(PoisonError::into_inner).0 {
                return;
            }
        }
    }

    pub(super) fn wake_upkeep(&self) {
        self.upkeep_due.notify_all();
    }

    pub(super) fn end_upkeep(&self) {
        *self.upkeep.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.upkeep_due.notify_all();
    }

    /// Removes what is too much, and packs what is due.
    pub(super) fn keep_up_once(&self) {
        self.retain();
        let Some(packing) = self.config.packing else {
            return;
        };
        let due = self.config.clock.now().earlier_by(packing.after);
        for summary in self.closed() {
            let over = self.upkeep.lock().unwrap_or_else(PoisonError::into_inner);
            let plain = data_path(&self.config.dir, summary.first);
            if *over || summary.latest > due || !plain.exists() {
                continue;
            }
            if let Err(error) = self.pack(&summary, packing, &plain) {
                self.failed("pack", &plain, &error);
            }
        }
    }

    fn closed(&self) -> Vec<Summary> {
        self.view.lock().closed.values().copied().collect()
    }

    fn failed(&self, what: &str, path: &Path, error: &io::Error) {
        let why = format!("cannot {what} {}: {error}", path.display());
        self.config.alarm(&Alarm::Upkeep { why });
    }

    fn pack(&self, summary: &Summary, packing: Packing, plain: &Path) -> io::Result<()> {
        let (dir, faults) = (&self.config.dir, &self.config.faults);
        let content = Content::Plain(std::fs::File::open(plain)?);
        let index_path = index_path(dir, summary.first);
        let index = Index::read(&index_path).filter(|index| index.summary == *summary);
        let index = match index {
            Some(index) => index,
            None => {
                let index = replay::index(&content, summary.first, summary.bytes, summary.next)?;
                index.write(&index_path, faults)?;
                index
            }
        };
        let path = packed_path(dir, summary.first);
        faults.replace(&path, |file| pack(&content, &index, packing.level, file))?;
        let written = Content::Packed(Packed::open(std::fs::File::open(&path)?)?);
        if !same(&content, &written, summary.bytes)? {
            faults.unlink(&path)?;
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "it reads back differently",
            ));
        }
        faults.sync_dir(dir)?;
        faults.unlink(plain)
    }

    /// Removes the oldest segments until the rest is as it should be.
    fn retain(&self) {
        let retention = self.config.retention;
        let oldest = retention
            .age
            .map(|age| self.config.clock.now().earlier_by(age));
        let closed = self.closed();
        let sizes: Vec<u64> = closed
            .iter()
            .map(|summary| self.disk_bytes(summary.first))
            .collect();
        let active = self
            .view
            .lock()
            .active
            .as_ref()
            .map(|index| index.summary.first);
        let mut total =
            sizes.iter().sum::<u64>() + active.map_or(0, |first| self.disk_bytes(first));
        let mut keep_from = None;
        for (summary, size) in closed.iter().zip(sizes) {
            let old = oldest.is_some_and(|oldest| summary.latest < oldest);
            let much = retention.bytes.is_some_and(|bytes| total > bytes);
            if !old && !much {
                break;
            }
            total -= size;
            keep_from = Some(summary.next);
        }
        if let Some(seq) = keep_from {
            self.remove_before(seq);
        }
    }

    /// Removes closed segments that have only lines before this number.
    pub(super) fn remove_before(&self, seq: u64) -> u64 {
        let _one_at_a_time = self.upkeep.lock().unwrap_or_else(PoisonError::into_inner);
        let known = self.checkpointed.load(Ordering::Acquire);
        let mut freed = 0;
        for summary in self.closed() {
            if summary.next > seq || summary.next > known {
                break;
            }
            let size = self.disk_bytes(summary.first);
            // Readers do not begin it any more; those that are in it keep its file.
            self.view.lock().closed.remove(&summary.first);
            match self.unlink(summary.first) {
                Ok(()) => freed += size,
                Err((path, error)) => {
                    self.failed("remove", &path, &error);
                    self.view.lock().closed.insert(summary.first, summary);
                    break;
                }
            }
        }
        freed
    }

    fn unlink(&self, first: u64) -> Result<(), (std::path::PathBuf, io::Error)> {
        let dir = &self.config.dir;
        for path in [
            data_path(dir, first),
            packed_path(dir, first),
            index_path(dir, first),
        ] {
            let gone = self.config.faults.unlink(&path);
            gone.map_err(|error| (path, error))?;
        }
        Ok(())
    }

    /// Bytes of the files of a segment.
    pub(super) fn disk_bytes(&self, first: u64) -> u64 {
        let dir = &self.config.dir;
        let files = [
            data_path(dir, first),
            packed_path(dir, first),
            index_path(dir, first),
        ];
        let size =
            |path: &std::path::PathBuf| std::fs::metadata(path).map_or(0, |found| found.len());
        files.iter().map(size).sum()
    }
}
