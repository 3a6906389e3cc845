//! Batches on their way out of a spool.

use std::io;
use std::time::Duration;

use super::Spool;
use super::cursor::Dropped;
use crate::missing::{Gap, GapWhy};
use crate::query::{From, Item, Query, Reader};
use crate::timestamp::Timestamp;

/// What is to be sent as one batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parcel {
    /// Records, a line each, and when each was observed.
    Records {
        /// The number of the batch.
        sequence: u64,
        /// The compact records.
        lines: Vec<u8>,
        /// One for each: when it was observed, or else when it was pushed.
        observed: Vec<Timestamp>,
    },
    /// A gap, up to this number.
    Gap {
        /// The number of the batch.
        sequence: u64,
        /// What it says.
        gap: Gap,
    },
}

impl Parcel {
    /// The number of the batch.
    pub fn sequence(&self) -> u64 {
        match self {
            Self::Records { sequence, .. } | Self::Gap { sequence, .. } => *sequence,
        }
    }
}

/// Goes through a spool in the order of its numbers.
#[derive(Debug)]
pub struct Outgoing<'a> {
    spool: &'a Spool,
    reader: Reader,
    /// The next number of the spool's.
    next: u64,
    /// The batch that is being put together.
    open: Option<Open>,
    /// The producer that it numbers for.
    producer: String,
}

#[derive(Debug)]
struct Open {
    sequence: u64,
    lines: Vec<u8>,
    observed: Vec<Timestamp>,
    /// The line behind it.
    end: u64,
    whole: bool,
}

impl<'a> Outgoing<'a> {
    pub(super) fn new(spool: &'a Spool) -> Self {
        let state = spool.lock();
        let reader = spool.log.read(Query {
            from: From::Seq(state.line),
            ..Query::default()
        });
        Self {
            spool,
            reader,
            next: state.acked + 1,
            open: None,
            producer: state.producer.clone(),
        }
    }

    /// What is next, or `None` if everything there is now has been handed out, or the producer was changed.
    ///
    /// # Errors
    /// The spool cannot be read.
    pub fn next_parcel(&mut self) -> io::Result<Option<Parcel>> {
        loop {
            if let Some(gap) = self.dropped()? {
                return Ok(Some(gap));
            }
            if let Some(parcel) = self.ready() {
                return Ok(parcel);
            }
            if !self.read()? {
                return Ok(None);
            }
        }
    }

    /// Waits until there may be more. False if nothing came in time.
    pub fn wait(&self, patience: Duration) -> bool {
        self.reader.wait(patience)
    }

    /// What was dropped at this place.
    fn dropped(&mut self) -> io::Result<Option<Parcel>> {
        let mut state = self.spool.lock();
        if state.producer != self.producer {
            return Err(io::Error::other("the producer was changed"));
        }
        let next = self.next;
        let Some(place) = state
            .gaps
            .iter()
            .position(|gap| (gap.first..=gap.last).contains(&next))
        else {
            return Ok(None);
        };
        state.gaps[place].offered = true;
        let dropped = state.gaps[place].clone();
        self.next = dropped.last + 1;
        if self
            .open
            .as_ref()
            .is_some_and(|open| open.sequence < self.next)
        {
            self.open = None;
        }
        let line = state.line;
        state.under_way.push_back((dropped.last, line));
        Ok(Some(Parcel::Gap {
            sequence: state.sent_as(dropped.last),
            gap: state.gap(&dropped),
        }))
    }

    /// The batch that was put together, if it is whole; or first a gap for what is missing before it.
    fn ready(&mut self) -> Option<Option<Parcel>> {
        let open = self.open.take_if(|open| open.whole)?;
        let mut state = self.spool.lock();
        if open.sequence > self.next {
            let missing = Dropped {
                first: self.next,
                last: open.sequence - 1,
                records: 0,
                from: open.observed.first().copied().unwrap_or_default(),
                to: open.observed.first().copied().unwrap_or_default(),
                why: GapWhy::SpoolDamaged,
                offered: true,
            };
            self.next = open.sequence;
            self.open = Some(open);
            let line = state.line;
            state.under_way.push_back((missing.last, line));
            return Some(Some(Parcel::Gap {
                sequence: state.sent_as(missing.last),
                gap: state.gap(&missing),
            }));
        }
        self.next = open.sequence + 1;
        state.under_way.push_back((open.sequence, open.end));
        Some(Some(Parcel::Records {
            sequence: state.sent_as(open.sequence),
            lines: open.lines,
            observed: open.observed,
        }))
    }

    /// Reads a line. False if there is none.
    fn read(&mut self) -> io::Result<bool> {
        let Some(item) = self.reader.next_item().map_err(io::Error::other)? else {
            return Ok(false);
        };
        let Item::Entry(entry) = item else {
            return Ok(true);
        };
        let (Some((_, sequence)), Some(received)) = (entry.origin, entry.received()) else {
            return Ok(true);
        };
        if sequence < self.next {
            return Ok(true);
        }
        if let Some(open) = self.open.as_mut().filter(|open| open.sequence != sequence) {
            // The end of that batch is damaged. This line is looked at again behind it.
            open.whole = true;
            let from = From::Seq(entry.seq);
            self.reader = self.spool.log.read(Query {
                from,
                ..Query::default()
            });
            return Ok(true);
        }
        let observed = entry.observed().unwrap_or(received);
        let open = self.open.get_or_insert_with(|| Open {
            sequence,
            lines: Vec::new(),
            observed: Vec::new(),
            end: 0,
            whole: false,
        });
        open.lines.extend_from_slice(entry.body);
        open.lines.push(b'\n');
        open.observed.push(observed);
        open.end = entry.seq + 1;
        open.whole = entry.ends_batch;
        Ok(true)
    }
}
