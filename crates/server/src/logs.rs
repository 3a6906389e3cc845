//! A job's output as a stream of messages.
//!
//! Pulled, not pushed: the next piece is read from the job's files when the connection has room for it,
//! so a client that does not read costs a buffer and nothing else.

use std::sync::Arc;

use futures_util::stream::{Stream, unfold};
use legwork_jobs::output::Output;
use legwork_proto::v1 as wire;
use tonic::Status;

use crate::convert;
use crate::problem::Problem;
use crate::server::Shared;

/// The events of `output`, the end included.
pub(crate) fn events(
    shared: Arc<Shared>,
    output: Output,
) -> impl Stream<Item = Result<wire::LogsResponse, Status>> + Send {
    unfold((shared, output), |(shared, mut output)| async move {
        let event = output.next().await?;
        let message = event
            .map(|event| convert::log_event(event, |job| shared.wire_job(job)))
            .map_err(|e| Problem::from(e).into());
        Some((message, (shared, output)))
    })
}
