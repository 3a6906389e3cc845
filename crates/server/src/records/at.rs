//! A host's list of processes as it was at a moment: `find` looks for it in the log, `answer` puts it into messages.

mod answer;
mod find;

use legwork_processes::{At, Why};
use legwork_proto::v1 as wire;
use legwork_records::{Clock, ReadError, SystemClock, Timestamp};
use tonic::Code;

use self::find::{Finder, Of};
use super::{Own, RecordRpc, convert};
use crate::access::Call;
use crate::jobs::Answers;
use crate::problem::Problem;
use crate::workspaces::blocking;

/// The stream, if none is named.
const STREAM: &str = "process";
/// Hosts that are named where there are several.
const NAMED: usize = 20;

/// The list.
pub(super) async fn at(
    rpc: &RecordRpc,
    call: &Call,
    mut request: wire::AtRequest,
) -> Result<Answers<wire::AtResponse>, Problem> {
    if request.stream.is_empty() {
        STREAM.clone_into(&mut request.stream);
    }
    call.about(&request.stream);
    let own = rpc.own(call.principal()?)?;
    let shared = &rpc.0.records;
    let stream = shared.streams.existing(&request.stream).await?;
    let _turn = shared.turn().await?;
    let now = SystemClock.now();
    let work = move || answered(stream.log(), &request, own.as_ref(), now);
    let messages = blocking(work).await??;
    let answers = messages.into_iter().map(Ok);
    Ok(Box::pin(tokio_stream::iter(answers)))
}

/// Reads files.
fn answered(
    log: &legwork_records::Log,
    request: &wire::AtRequest,
    own: Option<&Own>,
    now: Timestamp,
) -> Result<Vec<wire::AtResponse>, Problem> {
    let time = request.time.map_or(now, convert::moment);
    let client = match own {
        // Somebody else's is not found.
        Some(own) if request.client.is_empty() || request.client == own.client => &own.client,
        Some(_) => return Err(none(time)),
        None => &request.client,
    };
    let finder = Finder {
        log,
        since: own.and_then(|own| own.since),
        time,
    };
    let of = one(&finder, client, &request.host)?;
    match finder.at(&of).map_err(unread)? {
        At::Known { table, next } => Ok(answer::messages(&of, &table, next)),
        At::Unknown {
            why: Why::NoSnapshot,
            ..
        } => Err(none(time)),
        At::Unknown { why, before } => Err(lost(time, why, before)),
    }
}

/// Whose table is meant.
fn one(finder: &Finder<'_>, client: &str, host: &str) -> Result<Of, Problem> {
    let found = finder.senders(client, host).map_err(unread)?;
    let mut of = found.iter();
    match (of.next(), of.next()) {
        (Some(one), None) => Ok(one.clone()),
        (None, _) => Err(none(finder.time)),
        _ => {
            let names: Vec<_> = found.iter().take(NAMED).map(Of::to_string).collect();
            let more = if found.len() > NAMED { ", …" } else { "" };
            let message = format!(
                "several hosts sent snapshots around {}: {}{more}",
                finder.time,
                names.join(", ")
            );
            Err(Problem::new(
                Code::InvalidArgument,
                "SEVERAL_HOSTS",
                message,
            ))
        }
    }
}

fn none(time: Timestamp) -> Problem {
    let message = format!("no snapshot of processes is known that was made at {time} or before");
    Problem::new(Code::NotFound, "NO_SNAPSHOT", message)
}

fn lost(time: Timestamp, why: Why, before: Option<i64>) -> Problem {
    let words = match why {
        Why::Dropped => "the sender had to drop snapshots then, and said so",
        Why::NoSnapshot | Why::Missing => "snapshots of then are missing in the log",
    };
    let before = before.map(Timestamp::from_micros);
    let known = before.map_or_else(String::new, |before| {
        format!("; the last one before that is known was made at {before}")
    });
    let message = format!("what ran at {time} is not known: {words}{known}");
    let problem = Problem::new(Code::DataLoss, "SNAPSHOTS_LOST", message);
    match before {
        Some(before) => problem.with("before", before),
        None => problem,
    }
}

fn unread(error: ReadError) -> Problem {
    Problem::new(Code::Internal, "IO", error.to_string())
}
