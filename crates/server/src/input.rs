//! A client's bytes on their way to a job's standard input.
//!
//! Each message is answered once its bytes are in the job's pipe: the answers are the back-pressure.

use std::sync::Arc;

use futures_util::stream::{Stream, unfold};
use legwork_jobs::{JobError, StdinWriter};
use legwork_proto::v1 as wire;
use tonic::{Status, Streaming};

use crate::access::Call;
use crate::problem::Problem;
use crate::server::Shared;

struct Session {
    call: Arc<Call>,
    shared: Arc<Shared>,
    requests: Streaming<wire::InputRequest>,
    writer: Option<StdinWriter>,
    over: bool,
}

/// One answer for each request, until the input or the job ends.
pub(crate) fn answers(
    shared: Arc<Shared>,
    call: Arc<Call>,
    requests: Streaming<wire::InputRequest>,
) -> impl Stream<Item = Result<wire::InputResponse, Status>> + Send {
    let session = Session {
        call,
        shared,
        requests,
        writer: None,
        over: false,
    };
    unfold(session, |mut session| async move {
        if session.over {
            return None;
        }
        let request = match session.requests.message().await {
            Ok(request) => request?,
            Err(broken) => {
                session.over = true;
                return Some((Err(broken), session));
            }
        };
        let answer = session.take(request).await;
        session.over |= !matches!(&answer, Ok(answer) if !answer.closed);
        Some((answer.map_err(Status::from), session))
    })
}

impl Session {
    async fn take(&mut self, request: wire::InputRequest) -> Result<wire::InputResponse, Problem> {
        let end = request.offset.checked_add(request.data.len() as u64);
        let taken = end.ok_or_else(|| Problem::malformed("an offset beyond all numbers"))?;
        match self.write(request).await {
            Ok(()) => Ok(wire::InputResponse {
                taken,
                closed: false,
            }),
            Err(Refused::Closed) => Ok(wire::InputResponse {
                taken: 0,
                closed: true,
            }),
            Err(Refused::Failed(problem)) => Err(problem),
        }
    }

    async fn write(&mut self, request: wire::InputRequest) -> Result<(), Refused> {
        let mut writer = match self.writer.take() {
            Some(writer) => writer,
            None => {
                let id = self.shared.changeable(&self.call, &request.id).await?;
                self.shared.jobs.stdin(id).await?
            }
        };
        writer.write_at(request.offset, &request.data).await?;
        if request.end {
            writer.finish().await?;
            self.over = true;
        } else {
            self.writer = Some(writer);
        }
        Ok(())
    }
}

enum Refused {
    Closed,
    Failed(Problem),
}

impl From<Problem> for Refused {
    fn from(problem: Problem) -> Self {
        Self::Failed(problem)
    }
}

impl From<JobError> for Refused {
    fn from(error: JobError) -> Self {
        match error {
            JobError::StdinClosed { .. } | JobError::Ended { .. } => Self::Closed,
            other => Self::Failed(other.into()),
        }
    }
}
