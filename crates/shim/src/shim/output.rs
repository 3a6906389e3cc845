//! The job's output on disk: one sequence of bytes in arrival order, whatever happens.
//!
//! Bytes go from pipe to page cache by splice(2) and never through this process's memory. What the
//! limit or a full disk does not allow is moved to `/dev/null` instead and counted; the payload never
//! waits for a disk that says no. After a failure the disk is left alone for a moment, because asking
//! a full one again and again is what costs, then a new segment begins after the hole.
//!
//! Durability: quiet jobs are synced every few seconds, see [`Output::sync`]; everything is synced
//! before the exit record.

use alloc::vec;
use alloc::vec::Vec;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use rustix::pipe::{SpliceFlags, splice};

use legwork_shim::index::{Entry, Stream};
use legwork_shim::layout::segment_name;

use super::best_effort;
use super::index_file::IndexFile;
use super::segments::{Room, Segments};
use super::write_back::WriteBack;

/// Most bytes moved in one call, so that the two streams take turns.
const CHUNK: usize = 1024 * 1024;
/// Bytes copied at a time where the file system knows no splice.
const COPY: usize = 64 * 1024;
/// How long a disk that failed is left alone, in microseconds.
const REST_US: u64 = 200_000;
/// More new bytes than this are not synced in passing, because the sync would make the payload wait.
const SYNC_IN_PASSING: u64 = 4 * 1024 * 1024;

/// Whether nobody who watches a file there is told of what splice(2) writes to it: before Linux 6.6, on an overlay, the file
/// below is written, and that one nobody watches.
fn splices_in_secret(file: &OwnedFd) -> bool {
    const OVERLAYFS: i64 = 0x794c_7630;
    rustix::fs::fstatfs(file).is_ok_and(|found| found.f_type == OVERLAYFS)
}

/// What became of some bytes that were in a pipe.
#[derive(Debug, Clone, Copy)]
struct Moved {
    kept: u64,
    lost: u64,
}

/// Where a job's output goes.
#[derive(Debug)]
pub(super) struct Output<'a> {
    dir: BorrowedFd<'a>,
    null: BorrowedFd<'a>,
    segments: Segments,
    file: Option<OwnedFd>,
    index: IndexFile,
    /// Start of the hole that the index does not tell of yet.
    hole: Option<u64>,
    /// After a failure: when to ask the disk again.
    rest_until_us: u64,
    /// Set once splice(2) has said that it cannot.
    buffer: Option<Vec<u8>>,
    write_back: WriteBack,
    /// Closed segments that are not synced.
    unsynced: Vec<u64>,
    /// Bytes since the last sync.
    fresh: u64,
    /// How many of them there were at the last look.
    seen: u64,
}

impl<'a> Output<'a> {
    /// Nothing printed yet, and no file made.
    pub(super) fn new(dir: BorrowedFd<'a>, null: BorrowedFd<'a>, limit: u64) -> Self {
        Self {
            dir,
            null,
            segments: Segments::new(limit),
            file: None,
            index: IndexFile::default(),
            hole: None,
            rest_until_us: 0,
            buffer: None,
            write_back: WriteBack::default(),
            unsynced: Vec::new(),
            fresh: 0,
            seen: 0,
        }
    }

    /// The accounts.
    pub(super) fn segments(&self) -> &Segments {
        &self.segments
    }

    /// Takes what a readable pipe has, up to a bound. The result is the number of bytes, 0 at the
    /// end of the stream.
    ///
    /// # Errors
    /// `EAGAIN` when there was nothing after all, else what the pipe says; never what the disk says.
    pub(super) fn take(
        &mut self,
        pipe: BorrowedFd<'_>,
        stream: Stream,
        now_us: u64,
    ) -> Result<u64, Errno> {
        if self.resting(now_us) {
            return self.lose(pipe);
        }
        let (most, new) = match self.segments.room() {
            Room::Nowhere => return self.discard_over_limit(pipe, now_us),
            Room::Here(most) => (most, false),
            Room::New(most) => (most, true),
        };
        let entry = Entry {
            offset: self.segments.end(),
            time_us: now_us,
            stream,
        };
        // The index is there before the segment: whoever sees the one can watch the other.
        let stored = self
            .describe(entry)
            .and_then(|()| if new { self.begin_segment() } else { Ok(()) })
            .and_then(|()| self.store(pipe, most));
        match stored {
            Ok(Moved { kept, lost }) => {
                self.segments.kept(kept);
                self.fresh += kept;
                if let (Some(file), Some(open)) = (&self.file, self.segments.open_segment()) {
                    self.write_back.grown(file.as_fd(), open.len);
                }
                if lost > 0 {
                    self.abandon_segment(now_us);
                    self.segments.lost(lost);
                }
                Ok(kept + lost)
            }
            Err(Errno::AGAIN) => Err(Errno::AGAIN),
            Err(_) => {
                self.abandon_segment(now_us);
                self.lose(pipe)
            }
        }
    }

    /// Whether the disk has failed just now. A clock that was set back does not prolong it.
    fn resting(&self, now_us: u64) -> bool {
        self.rest_until_us > now_us && self.rest_until_us - now_us <= REST_US
    }

    /// Moves bytes into the open segment.
    fn store(&mut self, pipe: BorrowedFd<'_>, most: u64) -> Result<Moved, Errno> {
        let (Some(file), Some(open)) = (&self.file, self.segments.open_segment()) else {
            return Err(Errno::BADF);
        };
        let most = usize::try_from(most).unwrap_or(CHUNK).min(CHUNK);
        if let Some(buffer) = &mut self.buffer {
            return copy(pipe, file, open.len, &mut buffer[..most.min(COPY)]);
        }
        let mut at = open.len;
        match splice(pipe, None, file, Some(&mut at), most, SpliceFlags::NONBLOCK) {
            Err(Errno::INVAL) => {
                self.buffer = Some(vec![0; COPY]);
                self.store(pipe, most as u64)
            }
            moved => moved.map(|bytes| Moved {
                kept: bytes as u64,
                lost: 0,
            }),
        }
    }

    /// Tells the index of a hole that has ended, if there is one, and of the bytes to come.
    fn describe(&mut self, entry: Entry) -> Result<(), Errno> {
        self.tell_of_hole(entry.time_us)?;
        self.index.note(self.dir, entry)
    }

    fn tell_of_hole(&mut self, time_us: u64) -> Result<(), Errno> {
        if let Some(offset) = self.hole {
            let stream = Stream::Dropped;
            self.index.note(
                self.dir,
                Entry {
                    offset,
                    time_us,
                    stream,
                },
            )?;
            self.hole = None;
        }
        Ok(())
    }

    /// Closes the open segment and opens the next, deleting what the limit no longer allows.
    fn begin_segment(&mut self) -> Result<(), Errno> {
        self.close_segment();
        while let Some(gone) = self.segments.excess() {
            self.unsynced.retain(|start| *start != gone.start);
            best_effort(rustix::fs::unlinkat(
                self.dir,
                segment_name(gone.start),
                AtFlags::empty(),
            ));
        }
        let file = rustix::fs::openat(
            self.dir,
            segment_name(self.segments.end()),
            OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC,
            Mode::RUSR | Mode::WUSR,
        )?;
        if self.buffer.is_none() && splices_in_secret(&file) {
            self.buffer = Some(vec![0; COPY]);
        }
        self.file = Some(file);
        self.segments.begin();
        self.write_back.new_file();
        Ok(())
    }

    fn close_segment(&mut self) {
        self.file = None;
        if let Some(closed) = self.segments.close() {
            self.unsynced.push(closed.start);
        }
    }

    /// Ends the open segment before a hole and leaves the disk alone; an empty one leaves no file.
    fn abandon_segment(&mut self, now_us: u64) {
        self.rest_until_us = now_us + REST_US;
        match self.segments.open_segment() {
            Some(open) if open.len == 0 => {
                self.file = None;
                self.segments.close();
                best_effort(rustix::fs::unlinkat(
                    self.dir,
                    segment_name(open.start),
                    AtFlags::empty(),
                ));
            }
            Some(_) | None => self.close_segment(),
        }
        self.hole.get_or_insert(self.segments.end());
    }

    /// Drops what the disk did not take.
    fn lose(&mut self, pipe: BorrowedFd<'_>) -> Result<u64, Errno> {
        let bytes = self.discard(pipe)?;
        self.segments.lost(bytes);
        Ok(bytes)
    }

    fn discard_over_limit(&mut self, pipe: BorrowedFd<'_>, now_us: u64) -> Result<u64, Errno> {
        let (offset, stream) = (self.segments.end(), Stream::Dropped);
        // If the index cannot be told, the exit record still tells.
        best_effort(self.index.note(
            self.dir,
            Entry {
                offset,
                time_us: now_us,
                stream,
            },
        ));
        let bytes = self.discard(pipe)?;
        self.segments.over_limit(bytes);
        Ok(bytes)
    }

    fn discard(&self, pipe: BorrowedFd<'_>) -> Result<u64, Errno> {
        splice(pipe, None, self.null, None, CHUNK, SpliceFlags::NONBLOCK).map(|bytes| bytes as u64)
    }

    /// Makes recent output durable, unless so much has come since the last call that the payload would
    /// feel the wait; the kernel's own write-back is at work on it then.
    pub(super) fn sync(&mut self) {
        let newest = self.fresh - self.seen;
        self.seen = self.fresh;
        if newest <= SYNC_IN_PASSING {
            self.sync_all();
        }
    }

    /// Whether there is anything that is not durable.
    pub(super) fn fresh(&self) -> bool {
        self.fresh > 0
    }

    /// Makes all output durable, before the exit record speaks of it.
    pub(super) fn finish(&mut self, now_us: u64) {
        best_effort(self.tell_of_hole(now_us));
        self.sync_all();
    }

    /// What fails here stays readable in the page cache for as long as the machine is up, and there is
    /// nothing better to do for it.
    fn sync_all(&mut self) {
        for start in self.unsynced.drain(..) {
            let flags = OFlags::WRONLY | OFlags::CLOEXEC;
            let file = rustix::fs::openat(self.dir, segment_name(start), flags, Mode::empty());
            best_effort(file.and_then(rustix::fs::fdatasync));
        }
        if let (Some(file), true) = (&self.file, self.fresh > 0) {
            best_effort(rustix::fs::fdatasync(file));
        }
        self.index.sync();
        (self.fresh, self.seen) = (0, 0);
    }
}

/// Where splice(2) cannot: through a buffer. What was read and cannot be written is lost.
fn copy(
    pipe: BorrowedFd<'_>,
    file: &OwnedFd,
    mut at: u64,
    buffer: &mut [u8],
) -> Result<Moved, Errno> {
    let length = rustix::io::read(pipe, &mut *buffer)?;
    let mut rest = &buffer[..length];
    while !rest.is_empty() {
        match rustix::io::pwrite(file, rest, at) {
            Ok(0) | Err(_) => break,
            Ok(written) => {
                at += written as u64;
                rest = &rest[written..];
            }
        }
    }
    Ok(Moved {
        kept: (length - rest.len()) as u64,
        lost: rest.len() as u64,
    })
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::fd::{AsFd, OwnedFd};

    use rustix::io::Errno;
    use rustix::pipe::{PipeFlags, pipe_with};
    use tempfile::TempDir;

    use legwork_shim::index::Stream;

    use super::{COPY, Output, REST_US};

    struct Bench {
        here: TempDir,
        dir: File,
        null: File,
        reader: OwnedFd,
        writer: OwnedFd,
    }

    fn bench() -> Bench {
        let here = tempfile::tempdir().unwrap();
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        Bench {
            dir: File::open(here.path()).unwrap(),
            null: File::options().write(true).open("/dev/null").unwrap(),
            here,
            reader,
            writer,
        }
    }

    impl Bench {
        fn output(&self, limit: u64) -> Output<'_> {
            Output::new(self.dir.as_fd(), self.null.as_fd(), limit)
        }

        fn print(&self, output: &mut Output<'_>, bytes: &[u8], now_us: u64) -> Result<u64, Errno> {
            rustix::io::write(&self.writer, bytes).unwrap();
            output.take(self.reader.as_fd(), Stream::Stdout, now_us)
        }

        fn names(&self) -> Vec<String> {
            let names = fs::read_dir(self.here.path()).unwrap();
            let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
            let mut names: Vec<_> = names.filter(|name| name != "index").collect();
            names.sort();
            names
        }

        fn content(&self, start: u64) -> Vec<u8> {
            fs::read(self.here.path().join(format!("output.{start:020}"))).unwrap()
        }
    }

    #[test]
    fn a_file_system_without_splice_gets_a_copy() {
        let bench = bench();
        let mut output = bench.output(1 << 20);
        output.buffer = Some(vec![0; COPY]);
        assert_eq!(bench.print(&mut output, b"one ", 1), Ok(4));
        assert_eq!(bench.print(&mut output, b"two", 2), Ok(3));
        assert_eq!(bench.content(0), b"one two");
        assert_eq!(output.segments().end(), 7);
    }

    #[test]
    fn an_empty_pipe_is_not_the_end() {
        let mut bench = bench();
        let mut output = bench.output(1 << 20);
        let reader = bench.reader.as_fd();
        assert_eq!(output.take(reader, Stream::Stdout, 1), Err(Errno::AGAIN));
        drop(output);
        bench.writer = File::open("/dev/null").unwrap().into();
        let mut output = bench.output(1 << 20);
        assert_eq!(output.take(bench.reader.as_fd(), Stream::Stdout, 1), Ok(0));
    }

    #[test]
    fn a_segment_that_cannot_be_made_loses_bytes_and_later_ones_are_kept() {
        let bench = bench();
        let mut output = bench.output(1 << 20);
        // A directory in the place of the segment: the one failure that a test can arrange.
        let place = bench.here.path().join("output.00000000000000000000");
        fs::create_dir(&place).unwrap();
        assert_eq!(bench.print(&mut output, b"lost", 1), Ok(4));
        assert!(bench.here.path().join("index").exists());
        fs::remove_dir(&place).unwrap();
        assert_eq!(bench.print(&mut output, b"lost too", 2), Ok(8));
        assert_eq!(bench.print(&mut output, b"kept", 1 + REST_US), Ok(4));
        output.finish(2 + REST_US);
        assert_eq!(bench.names(), ["output.00000000000000000012"]);
        assert_eq!(bench.content(12), b"kept");
        let accounts = output.segments();
        assert_eq!(
            (accounts.end(), accounts.failed(), accounts.dropped()),
            (16, 12, 12)
        );
    }

    #[test]
    fn the_middle_goes_and_head_and_tail_stay() {
        let bench = bench();
        let mut output = bench.output(100);
        let mut now = 0;
        for line in 0..20_000 {
            rustix::io::write(&bench.writer, format!("{line:09}\n").as_bytes()).unwrap();
            let mut left: u64 = 10;
            while left > 0 {
                now += 1;
                left -= output
                    .take(bench.reader.as_fd(), Stream::Stdout, now)
                    .unwrap();
            }
        }
        let kept: Vec<u8> = bench
            .names()
            .iter()
            .flat_map(|name| fs::read(bench.here.path().join(name)).unwrap())
            .collect();
        assert!(kept.starts_with(b"000000000\n000000001\n000000002\n000000003\n000000004\n"));
        assert!(kept.ends_with(b"000019998\n000019999\n"));
        assert!(kept.len() <= 64 * 1024);
        assert_eq!(output.segments().dropped(), 200_000 - kept.len() as u64);
    }
}
