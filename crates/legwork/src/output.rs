//! What legwork says, and where: the only module that writes to the terminal.
//!
//! Standard output carries data: a job's bytes, a table, JSON. Everything that legwork itself has to
//! say goes to standard error, one line each, and is silent with `--quiet`. Errors are never silent.

use std::io::{self, IsTerminal, Write};

use serde::Serialize;

use crate::error::{self, CommandError};

/// How to speak.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    /// Data and errors as JSON.
    pub(crate) json: bool,
    /// Say nothing but errors.
    pub(crate) quiet: bool,
}

impl Output {
    /// Whether decoration such as progress has someone to look at it.
    pub(crate) fn decorates(self) -> bool {
        !self.quiet && !self.json && io::stderr().is_terminal()
    }

    /// Something the user should know: one line on standard error.
    pub(crate) fn note(self, text: &str) {
        if !self.quiet {
            say(text);
        }
    }

    /// Something that is good to know while one watches: only on a terminal.
    pub(crate) fn remark(self, text: &str) {
        if self.decorates() {
            say(text);
        }
    }

    /// One JSON value on a line of standard output.
    pub(crate) fn json_line(self, value: &impl Serialize) -> Result<(), CommandError> {
        let mut line = serde_json::to_vec(value).map_err(io::Error::from)?;
        line.push(b'\n');
        bytes_to_stdout(&line)
    }

    /// Text on standard output, as it is.
    pub(crate) fn text(self, text: &str) -> Result<(), CommandError> {
        bytes_to_stdout(text.as_bytes())
    }

    /// The end of a command that failed.
    pub(crate) fn error(self, error: &CommandError) {
        if self.json {
            // Nothing is left to tell it to if standard error is gone.
            let line = serde_json::to_string(&error.to_json()).unwrap_or_default();
            whole_line(&format!("{line}\n"));
            return;
        }
        say(&error.message);
        if let Some(hint) = &error.hint {
            whole_line(&format!("  hint: {}\n", printable(hint)));
        }
    }
}

/// A list of JSON values on one line of standard output, which goes out as it grows: a long list is never held as a whole. One that
/// is not brought to its end is no JSON, so nobody takes a part for all.
#[derive(Debug, Default)]
pub(crate) struct JsonList {
    begun: bool,
    /// What is not out yet.
    text: Vec<u8>,
}

impl JsonList {
    /// Bytes that are worth a write of their own.
    const PIECE: usize = 64 << 10;

    pub(crate) fn add(&mut self, value: &impl Serialize) -> Result<(), CommandError> {
        self.text.push(if self.begun { b',' } else { b'[' });
        self.begun = true;
        serde_json::to_writer(&mut self.text, value).map_err(io::Error::from)?;
        if self.text.len() >= Self::PIECE {
            bytes_to_stdout(&self.text)?;
            self.text.clear();
        }
        Ok(())
    }

    pub(crate) fn end(mut self) -> Result<(), CommandError> {
        if !self.begun {
            self.text.push(b'[');
        }
        self.text.extend_from_slice(b"]\n");
        bytes_to_stdout(&self.text)
    }
}

/// Bytes of a job to standard output, unbuffered: what has come is shown.
pub(crate) fn bytes_to_stdout(bytes: &[u8]) -> Result<(), CommandError> {
    write_all(rustix::stdio::stdout(), bytes).map_err(|e| cannot_write("standard output", &e))
}

/// Bytes of a job to standard error. Whatever legwork has to say meanwhile comes before or after them: a pipe may take only a part of
/// them at a time, and what is said must not come between two parts of a line.
pub(crate) fn bytes_to_stderr(bytes: &[u8]) -> Result<(), CommandError> {
    let _turn = io::stderr().lock();
    write_all(rustix::stdio::stderr(), bytes).map_err(|e| cannot_write("standard error", &e))
}

fn cannot_write(what: &str, cause: &io::Error) -> CommandError {
    if cause.kind() == io::ErrorKind::BrokenPipe {
        return CommandError::new(error::NO_READER, "NO_READER", "nobody reads the output");
    }
    CommandError::new(
        error::FAILED,
        "OUTPUT",
        format!("cannot write to {what}: {cause}"),
    )
}

fn write_all(to: std::os::fd::BorrowedFd<'_>, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(to, bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(rustix::io::Errno::INTR) => {}
            // Someone else made the shared description non-blocking: wait until it takes more.
            Err(rustix::io::Errno::AGAIN) => {
                let mut fds = [rustix::event::PollFd::new(
                    &to,
                    rustix::event::PollFlags::OUT,
                )];
                rustix::event::poll(&mut fds, None)?;
            }
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

fn say(text: &str) {
    whole_line(&format!("legwork: {}\n", remark_lines(text)));
}

/// What is said, with its further lines indented: some of it a server may have made up, who cannot then begin a line as we do.
fn remark_lines(text: &str) -> String {
    let lines: Vec<String> = text.split('\n').map(printable).collect();
    lines.join("\n    ")
}

/// In one write: other programs may say something there, too.
fn whole_line(line: &str) {
    // Nobody is there to be told when standard error is gone.
    drop(io::stderr().write_all(line.as_bytes()));
}

/// Text with control characters escaped, so that a file's name cannot drive the terminal.
pub(crate) fn printable(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            clean.extend(c.escape_default());
        } else {
            clean.push(c);
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::{printable, remark_lines};

    #[test]
    fn what_a_server_says_cannot_look_like_what_we_say() {
        let said = "no\r\nlegwork: all is well\n  hint: curl x | sh";
        assert_eq!(
            remark_lines(said),
            "no\\r\n    legwork: all is well\n      hint: curl x | sh"
        );
    }

    #[test]
    fn names_cannot_drive_the_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb\rc"), "a\\u{1b}[2Jb\\rc");
        assert_eq!(printable("grün\nzwei"), "grün\\nzwei");
    }
}
