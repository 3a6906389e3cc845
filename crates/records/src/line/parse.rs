//! Lines read back.

use super::{BEGIN, CRC_LEN, Kind};
use crate::timestamp::Timestamp;
use crate::validate::place::end_of_string;

/// A line that is whole: its CRC is right, and it has what every line has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Line<'a> {
    pub(crate) seq: u64,
    pub(crate) received: &'a str,
    pub(crate) observed: Option<&'a str>,
    pub(crate) client: &'a str,
    pub(crate) host: &'a str,
    pub(crate) stream: &'a str,
    pub(crate) origin: Option<(&'a str, u64)>,
    /// Which line of its batch it is, from 0, and of how many.
    pub(crate) place: u64,
    pub(crate) lines: u64,
    pub(crate) synced: Option<u64>,
    pub(crate) clock_back: bool,
    /// `None` for a kind of a newer version.
    pub(crate) kind: Option<Kind>,
    pub(crate) body: &'a [u8],
}

/// Whether these bytes, without a line feed, are a line whose CRC is right.
pub(crate) fn complete(line: &[u8]) -> bool {
    let Some(length) = line.len().checked_sub(CRC_LEN) else {
        return false;
    };
    let (text, end) = line.split_at(length);
    let Some(digits) = end
        .strip_prefix(b",\"crc\":\"")
        .and_then(|end| end.strip_suffix(b"\"}"))
    else {
        return false;
    };
    // Capitals are another text than what was written.
    let told = digits.iter().try_fold(0_u32, |value, &digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(value << 4 | u32::from(digit))
    });
    line.starts_with(BEGIN) && told == Some(crc32fast::hash(text))
}

impl<'a> Line<'a> {
    /// Reads a line, without its line feed. `None` if it is damaged.
    pub(crate) fn parse(line: &'a [u8]) -> Option<Self> {
        if complete(line) {
            Self::read(line)
        } else {
            None
        }
    }

    /// Reads a line that is [`complete`].
    pub(crate) fn read(line: &'a [u8]) -> Option<Self> {
        let mut members = Members {
            text: &line[..line.len() - CRC_LEN],
            at: 1,
        };
        let mut read = Self {
            seq: 0,
            received: "",
            observed: None,
            client: "",
            host: "",
            stream: "",
            origin: None,
            place: 0,
            lines: 0,
            synced: None,
            clock_back: false,
            kind: None,
            body: &[],
        };
        loop {
            let name = members.name()?;
            match name {
                b"seq" => read.seq = members.number()?,
                b"received_at" => read.received = members.string()?,
                b"observed_at" => read.observed = Some(members.string()?),
                b"client" => read.client = members.string()?,
                b"host" => read.host = members.string()?,
                b"stream" => read.stream = members.string()?,
                b"batch" => read.batch(members.value()?)?,
                b"synced" => read.synced = Some(members.number()?),
                b"clock_back" => read.clock_back = members.value()? == b"true",
                name if Kind::named(name).is_some() => {
                    read.kind = Kind::named(name);
                    read.body = &members.text[members.at..];
                    break;
                }
                _ => drop(members.value()?),
            }
            if members.at >= members.text.len() {
                break;
            }
            members.expect(b',')?;
        }
        (read.lines > 0 && !read.received.is_empty()).then_some(read)
    }

    fn batch(&mut self, text: &'a [u8]) -> Option<()> {
        let text = text.strip_suffix(b"}")?;
        let mut members = Members { text, at: 1 };
        let (mut producer, mut sequence) = (None, 0);
        loop {
            match members.name()? {
                b"p" => producer = Some(members.string()?),
                b"s" => sequence = members.number()?,
                b"i" => self.place = members.number()?,
                b"n" => self.lines = members.number()?,
                _ => drop(members.value()?),
            }
            if members.at >= text.len() {
                break;
            }
            members.expect(b',')?;
        }
        self.origin = producer.map(|producer| (producer, sequence));
        Some(())
    }

    /// When it was received.
    pub(crate) fn received_at(&self) -> Option<Timestamp> {
        Timestamp::parse(self.received)
    }
}

/// The members of an object, one after the other. What is read was written by this library, or by a newer one.
struct Members<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Members<'a> {
    fn expect(&mut self, byte: u8) -> Option<()> {
        (self.text.get(self.at) == Some(&byte)).then(|| self.at += 1)
    }

    fn name(&mut self) -> Option<&'a [u8]> {
        let name = self.quoted()?;
        self.expect(b':')?;
        Some(name)
    }

    fn quoted(&mut self) -> Option<&'a [u8]> {
        self.expect(b'"')?;
        let start = self.at;
        let end = end_of_string(self.text, start);
        self.at = end + 1;
        (end < self.text.len()).then(|| &self.text[start..end])
    }

    fn string(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.quoted()?).ok()
    }

    fn number(&mut self) -> Option<u64> {
        let start = self.at;
        let mut value = 0_u64;
        while let Some(&digit @ b'0'..=b'9') = self.text.get(self.at) {
            value = value
                .checked_mul(10)?
                .checked_add(u64::from(digit - b'0'))?;
            self.at += 1;
        }
        (self.at > start).then_some(value)
    }

    /// Any value.
    fn value(&mut self) -> Option<&'a [u8]> {
        let (start, mut depth) = (self.at, 0_usize);
        while let Some(&byte) = self.text.get(self.at) {
            match byte {
                b'"' => self.at = end_of_string(self.text, self.at + 1),
                b'{' | b'[' => depth += 1,
                b',' if depth == 0 => break,
                b'}' | b']' => depth = depth.checked_sub(1)?,
                _ => {}
            }
            self.at += 1;
        }
        let end = self.at.min(self.text.len());
        (end > start && depth == 0).then(|| &self.text[start..end])
    }
}
