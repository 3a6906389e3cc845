//! Pieces of a log, read on threads for such work: what a step of a call that reads may take.

use std::sync::Arc;

use legwork_proto::v1 as wire;
use legwork_records::query::{Cursor, From, Item, Query, Reader};
use legwork_records::{Kind, Timestamp};

use super::stream::Stream;
use crate::problem::Problem;

/// Bytes of lines in a message, and one line.
const TEXT: usize = 128 << 10;
/// Reads from the disk in a step, each some 256 KiB: whoever searches for what is rare says from time to time how far it is.
const READS: u32 = 32;

/// What a call wants to read.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) since: Option<Timestamp>,
    pub(super) until: Option<Timestamp>,
    /// From one of these; `None` for any.
    pub(super) clients: Option<Vec<String>>,
    pub(super) rejected: bool,
    pub(super) form: wire::TailForm,
}

/// What a step brought.
#[derive(Debug, Default)]
pub(super) struct Piece {
    pub(super) text: Vec<u8>,
    pub(super) count: u32,
    pub(super) first: u64,
    pub(super) last: u64,
    /// Lines that are not there, behind the text.
    pub(super) missing: Option<wire::MissingLines>,
    /// Everything that there is has been looked at.
    pub(super) at_end: bool,
}

impl Wanted {
    fn query(&self, from: From) -> Query {
        Query {
            from,
            since: self.since,
            until: self.until,
            clients: self.clients.clone().unwrap_or_default(),
            rejected: self.rejected,
            filter: None,
        }
    }

    /// Whether nothing can be wanted.
    fn is_nothing(&self) -> bool {
        self.clients.as_ref().is_some_and(Vec::is_empty)
    }

    pub(super) fn reader(&self, stream: &Stream, from: From) -> Reader {
        let from = if self.is_nothing() { From::End } else { from };
        stream.log().read(self.query(from))
    }

    /// Whether a line that was read is told in this form.
    fn shows(&self, kind: Option<Kind>) -> bool {
        self.form != wire::TailForm::Data || kind == Some(Kind::Record)
    }
}

/// Reads on, up to this number or as much as a step may take. Blocks.
pub(super) fn step(reader: &mut Reader, wanted: &Wanted, upto: u64) -> Result<Piece, Problem> {
    let (mut piece, mut reads) = (Piece::default(), READS);
    while piece.text.len() < TEXT {
        if reader.cursor().next >= upto {
            piece.at_end = true;
            return Ok(piece);
        }
        match reader.next_within(&mut reads)? {
            None => {
                piece.at_end = reads > 0;
                return Ok(piece);
            }
            Some(Item::Missing { from, to, damaged }) => {
                piece.missing = Some(wire::MissingLines {
                    first: from,
                    last: to,
                    damaged,
                });
                return Ok(piece);
            }
            Some(Item::Entry(entry)) if entry.seq >= upto => {
                // It came after the call was made.
                piece.at_end = true;
                return Ok(piece);
            }
            Some(Item::Entry(entry)) if wanted.shows(entry.kind) => {
                let text = match wanted.form {
                    wire::TailForm::Data => entry.body,
                    wire::TailForm::Unspecified => entry.line,
                };
                piece.text.extend_from_slice(text);
                piece.text.push(b'\n');
                piece.first = if piece.count == 0 {
                    entry.seq
                } else {
                    piece.first
                };
                piece.last = entry.seq;
                piece.count += 1;
            }
            Some(Item::Entry(_)) => {}
        }
    }
    Ok(piece)
}

/// Where the last so many lines that are wanted begin. Looks at more and more of the end of the log, so it costs a little more than
/// reading what it finds. Blocks.
pub(super) fn start_of_last(
    stream: &Arc<Stream>,
    wanted: &Wanted,
    count: u64,
) -> Result<From, Problem> {
    let stats = stream.log().stats();
    let (first, next) = (stats.first, stats.next);
    let mut span = count.max(64);
    loop {
        let start = next.saturating_sub(span).max(first);
        let mut found = std::collections::VecDeque::new();
        let mut reader = wanted.reader(stream, From::Seq(start));
        while let Some(item) = reader.next_item()? {
            match item {
                Item::Entry(entry) if entry.seq >= next => break,
                Item::Entry(entry) if wanted.shows(entry.kind) => {
                    found.push_back(entry.seq);
                    if found.len() as u64 > count {
                        found.pop_front();
                    }
                }
                _ => {}
            }
        }
        if found.len() as u64 >= count || start <= first {
            // None at all: whatever comes.
            return Ok(match found.front() {
                Some(&seq) if count > 0 => From::Seq(seq),
                _ => From::Seq(next),
            });
        }
        span = span.saturating_mul(8);
    }
}

/// The place that a token names.
pub(super) fn resumed(stream: &Stream, token: &str) -> Result<Cursor, Problem> {
    let cursor: Cursor = token
        .parse()
        .map_err(|_| Problem::malformed("this is no resume token"))?;
    let here = stream.log().read(Query {
        from: From::End,
        ..Query::default()
    });
    if here.cursor().log == cursor.log {
        return Ok(cursor);
    }
    let message = format!(
        "the log of stream {} was begun anew since this token was given: read it from its start",
        stream.name
    );
    let problem = Problem::new(tonic::Code::FailedPrecondition, "OTHER_LOG", message);
    Err(problem.with("stream", &stream.name))
}
