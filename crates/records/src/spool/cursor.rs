//! How far the server has acknowledged a spool, and what of it was dropped.

use std::io::{self, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::UnderWay;
use crate::faults::Faults;
use crate::missing::{Gap, GapWhy};
use crate::timestamp::Timestamp;

pub(super) const NAME: &str = "cursor";
const VERSION: u32 = 1;

/// Batches that were dropped before they were acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Dropped {
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) records: u64,
    pub(super) from: Timestamp,
    pub(super) to: Timestamp,
    pub(super) why: GapWhy,
    /// It may have been sent, so it stays as it is.
    #[serde(skip, default = "yes")]
    pub(super) offered: bool,
}

fn yes() -> bool {
    true
}

/// The file. A second line has the CRC-32 of the first.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct State {
    version: u32,
    /// The producer under which batches are sent.
    pub(super) producer: String,
    /// What is taken off the spool's numbers to get those that are sent.
    base: u64,
    /// The last number that the server has acknowledged.
    pub(super) acked: u64,
    /// The first line of the log behind it.
    pub(super) line: u64,
    /// What was dropped behind it.
    pub(super) gaps: Vec<Dropped>,
    #[serde(skip)]
    pub(super) under_way: UnderWay,
}

impl State {
    /// Of a spool without one: everything in it, from this line and number on, is sent under a new producer.
    pub(super) fn new(line: u64, first: u64) -> io::Result<Self> {
        let base = first.saturating_sub(1);
        Ok(Self {
            version: VERSION,
            producer: draw()?,
            base,
            acked: base,
            line,
            gaps: Vec::new(),
            under_way: UnderWay::new(),
        })
    }

    pub(super) fn read(path: &Path) -> Option<Self> {
        let text = std::fs::read_to_string(path).ok()?;
        let (line, crc) = text.strip_suffix('\n')?.split_once('\n')?;
        let crc = u32::from_str_radix(crc, 16).ok()?;
        let state: Self = serde_json::from_str(line).ok()?;
        (crc == crc32fast::hash(line.as_bytes()) && state.version == VERSION).then_some(state)
    }

    pub(super) fn write(&self, path: &Path, faults: &Faults) -> io::Result<()> {
        let line = serde_json::to_string(self)?;
        let crc = crc32fast::hash(line.as_bytes());
        faults.replace(path, |mut file| {
            file.write_all(format!("{line}\n{crc:08x}\n").as_bytes())
        })
    }

    /// The number, of the spool's, that the server expects next.
    pub(super) fn expected(&self) -> u64 {
        let dropped = self.gaps.last().map_or(0, |gap| gap.last);
        self.acked.max(dropped) + 1
    }

    /// The number under which a batch is sent.
    pub(super) fn sent_as(&self, sequence: u64) -> u64 {
        sequence - self.base
    }

    /// A gap as it is sent.
    pub(super) fn gap(&self, dropped: &Dropped) -> Gap {
        Gap {
            first: self.sent_as(dropped.first),
            records: dropped.records,
            from: dropped.from,
            to: dropped.to,
            why: dropped.why,
        }
    }

    /// The lines before this one go; what they had is told.
    pub(super) fn drop_until(&mut self, line: u64, dropped: Option<Dropped>) {
        self.line = self.line.max(line);
        let Some(dropped) = dropped else {
            return;
        };
        self.under_way
            .retain(|&(sequence, _)| sequence > dropped.last);
        match self
            .gaps
            .last_mut()
            .filter(|last| !last.offered && last.why == dropped.why)
        {
            Some(last) => {
                last.last = dropped.last;
                last.records += dropped.records;
                last.to = dropped.to;
            }
            None => self.gaps.push(dropped),
        }
    }

    /// The server has everything up to the number that was sent.
    pub(super) fn acknowledge(&mut self, sent: u64) {
        let sequence = sent + self.base;
        self.acked = self.acked.max(sequence);
        while let Some((_, line)) = self
            .under_way
            .pop_front_if(|&mut (first, _)| first <= sequence)
        {
            self.line = self.line.max(line);
        }
        self.gaps.retain(|gap| gap.last > sequence);
    }

    /// Whether a server that knows this producer can expect that number.
    pub(super) fn is_plausible(&self, expected: u64) -> bool {
        let last = self
            .under_way
            .back()
            .map_or(0, |&(sequence, _)| sequence)
            .max(self.expected());
        let expected = expected + self.base;
        expected > self.acked && expected <= last + 1
    }

    /// Begins a new producer, with what has not been acknowledged. A gap stands for what the server does not know any more.
    pub(super) fn renumber(&mut self, now: Timestamp) -> io::Result<()> {
        self.producer = draw()?;
        self.under_way.clear();
        let told = |gap: &Dropped| gap.why == GapWhy::ServerForgot && gap.first == self.acked + 1;
        if self.acked == 0 || self.gaps.first().is_some_and(told) {
            self.base = self.acked;
        } else {
            self.base = self.acked - 1;
            let forgotten = Dropped {
                first: self.acked,
                last: self.acked,
                records: 0,
                from: now,
                to: now,
                why: GapWhy::ServerForgot,
                offered: true,
            };
            self.acked -= 1;
            self.gaps.insert(0, forgotten);
        }
        Ok(())
    }
}

/// A name for a producer: 80 random bits.
fn draw() -> io::Result<String> {
    const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let mut random = [0_u8; 16];
    rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
    Ok(random
        .iter()
        .map(|byte| char::from(LETTERS[usize::from(byte % 32)]))
        .collect())
}
