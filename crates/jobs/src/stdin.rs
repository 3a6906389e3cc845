//! Writing to a job's standard input.

use std::io;
use std::sync::Arc;

use legwork_shim::control::{Reply, Request};

use crate::control::{self, Connection};
use crate::error::JobError;
use crate::id::JobId;
use crate::inner::Inner;

/// Bytes of one frame.
const PIECE: usize = 64 * 1024;
/// Connections that one request is tried on.
const CONNECTIONS_TRIED: u32 = 20;

/// A writer to a job's standard input, addressed by offset, so that after a lost connection the same bytes can
/// be sent again without harm. Several writers are not kept apart.
#[derive(Debug)]
pub struct StdinWriter {
    inner: Arc<Inner>,
    id: JobId,
    /// Taken away while a request is under way: one that was given up half way cannot be used again.
    connection: Option<Connection>,
}

impl StdinWriter {
    pub(crate) fn new(inner: Arc<Inner>, id: JobId) -> Self {
        Self {
            inner,
            id,
            connection: None,
        }
    }

    /// Writes bytes, the first of which is number `offset` since the job's start; what the shim already has is skipped.
    /// Returns when all are in the payload's pipe, which is the back-pressure. When dropped half way, any part may have
    /// been taken: write the same again.
    ///
    /// # Errors
    /// [`JobError::StdinClosed`] when the payload reads no more, [`JobError::Ended`] when it is gone.
    pub async fn write_at(&mut self, offset: u64, data: &[u8]) -> Result<(), JobError> {
        let mut at = offset;
        for piece in data.chunks(PIECE) {
            self.ask(Request::Stdin {
                offset: at,
                data: piece.to_vec(),
            })
            .await?;
            at += piece.len() as u64;
        }
        Ok(())
    }

    /// Half-close: the payload sees the end of its input after what was written.
    ///
    /// # Errors
    /// As [`Self::write_at`]; an input that is closed already is no error.
    pub async fn finish(mut self) -> Result<(), JobError> {
        match self.ask(Request::StdinEnd).await {
            Err(JobError::StdinClosed { .. } | JobError::Ended { .. }) => Ok(()),
            done => done,
        }
    }

    /// Asks, and asks again on a new connection where the shim closed one: it does when too many wait at once. What it has
    /// taken already it skips.
    async fn ask(&mut self, request: Request) -> Result<(), JobError> {
        let id = self.id;
        let mut last = io::Error::from(io::ErrorKind::UnexpectedEof);
        for _ in 0..CONNECTIONS_TRIED {
            let mut connection = match self.connection.take() {
                Some(connection) => connection,
                None => control::reach(&self.inner, id).await?,
            };
            return match connection.ask(&request).await {
                Ok(Reply::Done | Reply::StdinTaken(_)) => {
                    self.connection = Some(connection);
                    Ok(())
                }
                Ok(Reply::StdinClosed) => Err(JobError::StdinClosed { id }),
                Ok(Reply::Failed(errno)) => Err(JobError::Refused {
                    id,
                    source: io::Error::from_raw_os_error(errno),
                }),
                Ok(Reply::Unsupported) => Err(JobError::Unsupported { id }),
                Err(error) => {
                    last = error;
                    continue;
                }
            };
        }
        Err(control::failed(&self.inner, id, &last).await)
    }
}
