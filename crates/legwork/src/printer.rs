//! A job's bytes on their way to the terminal.
//!
//! Writing may block for as long as nobody reads, while Ctrl-C must keep working; so the writes
//! happen on a thread of their own behind a short queue. When the queue is full the follower
//! stops reading, and that is the back-pressure: nothing is dropped and nothing piles up.
//!
//! A piece for which a pipe has room now, with none before it, needs no thread: it is written where it arrives, because
//! waking another thread takes longer than all the rest of a line's way.
//!
//! A terminal is shown what is harmless to it (`escapes`), unless its user wants all.

mod escapes;
mod room;

use std::io::{self, IsTerminal};
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use bytes::Bytes;
use legwork_client::{Chunk, LogStream};
use tokio::sync::{mpsc, oneshot};

use self::escapes::Escapes;
use crate::error::CommandError;
use crate::output;

/// Pieces that may wait to be written; a piece has at most a chunk's 256 KiB.
const QUEUE: usize = 8;

/// Where a piece goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    Stdout,
    Stderr,
}

/// The way to the writing thread, which is made for the first piece: many jobs print nothing.
#[derive(Debug, Default)]
pub(crate) struct Printer {
    writer: OnceLock<Writer>,
    /// Pieces that the thread has not written yet.
    waiting: Arc<AtomicUsize>,
    /// Why a piece could not be written without it.
    failed: OnceLock<CommandError>,
    stdout_is_pipe: OnceLock<bool>,
    stderr_is_pipe: OnceLock<bool>,
    /// Of a terminal that is not shown everything.
    stdout_escapes: Option<Mutex<Escapes>>,
    stderr_escapes: Option<Mutex<Escapes>>,
}

#[derive(Debug)]
struct Writer {
    pieces: mpsc::Sender<(Target, Bytes)>,
    ended: oneshot::Receiver<Result<(), CommandError>>,
}

impl Writer {
    fn start(waiting: Arc<AtomicUsize>) -> io::Result<Self> {
        let (pieces, queue) = mpsc::channel(QUEUE);
        let (end, ended) = oneshot::channel();
        std::thread::Builder::new()
            .name("printer".into())
            .spawn(move || {
                // Nobody listens any more if the command was interrupted.
                drop(end.send(write(queue, &waiting)));
            })?;
        Ok(Self { pieces, ended })
    }
}

fn write(
    mut queue: mpsc::Receiver<(Target, Bytes)>,
    waiting: &AtomicUsize,
) -> Result<(), CommandError> {
    while let Some((target, bytes)) = queue.blocking_recv() {
        target.write(&bytes)?;
        waiting.fetch_sub(1, Ordering::Release);
    }
    Ok(())
}

impl Target {
    fn write(self, bytes: &[u8]) -> Result<(), CommandError> {
        match self {
            Self::Stdout => output::bytes_to_stdout(bytes),
            Self::Stderr => output::bytes_to_stderr(bytes),
        }
    }

    fn fd(self) -> BorrowedFd<'static> {
        match self {
            Self::Stdout => rustix::stdio::stdout(),
            Self::Stderr => rustix::stdio::stderr(),
        }
    }
}

impl Printer {
    /// One that has printed nothing. `raw` shows terminals all there is.
    pub(crate) fn new(raw: bool) -> Self {
        let tames = |is_terminal: bool| (is_terminal && !raw).then(Mutex::default);
        Self {
            stdout_escapes: tames(io::stdout().is_terminal()),
            stderr_escapes: tames(io::stderr().is_terminal()),
            ..Self::default()
        }
    }

    fn escapes(&self, target: Target) -> Option<&Mutex<Escapes>> {
        match target {
            Target::Stdout => self.stdout_escapes.as_ref(),
            Target::Stderr => self.stderr_escapes.as_ref(),
        }
    }

    /// Writes or queues bytes. `false` when nobody reads them any more; [`Printer::finish`] says why.
    pub(crate) async fn print(&self, target: Target, bytes: Bytes) -> bool {
        let Some(escapes) = self.escapes(target) else {
            return self.write(target, bytes).await;
        };
        // The guard is gone before anything is awaited.
        let tame = lock(escapes).tame(bytes);
        self.write(target, tame).await
    }

    async fn write(&self, target: Target, bytes: Bytes) -> bool {
        if self.waiting.load(Ordering::Acquire) == 0 && self.has_room(target, bytes.len()) {
            let written = target.write(&bytes);
            return written
                .map_err(|failed| self.failed.get_or_init(|| failed))
                .is_ok();
        }
        let writer = match self.writer.get() {
            Some(writer) => writer,
            None => match Writer::start(self.waiting.clone()) {
                Ok(writer) => self.writer.get_or_init(|| writer),
                Err(_no_threads) => return false,
            },
        };
        self.waiting.fetch_add(1, Ordering::Relaxed);
        writer.pieces.send((target, bytes)).await.is_ok()
    }

    fn has_room(&self, target: Target, bytes: usize) -> bool {
        let is_pipe = match target {
            Target::Stdout => &self.stdout_is_pipe,
            Target::Stderr => &self.stderr_is_pipe,
        };
        *is_pipe.get_or_init(|| room::is_pipe(target.fd())) && room::is_there(target.fd(), bytes)
    }

    /// Queues a chunk: standard output's bytes and standard error's each to their own.
    pub(crate) async fn print_chunk(&self, chunk: Chunk) -> bool {
        for (stream, piece) in pieces(chunk) {
            let target = if stream == LogStream::Stderr {
                Target::Stderr
            } else {
                Target::Stdout
            };
            if !self.print(target, piece).await {
                return false;
            }
        }
        true
    }

    /// Writes out what is queued and ends the thread.
    pub(crate) async fn finish(self) -> Result<(), CommandError> {
        for target in [Target::Stdout, Target::Stderr] {
            let rest = self.escapes(target).map(|escapes| lock(escapes).rest());
            if let Some(rest) = rest.filter(|rest| !rest.is_empty()) {
                // Who does not read any more is told below.
                let _read = self.write(target, rest).await;
            }
        }
        if let Some(failed) = self.failed.into_inner() {
            return Err(failed);
        }
        let Some(writer) = self.writer.into_inner() else {
            return Ok(());
        };
        drop(writer.pieces);
        writer
            .ended
            .await
            .map_err(|_| io::Error::other("the printer died"))?
    }
}

fn lock(escapes: &Mutex<Escapes>) -> MutexGuard<'_, Escapes> {
    escapes.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A chunk cut where its origin changes.
pub(crate) fn pieces(chunk: Chunk) -> Vec<(LogStream, Bytes)> {
    let mut data = chunk.data;
    let mut pieces: Vec<(LogStream, usize)> = Vec::new();
    for run in &chunk.runs {
        match pieces.last_mut() {
            Some((stream, length)) if *stream == run.stream => *length += run.length,
            _ => pieces.push((run.stream, run.length)),
        }
    }
    // Lengths come from the peer: never cut beyond the data, and lose none of it.
    let mut cut: Vec<_> = pieces
        .into_iter()
        .map(|(stream, length)| (stream, data.split_to(length.min(data.len()))))
        .collect();
    if !data.is_empty() {
        cut.push((LogStream::Stdout, data));
    }
    cut
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use legwork_client::{Chunk, LogStream, Run};

    use super::pieces;

    #[test]
    fn cuts_where_the_origin_changes_and_loses_nothing() {
        let run = |length, stream| Run {
            length,
            stream,
            time_us: 0,
        };
        let chunk = Chunk {
            offset: 0,
            data: Bytes::from_static(b"aabbccd"),
            runs: vec![
                run(1, LogStream::Stdout),
                run(1, LogStream::Stdout),
                run(2, LogStream::Stderr),
                run(2, LogStream::Stdout),
            ],
        };
        let cut: Vec<_> = pieces(chunk)
            .into_iter()
            .map(|(s, b)| (s, b.to_vec()))
            .collect();
        assert_eq!(
            cut,
            [
                (LogStream::Stdout, b"aa".to_vec()),
                (LogStream::Stderr, b"bb".to_vec()),
                (LogStream::Stdout, b"cc".to_vec()),
                (LogStream::Stdout, b"d".to_vec()),
            ]
        );
    }
}
