//! The lines that match, of output that comes in chunks.
//!
//! Each stream has its own lines, however the two are mixed. Lines that have ended within a chunk are searched where they are, many at
//! once; only the beginning of a line at the end of what came is copied and kept until it ends, or is too long to be kept. Lines are
//! given in the order of their ends.
//!
//! Of each stream it is known from which byte on nothing has been decided. A sieve that begins there, with the chunks from the smaller
//! of the two on, goes on as this one would have: so a search needs no memory of its reader.

use bytes::{Bytes, BytesMut};
use legwork_shim::index::Stream;

use super::pattern::Pattern;
use super::{Chunk, Run, Streams};

/// Bytes that are searched before it is asked again whether anybody still wants to know.
const PART: usize = 64 << 10;

/// Lines that match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The lines as printed, one after the other, with the newlines that they have.
    pub data: Bytes,
    /// What they are. The lengths add up to that of `data`.
    pub lines: Vec<FoundLine>,
    /// Where a search goes on that begins after this.
    pub next: Undecided,
}

/// A line that matches, or a part of one that is longer than [`LINE_MAX`](super::LINE_MAX).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FoundLine {
    /// Offset of its first byte.
    pub offset: u64,
    /// Bytes of it, with its newline.
    pub len: usize,
    /// Its stream.
    pub stream: Stream,
    /// When its first byte came: microseconds since the epoch.
    pub time_us: u64,
}

/// The first byte of each stream on which nothing has been decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Undecided {
    /// Of standard output.
    pub stdout: u64,
    /// Of standard error.
    pub stderr: u64,
}

/// Holds back what does not match.
#[derive(Debug)]
pub(super) struct Sieve {
    pattern: Pattern,
    streams: Streams,
    /// Bytes of a line that are searched in one piece.
    line_max: usize,
    /// Bytes of a stream before that are passed over.
    from: Undecided,
    /// Offset after the last byte that came.
    at: u64,
    begun: [Option<Begun>; 2],
    data: BytesMut,
    lines: Vec<FoundLine>,
}

/// A line that has not ended.
#[derive(Debug)]
struct Begun {
    offset: u64,
    time_us: u64,
    data: Vec<u8>,
}

/// Successive bytes of one stream, and when they came.
struct Source<'a> {
    stream: Stream,
    /// Those not before what was last asked for.
    runs: &'a [Run],
    /// Offset of the first of them.
    start: u64,
}

impl Sieve {
    /// One that begins with the byte at `at`, and where `from` is later, there.
    pub(super) fn new(pattern: Pattern, streams: Streams, at: u64, from: Undecided) -> Self {
        Self {
            pattern,
            streams,
            line_max: super::LINE_MAX,
            from,
            at,
            begun: [None, None],
            data: BytesMut::new(),
            lines: Vec::new(),
        }
    }

    /// Where one that begins later goes on.
    pub(super) fn next(&self) -> Undecided {
        let of = |stream, from: u64| {
            let begun = self.begun[slot(stream)].as_ref();
            begun.map_or(self.at.max(from), |begun| begun.offset)
        };
        Undecided {
            stdout: of(Stream::Stdout, self.from.stdout),
            stderr: of(Stream::Stderr, self.from.stderr),
        }
    }

    /// Bytes of lines that were found and not taken.
    pub(super) fn len(&self) -> usize {
        self.data.len()
    }

    /// What was found since the last call.
    pub(super) fn take(&mut self) -> Found {
        Found {
            data: self.data.split().freeze(),
            lines: std::mem::take(&mut self.lines),
            next: self.next(),
        }
    }

    /// Takes what came next. Stops in the middle, never to go on, when `is_vain` says that nobody wants to know.
    pub(super) fn chunk(&mut self, chunk: &Chunk, is_vain: impl Fn() -> bool) {
        let (mut data, mut offset) = (&chunk.data[..], chunk.offset);
        for group in chunk.runs.chunk_by(|a, b| a.stream == b.stream) {
            let stream = group[0].stream;
            let (bytes, rest) = data.split_at(group.iter().map(|run| run.len).sum());
            let mut source = Source {
                stream,
                runs: group,
                start: offset,
            };
            let known = self.from.of(stream).saturating_sub(offset);
            let known = usize::try_from(known).map_or(bytes.len(), |len| len.min(bytes.len()));
            let mut at = offset + known as u64;
            if self.streams.take(stream) {
                for part in bytes[known..].chunks(PART.min(self.line_max)) {
                    if is_vain() {
                        return;
                    }
                    self.part(&mut source, at, part);
                    at += part.len() as u64;
                }
            }
            offset += bytes.len() as u64;
            data = rest;
        }
        self.at = offset;
    }

    /// What has begun ends here, and what comes next is at that offset.
    pub(super) fn end_lines(&mut self, next: u64) {
        let streams = [Stream::Stdout, Stream::Stderr];
        let mut begun: Vec<_> = streams
            .into_iter()
            .filter_map(|stream| Some((stream, self.begun[slot(stream)].take()?)))
            .collect();
        begun.sort_by_key(|(_, begun)| begun.offset);
        for (stream, begun) in begun {
            self.decide(stream, &begun);
        }
        self.at = next;
    }

    /// Bytes of one stream, no more than are searched in one piece.
    fn part(&mut self, source: &mut Source<'_>, offset: u64, part: &[u8]) {
        let slot = slot(source.stream);
        let (mut offset, mut part) = (offset, part);
        if let Some(mut begun) = self.begun[slot].take() {
            let room = self.line_max - begun.data.len();
            let first = &part[..part.len().min(room)];
            let newline = memchr::memchr(b'\n', first);
            let first = newline.map_or(first, |place| &first[..=place]);
            begun.data.extend_from_slice(first);
            if newline.is_none() && begun.data.len() < self.line_max {
                self.begun[slot] = Some(begun);
                return;
            }
            self.decide(source.stream, &begun);
            offset += first.len() as u64;
            part = &part[first.len()..];
        }
        let ended = memchr::memrchr(b'\n', part).map_or(0, |place| place + 1);
        let (lines, rest) = part.split_at(ended);
        self.search(source, offset, lines);
        if rest.is_empty() {
            return;
        }
        let offset = offset + ended as u64;
        let begun = Begun {
            offset,
            time_us: source.time_us(offset),
            data: rest.to_vec(),
        };
        if rest.len() < self.line_max {
            self.begun[slot] = Some(begun);
        } else {
            self.decide(source.stream, &begun);
        }
    }

    fn search(&mut self, source: &mut Source<'_>, offset: u64, lines: &[u8]) {
        let mut from = 0;
        while let Some((start, end)) = self.pattern.find(lines, from) {
            let offset = offset + start as u64;
            self.lines.push(FoundLine {
                offset,
                len: end - start,
                stream: source.stream,
                time_us: source.time_us(offset),
            });
            self.data.extend_from_slice(&lines[start..end]);
            from = end;
        }
    }

    fn decide(&mut self, stream: Stream, line: &Begun) {
        if self.pattern.matches(&line.data) {
            self.lines.push(FoundLine {
                offset: line.offset,
                len: line.data.len(),
                stream,
                time_us: line.time_us,
            });
            self.data.extend_from_slice(&line.data);
        }
    }
}

impl Undecided {
    fn of(self, stream: Stream) -> u64 {
        match stream {
            Stream::Stderr => self.stderr,
            Stream::Stdout | Stream::Dropped => self.stdout,
        }
    }
}

impl Source<'_> {
    /// When a byte came. Those asked for do not go back.
    fn time_us(&mut self, offset: u64) -> u64 {
        while let [first, _, ..] = self.runs
            && self.start + first.len as u64 <= offset
        {
            self.start += first.len as u64;
            self.runs = &self.runs[1..];
        }
        self.runs.first().map_or(0, |run| run.time_us)
    }
}

fn slot(stream: Stream) -> usize {
    usize::from(stream == Stream::Stderr)
}

#[cfg(test)]
mod tests;
