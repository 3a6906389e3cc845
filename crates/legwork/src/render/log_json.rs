//! Output events as JSON values, one for each part of one origin, or for each line that was searched for.
//!
//! What a job prints is cut where a read of its pipe ended, if need be in the middle of a character. So that text stays text, the
//! beginning of a character at the end of a piece is held back and told with the next piece, if that goes on where this one
//! stopped. If it does not, or nothing more comes, it is told by itself, in base64.

use legwork_client::{Chunk, LogEvent, LogStream};
use serde_json::{Value, json};

/// Longest beginning of a character.
const BEGUN_MAX: usize = 3;

/// Makes values of the events of one reader.
#[derive(Debug, Default)]
pub(crate) struct LogValues {
    /// The beginning of a character.
    held: Option<Piece>,
}

#[derive(Debug)]
struct Piece {
    offset: u64,
    stream: LogStream,
    time_us: u64,
    data: Vec<u8>,
}

impl LogValues {
    /// The values that an event makes known.
    pub(crate) fn of(&mut self, event: &LogEvent) -> Vec<Value> {
        let mut values = Vec::new();
        match event {
            LogEvent::Chunk(chunk) => self.chunk(chunk, &mut values),
            LogEvent::Found(found) => values.extend(super::found::values(found)),
            LogEvent::Gap { offset, length } => {
                values.extend(self.rest());
                values.push(json!({"event": "gap", "offset": offset, "length": length}));
            }
            LogEvent::End { offset, job } => {
                values.extend(self.rest());
                let job = job.as_deref().map(super::json::Job::from);
                values.push(json!({"event": "end", "offset": offset, "job": job}));
            }
        }
        values
    }

    /// What is held back when nothing more comes.
    pub(crate) fn rest(&mut self) -> Option<Value> {
        self.held.take().map(|held| held.value())
    }

    fn chunk(&mut self, chunk: &Chunk, values: &mut Vec<Value>) {
        let (mut data, mut offset) = (chunk.data.clone(), chunk.offset);
        for run in &chunk.runs {
            let piece = Piece {
                offset,
                stream: run.stream,
                time_us: run.time_us,
                data: data.split_to(run.length.min(data.len())).into(),
            };
            offset += piece.data.len() as u64;
            let mut piece = match self.held.take() {
                Some(held) => held.and(piece).unwrap_or_else(|(held, piece)| {
                    values.push(held.value());
                    piece
                }),
                None => piece,
            };
            self.held = piece.cut_begun();
            if !piece.data.is_empty() {
                values.push(piece.value());
            }
        }
    }
}

impl Piece {
    /// Both together, if the second goes on with the character that the first begins.
    fn and(self, next: Self) -> Result<Self, (Self, Self)> {
        let follows =
            self.stream == next.stream && self.offset + self.data.len() as u64 == next.offset;
        let data = [&self.data[..], &next.data].concat();
        let goes_on = match std::str::from_utf8(&data) {
            Ok(_) => true,
            Err(error) => error.valid_up_to() > 0 || error.error_len().is_none(),
        };
        if !(follows && goes_on) {
            return Err((self, next));
        }
        Ok(Self {
            offset: self.offset,
            data,
            ..next
        })
    }

    /// Takes the beginning of a character off the end.
    fn cut_begun(&mut self) -> Option<Self> {
        let begun = |at: &usize| {
            std::str::from_utf8(&self.data[*at..])
                .is_err_and(|error| error.valid_up_to() == 0 && error.error_len().is_none())
        };
        let len = self.data.len();
        let at = (len.saturating_sub(BEGUN_MAX)..len).find(begun)?;
        Some(Self {
            offset: self.offset + at as u64,
            data: self.data.split_off(at),
            ..*self
        })
    }

    fn value(&self) -> Value {
        super::found::output(self.offset, self.stream, self.time_us, &self.data)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use legwork_client::{Chunk, LogEvent, LogStream, Run};
    use serde_json::{Value, json};

    use super::LogValues;

    const OUT: LogStream = LogStream::Stdout;
    const ERR: LogStream = LogStream::Stderr;

    /// Offsets and data of what is told of these pieces, each an event of its own.
    fn told(pieces: &[(LogStream, &[u8])]) -> Vec<(u64, Value)> {
        let (mut values, mut offset) = (LogValues::default(), 0);
        let mut told = Vec::new();
        for (stream, data) in pieces {
            let run = Run {
                length: data.len(),
                stream: *stream,
                time_us: 1,
            };
            told.extend(values.of(&LogEvent::Chunk(Chunk {
                offset,
                data: Bytes::copy_from_slice(data),
                runs: vec![run],
            })));
            offset += data.len() as u64;
        }
        told.extend(values.rest());
        let part = |value: Value| (value["offset"].as_u64().unwrap(), value["data"].clone());
        told.into_iter().map(part).collect()
    }

    #[test]
    fn a_character_that_is_cut_anywhere_stays_text() {
        for text in ["aäb", "€€", "x🦀", "🦀ä€"] {
            for cut in 0..=text.len() {
                let (one, two) = text.as_bytes().split_at(cut);
                let told = told(&[(OUT, one), (OUT, two)]);
                let whole: String = told
                    .iter()
                    .map(|(_, data)| data.as_str().unwrap())
                    .collect();
                assert_eq!(whole, text, "{cut}");
                let mut at = 0;
                for (offset, data) in told {
                    assert_eq!(offset, at);
                    at += data.as_str().unwrap().len() as u64;
                }
            }
            let single: Vec<_> = text.as_bytes().chunks(1).map(|byte| (OUT, byte)).collect();
            assert_eq!(told(&single).len(), text.chars().count());
        }
    }

    #[test]
    fn what_does_not_become_a_character_is_told_by_itself() {
        let base64 = |text: &str| json!({"base64": text});
        // Something else follows, another stream does, or nothing.
        assert_eq!(
            told(&[(OUT, b"a\xe2\x82"), (OUT, b"b")]),
            [(0, json!("a")), (1, base64("4oI=")), (3, json!("b"))]
        );
        assert_eq!(
            told(&[(OUT, b"\xc3"), (ERR, b"\xa4"), (OUT, b"c")]),
            [(0, base64("ww==")), (1, base64("pA==")), (2, json!("c"))]
        );
        assert_eq!(
            told(&[(OUT, b"d\xf0\x9f")]),
            [(0, json!("d")), (1, base64("8J8="))]
        );
        // Bytes that are no text do not become it.
        assert_eq!(
            told(&[(OUT, b"\xff\xfe"), (OUT, b"\xffe")]),
            [(0, base64("//4=")), (2, base64("/2U="))]
        );
    }
}
