//! A reader: past, then live, then the end.
//!
//! What is there is read without asking anybody. Where nothing is, the reader asks whether the job has ended, and only once it has seen
//! that does it take *nothing there* for an answer: the exit record is written after the last byte. In between it waits for news,
//! having taken note of the news so far *before* it looked, so that nothing falls between looking and waiting.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use legwork_shim::index::Stream;
use tokio::sync::Semaphore;

use super::origins::Origins;
use super::pattern::Pattern;
use super::search::Search;
use super::sieve::Undecided;
use super::tail::start_of_tail;
use super::tape::{Found, Tape};
use super::{CHUNK_MAX, Chunk, Lines, OutputEvent, Position, Read, Run, Streams};
use crate::error::JobError;
use crate::id::JobId;
use crate::inner::{self, Inner};
use crate::job::Job;
use crate::tasks;
use crate::watch::Watch;

/// The output of one job, for one reader.
#[derive(Debug)]
pub struct Output {
    inner: Arc<Inner>,
    id: JobId,
    tape: Tape,
    origins: Origins,
    streams: Streams,
    /// Where a reader that does not follow asks whether the job has ended.
    until: Option<u64>,
    /// Offset of the next byte to read.
    offset: u64,
    /// Cut from what was read, not told yet.
    ready: VecDeque<OutputEvent>,
    /// Set when the reader first had to wait.
    watch: Option<Watch>,
    /// The shape of the directory in which segments were last looked for.
    listed: Option<u64>,
    /// All that was there has been read, and of what comes the watch tells.
    dry: bool,
    /// Set once the job was seen to have ended.
    ended: Option<Box<Job>>,
    done: bool,
}

impl Output {
    pub(crate) async fn open(inner: Arc<Inner>, id: JobId, read: Read) -> Result<Self, JobError> {
        let dir = inner.dir(id);
        let mut tape = Tape::new(&dir.path);
        let mut origins = Origins::new(&dir.path);
        let found = match read.from {
            Position::Start => Ok(0),
            Position::Offset(offset) => Ok(offset),
            Position::End => tape.end(),
            Position::TailLines(lines) => {
                let path = dir.path.clone();
                tasks::blocking(move || start_of_tail(&path, lines, read.streams))
                    .await
                    .ok_or(JobError::Closed)?
            }
        };
        let begun = found.and_then(|offset| origins.seek(offset).map(|()| offset));
        let offset = begun.or_else(|source| match source.kind() {
            // Lost with its directory, and its output with it.
            io::ErrorKind::NotFound => Ok(0),
            _ => Err(JobError::File {
                path: dir.path,
                source,
            }),
        })?;
        let until = if read.follow {
            None
        } else {
            Some(tape.end().unwrap_or(0))
        };
        Ok(Self {
            inner,
            id,
            tape,
            origins,
            streams: read.streams,
            until,
            offset,
            ready: VecDeque::new(),
            watch: None,
            listed: None,
            dry: false,
            ended: None,
            done: false,
        })
    }

    /// The next event; `None` after [`OutputEvent::End`] or an error. Cancel safe.
    pub async fn next(&mut self) -> Option<Result<OutputEvent, JobError>> {
        // Reading what is there never waits: others must have their turn.
        tokio::task::coop::consume_budget().await;
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(Ok(event));
            }
            if self.done {
                return None;
            }
            if let Err(error) = self.advance().await {
                self.done = true;
                return Some(Err(error));
            }
        }
    }

    /// The same output cut into lines.
    #[must_use]
    pub fn lines(self) -> Lines {
        Lines::new(self)
    }

    /// The lines that match, and only those. `from` is what an earlier search of this output told last, to go on with it, and
    /// otherwise [`Undecided::default`].
    #[must_use]
    pub fn search(self, pattern: Pattern, from: Undecided) -> Search {
        Search::new(self, pattern, from)
    }

    /// Offset of the next byte to read.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Gives both streams from now on; those that were wanted.
    pub(super) fn read_both(&mut self) -> Streams {
        std::mem::take(&mut self.streams)
    }

    /// The places for searches in this process.
    pub(super) fn searches(&self) -> Arc<Semaphore> {
        self.inner.searches.clone()
    }

    /// The next event, if it can be told without waiting and by a look at the open segment alone.
    pub(super) fn at_once(&mut self) -> Result<Option<OutputEvent>, JobError> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(Some(event));
            }
            if self.done || self.dry || self.has_enough() || !self.read(false)? {
                return Ok(None);
            }
        }
    }

    /// A reader that does not follow has read what was there when it came.
    fn has_enough(&self) -> bool {
        self.ended.is_none() && self.until.is_some_and(|until| self.offset >= until)
    }

    /// One step: reads what is there, or finds the end, or waits.
    async fn advance(&mut self) -> Result<(), JobError> {
        if std::mem::take(&mut self.dry)
            && let Some(watch) = &mut self.watch
        {
            watch.changed().await;
        }
        let shape = self.watch.as_mut().map(Watch::look);
        let list = shape.is_none() || shape != self.listed;
        if !self.has_enough() && self.read(list)? {
            let told = |watch: &Watch| watch.attends_to(self.tape.number());
            self.dry =
                !list && self.tape.is_read_to(self.offset) && self.watch.as_ref().is_some_and(told);
            return Ok(());
        }
        if self.ended.is_some() {
            self.end();
            return Ok(());
        }
        if list {
            let job = inner::refresh(&self.inner, self.inner.entry(self.id)?).await?;
            if job.state.is_over() {
                // Whatever came until now is read before the end is told.
                self.ended = Some(Box::new(job));
                self.watch = None;
                return Ok(());
            }
            if self.until.is_some() {
                self.end();
                return Ok(());
            }
            self.listed = shape;
        }
        let Some(watch) = &mut self.watch else {
            self.watch = Some(self.inner.watch(self.id));
            return Ok(());
        };
        let number = self.tape.number();
        let path = self.tape.segment_read();
        let unread = path.is_some_and(|path| watch.attend(number, &path));
        if !unread {
            watch.changed().await;
        }
        Ok(())
    }

    /// Reads what is at the offset; `false` when nothing is.
    fn read(&mut self, list: bool) -> Result<bool, JobError> {
        match self.tape.read(self.offset, CHUNK_MAX, list) {
            Ok(Found::Data(data)) => self.take(data)?,
            Ok(Found::Gap(len)) => self.gap(len),
            Ok(Found::Nothing) => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(source) => return Err(self.file_error(source)),
        }
        Ok(true)
    }

    fn end(&mut self) {
        let job = self.ended.take();
        let end = job
            .as_ref()
            .and_then(|job| job.state.finished()?.output_end);
        if let Some(missing) = end.and_then(|end| end.checked_sub(self.offset)) {
            self.gap(missing);
        }
        let offset = end.unwrap_or(self.offset);
        self.ready.push_back(OutputEvent::End { offset, job });
        self.done = true;
    }

    fn gap(&mut self, len: u64) {
        if len > 0 {
            let offset = self.offset;
            self.ready.push_back(OutputEvent::Gap { offset, len });
            self.offset += len;
        }
    }

    fn take(&mut self, data: Vec<u8>) -> Result<(), JobError> {
        let runs = self
            .origins
            .runs(self.offset, data.len())
            .map_err(|source| self.file_error(source))?;
        if let Some(watch) = &mut self.watch {
            watch.found();
        }
        let len = data.len() as u64;
        let dropped = runs.iter().any(|run| run.stream == Stream::Dropped);
        if self.streams == Streams::Raw && !dropped {
            self.ready.push_back(OutputEvent::Chunk(Chunk {
                offset: self.offset,
                data: data.into(),
                runs,
            }));
        } else {
            self.ready
                .extend(filtered(self.offset, &data.into(), &runs, self.streams));
        }
        self.offset += len;
        Ok(())
    }

    fn file_error(&self, source: io::Error) -> JobError {
        JobError::File {
            path: self.inner.dir(self.id).path,
            source,
        }
    }
}

/// The chunks of the wanted streams, each as long as its bytes are contiguous, and the holes.
fn filtered(offset: u64, data: &Bytes, runs: &[Run], streams: Streams) -> Vec<OutputEvent> {
    let mut events = Vec::new();
    let mut at = 0;
    for group in runs.chunk_by(|a, b| kind(a, streams) == kind(b, streams)) {
        let len = group.iter().map(|run| run.len).sum::<usize>();
        let offset = offset + at as u64;
        match kind(&group[0], streams) {
            Kind::Hole => events.push(OutputEvent::Gap {
                offset,
                len: len as u64,
            }),
            Kind::Wanted => events.push(OutputEvent::Chunk(Chunk {
                offset,
                data: data.slice(at..at + len),
                runs: group.to_vec(),
            })),
            Kind::Other => {}
        }
        at += len;
    }
    events
}

#[derive(PartialEq, Eq)]
enum Kind {
    Wanted,
    Other,
    Hole,
}

fn kind(run: &Run, streams: Streams) -> Kind {
    match run.stream {
        Stream::Dropped => Kind::Hole,
        stream if streams.take(stream) => Kind::Wanted,
        Stream::Stdout | Stream::Stderr => Kind::Other,
    }
}
