//! Lines that were found, on their way to the terminal.
//!
//! What is shown need not be adjacent in the output. A line without a newline gets one, as from grep(1), unless what is shown next goes on
//! with it: the next piece of a line that is too long to be searched at once.

use legwork_client::{Found, FoundLine, LogStream};
use serde_json::{Value, json};

use super::json::Text;
use super::logs::time;
use crate::printer::Target;

/// Makes text of found lines.
#[derive(Debug, Default)]
pub(crate) struct FoundText {
    one_target: bool,
    timestamps: bool,
    /// The line shown last, if no newline ended it.
    open: Option<FoundLine>,
}

impl FoundText {
    /// Whether both streams go to standard output.
    pub(crate) fn with_one_target(self, one_target: bool) -> Self {
        Self { one_target, ..self }
    }

    /// Whether to put the time before each line.
    pub(crate) fn with_times(self, timestamps: bool) -> Self {
        Self { timestamps, ..self }
    }

    /// The text, in pieces for one target each.
    pub(crate) fn of(&mut self, found: &Found) -> Vec<(Target, Vec<u8>)> {
        let mut pieces = Vec::new();
        for (line, data) in lines(found) {
            let goes_on = self.open.is_some_and(|open| follows(open, *line));
            if !goes_on && let Some((target, end)) = self.rest() {
                text_for(&mut pieces, target).extend(end);
            }
            let text = text_for(&mut pieces, self.target(line.stream));
            if self.timestamps && !goes_on {
                text.extend_from_slice(time(line.time_us).as_bytes());
                text.push(b' ');
            }
            text.extend_from_slice(data);
            self.open = (!data.ends_with(b"\n")).then_some(*line);
        }
        pieces
    }

    /// What ends the line shown last, if nothing has.
    pub(crate) fn rest(&mut self) -> Option<(Target, Vec<u8>)> {
        let open = self.open.take()?;
        Some((self.target(open.stream), vec![b'\n']))
    }

    fn target(&self, stream: LogStream) -> Target {
        if stream == LogStream::Stderr && !self.one_target {
            Target::Stderr
        } else {
            Target::Stdout
        }
    }
}

/// The end of what goes there, if that was the last target, else a new piece.
fn text_for(pieces: &mut Vec<(Target, Vec<u8>)>, target: Target) -> &mut Vec<u8> {
    if pieces.last().is_none_or(|(last, _)| *last != target) {
        pieces.push((target, Vec::new()));
    }
    let last = pieces.len() - 1;
    &mut pieces[last].1
}

fn follows(open: FoundLine, line: FoundLine) -> bool {
    open.stream == line.stream && open.offset + open.length as u64 == line.offset
}

/// Each line with its bytes. Lengths come from the peer: they never lead beyond the data.
fn lines(found: &Found) -> impl Iterator<Item = (&FoundLine, &[u8])> {
    let mut data = &found.data[..];
    found.lines.iter().map(move |line| {
        let (bytes, rest) = data.split_at(line.length.min(data.len()));
        data = rest;
        (line, bytes)
    })
}

/// A value for each line.
pub(super) fn values(found: &Found) -> impl Iterator<Item = Value> {
    lines(found).map(|(line, data)| output(line.offset, line.stream, line.time_us, data))
}

/// A piece of output as a value.
pub(super) fn output(offset: u64, stream: LogStream, time_us: u64, data: &[u8]) -> Value {
    let name = if stream == LogStream::Stderr {
        "stderr"
    } else {
        "stdout"
    };
    json!({
        "event": "output",
        "offset": offset,
        "stream": name,
        "timeUs": time_us,
        "data": Text::new(data),
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use legwork_client::{Found, FoundLine, LogStream};

    use super::{FoundText, Target};

    fn found(lines: &[(u64, &'static str, LogStream)]) -> Found {
        let line = |(offset, text, stream): &(u64, &str, LogStream)| FoundLine {
            offset: *offset,
            length: text.len(),
            stream: *stream,
            time_us: 0,
        };
        Found {
            data: lines
                .iter()
                .map(|(_, text, _)| *text)
                .collect::<String>()
                .into(),
            lines: lines.iter().map(line).collect(),
        }
    }

    #[test]
    fn each_line_has_its_own_and_pieces_of_one_stay_together() {
        use LogStream::{Stderr, Stdout};
        let mut text = FoundText::default();
        let first = found(&[
            (0, "a\n", Stdout),
            (9, "b", Stdout),
            (10, "c", Stdout),
            (12, "E", Stderr),
        ]);
        let stdout = (Target::Stdout, b"a\nbc\n".to_vec());
        assert_eq!(text.of(&first), [stdout, (Target::Stderr, b"E".to_vec())]);
        let rest = text.of(&found(&[(13, "F\n", Stderr), (20, "g", Stdout)]));
        assert_eq!(
            rest,
            [
                (Target::Stderr, b"F\n".to_vec()),
                (Target::Stdout, b"g".to_vec())
            ]
        );
        assert_eq!(text.rest(), Some((Target::Stdout, b"\n".to_vec())));
        assert_eq!(text.rest(), None);

        let mut one = FoundText::default().with_one_target(true).with_times(true);
        let t = "1970-01-01T00:00:00.000000Z";
        assert_eq!(
            one.of(&first),
            [(Target::Stdout, format!("{t} a\n{t} bc\n{t} E").into_bytes())]
        );
    }

    #[test]
    fn lengths_that_are_wrong_do_no_harm() {
        let mut wrong = found(&[(0, "a\n", LogStream::Stdout)]);
        wrong.lines[0].length = 99;
        wrong.lines.push(wrong.lines[0]);
        wrong.data = Bytes::from_static(b"a\n");
        let told = FoundText::default().of(&wrong);
        assert_eq!(told, [(Target::Stdout, b"a\n".to_vec())]);
    }
}
