//! A jq filter that says which lines are wanted: `.data.cpu > 5 and .client == "web-1"`.
//!
//! It runs here and not on the server. The language can loop for ever, call itself to any depth and make lists of any length; nothing can stop it
//! from outside, and what it runs out of ends its whole process. So whoever writes a filter pays for it, and it has a process of its own
//! (`work`): this program once more, with so many seconds for the lines of one message ([`PATIENCE`]) and so much memory. How that ends is told
//! here in words. The server is only asked for what times, clients and numbers tell.

mod work;

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

pub(crate) use self::work::work;
use self::work::{Answer, MEMORY};
use crate::error::{CommandError, FAILED, USAGE};

/// The hidden command that is the other process.
pub(crate) const COMMAND: &str = "__filter";
/// How long a filter may take for the lines of one message.
const PATIENCE: Duration = Duration::from_secs(20);

/// The lines that are wanted.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    /// Whole lines.
    pub(crate) lines: Vec<Bytes>,
    /// Lines on which the filter failed: they are not wanted.
    pub(crate) failed: u64,
    /// Why it failed on the first of them.
    pub(crate) why: Option<String>,
}

/// A filter at work. It ends with this.
#[derive(Debug)]
pub(crate) struct Filter {
    process: Child,
    ask: ChildStdin,
    told: BufReader<ChildStdout>,
    answer: Vec<u8>,
}

impl Filter {
    /// Compiles a filter.
    pub(crate) async fn new(code: &str) -> Result<Self, CommandError> {
        let mut process = Command::new("/proc/self/exe")
            .arg(COMMAND)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // A last word about its stack is nothing for who wrote a filter.
            .stderr(Stdio::null())
            // Ctrl-C is for us to hear: it would look like a filter that failed.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let missing = || io::Error::other("a pipe to the filter was not made");
        let ask = process.stdin.take().ok_or_else(missing)?;
        let told = process.stdout.take().ok_or_else(missing)?;
        let mut filter = Self {
            process,
            ask,
            told: BufReader::new(told),
            answer: Vec::new(),
        };
        let answer = filter.asked(code.as_bytes()).await?;
        match answer.error {
            None => Ok(filter),
            Some(why) => Err(
                CommandError::new(USAGE, "BAD_FILTER", format!("--where: {why}")).hint(
                    "a filter is written as for jq, over a whole line: --where '.data.cpu > 5'",
                ),
            ),
        }
    }

    /// Which lines of a text are wanted.
    pub(crate) async fn keep(&mut self, text: Bytes) -> Result<Kept, CommandError> {
        let answer = self.asked(&text).await?;
        let line = |(from, to): (usize, usize)| {
            let is_there = from <= to && to <= text.len();
            is_there.then(|| text.slice(from..to))
        };
        Ok(Kept {
            lines: answer.kept.into_iter().filter_map(line).collect(),
            failed: answer.failed,
            why: answer.why,
        })
    }

    async fn asked(&mut self, question: &[u8]) -> Result<Answer, CommandError> {
        match tokio::time::timeout(PATIENCE, self.ask(question)).await {
            Err(_elapsed) => {
                let message = format!(
                    "--where: the filter took longer than {} seconds for some lines",
                    PATIENCE.as_secs()
                );
                let error = CommandError::new(FAILED, "FILTER_TOO_SLOW", message);
                Err(error.hint("a filter sees each line by itself, and has to come to an end"))
            }
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => {
                let ended = tokio::time::timeout(PATIENCE, self.process.wait()).await;
                Err(match ended {
                    Ok(Ok(ended)) => died(ended),
                    _ => CommandError::new(FAILED, "FILTER_FAILED", format!("--where: {error}")),
                })
            }
        }
    }

    async fn ask(&mut self, question: &[u8]) -> io::Result<Answer> {
        let length = u32::try_from(question.len()).map_err(io::Error::other)?;
        self.ask.write_all(&length.to_le_bytes()).await?;
        self.ask.write_all(question).await?;
        self.ask.flush().await?;
        self.answer.clear();
        if self.told.read_until(b'\n', &mut self.answer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(serde_json::from_slice(&self.answer)?)
    }
}

/// Why there is no process any more.
fn died(ended: ExitStatus) -> CommandError {
    let message = match ended.signal() {
        // Without memory, and at the end of its stack, it is ended by the runtime, or by the kernel.
        Some(_) => format!(
            "--where: the filter needed more memory than the {} MiB that it may have, or called itself too deeply",
            MEMORY >> 20
        ),
        None => format!("--where: the filter failed ({ended})"),
    };
    CommandError::new(FAILED, "FILTER_FAILED", message)
        .hint("a filter sees each line by itself: it need not hold more than that")
}
