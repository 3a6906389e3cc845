//! Output cut into lines.
//!
//! Each stream has its own lines, however the two are mixed. All lines that have ended are given at once; the beginning of a
//! line is kept back until it ends, the job does, or it is too long to be kept.

use bytes::{Bytes, BytesMut};
use legwork_shim::index::Stream;

use super::{Chunk, Output, OutputEvent};
use crate::error::JobError;
use crate::job::Job;

/// Bytes of a line that are given in one piece.
pub const LINE_MAX: usize = 1 << 20;

/// Lines of a job's output, as many at a time as there are.
#[derive(Debug)]
pub struct Lines {
    output: Output,
    begun: [Option<Begun>; 2],
    last: Option<LinesEvent>,
}

/// What a reader of lines sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinesEvent {
    /// Lines, in the order of their ends; at least one.
    Lines(Vec<Line>),
    /// Bytes that were printed and not kept.
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

/// A line, or a part of one that is longer than [`LINE_MAX`], without its newline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Offset of its first byte.
    pub offset: u64,
    /// The bytes.
    pub data: Bytes,
    /// Its stream.
    pub stream: Stream,
    /// When its first byte came: microseconds since the epoch.
    pub time_us: u64,
    /// A newline ended it.
    pub complete: bool,
}

/// A line that has not ended.
#[derive(Debug)]
struct Begun {
    offset: u64,
    time_us: u64,
    data: BytesMut,
}

impl Lines {
    pub(super) fn new(output: Output) -> Self {
        Self {
            output,
            begun: [None, None],
            last: None,
        }
    }

    /// The next event; `None` after [`LinesEvent::End`] or an error. Cancel safe.
    pub async fn next(&mut self) -> Option<Result<LinesEvent, JobError>> {
        if let Some(event) = self.last.take() {
            return Some(Ok(event));
        }
        loop {
            let event = match self.output.next().await? {
                Ok(OutputEvent::Chunk(chunk)) => {
                    let lines = self.cut(&chunk);
                    if lines.is_empty() {
                        continue;
                    }
                    return Some(Ok(LinesEvent::Lines(lines)));
                }
                Ok(OutputEvent::Gap { offset, len }) => LinesEvent::Gap { offset, len },
                Ok(OutputEvent::End { offset, job }) => LinesEvent::End { offset, job },
                Err(error) => return Some(Err(error)),
            };
            let unfinished = self.flush();
            if unfinished.is_empty() {
                return Some(Ok(event));
            }
            self.last = Some(event);
            return Some(Ok(LinesEvent::Lines(unfinished)));
        }
    }

    fn cut(&mut self, chunk: &Chunk) -> Vec<Line> {
        let mut lines = Vec::new();
        let mut at = 0;
        for run in &chunk.runs {
            let mut piece = chunk.data.slice(at..at + run.len);
            let begun = &mut self.begun[slot(run.stream)];
            while !piece.is_empty() {
                let offset = chunk.offset + at as u64;
                let open = begun.take();
                let known = open.as_ref().map_or(0, |begun| begun.data.len());
                let room = LINE_MAX - known;
                let newline = memchr::memchr(b'\n', &piece[..piece.len().min(room)]);
                let (len, complete) = match newline {
                    Some(place) => (place, true),
                    None => (piece.len().min(room), false),
                };
                let part = piece.split_to(len);
                at += len;
                if complete {
                    drop(piece.split_to(1));
                    at += 1;
                }
                let (offset, time_us) = open
                    .as_ref()
                    .map_or((offset, run.time_us), |begun| (begun.offset, begun.time_us));
                let data = open.map(|begun| begun.data);
                if complete || known + len == LINE_MAX {
                    lines.push(Line {
                        offset,
                        data: data.map_or(part.clone(), |data| join(data, &part).freeze()),
                        stream: run.stream,
                        time_us,
                        complete,
                    });
                } else {
                    *begun = Some(Begun {
                        offset,
                        time_us,
                        data: join(data.unwrap_or_default(), &part),
                    });
                }
            }
        }
        lines
    }

    /// What has begun, in the order in which it did.
    fn flush(&mut self) -> Vec<Line> {
        let streams = [Stream::Stdout, Stream::Stderr];
        let mut lines: Vec<_> = streams
            .into_iter()
            .filter_map(|stream| {
                let begun = self.begun[slot(stream)].take()?;
                Some(Line {
                    offset: begun.offset,
                    data: begun.data.freeze(),
                    stream,
                    time_us: begun.time_us,
                    complete: false,
                })
            })
            .collect();
        lines.sort_by_key(|line| line.offset);
        lines
    }
}

fn slot(stream: Stream) -> usize {
    usize::from(stream == Stream::Stderr)
}

fn join(mut known: BytesMut, part: &[u8]) -> BytesMut {
    known.extend_from_slice(part);
    known
}
