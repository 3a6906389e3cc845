//! A segment in its packed form: zstd frames, and a table that says where each begins.
//!
//! It is the seekable format of zstd's own contribution directory: frames of whole blocks, each with a checksum, and behind them the
//! table in a frame that every reader of zstd passes over. So `zstdcat` and `DuckDB` read it, and a search unpacks only what
//! it needs.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;

use super::Content;
use super::index::Index;

/// What a frame unpacks to, at least, but for the last one.
const FRAME_BYTES: u64 = 256 << 10;
/// No frame that this library writes unpacks to more: a block, and a batch as large as batches may be.
const FRAME_MAX: u32 = 128 << 20;
const TABLE_MAGIC: u32 = 0x184d_2a5e;
const FOOTER_MAGIC: u32 = 0x8f92_eab1;
const FOOTER: usize = 9;
const ENTRY: usize = 8;

/// A packed segment.
#[derive(Debug)]
pub(crate) struct Packed {
    file: File,
    frames: Vec<Frame>,
}

#[derive(Debug, Clone, Copy)]
struct Frame {
    /// Where it begins, packed and unpacked.
    packed: u64,
    offset: u64,
    packed_length: u32,
    length: u32,
}

/// Packs the lines of a segment.
pub(crate) fn pack(content: &Content, index: &Index, level: i32, mut out: &File) -> io::Result<()> {
    let mut compressor = zstd::bulk::Compressor::new(level)?;
    compressor.include_checksum(true)?;
    let (mut table, mut lines, mut from) = (Vec::new(), Vec::new(), 0);
    for block in 0..index.blocks.len() {
        let end = index.end_of(block);
        if end - from < FRAME_BYTES && end != index.summary.bytes {
            continue;
        }
        content.read(from, end - from, end, &mut lines)?;
        if lines.len() as u64 != end - from {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let packed = compressor.compress(&lines)?;
        out.write_all(&packed)?;
        table.extend_from_slice(&short(packed.len())?.to_le_bytes());
        table.extend_from_slice(&short(lines.len())?.to_le_bytes());
        from = end;
    }
    let frames = short(table.len() / ENTRY)?;
    let mut frame = Vec::with_capacity(table.len() + 8 + FOOTER);
    frame.extend_from_slice(&TABLE_MAGIC.to_le_bytes());
    frame.extend_from_slice(&short(table.len() + FOOTER)?.to_le_bytes());
    frame.extend_from_slice(&table);
    frame.extend_from_slice(&frames.to_le_bytes());
    frame.push(0);
    frame.extend_from_slice(&FOOTER_MAGIC.to_le_bytes());
    out.write_all(&frame)
}

fn short(length: usize) -> io::Result<u32> {
    u32::try_from(length).map_err(|_| io::ErrorKind::FileTooLarge.into())
}

fn damaged(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

impl Packed {
    /// Reads the table.
    pub(crate) fn open(file: File) -> io::Result<Self> {
        let size = file.metadata()?.len();
        let mut footer = [0; FOOTER];
        let at = size.checked_sub(FOOTER as u64);
        file.read_exact_at(&mut footer, at.ok_or_else(|| damaged("too short"))?)?;
        let count = word(&footer);
        // Bit 7 says that each entry has a checksum, which we do not write.
        if word(&footer[5..]) != FOOTER_MAGIC || footer[4] != 0 {
            return Err(damaged("no table of frames"));
        }
        let length = u64::from(count) * ENTRY as u64;
        let start = size.checked_sub(length + FOOTER as u64 + 8);
        let start = start.ok_or_else(|| damaged("the table is longer than the file"))?;
        let mut table = vec![0; usize::try_from(length).unwrap_or(0)];
        file.read_exact_at(&mut table, start + 8)?;
        let (mut packed, mut offset) = (0, 0);
        let mut frames = Vec::with_capacity(table.len() / ENTRY);
        for entry in table.chunks_exact(ENTRY) {
            let (packed_length, length) = (word(entry), word(&entry[4..]));
            frames.push(Frame {
                packed,
                offset,
                packed_length,
                length,
            });
            packed += u64::from(packed_length);
            offset += u64::from(length);
        }
        if packed != start || frames.iter().any(|frame| frame.length > FRAME_MAX) {
            return Err(damaged("the table does not fit the file"));
        }
        Ok(Self { file, frames })
    }

    /// Bytes of lines.
    pub(crate) fn length(&self) -> u64 {
        let last = self.frames.last();
        last.map_or(0, |frame| frame.offset + u64::from(frame.length))
    }

    /// Appends what is from `offset` on. Of a frame that cannot be unpacked, zeros.
    pub(crate) fn read(&self, offset: u64, length: u64, into: &mut Vec<u8>) -> io::Result<()> {
        let end = offset + length;
        let after = self.frames.partition_point(|frame| frame.offset <= offset);
        for frame in &self.frames[after.saturating_sub(1)..] {
            if frame.offset >= end {
                break;
            }
            let lines = self.unpack(frame)?;
            let from = offset.saturating_sub(frame.offset);
            let to = (end - frame.offset).min(lines.len() as u64);
            let place = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
            into.extend_from_slice(lines.get(place(from)..place(to)).unwrap_or_default());
        }
        Ok(())
    }

    fn unpack(&self, frame: &Frame) -> io::Result<Vec<u8>> {
        let mut packed = vec![0; frame.packed_length as usize];
        self.file.read_exact_at(&mut packed, frame.packed)?;
        let length = frame.length as usize;
        match zstd::bulk::decompress(&packed, length) {
            Ok(lines) if lines.len() == length => Ok(lines),
            _ => Ok(vec![0; length]),
        }
    }
}

fn word(bytes: &[u8]) -> u32 {
    bytes
        .first_chunk()
        .map_or(0, |chunk| u32::from_le_bytes(*chunk))
}

/// Whether both forms have the same lines.
pub(crate) fn same(plain: &Content, packed: &Content, bytes: u64) -> io::Result<bool> {
    let (mut a, mut b, mut offset) = (Vec::new(), Vec::new(), 0);
    while offset < bytes {
        plain.read(offset, FRAME_BYTES, bytes, &mut a)?;
        packed.read(offset, FRAME_BYTES, bytes, &mut b)?;
        if a.is_empty() || a != b {
            return Ok(false);
        }
        offset += a.len() as u64;
    }
    Ok(packed.length()? == bytes)
}
