//! Output events on their way to the terminal.

use bytes::Bytes;
use legwork_client::{Chunk, LogEvent, LogStream};
use serde_json::Value;

use super::log_json::LogValues;
use crate::error::CommandError;
use crate::output::Output;
use crate::printer::{Printer, Target};

/// Shows a job's output, event by event.
#[derive(Debug)]
pub(crate) struct Viewer<'a> {
    out: Output,
    printer: &'a Printer,
    values: LogValues,
}

impl<'a> Viewer<'a> {
    /// One that has seen nothing.
    pub(crate) fn new(out: Output, printer: &'a Printer) -> Self {
        Self {
            out,
            printer,
            values: LogValues::default(),
        }
    }

    /// Prints one event. `false` when nobody reads any more.
    pub(crate) async fn show(&mut self, event: LogEvent) -> Result<bool, CommandError> {
        if self.out.json {
            let values = self.values.of(&event);
            return self.print(values).await;
        }
        match event {
            LogEvent::Chunk(chunk) => Ok(self.printer.print_chunk(chunk).await),
            // Only `logs` asks for lines, and shows them itself.
            LogEvent::Found(found) => Ok(self.printer.print(Target::Stdout, found.data).await),
            LogEvent::Gap { length, .. } => {
                self.out.note(&gap(length));
                Ok(true)
            }
            LogEvent::End { .. } => Ok(true),
        }
    }

    /// Prints what is held back, when the end is told otherwise than by its event. `false` when nobody reads any more.
    pub(crate) async fn finish(mut self) -> Result<bool, CommandError> {
        let rest = self.values.rest();
        self.print(rest.into_iter().collect()).await
    }

    async fn print(&self, values: Vec<Value>) -> Result<bool, CommandError> {
        if values.is_empty() {
            return Ok(true);
        }
        let mut text = Vec::new();
        for value in values {
            serde_json::to_writer(&mut text, &value).map_err(std::io::Error::from)?;
            text.push(b'\n');
        }
        Ok(self.printer.print(Target::Stdout, Bytes::from(text)).await)
    }
}

/// What to say where output is missing.
pub(crate) fn gap(length: u64) -> String {
    format!("{} of output were not kept here", super::bytes(length))
}

/// Puts the time before each line.
#[derive(Debug, Default)]
pub(crate) struct Stamper {
    /// Streams that are in the middle of a line.
    inside: Vec<LogStream>,
}

impl Stamper {
    /// The chunk's text with times, one piece for each part of one origin.
    pub(crate) fn stamp(&mut self, chunk: Chunk) -> Vec<(LogStream, Vec<u8>)> {
        let mut data = chunk.data;
        let mut stamped = Vec::new();
        for run in &chunk.runs {
            let piece = data.split_to(run.length.min(data.len()));
            let mut text = Vec::with_capacity(piece.len() + 64);
            for line in piece.split_inclusive(|byte| *byte == b'\n') {
                if !self.inside.contains(&run.stream) {
                    text.extend_from_slice(time(run.time_us).as_bytes());
                    text.push(b' ');
                    self.inside.push(run.stream);
                }
                text.extend_from_slice(line);
                if line.ends_with(b"\n") {
                    self.inside.retain(|stream| *stream != run.stream);
                }
            }
            stamped.push((run.stream, text));
        }
        stamped
    }
}

/// RFC 3339 in UTC, to the microsecond, always of the same width.
pub(super) fn time(us: u64) -> String {
    let stamp = i64::try_from(us)
        .ok()
        .and_then(|us| jiff::Timestamp::from_microsecond(us).ok());
    stamp.map_or_else(|| "?".to_owned(), |stamp| format!("{stamp:.6}"))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use legwork_client::{Chunk, LogStream, Run};

    use super::Stamper;

    #[test]
    fn each_line_gets_one_time_even_in_pieces() {
        let chunk = |data: &'static str, runs: &[(usize, LogStream)]| Chunk {
            offset: 0,
            data: Bytes::from_static(data.as_bytes()),
            runs: runs
                .iter()
                .map(|(length, stream)| Run {
                    length: *length,
                    stream: *stream,
                    time_us: 1_500_000,
                })
                .collect(),
        };
        let mut stamper = Stamper::default();
        let mut text = |chunk| -> Vec<String> {
            let pieces = stamper.stamp(chunk);
            pieces
                .into_iter()
                .map(|(_, text)| String::from_utf8(text).unwrap())
                .collect()
        };
        let t = "1970-01-01T00:00:01.500000Z";
        let first = chunk("a\nbX", &[(3, LogStream::Stdout), (1, LogStream::Stderr)]);
        assert_eq!(text(first), [format!("{t} a\n{t} b"), format!("{t} X")]);
        let second = chunk("b\nc", &[(2, LogStream::Stdout), (1, LogStream::Stderr)]);
        assert_eq!(text(second), ["b\n".to_owned(), "c".to_owned()]);
    }
}
