//! The batches of a segment, put together again from its lines.

use std::io;

use super::Content;
use super::index::{Added, Index, client_bit};
use super::scan::{Bad, Piece, scan};
use crate::line::{Kind, Line};
use crate::missing::Gap;
use crate::rejection::Rejections;
use crate::timestamp::Timestamp;

/// Lines of one batch that stand one behind the other: all of them, unless there is damage.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    pub(crate) at: u64,
    pub(crate) length: u64,
    pub(crate) first: u64,
    pub(crate) count: u64,
    pub(crate) client: String,
    /// The producer, or nothing.
    pub(crate) producer: String,
    pub(crate) sequence: u64,
    pub(crate) received: Timestamp,
    /// How many of the lines are records.
    pub(crate) records: u64,
    pub(crate) digest: crc32fast::Hasher,
    pub(crate) rejections: Rejections,
    /// The first of the batches that a gap stands for.
    pub(crate) gap_from: Option<u64>,
    /// The text of which `received` was made.
    received_text: String,
    from: u64,
    of: u64,
}

impl Run {
    /// No line of the batch is missing.
    pub(crate) fn complete(&self) -> bool {
        self.from == 0 && self.count == self.of
    }

    /// The number after its last.
    pub(crate) fn next(&self) -> u64 {
        self.first + self.count
    }

    /// As the index sees it.
    pub(crate) fn added(&self) -> Added {
        Added {
            offset: self.at,
            length: self.length,
            first: self.first,
            lines: self.count,
            received: self.received,
            client: client_bit(&self.client),
        }
    }

    fn begin(at: u64, line: &Line<'_>) -> Option<Self> {
        let (producer, sequence) = line.origin.unwrap_or_default();
        Some(Self {
            at,
            length: 0,
            first: line.seq,
            count: 0,
            client: line.client.to_owned(),
            producer: producer.to_owned(),
            sequence,
            received: line.received_at()?,
            records: 0,
            digest: crc32fast::Hasher::new(),
            rejections: Rejections::default(),
            gap_from: None,
            received_text: line.received.to_owned(),
            from: line.place,
            of: line.lines,
        })
    }

    fn goes_on_with(&self, line: &Line<'_>) -> bool {
        line.seq == self.next()
            && line.place == self.from + self.count
            && line.place > 0
            && line.lines == self.of
            && line.received == self.received_text
            && line.client == self.client
            && line.origin.unwrap_or_default() == (self.producer.as_str(), self.sequence)
    }

    fn take(&mut self, length: u64, line: &Line<'_>) {
        self.length += length;
        self.count += 1;
        match line.kind {
            Some(Kind::Record) => {
                self.records += 1;
                self.digest.update(line.body);
            }
            // Written by this library; a newer one may say it otherwise, and then a repeat gets less of an answer.
            Some(Kind::Rejected) => {
                self.rejections = serde_json::from_slice(line.body).unwrap_or_default();
            }
            Some(Kind::Gap) => {
                let gap: Option<Gap> = serde_json::from_slice(line.body).ok();
                self.gap_from = gap.map(|gap| gap.first);
            }
            Some(Kind::Lost) | None => {}
        }
    }
}

/// What is found, in the order of the file.
#[derive(Debug)]
pub(crate) enum Found {
    Run(Run),
    Bad(Bad),
    /// A line said that everything up to this number was on the disk.
    Synced(u64),
}

/// Goes through a segment up to the offset `end`. Lines with numbers of the next segment, from `next` on, are not part of it.
pub(crate) fn replay(
    content: &Content,
    end: u64,
    next: u64,
    mut see: impl FnMut(Found) -> io::Result<()>,
) -> io::Result<()> {
    let mut open: Option<Run> = None;
    scan(content, end, |piece| {
        let (at, length, line) = match piece {
            Piece::Bad(bad) => {
                open.take().map_or(Ok(()), |run| see(Found::Run(run)))?;
                return see(Found::Bad(bad));
            }
            Piece::Line { at, length, line } => (at, length, line),
        };
        if line.seq >= next {
            return Ok(());
        }
        if let Some(synced) = line.synced {
            see(Found::Synced(synced))?;
        }
        if open.as_ref().is_none_or(|run| !run.goes_on_with(&line)) {
            let begun = Run::begin(at, &line);
            open.take().map_or(Ok(()), |run| see(Found::Run(run)))?;
            open = begun;
        }
        if let Some(run) = &mut open {
            run.take(length, &line);
        } else {
            let (from, to) = (at, at + length);
            let torn = false;
            return see(Found::Bad(Bad { from, to, torn }));
        }
        Ok(())
    })?;
    open.take().map_or(Ok(()), |run| see(Found::Run(run)))
}

/// The index of a segment, made from its lines.
pub(crate) fn index(content: &Content, first: u64, end: u64, next: u64) -> io::Result<Index> {
    let mut index = Index::new(first);
    replay(content, end, next, |found| {
        if let Found::Run(run) = found {
            index.add(&run.added());
        }
        Ok(())
    })?;
    Ok(index)
}
