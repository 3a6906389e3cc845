//! The index of a segment: where its lines are by number, time and client. It can always be made again from the lines.
//!
//! One entry for each block, whole batches of 64 KiB or more: where it begins, its first number, its earliest and latest time, and a
//! set of 64 bits into which clients are hashed. Times of a block are a range, so a clock that goes backwards makes a search
//! read more, and never find less.
//!
//! The file: 64 bytes of header (`LWRI`, version, first number, number after the last, bytes of lines, earliest, latest, blocks, CRC-32 of the
//! blocks, CRC-32 of the header before it), then 40 bytes a block. All numbers are little-endian.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use crate::faults::Faults;
use crate::timestamp::Timestamp;

const MAGIC: &[u8; 4] = b"LWRI";
const VERSION: u32 = 1;
const HEADER: usize = 64;
const ENTRY: usize = 40;
/// A block ends with the batch that makes it this long.
const BLOCK_BYTES: u64 = 64 << 10;

/// A piece of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) offset: u64,
    pub(crate) first: u64,
    pub(crate) earliest: Timestamp,
    pub(crate) latest: Timestamp,
    /// Bits of the clients: see [`client_bit`].
    pub(crate) clients: u64,
}

/// A segment as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) first: u64,
    /// The number after the last.
    pub(crate) next: u64,
    /// Where its lines end.
    pub(crate) bytes: u64,
    pub(crate) earliest: Timestamp,
    pub(crate) latest: Timestamp,
}

/// The index of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Index {
    pub(crate) summary: Summary,
    pub(crate) blocks: Vec<Block>,
}

/// Where a client is in the set of a block.
pub(crate) fn client_bit(client: &str) -> u64 {
    1 << (crc32fast::hash(client.as_bytes()) % 64)
}

/// A batch of lines, as the index sees it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Added {
    pub(crate) offset: u64,
    pub(crate) length: u64,
    pub(crate) first: u64,
    pub(crate) lines: u64,
    pub(crate) received: Timestamp,
    /// Bit of the client.
    pub(crate) client: u64,
}

impl Index {
    /// That of an empty segment.
    pub(crate) fn new(first: u64) -> Self {
        Self {
            summary: Summary {
                first,
                next: first,
                bytes: 0,
                earliest: Timestamp::MAX,
                latest: Timestamp::MIN,
            },
            blocks: Vec::new(),
        }
    }

    /// Takes a batch that was appended.
    pub(crate) fn add(&mut self, added: &Added) {
        let full = |block: &Block| added.offset - block.offset >= BLOCK_BYTES;
        if self.blocks.last().is_none_or(full) {
            self.blocks.push(Block {
                offset: added.offset,
                first: added.first,
                earliest: added.received,
                latest: added.received,
                clients: 0,
            });
        }
        if let Some(block) = self.blocks.last_mut() {
            block.earliest = block.earliest.min(added.received);
            block.latest = block.latest.max(added.received);
            block.clients |= added.client;
        }
        let summary = &mut self.summary;
        summary.next = added.first + added.lines;
        summary.bytes = added.offset + added.length;
        summary.earliest = summary.earliest.min(added.received);
        summary.latest = summary.latest.max(added.received);
    }

    /// The block in which a number is, or would be.
    pub(crate) fn block_of(&self, seq: u64) -> usize {
        let after = self.blocks.partition_point(|block| block.first <= seq);
        after.saturating_sub(1)
    }

    /// Where a block ends.
    pub(crate) fn end_of(&self, block: usize) -> u64 {
        let next = self.blocks.get(block + 1);
        next.map_or(self.summary.bytes, |next| next.offset)
    }

    /// Cuts off what lies behind an offset at which a batch ends.
    pub(crate) fn cut(&mut self, bytes: u64, next: u64) {
        self.blocks.retain(|block| block.offset < bytes);
        self.summary.bytes = bytes;
        self.summary.next = next;
    }

    /// Writes it beside its segment.
    pub(crate) fn write(&self, path: &Path, faults: &Faults) -> io::Result<()> {
        let mut blocks = Vec::with_capacity(self.blocks.len() * ENTRY);
        for block in &self.blocks {
            put(&mut blocks, block.offset);
            put(&mut blocks, block.first);
            put(&mut blocks, moment(block.earliest));
            put(&mut blocks, moment(block.latest));
            put(&mut blocks, block.clients);
        }
        let mut bytes = Vec::with_capacity(HEADER + blocks.len());
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        let summary = &self.summary;
        for number in [
            summary.first,
            summary.next,
            summary.bytes,
            moment(summary.earliest),
            moment(summary.latest),
        ] {
            put(&mut bytes, number);
        }
        put(&mut bytes, self.blocks.len() as u64);
        bytes.extend_from_slice(&crc32fast::hash(&blocks).to_le_bytes());
        let header = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&header.to_le_bytes());
        bytes.extend_from_slice(&blocks);
        faults.replace(path, |mut file| file.write_all(&bytes))
    }

    /// Reads one. `None` if there is none, or none that can be used.
    pub(crate) fn read(path: &Path) -> Option<Self> {
        let bytes = std::fs::read(path).ok()?;
        let (summary, count, crc) = header(bytes.get(..HEADER)?)?;
        let blocks = bytes.get(HEADER..)?;
        if blocks.len() != count.checked_mul(ENTRY)? || crc32fast::hash(blocks) != crc {
            return None;
        }
        let blocks = blocks.chunks_exact(ENTRY).map(|entry| Block {
            offset: number(entry, 0),
            first: number(entry, 8),
            earliest: timestamp(number(entry, 16)),
            latest: timestamp(number(entry, 24)),
            clients: number(entry, 32),
        });
        let blocks = blocks.collect();
        Some(Self { summary, blocks })
    }

    /// Reads only what it says of the segment as a whole.
    pub(crate) fn summary(path: &Path) -> Option<Summary> {
        let mut bytes = [0; HEADER];
        File::open(path).ok()?.read_exact(&mut bytes).ok()?;
        header(&bytes).map(|(summary, ..)| summary)
    }
}

fn header(bytes: &[u8]) -> Option<(Summary, usize, u32)> {
    let (text, crc) = bytes.split_at_checked(HEADER - 4)?;
    let word = |bytes: &[u8]| Some(u32::from_le_bytes(*bytes.first_chunk()?));
    let known = text.starts_with(MAGIC) && word(&text[4..])? == VERSION;
    if !known || word(crc)? != crc32fast::hash(text) {
        return None;
    }
    let summary = Summary {
        first: number(text, 8),
        next: number(text, 16),
        bytes: number(text, 24),
        earliest: timestamp(number(text, 32)),
        latest: timestamp(number(text, 40)),
    };
    let count = usize::try_from(number(text, 48)).ok()?;
    Some((summary, count, word(&text[56..])?))
}

fn put(bytes: &mut Vec<u8>, number: u64) {
    bytes.extend_from_slice(&number.to_le_bytes());
}

fn number(bytes: &[u8], at: usize) -> u64 {
    bytes[at..]
        .first_chunk()
        .map_or(0, |chunk| u64::from_le_bytes(*chunk))
}

fn moment(timestamp: Timestamp) -> u64 {
    timestamp.as_micros().unsigned_abs()
}

fn timestamp(number: u64) -> Timestamp {
    Timestamp::from_micros(i64::try_from(number).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::{Added, Index, client_bit};
    use crate::faults::Faults;
    use crate::timestamp::Timestamp;

    fn added(n: u64, client: &str) -> Added {
        Added {
            offset: n * 40_000,
            length: 40_000,
            first: 10 + n * 3,
            lines: 3,
            received: Timestamp::from_micros(i64::try_from(1_000 - n).unwrap()),
            client: client_bit(client),
        }
    }

    #[test]
    fn read_as_it_was_written_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("idx");
        let mut index = Index::new(10);
        for n in 0..5 {
            index.add(&added(n, if n < 4 { "a" } else { "b" }));
        }
        assert_eq!(index.blocks.len(), 3);
        assert_eq!((index.summary.next, index.summary.bytes), (25, 200_000));
        assert_eq!(index.summary.earliest.as_micros(), 996);
        assert_eq!(index.blocks[0].clients, client_bit("a"));
        assert_eq!(index.blocks[2].clients, client_bit("b"));
        assert_eq!(
            [9, 10, 15, 16, 24, 99].map(|seq| index.block_of(seq)),
            [0, 0, 0, 1, 2, 2]
        );
        index.write(&path, &Faults::default()).unwrap();
        assert_eq!(Index::read(&path).as_ref(), Some(&index));
        assert_eq!(Index::summary(&path), Some(index.summary));
        let good = std::fs::read(&path).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 4;
            std::fs::write(&path, bad).unwrap();
            assert_eq!(Index::read(&path), None, "byte {at}");
        }
        std::fs::write(&path, &good[..good.len() - 1]).unwrap();
        assert_eq!(Index::read(&path), None);
    }
}
