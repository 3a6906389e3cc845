//! The output's bytes, put together from segments.
//!
//! A segment states in its name where it begins. It grows until a later one exists; from then on it is as it is, and what lies
//! between its end and the next one's start was not kept. Segments in the middle of the output may vanish at any time.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use legwork_shim::layout;

/// Beyond what any file system has in a file, and no error yet for the kernel, in bytes.
const FILE_MAX: u64 = 1 << 62;
/// Bytes that are asked for when there may be few.
const PORTION_MIN: usize = 4096;

/// The bytes of one job, for one reader.
#[derive(Debug)]
pub(super) struct Tape {
    dir: PathBuf,
    open: Option<Segment>,
    /// How many segments have been opened.
    opened: u64,
    /// Bytes to ask for at once: few until there were as many.
    portion: usize,
    /// Where the open segment ended, if the last read came so far.
    end: Option<u64>,
}

#[derive(Debug)]
struct Segment {
    start: u64,
    file: File,
}

/// What is at an offset.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// These bytes, at least one.
    Data(Vec<u8>),
    /// So many bytes that were not kept, at least one.
    Gap(u64),
    /// Nothing yet.
    Nothing,
}

impl Tape {
    pub(super) fn new(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            open: None,
            opened: 0,
            portion: PORTION_MIN,
            end: None,
        }
    }

    /// Which one the open segment is among all that this reader opened.
    pub(super) fn number(&self) -> u64 {
        self.opened
    }

    /// The segment that is read now.
    pub(super) fn segment_read(&self) -> Option<PathBuf> {
        self.open.as_ref().map(|open| self.segment(open.start))
    }

    /// Whether a reader at `offset` has read all that was there when it was read.
    pub(super) fn is_read_to(&self, offset: u64) -> bool {
        self.end == Some(offset)
    }

    /// Reads at most `limit` bytes at `offset`. New segments are looked for only if `list` is true.
    pub(super) fn read(&mut self, offset: u64, limit: usize, list: bool) -> io::Result<Found> {
        if let Some(data) = self.read_open(offset, limit)? {
            return Ok(Found::Data(data));
        }
        if !list && self.open.is_some() {
            return Ok(Found::Nothing);
        }
        loop {
            let after = self.open.as_ref().map(|open| open.start);
            let Some(start) = next(&self.starts()?, offset, after) else {
                return Ok(Found::Nothing);
            };
            // The open segment may have grown until just before the next was made.
            if let Some(data) = self.read_open(offset, limit)? {
                return Ok(Found::Data(data));
            }
            if !self.open(start)? {
                continue;
            }
            if start > offset {
                return Ok(Found::Gap(start - offset));
            }
            if let Some(data) = self.read_open(offset, limit)? {
                return Ok(Found::Data(data));
            }
        }
    }

    /// The offset after the last byte that is there.
    pub(super) fn end(&mut self) -> io::Result<u64> {
        loop {
            let Some(last) = self.starts()?.last().copied() else {
                return Ok(0);
            };
            if self.open(last)? {
                let len = self
                    .open
                    .as_ref()
                    .map_or(Ok(0), |open| Ok(open.file.metadata()?.len()));
                return len.map(|len| last + len).map_err(|error: io::Error| error);
            }
        }
    }

    /// The stretches of bytes that are there, as start and end, in order.
    pub(super) fn extents(&self) -> io::Result<Vec<(u64, u64)>> {
        let extent = |start: u64| match std::fs::metadata(self.segment(start)) {
            Ok(found) => Ok(Some((start, start + found.len()))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        };
        self.starts()?
            .into_iter()
            .filter_map(|start| extent(start).transpose())
            .collect()
    }

    fn segment(&self, start: u64) -> PathBuf {
        self.dir.join(layout::segment_name(start))
    }

    fn starts(&self) -> io::Result<Vec<u64>> {
        let mut starts = Vec::new();
        for entry in std::fs::read_dir(&self.dir)? {
            starts.extend(entry?.file_name().to_str().and_then(layout::segment_start));
        }
        starts.sort_unstable();
        Ok(starts)
    }

    /// Opens a segment; `false` when it has just vanished.
    fn open(&mut self, start: u64) -> io::Result<bool> {
        match File::open(self.segment(start)) {
            Ok(file) => {
                self.open = Some(Segment { start, file });
                self.opened += 1;
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// What the open segment has at an offset. One that has been deleted empty is forgotten, for another may take its name.
    fn read_open(&mut self, offset: u64, limit: usize) -> io::Result<Option<Vec<u8>>> {
        let Some(open) = &self.open else {
            return Ok(None);
        };
        if let Some(at) = offset.checked_sub(open.start).filter(|at| *at < FILE_MAX) {
            let want = self.portion.min(limit);
            let mut data = Vec::with_capacity(want);
            let read = rustix::io::retry_on_intr(|| {
                rustix::io::pread(&open.file, rustix::buffer::spare_capacity(&mut data), at)
            })?;
            self.portion = if read < want { PORTION_MIN } else { usize::MAX };
            if read > 0 {
                self.end = (read < want).then_some(offset + read as u64);
                return Ok(Some(data));
            }
        }
        let found = open.file.metadata()?;
        if found.nlink() == 0 && found.len() == 0 {
            self.open = None;
        }
        Ok(None)
    }
}

/// The segment to read at `offset`, when the one that starts at `after` has nothing there.
fn next(starts: &[u64], offset: u64, after: Option<u64>) -> Option<u64> {
    match after {
        // A reader that was sent elsewhere begins anew.
        Some(after) if after <= offset => {
            let holds = starts
                .iter()
                .rev()
                .find(|start| **start <= offset && **start > after);
            holds
                .or_else(|| starts.iter().find(|start| **start > after))
                .copied()
        }
        _ => {
            let holds = starts.iter().rev().find(|start| **start <= offset);
            holds
                .or_else(|| starts.iter().find(|start| **start > offset))
                .copied()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use legwork_shim::layout::segment_name;
    use proptest::prelude::*;

    use super::{Found, Tape};

    fn segment(dir: &Path, start: u64, bytes: &[u8]) {
        std::fs::write(dir.join(segment_name(start)), bytes).unwrap();
    }

    fn data(bytes: &[u8]) -> Found {
        Found::Data(bytes.to_vec())
    }

    #[test]
    fn grows_goes_on_in_the_next_segment_and_tells_gaps() {
        let dir = tempfile::tempdir().unwrap();
        let mut tape = Tape::new(dir.path());
        assert_eq!(tape.read(0, 9, true).unwrap(), Found::Nothing);
        segment(dir.path(), 0, b"abc");
        assert_eq!(tape.read(0, 2, true).unwrap(), data(b"ab"));
        assert_eq!(tape.read(2, 2, false).unwrap(), data(b"c"));
        assert_eq!(tape.read(3, 2, true).unwrap(), Found::Nothing);
        segment(dir.path(), 0, b"abcd");
        segment(dir.path(), 9, b"j");
        assert_eq!(tape.read(3, 2, true).unwrap(), data(b"d"));
        assert_eq!(tape.read(4, 2, false).unwrap(), Found::Nothing);
        assert_eq!(tape.read(4, 2, true).unwrap(), Found::Gap(5));
        assert_eq!(tape.read(9, 2, false).unwrap(), data(b"j"));
        assert_eq!(tape.end().unwrap(), 10);
    }

    #[test]
    fn a_segment_that_was_deleted_is_read_to_its_end_and_one_deleted_empty_may_come_again() {
        let dir = tempfile::tempdir().unwrap();
        let mut tape = Tape::new(dir.path());
        segment(dir.path(), 0, b"abc");
        assert_eq!(tape.read(0, 1, true).unwrap(), data(b"a"));
        std::fs::remove_file(dir.path().join(segment_name(0))).unwrap();
        assert_eq!(tape.read(1, 9, true).unwrap(), data(b"bc"));
        segment(dir.path(), 5, b"");
        assert_eq!(tape.read(3, 9, true).unwrap(), Found::Gap(2));
        assert_eq!(tape.read(5, 9, true).unwrap(), Found::Nothing);
        std::fs::remove_file(dir.path().join(segment_name(5))).unwrap();
        segment(dir.path(), 5, b"x");
        assert_eq!(tape.read(5, 9, true).unwrap(), data(b"x"));
    }

    #[test]
    fn beyond_all_files_there_is_nothing() {
        let dir = tempfile::tempdir().unwrap();
        segment(dir.path(), 0, b"abc");
        for offset in [4, 1 << 62, u64::MAX] {
            let mut tape = Tape::new(dir.path());
            assert_eq!(tape.read(offset, usize::MAX, true).unwrap(), Found::Nothing);
        }
    }

    proptest! {
        #[test]
        fn any_segments_are_read_in_full_from_any_offset(
            pieces in prop::collection::vec((0..5_u64, 1..9_usize), 0..6),
            from in 0..60_u64,
            limit in 1..7_usize,
        ) {
            let dir = tempfile::tempdir().unwrap();
            let mut expected = Vec::new();
            for (hole, len) in pieces {
                expected.extend((0..hole).map(|_| None));
                let start = expected.len();
                expected.extend((0..len).map(|n| Some(u8::try_from((start + n) % 251).unwrap())));
                let bytes: Vec<u8> = expected[start..].iter().map(|byte| byte.unwrap()).collect();
                segment(dir.path(), start as u64, &bytes);
            }
            let mut tape = Tape::new(dir.path());
            prop_assert_eq!(tape.end().unwrap(), expected.len() as u64);
            let mut read = Vec::new();
            loop {
                match tape.read(from + read.len() as u64, limit, true).unwrap() {
                    Found::Data(data) => {
                        prop_assert!(data.len() <= limit);
                        read.extend(data.into_iter().map(Some));
                    }
                    Found::Gap(len) => read.extend((0..len).map(|_| None)),
                    Found::Nothing => break,
                }
            }
            let from = usize::try_from(from).unwrap().min(expected.len());
            prop_assert_eq!(&read, &expected[from..]);
        }
    }
}
