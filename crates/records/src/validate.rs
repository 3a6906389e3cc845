//! What a record has to be, and its compact form, in one pass and without an allocation.
//!
//! A record is one JSON object as RFC 8259 has it, in UTF-8, with no key twice in one object, no half of a surrogate pair,
//! and within [`Limits`]. Its compact form is its own bytes without the white space between tokens: no number and no string is
//! ever printed anew, so nothing loses digits.
//!
//! The scanner looks at structure byte by byte and at strings eight bytes at a time ([`text`]). It copies whole runs between
//! white space, so a record that is compact already is copied by one call. Keys are compared when their object ends
//! ([`keys`]); where a flaw is, as a path, is only worked out once there is one ([`place`]).

mod keys;
pub(crate) mod place;
mod text;

use self::keys::Keys;
use crate::rejection::{Flaw, Reason};

/// What a sender may send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a record in its compact form.
    pub record_bytes: usize,
    /// Objects and arrays within each other.
    pub depth: usize,
    /// Records of a batch.
    pub batch_records: usize,
    /// Bytes of a batch as it was sent.
    pub batch_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            record_bytes: 256 << 10,
            depth: 32,
            batch_records: 10_000,
            batch_bytes: 4 << 20,
        }
    }
}

/// Checks records. It keeps its scratch space, so one of them serves many records.
#[derive(Debug, Default)]
pub struct Validator {
    pub(crate) limits: Limits,
    keys: Keys,
    /// What is open: an object, with where its keys begin, or an array.
    open: Vec<Open>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Open {
    Object { keys: usize },
    Array,
}

impl Validator {
    /// A validator with these limits.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            ..Self::default()
        }
    }

    /// Checks that the input is exactly one record, and appends its compact form to `out`.
    ///
    /// # Errors
    /// The first flaw. Then nothing has been appended.
    pub fn record(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<(), Flaw> {
        let length = out.len();
        let start = skip_space(input, 0);
        let end = self.one(input, start, out)?;
        let rest = skip_space(input, end);
        if rest < input.len() {
            out.truncate(length);
            return Err(flaw(Reason::Syntax, rest));
        }
        Ok(())
    }

    /// Checks the record that begins at `start`, where there is no white space, appends its compact form, and tells where it ends: for
    /// who reads records one behind the other from something that is not all there yet.
    ///
    /// # Errors
    /// The first flaw, its place counted from the beginning of the input. Then nothing has been appended. What is only not there yet looks like an
    /// [`UnexpectedEnd`](Reason::UnexpectedEnd), or like any other flaw in the last few bytes.
    pub fn one(&mut self, input: &[u8], start: usize, out: &mut Vec<u8>) -> Result<usize, Flaw> {
        let length = out.len();
        let told = self.scan(input, start, out).and_then(|end| {
            if out.len() - length > self.limits.record_bytes {
                return Err(flaw(Reason::TooLarge, start));
            }
            Ok(end)
        });
        if told.is_err() {
            out.truncate(length);
        }
        told
    }

    fn scan(&mut self, input: &[u8], start: usize, out: &mut Vec<u8>) -> Result<usize, Flaw> {
        self.keys.clear();
        self.open.clear();
        match input.get(start) {
            Some(b'{') => {}
            None => return Err(flaw(Reason::UnexpectedEnd, start)),
            Some(_) => return Err(not_an_object(input, start)),
        }
        let mut run = Run {
            input,
            at: start,
            from: start,
            out,
        };
        loop {
            let after_value = self.value(&mut run)?;
            if after_value && self.close(&mut run)? {
                break;
            }
        }
        run.flush();
        Ok(run.at)
    }

    /// One value, or the beginning of one; false if another value has to come next.
    #[inline]
    fn value(&mut self, run: &mut Run<'_>) -> Result<bool, Flaw> {
        let byte = run.next()?;
        let at = run.at;
        match byte {
            b'"' => run.at = text::string(run.input, at + 1)?.end,
            b'{' => {
                let keys = self.keys.len();
                self.enter(Open::Object { keys }, run)?;
                if run.next()? != b'}' {
                    self.key(run)?;
                    return Ok(false);
                }
            }
            b'[' => {
                self.enter(Open::Array, run)?;
                return Ok(run.next()? == b']');
            }
            b'-' | b'0'..=b'9' => run.at = text::number(run.input, at)?,
            _ => run.at = text::literal(run.input, at)?,
        }
        Ok(true)
    }

    #[inline]
    fn enter(&mut self, what: Open, run: &mut Run<'_>) -> Result<(), Flaw> {
        if self.open.len() == self.limits.depth {
            return Err(flaw(Reason::TooDeep, run.at));
        }
        self.open.push(what);
        run.at += 1;
        Ok(())
    }

    /// A key and its colon.
    #[inline]
    fn key(&mut self, run: &mut Run<'_>) -> Result<(), Flaw> {
        if run.next()? != b'"' {
            return Err(flaw(Reason::Syntax, run.at));
        }
        let start = run.at + 1;
        let key = text::string(run.input, start)?;
        self.keys.push(run.input, start..key.end - 1, key.escaped);
        run.at = key.end;
        if run.next()? != b':' {
            return Err(flaw(Reason::Syntax, run.at));
        }
        run.at += 1;
        Ok(())
    }

    /// What follows a value: the ends of what is open, up to a comma. True once the record has ended.
    #[inline]
    fn close(&mut self, run: &mut Run<'_>) -> Result<bool, Flaw> {
        while let Some(&open) = self.open.last() {
            match (run.next()?, open) {
                (b',', Open::Array) => {
                    run.at += 1;
                    return Ok(false);
                }
                (b',', Open::Object { .. }) => {
                    run.at += 1;
                    self.key(run)?;
                    return Ok(false);
                }
                (b']', Open::Array) => {}
                (b'}', Open::Object { keys }) => {
                    if let Some(at) = self.keys.end(keys, run.input) {
                        return Err(flaw(Reason::DuplicateKey, at));
                    }
                }
                _ => return Err(flaw(Reason::Syntax, run.at)),
            }
            run.at += 1;
            self.open.pop();
        }
        Ok(true)
    }
}

/// The input, how far it has been looked at, and what of it has not been copied yet.
struct Run<'a> {
    input: &'a [u8],
    at: usize,
    from: usize,
    out: &'a mut Vec<u8>,
}

impl Run<'_> {
    /// The next byte that is not white space. White space before it is left out of the copy.
    #[inline]
    fn next(&mut self) -> Result<u8, Flaw> {
        match self.input.get(self.at) {
            Some(&byte) if byte > b' ' => Ok(byte),
            _ => self.next_after_space(),
        }
    }

    fn next_after_space(&mut self) -> Result<u8, Flaw> {
        self.flush();
        self.at = skip_space(self.input, self.at);
        self.from = self.at;
        let end = flaw(Reason::UnexpectedEnd, self.at);
        self.input.get(self.at).copied().ok_or(end)
    }

    fn flush(&mut self) {
        self.out.extend_from_slice(&self.input[self.from..self.at]);
        self.from = self.at;
    }
}

/// The first offset from `at` on that is not white space.
pub(crate) fn skip_space(input: &[u8], at: usize) -> usize {
    let rest = input.get(at..).unwrap_or_default();
    let spaces = rest
        .iter()
        .take_while(|byte| matches!(byte, b' ' | b'\n' | b'\r' | b'\t'))
        .count();
    at + spaces
}

pub(crate) fn flaw(reason: Reason, at: usize) -> Flaw {
    Flaw { reason, at }
}

/// Something else than an object: what is wrong with it, if anything else is.
fn not_an_object(input: &[u8], at: usize) -> Flaw {
    let value = match input[at] {
        b'"' => text::string(input, at + 1).map(|string| string.end),
        b'[' => Ok(at),
        b'-' | b'0'..=b'9' => text::number(input, at),
        _ => text::literal(input, at),
    };
    value.err().unwrap_or(flaw(Reason::NotAnObject, at))
}

#[cfg(test)]
mod tests;
