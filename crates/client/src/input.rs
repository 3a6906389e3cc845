//! A job's standard input.

use bytes::Bytes;
use legwork_proto::v1 as wire;
use tokio::sync::mpsc;
use tonic::Streaming;

use crate::error::{CallError, Result};

/// The writing end of a job's standard input. Dropping it leaves the job's standard input open;
/// [`Input::end`] closes it.
#[derive(Debug)]
pub struct Input {
    id: String,
    offset: u64,
    requests: mpsc::Sender<wire::InputRequest>,
    answers: Streaming<wire::InputResponse>,
}

impl Input {
    pub(crate) fn new(
        id: String,
        requests: mpsc::Sender<wire::InputRequest>,
        answers: Streaming<wire::InputResponse>,
    ) -> Self {
        Self {
            id,
            offset: 0,
            requests,
            answers,
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

    async fn send(&mut self, data: Bytes, end: bool) -> Result<bool> {
        let request = wire::InputRequest {
            id: self.id.clone(),
            offset: self.offset,
            data,
            end,
        };
        // A closed channel means that the call has ended; its status is in the answers.
        let sent = self.requests.send(request).await.is_ok();
        match self.answers.message().await? {
            Some(answer) => Ok(!answer.closed),
            None if sent => Err(CallError::protocol("the input stream ended early")),
            None => Ok(false),
        }
    }
}
