//! Reading: the past, then what comes.
//!
//! A [`Reader`] goes from segment to segment and from block to block, and reads only the blocks that can have what was asked for: by
//! their times and their clients. So a search costs what it returns, and a look at the indexes. What is not there any more, or cannot be
//! read, is an item too: no hole is silent.

mod reader;

use std::fmt;
use std::str::FromStr;

pub use self::reader::Reader;
use crate::line::{Kind, Line};
use crate::timestamp::Timestamp;

/// Where a reader is: what it has seen is before it. It stays good when the log is opened again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// The log.
    pub log: u64,
    /// The number of the next line.
    pub next: u64,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{}", self.log, self.next)
    }
}

/// Text that is no cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is no cursor of a log")]
pub struct NotACursor;

impl FromStr for Cursor {
    type Err = NotACursor;

    fn from_str(text: &str) -> Result<Self, NotACursor> {
        let (log, next) = text.split_once('-').ok_or(NotACursor)?;
        let log = u64::from_str_radix(log, 16)
            .ok()
            .filter(|_| log.len() == 16);
        let log = log.ok_or(NotACursor)?;
        let next = next.parse().map_err(|_| NotACursor)?;
        Ok(Self { log, next })
    }
}

/// Where to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum From {
    /// With the first line that is there.
    #[default]
    Start,
    /// With this number. What of it is not there any more is told.
    Seq(u64),
    /// Where a reader was. That of another log begins with the first line.
    Cursor(Cursor),
    /// With the next line that comes.
    End,
}

/// A condition of one's own.
pub trait Filter: Send {
    /// Whether the line is wanted.
    fn wants(&mut self, entry: &Entry<'_>) -> bool;
}

impl<F: FnMut(&Entry<'_>) -> bool + Send> Filter for F {
    fn wants(&mut self, entry: &Entry<'_>) -> bool {
        self(entry)
    }
}

/// What is wanted.
#[derive(Default)]
pub struct Query {
    /// Where to begin.
    pub from: From,
    /// Received at this moment or later.
    pub since: Option<Timestamp>,
    /// Received before this moment.
    pub until: Option<Timestamp>,
    /// From one of these clients; from any if there is none.
    pub clients: Vec<String>,
    /// Lines that say what of a batch was refused, too.
    pub rejected: bool,
    /// And what this wants.
    pub filter: Option<Box<dyn Filter>>,
}

impl fmt::Debug for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Query")
            .field("from", &self.from)
            .field("since", &self.since)
            .field("until", &self.until)
            .field("clients", &self.clients)
            .finish_non_exhaustive()
    }
}

/// A line of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The line as it stands there, without its line feed.
    pub line: &'a [u8],
    /// Its number.
    pub seq: u64,
    /// When the server took it, in RFC 3339: 27 bytes, which sort as the times do.
    pub received_at: &'a str,
    /// When the sender saw it, if it said so.
    pub observed_at: Option<&'a str>,
    /// Whose it is; nobody's where the log speaks of itself.
    pub client: &'a str,
    /// The sender's host.
    pub host: &'a str,
    /// The producer and the number of its batch.
    pub origin: Option<(&'a str, u64)>,
    /// It is the last line of its batch.
    pub ends_batch: bool,
    /// What it tells of; `None` for a kind of a newer version.
    pub kind: Option<Kind>,
    /// The client's JSON, compact, or what else the line tells.
    pub body: &'a [u8],
}

impl<'a> Entry<'a> {
    fn new(line: &'a [u8], read: &Line<'a>) -> Self {
        Self {
            line,
            seq: read.seq,
            received_at: read.received,
            observed_at: read.observed,
            client: read.client,
            host: read.host,
            origin: read.origin,
            ends_batch: read.place + 1 == read.lines,
            kind: read.kind,
            body: read.body,
        }
    }

    /// [`Self::received_at`] as a moment.
    pub fn received(&self) -> Option<Timestamp> {
        Timestamp::parse(self.received_at)
    }

    /// [`Self::observed_at`] as a moment.
    pub fn observed(&self) -> Option<Timestamp> {
        self.observed_at.and_then(Timestamp::parse)
    }
}

/// What a reader finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Item<'a> {
    /// A line.
    Entry(Entry<'a>),
    /// Lines that are not there.
    Missing {
        /// The first number.
        from: u64,
        /// The last one.
        to: u64,
        /// They were there and cannot be read; else they were removed, or the reader was told to begin before the first.
        damaged: bool,
    },
}

#[cfg(test)]
mod tests {
    use super::{Cursor, NotACursor};

    #[test]
    fn a_cursor_is_read_as_it_is_written() {
        let cursor = Cursor {
            log: 0xabc,
            next: 7,
        };
        assert_eq!(cursor.to_string(), "0000000000000abc-7");
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
        for bad in ["", "7", "abc-7", "0000000000000abc-", "0000000000000abc-x"] {
            assert_eq!(bad.parse::<Cursor>(), Err(NotACursor), "{bad}");
        }
    }
}
