//! Which bytes came from which stream, and when.
//!
//! The bytes are read first and the index after: the shim writes the entry before the bytes, so the origin of every byte that
//! was read is known. Bytes that no entry describes, as after a crash of the host, count as standard output of unknown time.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use legwork_shim::index::{ENTRY_LEN, Entry, Stream};
use legwork_shim::layout;
use rustix::buffer::spare_capacity;
use rustix::io::{pread, retry_on_intr};

use super::Run;

/// Entries read at a time.
const BATCH: usize = 256;

const UNKNOWN: Entry = Entry {
    offset: 0,
    time_us: 0,
    stream: Stream::Stdout,
};

/// The index of one job, for one reader.
#[derive(Debug)]
pub(super) struct Origins {
    path: PathBuf,
    file: Option<File>,
    /// Position in the file, in entries, of the first that has not been read.
    next: u64,
    /// The entry in force where the reader is.
    current: Entry,
    ahead: VecDeque<Entry>,
}

impl Origins {
    pub(super) fn new(dir: &Path) -> Self {
        Self {
            path: dir.join(layout::INDEX),
            file: None,
            next: 0,
            current: UNKNOWN,
            ahead: VecDeque::new(),
        }
    }

    /// Goes to an offset, before or behind.
    pub(super) fn seek(&mut self, offset: u64) -> io::Result<()> {
        self.current = UNKNOWN;
        self.ahead.clear();
        self.next = 0;
        let Some(file) = self.file()? else {
            return Ok(());
        };
        // The number of entries that begin at or before the offset.
        let (mut low, mut high) = (0, file.metadata()?.len() / ENTRY_LEN as u64);
        let mut current = UNKNOWN;
        while low < high {
            let middle = u64::midpoint(low, high);
            let mut raw = [0; ENTRY_LEN];
            file.read_exact_at(&mut raw, middle * ENTRY_LEN as u64)?;
            let entry = Entry::decode(&raw);
            if entry.offset <= offset {
                current = entry;
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        self.current = current;
        self.next = low;
        Ok(())
    }

    /// The origin of the `len` bytes at `offset`, which is not before that of the last call or seek. None of the runs is empty.
    pub(super) fn runs(&mut self, offset: u64, len: usize) -> io::Result<Vec<Run>> {
        let end = offset + len as u64;
        let mut runs = Vec::new();
        let mut at = offset;
        // What is said of these bytes was written before them: one look to the end of the file is enough.
        let mut at_end = false;
        loop {
            if self.ahead.is_empty() && !at_end {
                at_end = self.read_ahead()?;
            }
            let Some(entry) = self.ahead.front().filter(|entry| entry.offset < end) else {
                break;
            };
            let entry = *entry;
            self.push(&mut runs, at, entry.offset);
            at = at.max(entry.offset);
            self.current = entry;
            self.ahead.pop_front();
        }
        self.push(&mut runs, at, end);
        Ok(runs)
    }

    fn push(&self, runs: &mut Vec<Run>, from: u64, to: u64) {
        let len = usize::try_from(to.saturating_sub(from)).unwrap_or(0);
        if len > 0 {
            runs.push(Run {
                len,
                stream: self.current.stream,
                time_us: self.current.time_us,
            });
        }
    }

    /// `true` if that was the last of what is there.
    fn read_ahead(&mut self) -> io::Result<bool> {
        let from = self.next * ENTRY_LEN as u64;
        let Some(file) = self.file()? else {
            return Ok(true);
        };
        let mut raw = Vec::with_capacity(BATCH * ENTRY_LEN);
        retry_on_intr(|| pread(file, spare_capacity(&mut raw), from))?;
        let entries = raw.as_chunks().0;
        self.next += entries.len() as u64;
        self.ahead.extend(entries.iter().map(Entry::decode));
        Ok(entries.len() < BATCH)
    }

    /// The file is made with the first output.
    fn file(&mut self) -> io::Result<Option<&File>> {
        if self.file.is_none() {
            match File::open(&self.path) {
                Ok(file) => self.file = Some(file),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(self.file.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use legwork_shim::index::{Entry, Stream};
    use proptest::prelude::*;

    use super::Origins;

    proptest! {
        #[test]
        fn every_byte_has_the_origin_of_the_last_entry_before_it(
            entries in prop::collection::vec((0..4_u64, any::<bool>()), 0..40),
            from in 0..60_u64,
            lengths in prop::collection::vec(1..9_usize, 0..20),
            torn in 0..24_usize,
        ) {
            let dir = tempfile::tempdir().unwrap();
            let mut offset = 0;
            let entries: Vec<_> = entries.into_iter().enumerate().map(|(n, (step, err))| {
                offset += step;
                let stream = if err { Stream::Stderr } else { Stream::Stdout };
                Entry { offset, time_us: n as u64 + 1, stream }
            }).collect();
            let mut raw: Vec<u8> = entries.iter().flat_map(Entry::encode).collect();
            raw.extend(vec![0xff; torn]);
            std::fs::write(dir.path().join("index"), raw).unwrap();

            let mut origins = Origins::new(dir.path());
            origins.seek(from).unwrap();
            let mut at = from;
            for len in lengths {
                let runs = origins.runs(at, len).unwrap();
                prop_assert_eq!(runs.iter().map(|run| run.len).sum::<usize>(), len);
                for run in runs {
                    for byte in at..at + run.len as u64 {
                        let known = entries.iter().rev().find(|entry| entry.offset <= byte);
                        prop_assert_eq!(run.time_us, known.map_or(0, |entry| entry.time_us));
                        prop_assert_eq!(run.stream, known.map_or(Stream::Stdout, |entry| entry.stream));
                    }
                    at += run.len as u64;
                }
            }
        }
    }
}
