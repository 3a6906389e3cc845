//! All lines of a segment, good and bad.

use std::io;

use super::Content;
use crate::line::{BEGIN, Line, complete};

/// What is read at once.
const CHUNK: u64 = 1 << 20;
/// No line is longer; what goes on for longer without a line feed is damage.
const LINE_MAX: usize = 64 << 20;

/// A piece of a segment.
#[derive(Debug)]
pub(crate) enum Piece<'a> {
    /// A line that is whole, at this offset. `length` is with the line feed.
    Line {
        at: u64,
        length: u64,
        line: Line<'a>,
    },
    /// Bytes that are not.
    Bad(Bad),
}

/// Bytes that are not a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bad {
    pub(crate) from: u64,
    pub(crate) to: u64,
    /// As a write leaves it that the power cut short: zeros in it, or no line feed at the end of the file.
    pub(crate) torn: bool,
}

/// Goes through a segment up to `end`.
pub(crate) fn scan(
    content: &Content,
    end: u64,
    mut see: impl FnMut(Piece<'_>) -> io::Result<()>,
) -> io::Result<()> {
    let (mut chunk, mut held) = (Vec::new(), Vec::new());
    // The offset of the first byte that is held.
    let (mut at, mut offset) = (0, 0);
    while offset < end {
        content.read(offset, CHUNK, end, &mut chunk)?;
        if chunk.is_empty() {
            break;
        }
        offset += chunk.len() as u64;
        held.extend_from_slice(&chunk);
        let mut done = 0;
        while let Some(length) = memchr::memchr(b'\n', &held[done..]) {
            piece(&held[done..done + length], at + done as u64, true, &mut see)?;
            done += length + 1;
        }
        if held.len() - done > LINE_MAX {
            piece(&held[done..], at + done as u64, false, &mut see)?;
            done = held.len();
        }
        held.drain(..done);
        at += done as u64;
    }
    if !held.is_empty() {
        piece(&held, at, false, &mut see)?;
    }
    Ok(())
}

/// A line without its line feed, or what stands where one should.
fn piece(
    bytes: &[u8],
    at: u64,
    ended: bool,
    see: &mut impl FnMut(Piece<'_>) -> io::Result<()>,
) -> io::Result<()> {
    let length = bytes.len() as u64 + u64::from(ended);
    let line = if ended { Line::parse(bytes) } else { None };
    if let Some(line) = line {
        return see(Piece::Line { at, length, line });
    }
    // A page that was never written may end where a line begins.
    let zeros = bytes.iter().take_while(|&&byte| byte == 0).count();
    if ended && zeros > 0 && bytes[zeros..].starts_with(BEGIN) && complete(&bytes[zeros..]) {
        let (from, to) = (at, at + zeros as u64);
        see(Piece::Bad(Bad {
            from,
            to,
            torn: true,
        }))?;
        return piece(&bytes[zeros..], to, ended, see);
    }
    let torn = !ended || memchr::memchr(0, bytes).is_some();
    let (from, to) = (at, at + length);
    see(Piece::Bad(Bad { from, to, torn }))
}
