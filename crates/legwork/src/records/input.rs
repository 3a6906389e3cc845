//! JSON that is read as it comes, a record at a time: an array, one object, or objects one behind the other, as on lines.
//!
//! Only the record that is being read is in memory, and not more of it than [`RAW_MAX`]: what is longer is passed over to its end and told. Each
//! record is checked here as the server would; a bad one costs its neighbours nothing, and is told with its line.

use std::io::{self, Read};

use legwork_records::{Flaw, Limits, Reason, Rejection, Validator};

/// Bytes of a record as it is written, with its white space.
const RAW_MAX: usize = 4 << 20;
/// Bytes read at once.
const BLOCK: usize = 256 << 10;
/// The longest thing that may look wrong because its end is not there yet: an escape of two halves, or a literal.
const TAIL: usize = 16;

/// What is found next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// A record, compact, at the end of what was given; it began on this line.
    Record {
        /// From 1.
        line: u64,
    },
    /// A record that is none.
    Bad {
        /// On which line it began.
        line: u64,
        /// What is wrong with it. Its index means nothing.
        why: Rejection,
    },
    /// There is no more.
    End,
}

/// What kind of text it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Unknown,
    /// One behind the other.
    Sequence,
    /// In an array: before an element, or behind one.
    Element,
    Behind,
    /// Behind the end of the array.
    Over,
}

/// Records of one input.
#[derive(Debug)]
pub(crate) struct Input<R> {
    source: R,
    validator: Validator,
    text: Vec<u8>,
    at: usize,
    line: u64,
    begun: bool,
    ended: bool,
    form: Form,
}

impl<R: Read> Input<R> {
    /// Records that have to keep to these limits.
    pub(crate) fn new(source: R, limits: Limits) -> Self {
        Self {
            source,
            validator: Validator::new(limits),
            text: Vec::new(),
            at: 0,
            line: 1,
            begun: false,
            ended: false,
            form: Form::Unknown,
        }
    }

    /// Whether the next record may need bytes that have not been read.
    pub(crate) fn is_dry(&self) -> bool {
        !self.ended && self.text[self.at..].iter().all(u8::is_ascii_whitespace)
    }

    /// Where the bytes come from.
    pub(crate) fn source(&self) -> &R {
        &self.source
    }

    /// What is next. The record is appended to `out`.
    pub(crate) fn next(&mut self, out: &mut Vec<u8>) -> io::Result<Found> {
        if !std::mem::replace(&mut self.begun, true) {
            self.pass_mark()?;
        }
        loop {
            let Some(byte) = self.peek()? else {
                return Ok(match self.form {
                    Form::Element | Form::Behind => {
                        self.form = Form::Over;
                        self.bad(flaw(Reason::UnexpectedEnd, self.at))
                    }
                    _ => Found::End,
                });
            };
            match (self.form, byte) {
                (Form::Unknown, b'[') => {
                    self.form = Form::Element;
                    self.pass(self.at + 1);
                    // An array without elements.
                    if self.peek()? == Some(b']') {
                        self.form = Form::Over;
                        self.pass(self.at + 1);
                    }
                }
                (Form::Unknown, _) => self.form = Form::Sequence,
                (Form::Behind, b',') => {
                    self.form = Form::Element;
                    self.pass(self.at + 1);
                }
                (Form::Behind, b']') => {
                    self.form = Form::Over;
                    self.pass(self.at + 1);
                }
                (Form::Behind, _) => {
                    // A comma is missing.
                    let found = self.bad(flaw(Reason::Syntax, self.at));
                    self.skip_element()?;
                    return Ok(found);
                }
                (Form::Over, _) => {
                    let found = self.bad(flaw(Reason::Syntax, self.at));
                    self.skip_all()?;
                    return Ok(found);
                }
                (Form::Sequence | Form::Element, _) => return self.record(out),
            }
        }
    }

    fn record(&mut self, out: &mut Vec<u8>) -> io::Result<Found> {
        let line = self.line;
        loop {
            let told = self.validator.one(&self.text, self.at, out);
            match told {
                Ok(end) => {
                    self.pass(end);
                    if self.form == Form::Element {
                        self.form = Form::Behind;
                    }
                    return Ok(Found::Record { line });
                }
                Err(told) => {
                    let near = told.at + TAIL >= self.text.len();
                    let unsure = near || told.reason == Reason::UnexpectedEnd;
                    let long = self.text.len() - self.at > RAW_MAX;
                    if !long && unsure && !self.ended {
                        self.fill()?;
                        continue;
                    }
                    let told = if long && unsure {
                        flaw(Reason::TooLarge, self.at)
                    } else {
                        told
                    };
                    let found = self.bad(told);
                    match self.form {
                        Form::Element => self.skip_element()?,
                        _ => self.skip_lines(told)?,
                    }
                    return Ok(found);
                }
            }
        }
    }

    /// The mark that some programs put before UTF-8.
    fn pass_mark(&mut self) -> io::Result<()> {
        const MARK: &[u8] = b"\xef\xbb\xbf";
        while !self.ended && MARK.starts_with(&self.text) && self.text.len() < MARK.len() {
            self.fill()?;
        }
        if self.text.starts_with(MARK) {
            self.at = MARK.len();
        }
        Ok(())
    }

    /// The next byte that is not white space.
    fn peek(&mut self) -> io::Result<Option<u8>> {
        loop {
            let rest = &self.text[self.at..];
            let space = |byte: &&u8| matches!(**byte, b' ' | b'\t' | b'\n' | b'\r');
            let spaces = rest.iter().take_while(space).count();
            let found = rest.get(spaces).copied();
            self.pass(self.at + spaces);
            if found.is_some() || self.ended {
                return Ok(found);
            }
            self.fill()?;
        }
    }

    /// Reads more: as much again as is there of a record, so that a long one is not looked at too often.
    fn fill(&mut self) -> io::Result<()> {
        drop(self.text.drain(..self.at));
        self.at = 0;
        let length = self.text.len();
        self.text.resize(length + BLOCK.max(length), 0);
        let read = loop {
            match self.source.read(&mut self.text[length..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        self.text.truncate(length + *read.as_ref().unwrap_or(&0));
        self.ended = read? == 0;
        Ok(())
    }

    fn pass(&mut self, to: usize) {
        let passed = &self.text[self.at..to];
        self.line += passed.iter().filter(|byte| **byte == b'\n').count() as u64;
        self.at = to;
    }

    fn bad(&self, flaw: Flaw) -> Found {
        Found::Bad {
            line: self.line,
            why: flaw.rejection(0, &self.text, self.at),
        }
    }

    /// To the next line that begins with a brace, or to the next one, where the flaw was on the first.
    fn skip_lines(&mut self, flaw: Flaw) -> io::Result<()> {
        let until = flaw.at.clamp(self.at, self.text.len());
        let first = !self.text[self.at..until].contains(&b'\n');
        let any = first && flaw.reason != Reason::TooLarge;
        loop {
            let rest = &self.text[self.at..];
            let Some(end) = rest.iter().position(|byte| *byte == b'\n') else {
                self.pass(self.text.len());
                if self.ended {
                    return Ok(());
                }
                self.fill()?;
                continue;
            };
            self.pass(self.at + end + 1);
            if self.at == self.text.len() && !self.ended {
                self.fill()?;
            }
            if any || self.text.get(self.at).is_none_or(|byte| *byte == b'{') {
                return Ok(());
            }
        }
    }

    /// To the end of an element of an array that is none, as its brackets and quotation marks tell.
    fn skip_element(&mut self) -> io::Result<()> {
        let (mut depth, mut string, mut escaped) = (0_usize, false, false);
        self.form = Form::Behind;
        loop {
            let mut at = self.at;
            while let Some(&byte) = self.text.get(at) {
                match byte {
                    _ if escaped => escaped = false,
                    b'\\' if string => escaped = true,
                    b'"' => string = !string,
                    _ if string => {}
                    b'{' | b'[' => depth += 1,
                    b',' | b']' if depth == 0 => {
                        self.pass(at);
                        return Ok(());
                    }
                    b'}' | b']' => depth = depth.saturating_sub(1),
                    _ => {}
                }
                at += 1;
            }
            self.pass(at);
            if self.ended {
                self.form = Form::Over;
                return Ok(());
            }
            self.fill()?;
        }
    }

    fn skip_all(&mut self) -> io::Result<()> {
        loop {
            self.pass(self.text.len());
            if self.ended {
                return Ok(());
            }
            self.fill()?;
        }
    }
}

fn flaw(reason: Reason, at: usize) -> Flaw {
    Flaw { reason, at }
}

#[cfg(test)]
mod tests;
