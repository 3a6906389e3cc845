//! A line of the log: one JSON object, which says by itself whether it is whole.
//!
//! ```json
//! {"seq":7,"received_at":"2026-11-22T12:21:35.123456Z","observed_at":"…","client":"web-1","host":"web-1.example",
//!  "stream":"process","batch":{"p":"k3v9","s":12,"i":0,"n":2},"synced":6,"data":{…},"crc":"89abcdef"}
//! ```
//!
//! The members come in this order, without white space. `crc` is the last one, eight hexadecimal digits: CRC-32 (that of zlib and
//! Ethernet) of all bytes of the line before its comma. Before it stands the body, whose name is the kind of the line.
//! A reader passes over members it does not know; new ones are written before the body.
//!
//! `observed_at`, `batch.p`, `batch.s`, `synced` and `clock_back` are left out where they have nothing to say.

mod parse;

use std::io::Write;

pub(crate) use self::parse::{Line, complete};
use crate::timestamp::Timestamp;

/// Bytes of `,"crc":"89abcdef"}`.
pub(crate) const CRC_LEN: usize = 18;
/// What every line begins with.
pub(crate) const BEGIN: &[u8] = b"{\"seq\":";

/// What a line tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A record of a client: `data`.
    Record,
    /// The sender had no room for some of its batches, and dropped them: `gap`.
    Gap,
    /// What of a batch was refused, and why: `rejected`.
    Rejected,
    /// Lines of this log that were damaged: `lost`.
    Lost,
}

impl Kind {
    /// The name of the body.
    pub fn name(self) -> &'static str {
        match self {
            Self::Record => "data",
            Self::Gap => "gap",
            Self::Rejected => "rejected",
            Self::Lost => "lost",
        }
    }

    fn named(name: &[u8]) -> Option<Self> {
        [Self::Record, Self::Gap, Self::Rejected, Self::Lost]
            .into_iter()
            .find(|kind| kind.name().as_bytes() == name)
    }
}

/// What the lines of a batch have in common.
#[derive(Debug, Default)]
pub(crate) struct Head {
    /// From the comma behind `received_at`.
    before: Vec<u8>,
    /// From the comma behind `observed_at`, through `"i":`.
    middle: Vec<u8>,
    /// From the comma behind `i` to the end of `batch`.
    after: Vec<u8>,
}

/// Who a line is from, as the server stamps it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stamps<'a> {
    pub(crate) client: &'a str,
    pub(crate) host: &'a str,
    pub(crate) stream: &'a str,
    /// The producer and the number of its batch.
    pub(crate) origin: Option<(&'a str, u64)>,
    /// How many lines the batch has.
    pub(crate) lines: u64,
}

impl Head {
    /// Begins a batch.
    pub(crate) fn begin(&mut self, received: Timestamp, stamps: &Stamps<'_>) {
        for part in [&mut self.before, &mut self.middle, &mut self.after] {
            part.clear();
        }
        let (before, middle, after) = (&mut self.before, &mut self.middle, &mut self.after);
        put(before, format_args!(",\"received_at\":\"{received}\""));
        let (client, host, stream) = (stamps.client, stamps.host, stamps.stream);
        put(
            middle,
            format_args!(
                ",\"client\":\"{client}\",\"host\":\"{host}\",\"stream\":\"{stream}\",\"batch\":{{"
            ),
        );
        if let Some((producer, sequence)) = stamps.origin {
            put(
                middle,
                format_args!("\"p\":\"{producer}\",\"s\":{sequence},"),
            );
        }
        middle.extend_from_slice(b"\"i\":");
        put(after, format_args!(",\"n\":{}}}", stamps.lines));
    }

    /// Appends a line of the batch.
    pub(crate) fn line(
        &self,
        out: &mut Vec<u8>,
        seq: u64,
        place: u64,
        extra: &Extra,
        body: (Kind, &[u8]),
    ) {
        let start = out.len();
        let mut digits = itoa::Buffer::new();
        out.extend_from_slice(BEGIN);
        out.extend_from_slice(digits.format(seq).as_bytes());
        out.extend_from_slice(&self.before);
        if let Some(observed) = extra.observed {
            put(out, format_args!(",\"observed_at\":\"{observed}\""));
        }
        out.extend_from_slice(&self.middle);
        out.extend_from_slice(digits.format(place).as_bytes());
        out.extend_from_slice(&self.after);
        if let Some(synced) = extra.synced {
            put(out, format_args!(",\"synced\":{synced}"));
        }
        if extra.clock_back {
            out.extend_from_slice(b",\"clock_back\":true");
        }
        let (kind, text) = body;
        match kind {
            Kind::Record => out.extend_from_slice(b",\"data\":"),
            _ => put(out, format_args!(",\"{}\":", kind.name())),
        }
        out.extend_from_slice(text);
        let crc = crc32fast::hash(&out[start..]);
        out.extend_from_slice(b",\"crc\":\"");
        out.extend_from_slice(&hex(crc));
        out.extend_from_slice(b"\"}\n");
    }
}

/// What single lines say besides.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Extra {
    /// When the sender saw it.
    pub(crate) observed: Option<Timestamp>,
    /// Everything up to this number was on the disk when the line was written.
    pub(crate) synced: Option<u64>,
    /// The clock is behind that of the line before.
    pub(crate) clock_back: bool,
}

fn put(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    // Writing to memory does not fail.
    drop(out.write_fmt(text));
}

fn hex(crc: u32) -> [u8; 8] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = [0; 8];
    for (n, digit) in text.iter_mut().enumerate() {
        *digit = DIGITS[(crc >> (28 - 4 * n) & 15) as usize];
    }
    text
}

/// Whether a name can stand in a line as it is: 1 to 128 bytes, no control character, quotation mark or backslash.
pub(crate) fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte >= 0x20 && byte != 0x7f && byte != b'"' && byte != b'\\';
    (1..=128).contains(&name.len()) && name.bytes().all(plain)
}

#[cfg(test)]
mod tests;
