//! Strings, numbers and words of JSON.

use super::flaw;
use crate::rejection::{Flaw, Reason};

/// A string that was looked at.
pub(super) struct Text {
    /// Behind the closing quotation mark.
    pub(super) end: usize,
    /// There is a backslash in it.
    pub(super) escaped: bool,
}

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// The string whose first byte, behind the quotation mark, is at `start`.
#[inline]
pub(super) fn string(input: &[u8], start: usize) -> Result<Text, Flaw> {
    let (mut at, mut escaped, mut high) = (start, false, 0);
    loop {
        let (stop, seen) = plain(input, at);
        (at, high) = (stop, high | seen);
        match input.get(at) {
            Some(b'"') => break,
            Some(b'\\') => {
                at = escape(input, at)?;
                escaped = true;
            }
            Some(_) => return Err(flaw(Reason::ControlCharacter, at)),
            None => return Err(flaw(Reason::UnexpectedEnd, at)),
        }
    }
    if high & HIGHS != 0
        && let Err(error) = std::str::from_utf8(&input[start..at])
    {
        return Err(flaw(Reason::NotUtf8, start + error.valid_up_to()));
    }
    let end = at + 1;
    Ok(Text { end, escaped })
}

/// Passes over what needs no look of its own: stops at a quotation mark, a backslash, a control character or the end. Tells also
/// all bytes that it saw, or-ed.
///
/// Each mask has its lowest set bit at the right place; bits above it may be wrong, and do not matter.
#[inline]
fn plain(input: &[u8], mut at: usize) -> (usize, u64) {
    let mut seen = 0;
    while let Some(chunk) = input.get(at..).and_then(<[u8]>::first_chunk::<8>) {
        let word = u64::from_le_bytes(*chunk);
        let (quote, backslash) = (word ^ (ONES * 0x22), word ^ (ONES * 0x5c));
        let stops = (quote.wrapping_sub(ONES) & !quote)
            | (backslash.wrapping_sub(ONES) & !backslash)
            | (word.wrapping_sub(ONES * 0x20) & !word);
        let stops = stops & HIGHS;
        if stops != 0 {
            let bit = stops.trailing_zeros() & !7;
            seen |= word & ((1 << bit) - 1);
            return (at + (bit / 8) as usize, seen);
        }
        seen |= word;
        at += 8;
    }
    while let Some(&byte) = input.get(at) {
        if byte == b'"' || byte == b'\\' || byte < 0x20 {
            break;
        }
        seen |= u64::from(byte);
        at += 1;
    }
    (at, seen)
}

/// Behind the escape that begins at `at`.
fn escape(input: &[u8], at: usize) -> Result<usize, Flaw> {
    let bad = flaw(Reason::BadEscape, at);
    match input.get(at + 1) {
        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(at + 2),
        Some(b'u') => match hex(input, at + 2)? {
            0xd800..=0xdbff => {
                if input.get(at + 6..at + 8) != Some(b"\\u") {
                    return Err(bad);
                }
                match hex(input, at + 8)? {
                    0xdc00..=0xdfff => Ok(at + 12),
                    _ => Err(bad),
                }
            }
            0xdc00..=0xdfff => Err(bad),
            _ => Ok(at + 6),
        },
        Some(_) => Err(bad),
        None => Err(flaw(Reason::UnexpectedEnd, at + 1)),
    }
}

fn hex(input: &[u8], at: usize) -> Result<u32, Flaw> {
    let digits = input
        .get(at..at + 4)
        .ok_or(flaw(Reason::UnexpectedEnd, input.len()))?;
    digits.iter().try_fold(0, |value, &digit| {
        let digit = char::from(digit).to_digit(16);
        Ok(value << 4 | digit.ok_or(flaw(Reason::BadEscape, at))?)
    })
}

/// Behind the number that begins at `at`.
#[inline]
pub(super) fn number(input: &[u8], at: usize) -> Result<usize, Flaw> {
    let bad = flaw(Reason::BadNumber, at);
    let mut end = at + usize::from(input[at] == b'-');
    let whole = digits(input, end);
    if whole == 0 || (whole > 1 && input[end] == b'0') {
        return Err(bad);
    }
    end += whole;
    if input.get(end) == Some(&b'.') {
        let fraction = digits(input, end + 1);
        if fraction == 0 {
            return Err(bad);
        }
        end += 1 + fraction;
    }
    if let Some(b'e' | b'E') = input.get(end) {
        let sign = usize::from(matches!(input.get(end + 1), Some(b'+' | b'-')));
        let exponent = digits(input, end + 1 + sign);
        if exponent == 0 {
            return Err(bad);
        }
        end += 1 + sign + exponent;
    }
    match input.get(end) {
        Some(byte) if byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'+' | b'-') => {
            Err(bad)
        }
        _ => Ok(end),
    }
}

#[inline]
fn digits(input: &[u8], at: usize) -> usize {
    let rest = input.get(at..).unwrap_or_default();
    rest.iter().take_while(|byte| byte.is_ascii_digit()).count()
}

/// Behind `true`, `false` or `null`.
pub(super) fn literal(input: &[u8], at: usize) -> Result<usize, Flaw> {
    let rest = &input[at..];
    for word in [&b"true"[..], b"false", b"null"] {
        if rest.starts_with(word) {
            return Ok(at + word.len());
        }
    }
    for word in [&b"NaN"[..], b"nan", b"Infinity", b"inf", b"+", b"."] {
        if rest.starts_with(word) {
            return Err(flaw(Reason::BadNumber, at));
        }
    }
    Err(flaw(Reason::Syntax, at))
}
