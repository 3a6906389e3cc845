//! The table at a time, from the lines of one host in their order.
//!
//! A snapshot counts when all its parts are there. One that tells changes counts only right behind the snapshot that it names: the one before
//! it, of the same run, standing on the same whole table. After anything else the table is not known until the next whole one. So what is answered
//! is what was collected, or nothing.
//!
//! Between the last snapshot before the time and the first one after it, others may have been lost. Their numbers tell, and the gaps that the
//! sender announced: if one of those may have been nearer to the time, the answer is that it is not known.

use std::collections::BTreeMap;

use crate::process::{Identity, Process};
use crate::snapshot::{Header, Host, Record, Table};

/// What the log has of a host, in its order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line<'a> {
    /// A record, and when it was observed, in microseconds since 1970.
    Record {
        /// When it was observed.
        observed: i64,
        /// What was sent.
        data: &'a [u8],
    },
    /// The sender dropped what it had observed in this time.
    Gap {
        /// When the first was observed.
        from: i64,
        /// When the last was observed.
        to: i64,
    },
    /// Lines that are not there any more, or cannot be read.
    Missing,
}

/// Whether more lines are needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// They are.
    More,
    /// The answer is settled.
    Settled,
}

/// Why a table is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// There is no snapshot so early.
    NoSnapshot,
    /// The sender had to drop snapshots, and said so.
    Dropped,
    /// Snapshots are missing: refused, damaged, or removed with age.
    Missing,
}

/// The table at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum At {
    /// As it was collected last before it.
    Known {
        /// The table.
        table: Box<Table>,
        /// When the next snapshot was collected, if there is one.
        next: Option<i64>,
    },
    /// It cannot be told.
    Unknown {
        /// Why.
        why: Why,
        /// When the last snapshot was collected that could be told.
        before: Option<i64>,
    },
}

/// Rebuilds a table.
#[derive(Debug)]
pub struct Rebuild {
    time: i64,
    current: Option<Table>,
    /// A snapshot of which not all parts are there yet.
    partial: Option<Table>,
    /// When the last one was collected that could be told.
    last: Option<i64>,
    /// What was lost since then.
    lost: Option<Why>,
    /// The sender dropped something behind the time, and nothing before.
    dropped_later: bool,
    next: Option<i64>,
}

impl Rebuild {
    /// At a time, in microseconds since 1970 as the host has it.
    pub fn new(time: i64) -> Self {
        Self {
            time,
            current: None,
            partial: None,
            last: None,
            lost: None,
            dropped_later: false,
            next: None,
        }
    }

    /// Takes the next line.
    pub fn push(&mut self, line: &Line<'_>) -> Flow {
        match *line {
            Line::Gap { from, .. } => {
                if from <= self.time {
                    self.lost = Some(Why::Dropped);
                } else {
                    self.dropped_later = true;
                }
            }
            Line::Missing => self.lost = self.lost.or(Some(Why::Missing)),
            Line::Record { observed, data } => {
                if let Some(record) = Record::read(data) {
                    return self.record(observed, record);
                }
            }
        }
        Flow::More
    }

    fn record(&mut self, observed: i64, record: Record) -> Flow {
        if observed > self.time {
            self.end(observed, &record.snapshot);
            return Flow::Settled;
        }
        let header = &record.snapshot;
        let table = match self.partial.take() {
            Some(table) if goes_on(&table.header, header) => Some(table),
            _ if header.part == 0 => self.base(header),
            _ => None,
        };
        let Some(mut table) = table else {
            self.lose();
            return Flow::More;
        };
        table.header = record.snapshot.clone();
        table.observed = observed;
        if !apply(&mut table, record) {
            self.lose();
        } else if table.header.part + 1 < table.header.parts {
            self.partial = Some(table);
        } else {
            self.last = Some(observed);
            (self.lost, self.dropped_later) = (None, false);
            self.current = Some(table);
        }
        Flow::More
    }

    /// On what the first part of a snapshot stands; and that is not what is known last any more.
    fn base(&mut self, header: &Header) -> Option<Table> {
        let before = self.current.take();
        if header.is_full() {
            return Some(Table {
                header: header.clone(),
                observed: 0,
                host: Host::default(),
                processes: BTreeMap::new(),
            });
        }
        before.filter(|table| {
            let known = &table.header;
            known.run == header.run
                && known.number + 1 == header.number
                && known.full == header.full
        })
    }

    fn lose(&mut self) {
        self.current = None;
        self.partial = None;
        self.lost = self.lost.or(Some(Why::Missing));
    }

    /// The first snapshot behind the time tells whether there was one between.
    fn end(&mut self, observed: i64, header: &Header) {
        self.next = Some(observed);
        let Some(table) = &self.current else {
            return;
        };
        if table.header.run == header.run {
            let follows = table.header.number + 1 == header.number;
            self.lost = match self.lost {
                _ if follows => None,
                None if self.dropped_later => None,
                lost => lost.or(Some(Why::Missing)),
            };
        }
    }

    /// The answer to what was pushed.
    pub fn finish(self) -> At {
        let unknown = |why| At::Unknown {
            why,
            before: self.last,
        };
        if self.partial.is_some() {
            return unknown(self.lost.unwrap_or(Why::Missing));
        }
        match (self.current, self.lost) {
            (_, Some(why)) => unknown(why),
            (None, None) => unknown(Why::NoSnapshot),
            (Some(table), None) => At::Known {
                table: Box::new(table),
                next: self.next,
            },
        }
    }
}

/// Whether one part is right behind the other one.
fn goes_on(table: &Header, header: &Header) -> bool {
    let Header { part, .. } = *table;
    *table
        == Header {
            part,
            ..header.clone()
        }
        && part + 1 == header.part
        && header.part < header.parts
}

/// Makes a table what a record says. False if the two cannot belong together.
fn apply(table: &mut Table, record: Record) -> bool {
    if let Some(host) = record.host {
        let same = record.snapshot.is_full() || host.boot == table.host.boot;
        if !same {
            return false;
        }
        table.host = host;
    }
    for identity in &record.ended {
        if table.processes.remove(identity).is_none() {
            return false;
        }
    }
    for change in record.changed {
        let identity: Identity = (change.pid, change.start);
        match table.processes.get_mut(&identity) {
            Some(process) => process.apply(change),
            None => return false,
        }
    }
    let mut begin = |process: Process| {
        table
            .processes
            .insert(process.identity(), process)
            .is_none()
    };
    record
        .processes
        .into_iter()
        .chain(record.started)
        .all(&mut begin)
}

#[cfg(test)]
mod tests;
