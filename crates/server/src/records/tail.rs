//! A call that reads: steps on threads for such work, and waits in between.
//!
//! Pulled, not pushed: the next piece is read when the connection has room for it, so a reader who does not read costs a buffer and
//! nothing else. What a step reads is bounded, and so is how many are read at a time over all calls.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{Stream as Answers, unfold};
use legwork_proto::v1 as wire;
use legwork_records::query::{Cursor, From, Reader};
use legwork_records::{Clock, SystemClock, Timestamp, Watch};
use tokio::sync::Notify;
use tonic::Status;
use wire::tail_response::Event;

use super::reading::{self, Piece, Wanted};
use super::stream::{Reading, Stream};
use crate::problem::Problem;
use crate::server::Shared;
use crate::workspaces::blocking;

/// Silence after which a follower is told that there is nothing to say.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// How often a process that does not keep logs open looks for news.
const LOOK: Duration = Duration::from_millis(200);

/// A call under way.
pub(super) struct Tail {
    shared: Arc<Shared>,
    name: String,
    wanted: Wanted,
    follow: bool,
    /// What was there when the call was made ends before this number.
    upto: u64,
    caught_up: bool,
    cursor: Cursor,
    open: Option<Open>,
    /// Lines that are missing and have not been told.
    missing: Option<wire::MissingLines>,
    over: bool,
}

/// The log, as long as it is held.
struct Open {
    reading: Reading,
    reader: Reader,
    news: Arc<Notify>,
    _watch: Watch,
}

impl Open {
    fn new(stream: &Arc<Stream>, reader: Reader) -> Self {
        let news = Arc::new(Notify::new());
        let tell = Arc::clone(&news);
        Self {
            reading: stream.reading(reader.cursor().next),
            reader,
            _watch: stream.log().watch(move || tell.notify_one()),
            news,
        }
    }
}

impl Tail {
    pub(super) async fn open(
        shared: Arc<Shared>,
        stream: &Arc<Stream>,
        wanted: Wanted,
        from: Option<wire::tail_request::From>,
        follow: bool,
    ) -> Result<Self, Problem> {
        use wire::tail_request::From::{Last, ResumeToken, Seq};
        // Watched before anything is looked up: what comes in between is news.
        let upto = stream.log().next_seq();
        let from = match from {
            None => From::Start,
            Some(Seq(seq)) => From::Seq(seq),
            Some(ResumeToken(token)) => From::Cursor(reading::resumed(stream, &token)?),
            Some(Last(0)) => From::Seq(upto),
            Some(Last(count)) => {
                let _turn = shared.records.turn().await?;
                let (stream, wanted) = (Arc::clone(stream), wanted.clone());
                blocking(move || reading::start_of_last(&stream, &wanted, count)).await??
            }
        };
        let reader = wanted.reader(stream, from);
        Ok(Self {
            name: stream.name.clone(),
            cursor: reader.cursor(),
            open: Some(Open::new(stream, reader)),
            shared,
            wanted,
            follow,
            upto,
            caught_up: false,
            missing: None,
            over: false,
        })
    }

    /// The messages of the call.
    pub(super) fn answers(self) -> impl Answers<Item = Result<wire::TailResponse, Status>> + Send {
        unfold(self, |mut tail| async move {
            let next = tail.next().await.transpose()?;
            tail.over |= next.is_err();
            Some((next.map_err(Status::from), tail))
        })
    }

    async fn next(&mut self) -> Result<Option<wire::TailResponse>, Problem> {
        if self.over {
            return Ok(None);
        }
        if let Some(missing) = self.missing.take() {
            return Ok(Some(self.say(Event::Missing(missing))));
        }
        let silence = tokio::time::Instant::now() + HEARTBEAT;
        loop {
            if self.follow && !self.caught_up && self.cursor.next >= self.upto {
                self.caught_up = true;
                return Ok(Some(self.say(Event::CaughtUp(wire::CaughtUp {}))));
            }
            let passed = self.wanted.until.is_some_and(|until| now() >= until);
            let piece = self.step().await?;
            let at_end = piece.at_end;
            if let Some(event) = self.take(piece) {
                return Ok(Some(self.say(event)));
            }
            if at_end && (!self.follow || passed) {
                self.over = true;
                return Ok(Some(self.say(Event::End(wire::TailEnd {}))));
            }
            if at_end {
                // What is left of it, nobody wants.
                self.upto = self.upto.min(self.cursor.next);
                if !self.caught_up {
                    continue;
                }
                self.wait(silence).await;
            }
            if tokio::time::Instant::now() >= silence {
                return Ok(Some(self.say(Event::Heartbeat(wire::Heartbeat {}))));
            }
        }
    }

    fn take(&mut self, piece: Piece) -> Option<Event> {
        if piece.count == 0 {
            return piece.missing.map(Event::Missing);
        }
        self.missing = piece.missing;
        Some(Event::Lines(wire::Lines {
            text: Bytes::from(piece.text),
            count: piece.count,
            first: piece.first,
            last: piece.last,
        }))
    }

    fn say(&self, event: Event) -> wire::TailResponse {
        // What is missing behind lines is told by the next message, which a resumed call would not send: it begins before that.
        let at = match (&event, &self.missing) {
            (Event::Lines(_), Some(missing)) => Cursor {
                next: missing.first,
                ..self.cursor
            },
            _ => self.cursor,
        };
        wire::TailResponse {
            resume_token: at.to_string(),
            event: Some(event),
        }
    }

    /// Reads on.
    async fn step(&mut self) -> Result<Piece, Problem> {
        let turn = self.shared.records.turn().await?;
        let Open {
            reading,
            mut reader,
            news,
            _watch,
        } = match self.open.take() {
            Some(open) => open,
            None => {
                let (shared, name) = (Arc::clone(&self.shared), self.name.clone());
                open_again(shared, name, self.cursor, self.wanted.clone()).await?
            }
        };
        let wanted = self.wanted.clone();
        let upto = if self.follow { u64::MAX } else { self.upto };
        let (reader, piece) = blocking(move || {
            let piece = reading::step(&mut reader, &wanted, upto);
            (reader, piece)
        })
        .await?;
        drop(turn);
        self.cursor = reader.cursor();
        reading.at(self.cursor.next);
        self.open = Some(Open {
            reading,
            reader,
            news,
            _watch,
        });
        piece
    }

    /// Until there may be news, or there was silence for long enough.
    async fn wait(&mut self, silence: tokio::time::Instant) {
        let until = self.wanted.until.map(|until| {
            let left = until.since(now()) + Duration::from_millis(1);
            tokio::time::Instant::now() + left
        });
        let deadline = until.map_or(silence, |until| until.min(silence));
        let streams = &self.shared.records.streams;
        if let Some(open) = self.open.as_ref().filter(|_| streams.is_resident()) {
            drop(tokio::time::timeout_at(deadline, open.news.notified()).await);
            return;
        }
        // Others write while we wait: the log is theirs until there is something in it.
        let dir = streams.log_dir(&self.name);
        let look = move || newest(&dir);
        let was = blocking(look.clone()).await.ok();
        self.open = None;
        loop {
            let pause = tokio::time::Instant::now() + LOOK;
            tokio::time::sleep_until(pause.min(deadline)).await;
            let is = blocking(look.clone()).await.ok();
            if is != was || tokio::time::Instant::now() >= deadline {
                return;
            }
        }
    }
}

/// The log, after others had it.
async fn open_again(
    shared: Arc<Shared>,
    name: String,
    cursor: Cursor,
    wanted: Wanted,
) -> Result<Open, Problem> {
    let stream = shared.records.streams.existing(&name).await?;
    let cursor = reading::resumed(&stream, &cursor.to_string())?;
    let reader = wanted.reader(&stream, From::Cursor(cursor));
    Ok(Open::new(&stream, reader))
}

/// The newest segment and its length: they change with every line.
fn newest(dir: &std::path::Path) -> Option<(std::ffi::OsString, u64)> {
    let entries = std::fs::read_dir(dir).ok()?.flatten();
    let segments = entries.filter(|entry| {
        let name = entry.file_name();
        std::path::Path::new(&name).extension() == Some("jsonl".as_ref())
    });
    let newest = segments.max_by_key(std::fs::DirEntry::file_name)?;
    let length = newest.metadata().ok()?.len();
    Some((newest.file_name(), length))
}

fn now() -> Timestamp {
    SystemClock.now()
}
