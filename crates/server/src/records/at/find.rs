//! A host's process table at a time, from the log of a stream.
//!
//! The time is the host's own: when snapshots were observed. A sender's records are in the log in the order in which it made them, however late
//! they came, so the place is found by halving the log, looking at one record of that host at each step. From there it goes back, by steps that grow,
//! until the whole table is met on which the snapshot stands, and forward over at most as many changes as stand on one. So it costs
//! little of the log, wherever the time is. What can be told at all is for [`Rebuild`] to say.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use legwork_processes::{At, Flow, Header, Line, Rebuild};
use legwork_records::query::{Entry, From, Item, Query, Reader};
use legwork_records::{Gap, GapWhy, Kind, Log, ReadError, Timestamp};

/// Lines that are read through at once rather than halved again.
const NEAR: u64 = 32;
/// Lines by which it goes back at first: as many as a sender that is alone has from one whole table to the next.
const BACK: u64 = 48;
/// Around the time, senders are looked for so far.
const AROUND: Duration = Duration::from_secs(15 * 60);
/// And among so many lines.
const AROUND_LINES: usize = 20_000;

/// Whose table it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Of {
    /// Who sent it.
    pub(super) client: String,
    /// From which host.
    pub(super) host: String,
}

impl Of {
    fn sent(&self, entry: &Entry<'_>) -> bool {
        entry.client == self.client && entry.host == self.host
    }
}

impl fmt::Display for Of {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.client == self.host {
            f.write_str(&self.host)
        } else {
            write!(f, "{} (sent by {})", self.host, self.client)
        }
    }
}

/// A log, and what is sought in it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Finder<'a> {
    pub(super) log: &'a Log,
    /// Only what was received since then may be seen.
    pub(super) since: Option<Timestamp>,
    pub(super) time: Timestamp,
}

fn later(time: Timestamp, by: Duration) -> Timestamp {
    let micros = i64::try_from(by.as_micros()).unwrap_or(i64::MAX);
    Timestamp::from_micros(time.as_micros().saturating_add(micros))
}

impl Finder<'_> {
    /// Who sent snapshots around the time; of one client or of one host, if that is said.
    ///
    /// # Errors
    /// The log cannot be read.
    pub(super) fn senders(&self, client: &str, host: &str) -> Result<BTreeSet<Of>, ReadError> {
        let (from, to) = (self.time.earlier_by(AROUND), later(self.time, AROUND));
        let times = |since: Option<Timestamp>, until| Query {
            since: since.max(self.since),
            until,
            clients: Some(client.to_owned())
                .filter(|client| !client.is_empty())
                .into_iter()
                .collect(),
            ..Query::default()
        };
        let mut found = look_for(self.log, times(Some(from), Some(to)), host, AROUND_LINES)?;
        // It may have been sent much later, or its sender may have fallen silent before.
        found.extend(look_for(
            self.log,
            times(Some(to), None),
            host,
            AROUND_LINES / 10,
        )?);
        if found.is_empty() {
            let start = self
                .log
                .next_seq()
                .saturating_sub(AROUND_LINES as u64)
                .max(1);
            let before = Query {
                from: From::Seq(start),
                ..times(None, Some(from))
            };
            found = look_for(self.log, before, host, AROUND_LINES)?;
        }
        Ok(found)
    }

    /// The table of a host at the time.
    ///
    /// # Errors
    /// The log cannot be read.
    pub(super) fn at(&self, of: &Of) -> Result<At, ReadError> {
        let first = self.log.stats().first.max(1);
        let place = self.place(of, first)?;
        let mut back = BACK;
        loop {
            let start = place.saturating_sub(back).max(first);
            let looked = self.look(of, start)?;
            let is_known = matches!(looked.at, At::Known { .. });
            if is_known || looked.is_settled || start == first {
                return Ok(looked.at);
            }
            back = back.saturating_mul(4);
        }
    }

    /// A line before which the host's snapshots are not later than the time, and behind which they are, but for a few.
    fn place(&self, of: &Of, first: u64) -> Result<u64, ReadError> {
        let (mut low, mut high) = (first, self.log.next_seq());
        while high.saturating_sub(low) > NEAR {
            let middle = low + (high - low) / 2;
            match self.next(of, middle, high)? {
                Some((seq, observed)) if observed <= self.time => low = seq + 1,
                _ => high = middle,
            }
        }
        Ok(high)
    }

    /// The host's first snapshot from one line on, before another.
    fn next(&self, of: &Of, from: u64, before: u64) -> Result<Option<(u64, Timestamp)>, ReadError> {
        let mut reader = self.read(of, from);
        while let Some(item) = reader.next_item()? {
            let Item::Entry(entry) = item else { continue };
            if entry.seq >= before {
                break;
            }
            if of.sent(&entry) && Header::of(entry.body).is_some() {
                return Ok(observed(&entry).map(|observed| (entry.seq, observed)));
            }
        }
        Ok(None)
    }

    fn read(&self, of: &Of, from: u64) -> Reader {
        self.log.read(Query {
            from: From::Seq(from),
            since: self.since,
            clients: vec![of.client.clone()],
            ..Query::default()
        })
    }

    fn look(&self, of: &Of, start: u64) -> Result<Looked, ReadError> {
        let mut rebuild = Rebuild::new(self.time.as_micros());
        let mut reader = self.read(of, start);
        // The first snapshot, and the last one before the time.
        let (mut first, mut last): (Option<Header>, Option<Header>) = (None, None);
        while let Some(item) = reader.next_item()? {
            let Item::Entry(entry) = item else {
                rebuild.push(&Line::Missing);
                continue;
            };
            if !of.sent(&entry) {
                continue;
            }
            let flow = match entry.kind {
                Some(Kind::Gap) => rebuild.push(&gap(&entry)),
                Some(Kind::Record) => {
                    let Some(seen) = observed(&entry) else {
                        continue;
                    };
                    if let Some(header) = Header::of(entry.body)
                        && seen <= self.time
                    {
                        first.get_or_insert_with(|| header.clone());
                        last = Some(header);
                    }
                    rebuild.push(&Line::Record {
                        observed: seen.as_micros(),
                        data: entry.body,
                    })
                }
                _ => Flow::More,
            };
            if flow == Flow::Settled {
                break;
            }
        }
        let is_settled = first.zip(last).is_some_and(|(first, last)| {
            first.run != last.run
                || first.number < last.full
                || (first.number == last.full && first.part == 0)
        });
        Ok(Looked {
            at: rebuild.finish(),
            is_settled,
        })
    }
}

/// What the lines from one place on tell.
struct Looked {
    at: At,
    /// What stands before that place would add nothing.
    is_settled: bool,
}

/// Senders of snapshots among so many lines.
fn look_for(log: &Log, query: Query, host: &str, lines: usize) -> Result<BTreeSet<Of>, ReadError> {
    let mut found = BTreeSet::new();
    let mut reader = log.read(query);
    for _ in 0..lines {
        let Some(item) = reader.next_item()? else {
            break;
        };
        let Item::Entry(entry) = item else { continue };
        let is_wanted = host.is_empty() || entry.host == host;
        if is_wanted && Header::of(entry.body).is_some() {
            found.insert(Of {
                client: entry.client.to_owned(),
                host: entry.host.to_owned(),
            });
        }
    }
    Ok(found)
}

fn observed(entry: &Entry<'_>) -> Option<Timestamp> {
    entry.observed().or_else(|| entry.received())
}

/// Only of a spool that was full it is known from when on something is missing.
fn gap(entry: &Entry<'_>) -> Line<'static> {
    let gap: Option<Gap> = serde_json::from_slice(entry.body).ok();
    match gap.filter(|gap| gap.why == GapWhy::SpoolFull) {
        Some(gap) => Line::Gap {
            from: gap.from.as_micros(),
            to: gap.to.as_micros(),
        },
        None => Line::Gap {
            from: i64::MIN,
            to: i64::MAX,
        },
    }
}

#[cfg(test)]
mod tests;
