//! Why a record was refused, in words that reach whoever sent it.

use serde::{Deserialize, Serialize};

use crate::validate::place;

/// Longest [`Rejection::field`] in bytes; longer ones are cut.
pub(crate) const FIELD_MAX: usize = 128;
/// Longest [`Rejection::message`] in bytes; longer ones are cut.
pub(crate) const MESSAGE_MAX: usize = 256;
/// How many rejections of a batch are told one by one. The others are counted.
pub const TOLD_MAX: usize = 100;

/// What is wrong with a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[non_exhaustive]
pub enum Reason {
    /// A string is not UTF-8.
    NotUtf8,
    /// Not JSON.
    Syntax,
    /// The input ends within a record.
    UnexpectedEnd,
    /// A number that JSON does not know: `NaN`, `01`, `1.`.
    BadNumber,
    /// An escape that does not exist, or half of a surrogate pair.
    BadEscape,
    /// A control character within a string that is not escaped.
    ControlCharacter,
    /// An object with the same key twice.
    DuplicateKey,
    /// Objects and arrays within each other beyond the limit.
    TooDeep,
    /// More bytes than the limit, without insignificant white space.
    TooLarge,
    /// JSON, but not an object.
    NotAnObject,
    /// Not as the schema of the stream wants it.
    Schema,
    /// More than this sender may send now.
    RateLimited,
    /// A reason of a newer version.
    #[serde(other)]
    Other,
}

impl Reason {
    /// The canonical code of gRPC: 3 means that sending it again is useless, 8 that it may help later.
    pub fn code(self) -> u32 {
        match self {
            Self::RateLimited => 8,
            _ => 3,
        }
    }

    /// What is wrong, as a piece of a sentence.
    pub fn words(self) -> &'static str {
        match self {
            Self::NotUtf8 => "a string is not UTF-8",
            Self::Syntax => "this is not JSON",
            Self::UnexpectedEnd => "the input ends within a record",
            Self::BadNumber => "JSON does not know such a number",
            Self::BadEscape => "JSON does not know such an escape",
            Self::ControlCharacter => "a control character within a string has to be escaped",
            Self::DuplicateKey => "the same key is in one object twice",
            Self::TooDeep => "objects and arrays are nested too deeply",
            Self::TooLarge => "the record is too large",
            Self::NotAnObject => "a record has to be a JSON object",
            Self::Schema => "the record is not as the schema of the stream wants it",
            Self::RateLimited => "more than this sender may send now",
            Self::Other => "refused",
        }
    }
}

/// What is wrong and where, cheap to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flaw {
    /// What is wrong.
    pub reason: Reason,
    /// Offset in the input, in bytes.
    pub at: usize,
}

/// A record that was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejection {
    /// Which record of the batch, from 0.
    pub index: u32,
    /// [`Reason::code`].
    pub code: u32,
    /// What is wrong.
    pub reason: Reason,
    /// Where in the record, as a JSON pointer; empty for the whole record.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub field: String,
    /// What is wrong, in a sentence.
    pub message: String,
}

impl Rejection {
    /// A rejection whose texts are cut to their limits.
    pub fn new(index: u32, reason: Reason, field: String, message: String) -> Self {
        Self {
            index,
            code: reason.code(),
            reason,
            field: cut(field, FIELD_MAX),
            message: cut(message, MESSAGE_MAX),
        }
    }
}

impl Flaw {
    /// The flaw of a record that begins at `start` of an input, in words.
    pub fn rejection(self, index: u32, input: &[u8], start: usize) -> Rejection {
        let field = place::pointer(input, start, self.at);
        let at = self.at.saturating_sub(start);
        let message = format!("{}: byte {at} of the record", self.reason.words());
        Rejection::new(index, self.reason, field, message)
    }
}

/// What of a batch was refused.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Rejections {
    /// How many records.
    pub total: u64,
    /// The first of them, at most [`TOLD_MAX`].
    pub records: Vec<Rejection>,
}

impl Rejections {
    /// Counts one more, and keeps it if it is among the first. It is only made then.
    pub fn push(&mut self, make: impl FnOnce() -> Rejection) {
        self.total += 1;
        if self.records.len() < TOLD_MAX {
            self.records.push(make());
        }
    }

    /// Whether nothing was refused.
    pub fn is_empty(&self) -> bool {
        self.total == 0
    }
}

/// Shortens a text at a boundary of characters.
fn cut(mut text: String, max: usize) -> String {
    if text.len() > max {
        let end = text.floor_char_boundary(max - '…'.len_utf8());
        text.truncate(end);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{FIELD_MAX, Reason, Rejection, Rejections, TOLD_MAX};

    #[test]
    fn texts_and_lists_are_bounded() {
        let long = "é".repeat(FIELD_MAX);
        let made = Rejection::new(0, Reason::Syntax, long, String::new());
        assert!(made.field.len() <= FIELD_MAX && made.field.ends_with('…'));
        let mut many = Rejections::default();
        for _ in 0..TOLD_MAX + 5 {
            many.push(|| made.clone());
        }
        assert_eq!((many.total, many.records.len()), (105, TOLD_MAX));
    }

    #[test]
    fn reasons_keep_their_words() {
        let text = serde_json::to_string(&Reason::NotUtf8).unwrap();
        assert_eq!(text, "\"NOT_UTF8\"");
        let newer: Reason = serde_json::from_str("\"NOT_INVENTED_YET\"").unwrap();
        assert_eq!(newer, Reason::Other);
    }
}
