//! A job's standard input.

use std::sync::Arc;

use bytes::Bytes;
use legwork_proto::v1 as wire;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use crate::client::jobs;
use crate::contact::Contact;
use crate::error::{CallError, Result};
use crate::live::Live;
use crate::lost::is_lost;

/// Messages that may wait to be sent. Each is answered before the next, so one would do.
const QUEUE: usize = 4;

/// The writing end of a job's standard input. Dropping it leaves the job's standard input open;
/// [`Input::end`] closes it.
#[derive(Debug)]
pub struct Input {
    contact: Arc<Contact>,
    id: String,
    offset: u64,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    live: Live,
    requests: mpsc::Sender<wire::InputRequest>,
    answers: Streaming<wire::InputResponse>,
}

impl Input {
    pub(crate) async fn open(contact: Arc<Contact>, id: String) -> Result<Self> {
        let mut input = Self {
            contact,
            id,
            offset: 0,
            open: None,
        };
        input.open = Some(input.connect().await?);
        Ok(input)
    }

    async fn connect(&self) -> Result<Open> {
        loop {
            let live = self.contact.live().await?;
            let (requests, outgoing) = mpsc::channel(QUEUE);
            let outgoing = ReceiverStream::new(outgoing);
            match jobs(live.channel.clone()).input(outgoing).await {
                Ok(answers) => {
                    return Ok(Open {
                        live,
                        requests,
                        answers: answers.into_inner(),
                    });
                }
                Err(status) if is_lost(&status) => self.contact.lost(&live, status).await?,
                Err(status) => return Err(status.into()),
            }
        }
    }

    /// Sends bytes and waits until the job's pipe has them. `false` means that the job reads no
    /// more: it closed its standard input, or ended.
    ///
    /// # Errors
    /// What the server or the connection says.
    pub async fn write(&mut self, data: Bytes) -> Result<bool> {
        let length = data.len() as u64;
        let taken = self.send(data, false).await?;
        self.offset += length;
        Ok(taken)
    }

    /// Closes the job's standard input after what was written.
    ///
    /// # Errors
    /// What the server or the connection says.
    pub async fn end(mut self) -> Result<()> {
        self.send(Bytes::new(), true).await.map(drop)
    }

    /// Sends until it is answered. Bytes that the job has taken already are skipped there, by their offset.
    async fn send(&mut self, data: Bytes, end: bool) -> Result<bool> {
        loop {
            let open = match &mut self.open {
                Some(open) => open,
                None => {
                    let opened = self.connect().await?;
                    self.open.insert(opened)
                }
            };
            let request = wire::InputRequest {
                id: self.id.clone(),
                offset: self.offset,
                data: data.clone(),
                end,
            };
            // A closed channel means that the call has ended; its status is in the answers.
            let sent = open.requests.send(request).await.is_ok();
            let lost = match open.answers.message().await {
                Ok(Some(answer)) => {
                    self.contact.progress();
                    return Ok(!answer.closed);
                }
                Ok(None) if !sent => return Ok(false),
                Ok(None) if self.contact.is_kept() => {
                    Status::unavailable("the input stream ended early")
                }
                Ok(None) => return Err(CallError::protocol("the input stream ended early")),
                Err(status) if is_lost(&status) => status,
                Err(status) => return Err(status.into()),
            };
            let live = open.live.clone();
            self.contact.lost(&live, lost).await?;
            self.open = None;
        }
    }
}
