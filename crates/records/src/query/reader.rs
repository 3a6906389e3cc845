//! Goes through a log, for one reader.

use std::io::{self, Write};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use super::{Cursor, Entry, From, Item, Query};
use crate::error::ReadError;
use crate::line::{Kind, Line, complete};
use crate::log::Shared;
use crate::log::view::Place;
use crate::segment::index::{Block, Index, client_bit};
use crate::segment::replay;
use crate::segment::{Content, index_path};
use crate::timestamp::Timestamp;

/// What is read at once, in whole blocks, but at least one.
const CHUNK: u64 = 256 << 10;

/// Reads a log from one place on. It keeps no place in anybody's list: a slow reader costs the log nothing.
#[derive(Debug)]
pub struct Reader {
    shared: Arc<Shared>,
    query: Query,
    /// The times of the query, as lines tell them.
    since: Option<String>,
    until: Option<String>,
    clients: u64,
    /// The number of the next line to look at.
    next: u64,
    segment: Option<Open>,
    /// Lines that were read, and how far they were looked at.
    chunk: Vec<u8>,
    done: usize,
}

/// The segment that is being read.
#[derive(Debug)]
struct Open {
    content: Content,
    place: Place,
    /// Its blocks from about the next line on.
    blocks: Vec<Block>,
    /// Where to read on.
    offset: u64,
}

/// What a look at the next line says.
enum Step {
    Line(Range<usize>),
    Missing {
        to: u64,
        damaged: bool,
    },
    End,
    /// It has read as much as it may at once.
    Later,
}

impl Reader {
    pub(crate) fn new(shared: Arc<Shared>, query: Query) -> Self {
        let segments = shared.view.lock();
        let next = match query.from {
            From::Seq(seq) => seq.max(1),
            From::Cursor(cursor) if cursor.log == shared.id => {
                // A log that was set back to an older state goes on where it is now.
                cursor.next.clamp(1, segments.next)
            }
            From::Start | From::Cursor(_) => segments.first(),
            From::End => segments.next,
        };
        drop(segments);
        Self {
            since: query.since.map(|since| since.to_string()),
            until: query.until.map(|until| until.to_string()),
            clients: query
                .clients
                .iter()
                .fold(0, |bits, client| bits | client_bit(client)),
            shared,
            query,
            next,
            segment: None,
            chunk: Vec::new(),
            done: 0,
        }
    }

    /// Where it is: a reader that begins there goes on behind the last item.
    pub fn cursor(&self) -> Cursor {
        Cursor {
            log: self.shared.id,
            next: self.next,
        }
    }

    /// The next item, or `None` if it has seen everything that there is now.
    ///
    /// # Errors
    /// The disk failed. The reader can be asked again.
    pub fn next_item(&mut self) -> Result<Option<Item<'_>>, ReadError> {
        let mut reads = u32::MAX;
        self.next_within(&mut reads)
    }

    /// The same, reading from the disk so many times at most, each time some 256 KiB; they are counted down. `None` with none of them left
    /// means that there may be more: whoever searches for what is rare comes up for air.
    ///
    /// # Errors
    /// As [`Self::next_item`].
    pub fn next_within(&mut self, reads: &mut u32) -> Result<Option<Item<'_>>, ReadError> {
        match self.step(reads)? {
            Step::End | Step::Later => Ok(None),
            Step::Missing { to, damaged } => {
                let from = self.next;
                self.next = to + 1;
                Ok(Some(Item::Missing { from, to, damaged }))
            }
            Step::Line(place) => {
                let line = &self.chunk[place];
                Ok(Line::read(line).map(|read| Item::Entry(Entry::new(line, &read))))
            }
        }
    }

    /// Waits for a line behind the last one. False if none came in time. True also when none will ever come.
    pub fn wait(&self, patience: Duration) -> bool {
        self.shared.view.wait(self.next, patience)
    }

    /// No line will come any more: the log was closed.
    pub fn ended(&self) -> bool {
        let segments = self.shared.view.lock();
        segments.ended && segments.next <= self.next
    }

    /// Writes all that there is now, a line each: as it stands in the log, or only what clients sent.
    ///
    /// # Errors
    /// The log cannot be read, or `out` cannot be written.
    pub fn export(&mut self, out: &mut impl Write, whole: bool) -> io::Result<u64> {
        let mut lines = 0;
        while let Some(item) = self.next_item().map_err(io::Error::other)? {
            let Item::Entry(entry) = item else {
                continue;
            };
            if !whole && entry.kind != Some(Kind::Record) {
                continue;
            }
            out.write_all(if whole { entry.line } else { entry.body })?;
            out.write_all(b"\n")?;
            lines += 1;
        }
        Ok(lines)
    }

    fn step(&mut self, reads: &mut u32) -> Result<Step, ReadError> {
        loop {
            while let Some(length) = memchr::memchr(b'\n', &self.chunk[self.done..]) {
                let place = self.done..self.done + length;
                let bytes = &self.chunk[place.clone()];
                let line = if complete(bytes) {
                    Line::read(bytes)
                } else {
                    None
                };
                let Some(line) = line.filter(|line| line.seq >= self.next) else {
                    self.done = place.end + 1;
                    continue;
                };
                if line.seq > self.next {
                    let to = line.seq - 1;
                    return Ok(Step::Missing { to, damaged: true });
                }
                self.done = place.end + 1;
                self.next = line.seq + 1;
                let entry = Entry::new(bytes, &line);
                let wanted = self.wants(&entry)
                    && self
                        .query
                        .filter
                        .as_mut()
                        .is_none_or(|filter| filter.wants(&entry));
                if wanted {
                    return Ok(Step::Line(place));
                }
            }
            let Some(left) = reads.checked_sub(1) else {
                return Ok(Step::Later);
            };
            if let Some(step) = self.fill()? {
                return Ok(step);
            }
            *reads = left;
        }
    }

    fn wants(&self, entry: &Entry<'_>) -> bool {
        let clients = &self.query.clients;
        (self.query.rejected || entry.kind != Some(Kind::Rejected))
            && self
                .since
                .as_deref()
                .is_none_or(|since| entry.received_at >= since)
            && self
                .until
                .as_deref()
                .is_none_or(|until| entry.received_at < until)
            && (clients.is_empty() || clients.iter().any(|client| client == entry.client))
    }

    /// Whether a block can have what is wanted.
    fn may_have(&self, block: &Block) -> bool {
        self.in_time(block.earliest, block.latest)
            && (self.clients == 0 || block.clients & self.clients != 0)
    }

    /// Whether some of these times can be wanted.
    fn in_time(&self, earliest: Timestamp, latest: Timestamp) -> bool {
        self.query.since.is_none_or(|since| latest >= since)
            && self.query.until.is_none_or(|until| earliest < until)
    }

    /// Reads more lines. `None` if it did; else what there is to say.
    fn fill(&mut self) -> Result<Option<Step>, ReadError> {
        self.chunk.clear();
        self.done = 0;
        let io = |segment| move |source| ReadError::Io { segment, source };
        loop {
            let Some(mut open) = self.segment.take() else {
                let Some(place) = self.shared.view.lock().at(self.next) else {
                    return Ok(Some(Step::End));
                };
                if place.first > self.next {
                    let (to, damaged) = (place.first - 1, false);
                    return Ok(Some(Step::Missing { to, damaged }));
                }
                if !self.in_time(place.earliest, place.latest) {
                    self.next = place.next;
                    continue;
                }
                let (first, to) = (place.first, place.next - 1);
                self.segment = self.open(place).map_err(io(first))?;
                if self.segment.is_none()
                    && self
                        .shared
                        .view
                        .lock()
                        .at(self.next)
                        .is_some_and(|again| again.first == first)
                {
                    return Ok(Some(Step::Missing { to, damaged: true }));
                }
                continue;
            };
            if let Some((from, end)) = self.choose(&mut open) {
                let first = open.place.first;
                let content = &open.content;
                content
                    .read(from, end - from, end, &mut self.chunk)
                    .map_err(io(first))?;
                open.offset = end;
                self.segment = Some(open);
                return Ok(None);
            }
            // The end of what may be seen of it.
            if self.next < open.place.next {
                let (to, damaged) = (open.place.next - 1, true);
                return Ok(Some(Step::Missing { to, damaged }));
            }
            if open.place.growing && !self.grow(&mut open) {
                self.segment = Some(open);
                return Ok(Some(Step::End));
            }
            if self.next < open.place.next {
                self.segment = Some(open);
            }
        }
    }

    /// The next blocks to read. Those that cannot have what is wanted are passed over.
    fn choose(&mut self, open: &mut Open) -> Option<(u64, u64)> {
        let end_of = |n: usize| {
            let next: Option<&Block> = open.blocks.get(n + 1);
            next.map_or(open.place.bytes, |next| next.offset)
        };
        let mut n = open
            .blocks
            .partition_point(|block| block.offset <= open.offset)
            .saturating_sub(1);
        while n < open.blocks.len() && open.offset < open.place.bytes {
            if self.may_have(&open.blocks[n]) && end_of(n) > open.offset {
                let from = open.offset;
                let mut end = end_of(n);
                while n + 1 < open.blocks.len()
                    && end_of(n + 1) - from <= CHUNK
                    && self.may_have(&open.blocks[n + 1])
                {
                    n += 1;
                    end = end_of(n);
                }
                return Some((from, end));
            }
            open.offset = end_of(n);
            let next = open
                .blocks
                .get(n + 1)
                .map_or(open.place.next, |next| next.first);
            self.next = self.next.max(next);
            n += 1;
        }
        None
    }

    fn open(&self, place: Place) -> io::Result<Option<Open>> {
        let dir = &self.shared.config.dir;
        let content = match Content::open(dir, place.first) {
            Ok(Some(content)) => content,
            Ok(None) => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => return Ok(None),
            Err(error) => return Err(error),
        };
        let blocks = if place.growing {
            None
        } else {
            self.blocks(&place, &content)?
        };
        let mut open = Open {
            content,
            place,
            blocks: blocks.unwrap_or_default(),
            offset: 0,
        };
        if open.blocks.is_empty() && !self.grow(&mut open) {
            return Ok(Some(open));
        }
        let block = open
            .blocks
            .partition_point(|block| block.first <= self.next)
            .saturating_sub(1);
        open.offset = open.blocks.get(block).map_or(0, |block| block.offset);
        Ok(Some(open))
    }

    /// The blocks of a closed segment: from its index, or from its lines.
    fn blocks(&self, place: &Place, content: &Content) -> io::Result<Option<Vec<Block>>> {
        let path = index_path(&self.shared.config.dir, place.first);
        let usable =
            |index: &Index| index.summary.next == place.next && index.summary.bytes == place.bytes;
        if let Some(index) = Index::read(&path).filter(usable) {
            return Ok(Some(index.blocks));
        }
        let index = replay::index(content, place.first, place.bytes, place.next)?;
        Ok(Some(index.blocks))
    }

    /// Looks how far the newest segment goes now. False if nothing was added to it.
    fn grow(&self, open: &mut Open) -> bool {
        let segments = self.shared.view.lock();
        let first = open.place.first;
        let Some(index) = segments
            .active
            .as_ref()
            .filter(|index| index.summary.first == first)
        else {
            // It was closed. What was added until then is in its summary.
            let summary = segments.closed.get(&first);
            open.place.growing = false;
            let (next, bytes) = summary.map_or((open.place.next, open.place.bytes), |summary| {
                (summary.next, summary.bytes)
            });
            drop(segments);
            (open.place.next, open.place.bytes) = (next, bytes);
            if let Ok(Some(blocks)) = self.blocks(&open.place, &open.content) {
                open.blocks = blocks;
            }
            return true;
        };
        let grown = index.summary.next > open.place.next || open.blocks.is_empty();
        let from = index.block_of(self.next);
        open.blocks = index.blocks[from.min(index.blocks.len())..].to_vec();
        (open.place.next, open.place.bytes) = (index.summary.next, index.summary.bytes);
        grown
    }
}
