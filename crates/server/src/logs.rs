//! A job's output as a stream of messages.
//!
//! Pulled, not pushed: the next piece is read from the job's files when the connection has room for it,
//! so a client that does not read costs a buffer and nothing else.

use std::sync::Arc;

use futures_util::stream::{Stream, StreamExt, iter, unfold};
use legwork_jobs::output::{Output, Pattern, Search, Wanted};
use legwork_proto::v1 as wire;
use tonic::{Code, Status};

use crate::convert;
use crate::problem::Problem;
use crate::quotas::Searching;
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

/// A job that was started, and then the events of its output, if there is one, or why it cannot be read.
pub(crate) fn started(
    shared: Arc<Shared>,
    job: wire::Job,
    output: Option<Result<Output, Problem>>,
) -> impl Stream<Item = Result<wire::LogsResponse, Status>> + Send {
    let event = Some(wire::logs_response::Event::Started(job));
    let (output, unread) = match output.transpose() {
        Ok(output) => (output, None),
        Err(problem) => (None, Some(Err(problem.into()))),
    };
    let first = iter([Ok(wire::LogsResponse { event })]).chain(iter(unread));
    first.chain(iter(output.map(|output| events(shared, output))).flatten())
}

/// The same of the lines that match. The search is counted for as long.
pub(crate) fn found(
    shared: Arc<Shared>,
    search: Search,
    counted: Searching,
) -> impl Stream<Item = Result<wire::LogsResponse, Status>> + Send {
    unfold(
        (shared, search, counted),
        |(shared, mut search, counted)| async move {
            let event = search.next().await?;
            let message = event
                .map(|event| convert::search_event(event, |job| shared.wire_job(job)))
                .map_err(|e| Problem::from(e).into());
            Some((message, (shared, search, counted)))
        },
    )
}

/// Makes the programs of a pattern, on a thread for such work: it takes longer than other calls may wait.
pub(crate) async fn compiled(filter: &wire::LogFilter) -> Result<Pattern, Problem> {
    let wanted = Wanted {
        pattern: filter.pattern.clone(),
        fixed: filter.fixed,
        ignore_case: filter.ignore_case,
    };
    let compiled = tokio::task::spawn_blocking(move || wanted.compile()).await;
    let compiled = compiled.map_err(|e| Problem::new(Code::Internal, "PANIC", e.to_string()))?;
    Ok(compiled?)
}
