//! Lines of a stream, each once, over as many connections as it takes.

use std::sync::Arc;

use bytes::Bytes;
use legwork_proto::v1 as wire;
use tonic::{Status, Streaming};
use wire::tail_request::From;
use wire::tail_response::Event;

use super::records;
use crate::client::Client;
use crate::contact::Contact;
use crate::error::{CallError, Result};
use crate::live::Live;
use crate::lost::is_lost;

/// Where to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TailFrom {
    /// With the first line that is there.
    #[default]
    Start,
    /// With the line that has this number.
    Seq(u64),
    /// With so many of the lines that are there and wanted, at the end.
    Last(u64),
}

/// What is wanted of a stream. Times are microseconds since the epoch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TailOptions {
    /// The stream.
    pub stream: String,
    /// Where to begin.
    pub from: TailFrom,
    /// Received at this moment or later.
    pub since: Option<u64>,
    /// Received before this moment.
    pub until: Option<u64>,
    /// From one of these senders; from any if there is none.
    pub clients: Vec<String>,
    /// Go on with lines that come.
    pub follow: bool,
    /// Lines that tell what of a batch was refused, too.
    pub rejected: bool,
    /// Only what clients sent, not the lines that have it.
    pub data: bool,
}

/// What comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TailEvent {
    /// Whole lines, each ended by a line feed.
    Lines {
        /// JSON.
        text: Bytes,
        /// How many.
        count: u32,
        /// The number of the first.
        first: u64,
        /// And of the last.
        last: u64,
    },
    /// Lines that nobody can have.
    Missing {
        /// The first number.
        first: u64,
        /// The last one.
        last: u64,
        /// They are damaged; else they are removed by now.
        damaged: bool,
    },
    /// Everything that was there when this began has been told.
    CaughtUp,
}

/// Lines of a stream. Ends when everything was told, or never when it follows.
#[derive(Debug)]
pub struct Tail {
    contact: Arc<Contact>,
    request: wire::TailRequest,
    open: Option<(Live, Streaming<wire::TailResponse>)>,
    caught_up: bool,
    ended: bool,
}

impl Client {
    /// Reads a stream. When the connection breaks, it goes on behind the last line that was given out.
    ///
    /// # Errors
    /// `STREAM_NOT_FOUND`, `BAD_NAME`.
    pub async fn tail(&self, options: &TailOptions) -> Result<Tail> {
        let form = if options.data {
            wire::TailForm::Data
        } else {
            wire::TailForm::Unspecified
        };
        let request = wire::TailRequest {
            stream: options.stream.clone(),
            since: options.since,
            until: options.until,
            clients: options.clients.clone(),
            follow: options.follow,
            rejected: options.rejected,
            form: form.into(),
            from: match options.from {
                TailFrom::Start => None,
                TailFrom::Seq(seq) => Some(From::Seq(seq)),
                TailFrom::Last(count) => Some(From::Last(count)),
            },
        };
        let mut tail = Tail {
            contact: Arc::clone(&self.contact),
            request,
            open: None,
            caught_up: false,
            ended: false,
        };
        tail.open = Some(tail.connect().await?);
        Ok(tail)
    }
}

impl Tail {
    async fn connect(&self) -> Result<(Live, Streaming<wire::TailResponse>)> {
        loop {
            let live = self.contact.live_alone().await?;
            let call = records(live.channel.clone());
            match { call }.tail(self.request.clone()).await {
                Ok(answer) => return Ok((live, answer.into_inner())),
                Err(status) if is_lost(&status) => self.contact.lost(&live, status).await?,
                Err(status) => return Err(status.into()),
            }
        }
    }

    /// What comes next; `None` after the end. Cancel safe.
    ///
    /// # Errors
    /// What the server says, `OTHER_LOG` among it where the log was begun anew meanwhile, and the connection when there will be no other.
    pub async fn next(&mut self) -> Result<Option<TailEvent>> {
        while !self.ended {
            let (live, answers) = match &mut self.open {
                Some(open) => open,
                None => {
                    let opened = self.connect().await?;
                    self.open.insert(opened)
                }
            };
            let lost = match answers.message().await {
                Ok(Some(message)) => {
                    self.contact.progress();
                    match self.take(message)? {
                        Some(event) => return Ok(Some(event)),
                        None => continue,
                    }
                }
                Ok(None) => Status::unavailable("the lines ended without their end"),
                Err(status) if is_lost(&status) => status,
                Err(status) => return Err(status.into()),
            };
            let live = live.clone();
            self.contact.lost(&live, lost).await?;
            self.open = None;
        }
        Ok(None)
    }

    /// Takes note of where to go on. `None` for what tells only that.
    fn take(&mut self, message: wire::TailResponse) -> Result<Option<TailEvent>> {
        let wire::TailResponse {
            resume_token,
            event,
        } = message;
        let event = event.ok_or_else(|| CallError::protocol("an answer with nothing in it"))?;
        self.request.from = Some(From::ResumeToken(resume_token));
        Ok(Some(match event {
            Event::Lines(lines) => TailEvent::Lines {
                text: lines.text,
                count: lines.count,
                first: lines.first,
                last: lines.last,
            },
            Event::Missing(missing) => TailEvent::Missing {
                first: missing.first,
                last: missing.last,
                damaged: missing.damaged,
            },
            Event::Heartbeat(_) => return Ok(None),
            // Said once, though each call says it.
            Event::CaughtUp(_) if std::mem::replace(&mut self.caught_up, true) => return Ok(None),
            Event::CaughtUp(_) => TailEvent::CaughtUp,
            Event::End(_) => {
                self.ended = true;
                if let Some((live, answers)) = self.open.take() {
                    drop(answers);
                    self.contact.give_back(live);
                }
                return Ok(None);
            }
        }))
    }
}
