//! Snapshots as records: the whole table now and then, and between what is other than in the snapshot before.
//!
//! A record is an object with `snapshot` ([`Header`]), `host` in the first part, and lists: `processes` for the whole table; `started` (whole
//! processes), `changed` (number, start, and the fields that are other) and `ended` (pairs of number and start) else. One that would be too
//! large for a record is cut into parts.
//!
//! A whole table is recorded first, after [`FULL_EVERY`] snapshots, when what changed is half as large, after another boot, and when
//! somebody says that what was recorded may be lost ([`Recorder::begin_anew`]).

use serde::Serialize;

use crate::process::Process;
use crate::snapshot::{Header, Host, Snapshot};

/// Snapshots that stand on one whole table, that one included.
const FULL_EVERY: u64 = 40;
/// Bytes of lists in one record, about. A record may have 256 KiB.
const PART_BYTES: usize = 128 << 10;
/// Being so late is nothing, in milliseconds, beside a tenth of the interval.
const LATE_MS: u64 = 50;

/// Makes records of one snapshot after the other.
#[derive(Debug)]
pub struct Recorder {
    run: String,
    every_ms: u64,
    /// The number of the next snapshot.
    next: u64,
    /// The last whole table, and the bytes of its lists.
    full: (u64, usize),
    last: Option<Last>,
}

/// The snapshot before.
#[derive(Debug)]
struct Last {
    boot: String,
    processes: Vec<Process>,
}

impl Recorder {
    /// For a run of an agent, named as no other is, that plans a snapshot so often. One snapshot alone: 0.
    pub fn new(run: String, every_ms: u64) -> Self {
        Self {
            run,
            every_ms,
            next: 0,
            full: (0, 0),
            last: None,
        }
    }

    /// What was recorded may not get to whom it is for: the next snapshot is recorded whole.
    pub fn begin_anew(&mut self) {
        self.last = None;
    }

    /// The records of the next snapshot, which belong into one batch. Its processes are sorted by number.
    pub fn record(&mut self, mut snapshot: Snapshot) -> Vec<Vec<u8>> {
        let number = self.next;
        self.next += 1;
        snapshot.processes.sort_unstable_by_key(Process::identity);
        let changes = self.changes(number, &snapshot);
        let lists = changes.unwrap_or_else(|| {
            let lists = whole(&snapshot.processes);
            self.full = (number, lists.bytes());
            lists
        });
        let records = self.print(number, &snapshot, &lists);
        self.last = Some(Last {
            boot: snapshot.host.boot,
            processes: snapshot.processes,
        });
        records
    }

    /// What is other, if that is worth more than the whole.
    fn changes(&self, number: u64, snapshot: &Snapshot) -> Option<Lists> {
        let last = self.last.as_ref()?;
        let (full, full_bytes) = self.full;
        if last.boot != snapshot.host.boot || number - full >= FULL_EVERY {
            return None;
        }
        let lists = changes(&last.processes, &snapshot.processes);
        (lists.bytes() < full_bytes / 2).then_some(lists)
    }

    fn print(&self, number: u64, snapshot: &Snapshot, lists: &Lists) -> Vec<Vec<u8>> {
        let parts = lists.parts();
        let tells = snapshot.late_ms > LATE_MS.max(self.every_ms / 10);
        let mut header = Header {
            version: Header::VERSION,
            run: self.run.clone(),
            number,
            full: self.full.0,
            part: 0,
            parts: u32::try_from(parts.len()).unwrap_or(u32::MAX),
            every_ms: self.every_ms,
            late_ms: tells.then_some(snapshot.late_ms),
            skipped: (snapshot.skipped > 0).then_some(snapshot.skipped),
        };
        let mut records = Vec::with_capacity(parts.len());
        for items in parts {
            records.push(print(&header, &snapshot.host, items));
            header.part += 1;
        }
        records
    }
}

/// What goes into the lists of a snapshot, in their order.
#[derive(Debug, Default)]
struct Lists(Vec<Item>);

/// The name of its list, and its text.
type Item = (&'static str, Vec<u8>);

impl Lists {
    fn add(&mut self, list: &'static str, item: &impl Serialize) {
        let text = serde_json::to_vec(item).expect("numbers and texts can be printed");
        self.0.push((list, text));
    }

    fn bytes(&self) -> usize {
        self.0.iter().map(|(_, text)| text.len() + 1).sum()
    }

    /// Cut so that each part fits into a record.
    fn parts(&self) -> Vec<&[Item]> {
        let (mut parts, mut rest, mut bytes, mut count) = (Vec::new(), &self.0[..], 0, 0);
        for (_, text) in &self.0 {
            if bytes + text.len() > PART_BYTES && count > 0 {
                let (part, behind) = rest.split_at(count);
                parts.push(part);
                (rest, bytes, count) = (behind, 0, 0);
            }
            bytes += text.len();
            count += 1;
        }
        parts.push(rest);
        parts
    }
}

fn whole(processes: &[Process]) -> Lists {
    let mut lists = Lists::default();
    for process in processes {
        lists.add("processes", process);
    }
    lists
}

/// Both are sorted.
fn changes(before: &[Process], now: &[Process]) -> Lists {
    let (mut started, mut changed, mut ended) =
        (Lists::default(), Lists::default(), Lists::default());
    let mut before = before.iter().peekable();
    for process in now {
        while let Some(gone) = before.next_if(|old| old.identity() < process.identity()) {
            ended.add("ended", &gone.identity());
        }
        match before.next_if(|old| old.identity() == process.identity()) {
            None => started.add("started", process),
            Some(old) => {
                if let Some(change) = old.change_to(process) {
                    changed.add("changed", &change);
                }
            }
        }
    }
    for gone in before {
        ended.add("ended", &gone.identity());
    }
    ended.0.append(&mut started.0);
    ended.0.append(&mut changed.0);
    ended
}

/// A record: what [`crate::snapshot::Record`] reads.
fn print(header: &Header, host: &Host, items: &[Item]) -> Vec<u8> {
    let mut text = br#"{"snapshot":"#.to_vec();
    let add = |text: &mut Vec<u8>, value: &[u8]| text.extend_from_slice(value);
    let json =
        |value: serde_json::Result<Vec<u8>>| value.expect("numbers and texts can be printed");
    add(&mut text, &json(serde_json::to_vec(header)));
    if header.part == 0 {
        add(&mut text, br#","host":"#);
        add(&mut text, &json(serde_json::to_vec(host)));
    }
    let mut open = None;
    if header.is_full() && items.is_empty() {
        add(&mut text, br#","processes":["#);
        open = Some("processes");
    }
    for (list, item) in items {
        if open == Some(list) {
            text.push(b',');
        } else {
            if open.is_some() {
                text.push(b']');
            }
            add(&mut text, format!(",\"{list}\":[").as_bytes());
            open = Some(list);
        }
        add(&mut text, item);
    }
    if open.is_some() {
        text.push(b']');
    }
    text.push(b'}');
    text
}

#[cfg(test)]
mod tests;
