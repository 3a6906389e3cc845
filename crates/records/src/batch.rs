//! What a sender hands in at once: split into records, each of them checked by itself.
//!
//! The input is an array of records, or records one behind the other: one alone, one on each line, or printed over several
//! lines. A bad record costs its neighbours nothing: in an array the next one begins behind the end of the bad one, as its
//! brackets and quotation marks tell; else at the next line that begins with `{`, or at the next line where the
//! flaw was on the record's first.

use std::fmt;

use crate::rejection::{Flaw, Reason, Rejection, Rejections};
use crate::timestamp::Timestamp;
use crate::validate::{Validator, flaw, place, skip_space};

/// A batch that is refused as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// More bytes than allowed.
    #[error("a batch of {bytes} bytes is too large: at most {max}")]
    TooManyBytes {
        /// How many there were.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// More records than allowed.
    #[error("a batch has too many records: at most {max}")]
    TooManyRecords {
        /// The limit.
        max: usize,
    },
}

/// When the sender saw what its records tell.
#[derive(Debug, Clone, Copy, Default)]
pub enum Observed<'a> {
    /// It did not say.
    #[default]
    Unsaid,
    /// All at once.
    At(Timestamp),
    /// Each at its own time, by the index of the record. Records beyond the list: it did not say.
    Each(&'a [Timestamp]),
}

impl Observed<'_> {
    fn of(&self, index: u32) -> Option<Timestamp> {
        match self {
            Self::Unsaid => None,
            Self::At(moment) => Some(*moment),
            Self::Each(moments) => moments.get(index as usize).copied(),
        }
    }
}

/// A check of one's own, after the usual ones: takes the compact record, and returns where and what is wrong.
pub trait Check {
    /// Looks at a record.
    ///
    /// # Errors
    /// The field, as a JSON pointer, and what is wrong with it.
    fn check(&self, record: &[u8]) -> Result<(), (String, String)>;
}

/// Records that were checked, in their compact form, and what was refused.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Prepared {
    data: Vec<u8>,
    ends: Vec<u32>,
    observed: Vec<Option<Timestamp>>,
    rejections: Rejections,
    digest: u32,
}

impl Prepared {
    /// How many records are good.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Bytes of the good ones.
    pub fn bytes(&self) -> usize {
        self.data.len()
    }

    /// The good ones, in their order, with when they were observed.
    pub fn records(&self) -> impl Iterator<Item = (&[u8], Option<Timestamp>)> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts
            .zip(&self.ends)
            .zip(&self.observed)
            .map(|((start, &end), &observed)| (&self.data[start as usize..end as usize], observed))
    }

    /// What was refused.
    pub fn rejections(&self) -> &Rejections {
        &self.rejections
    }

    /// Leaves out what was refused: it has been told already.
    pub(crate) fn forget_rejections(&mut self) {
        self.rejections = Rejections::default();
    }

    /// CRC-32 of what was sent: tells a repeat from another batch of the same number, also when limits or a schema have changed since.
    pub(crate) fn digest(&self) -> u32 {
        self.digest
    }
}

/// Without what the records say: that belongs into no other log.
impl fmt::Debug for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prepared")
            .field("records", &self.len())
            .field("bytes", &self.bytes())
            .field("rejections", &self.rejections)
            .finish_non_exhaustive()
    }
}

impl Validator {
    /// Splits an input into records and checks each.
    ///
    /// # Errors
    /// The input is larger than a batch may be. Nothing else refuses it as a whole.
    pub fn batch(
        &mut self,
        input: &[u8],
        observed: Observed<'_>,
        check: Option<&dyn Check>,
    ) -> Result<Prepared, BatchError> {
        let (bytes, max) = (input.len(), self.limits.batch_bytes);
        if bytes > max || u32::try_from(bytes).is_err() {
            return Err(BatchError::TooManyBytes { bytes, max });
        }
        let mut split = Split {
            input,
            observed,
            check,
            max: self.limits.batch_records,
            index: 0,
            prepared: Prepared::default(),
        };
        split.prepared.data.reserve(input.len());
        let mark = if input.starts_with(b"\xef\xbb\xbf") {
            3
        } else {
            0
        };
        let start = skip_space(input, mark);
        if input.get(start) == Some(&b'[') {
            split.array(self, start + 1)?;
        } else {
            split.sequence(self, start)?;
        }
        split.prepared.digest = crc32fast::hash(input);
        Ok(split.prepared)
    }
}

struct Split<'a> {
    input: &'a [u8],
    observed: Observed<'a>,
    check: Option<&'a dyn Check>,
    max: usize,
    index: u32,
    prepared: Prepared,
}

impl Split<'_> {
    /// The elements of an array whose first begins at `at`.
    fn array(&mut self, validator: &mut Validator, mut at: usize) -> Result<(), BatchError> {
        at = skip_space(self.input, at);
        if self.input.get(at) == Some(&b']') {
            return self.nothing_more(at + 1);
        }
        loop {
            at = skip_space(self.input, at);
            let start = at;
            let told = self
                .record(validator, start)?
                .map(|end| skip_space(self.input, end));
            let end = match told {
                Ok(end) => end,
                Err(_) => end_of_element(self.input, start),
            };
            match self.input.get(end) {
                Some(b',') => at = end + 1,
                Some(b']') => return self.nothing_more(end + 1),
                None if told.is_err() => return Ok(()),
                None => return self.refuse(flaw(Reason::UnexpectedEnd, end), end),
                // A comma is missing: whatever stands there is not a record by itself.
                Some(_) => {
                    self.refuse(flaw(Reason::Syntax, end), end)?;
                    let end = end_of_element(self.input, end);
                    match self.input.get(end) {
                        Some(b',') => at = end + 1,
                        Some(_) => return self.nothing_more(end + 1),
                        None => return Ok(()),
                    }
                }
            }
        }
    }

    /// Behind the end of an array there is nothing but white space.
    fn nothing_more(&mut self, at: usize) -> Result<(), BatchError> {
        let rest = skip_space(self.input, at);
        if rest < self.input.len() {
            self.refuse(flaw(Reason::Syntax, rest), rest)?;
        }
        Ok(())
    }

    /// Records one behind the other.
    fn sequence(&mut self, validator: &mut Validator, mut at: usize) -> Result<(), BatchError> {
        while at < self.input.len() {
            at = match self.record(validator, at)? {
                Ok(end) => end,
                Err(flaw) => next_record(self.input, at, flaw.at),
            };
            at = skip_space(self.input, at);
        }
        Ok(())
    }

    /// One record, good or bad: where it ends, or its flaw.
    fn record(
        &mut self,
        validator: &mut Validator,
        start: usize,
    ) -> Result<Result<usize, Flaw>, BatchError> {
        let from = self.prepared.data.len();
        match validator.one(self.input, start, &mut self.prepared.data) {
            Ok(end) => {
                let record = &self.prepared.data[from..];
                let checked = self.check.map_or(Ok(()), |check| check.check(record));
                if let Err((field, message)) = checked {
                    self.prepared.data.truncate(from);
                    self.push(|index| Rejection::new(index, Reason::Schema, field, message))?;
                } else {
                    let observed = self.observed.of(self.index);
                    let length = self.prepared.data.len();
                    // Compact is never longer, and the input's length was checked.
                    self.prepared
                        .ends
                        .push(u32::try_from(length).unwrap_or(u32::MAX));
                    self.prepared.observed.push(observed);
                    self.counted()?;
                }
                Ok(Ok(end))
            }
            Err(flaw) => {
                self.refuse(flaw, start)?;
                Ok(Err(flaw))
            }
        }
    }

    fn refuse(&mut self, flaw: Flaw, start: usize) -> Result<(), BatchError> {
        let input = self.input;
        self.push(|index| flaw.rejection(index, input, start))
    }

    fn push(&mut self, make: impl FnOnce(u32) -> Rejection) -> Result<(), BatchError> {
        let index = self.index;
        self.prepared.rejections.push(|| make(index));
        self.counted()
    }

    fn counted(&mut self) -> Result<(), BatchError> {
        self.index += 1;
        if self.index as usize > self.max {
            return Err(BatchError::TooManyRecords { max: self.max });
        }
        Ok(())
    }
}

/// Where an element of an array that is not good ends: at its comma, at the end of the array, or of the input.
fn end_of_element(input: &[u8], start: usize) -> usize {
    let (mut at, mut depth) = (start, 0_usize);
    while let Some(&byte) = input.get(at) {
        match byte {
            b'"' => at = place::end_of_string(input, at + 1),
            b'{' | b'[' => depth += 1,
            b',' | b']' if depth == 0 => return at,
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        at += 1;
    }
    input.len()
}

/// Where to go on after a record that began at `start` and is bad at `at`.
fn next_record(input: &[u8], start: usize, at: usize) -> usize {
    let mut lines = memchr::memchr_iter(b'\n', &input[start..]).map(|n| start + n + 1);
    let Some(first) = lines.next() else {
        return input.len();
    };
    if at < first {
        return first;
    }
    std::iter::once(first)
        .chain(lines)
        .find(|&line| input.get(line) == Some(&b'{'))
        .unwrap_or(input.len())
}

#[cfg(test)]
mod tests;
