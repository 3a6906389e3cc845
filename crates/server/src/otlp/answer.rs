//! What senders by OTLP are told, in the words that make them do the right thing: try again what can help, and nothing else.
//!
//! By the protocol, a sender drops what is answered with `INVALID_ARGUMENT` and most other codes, and sends again after `UNAVAILABLE`, and after
//! `RESOURCE_EXHAUSTED` only if the answer says when.

use std::time::Duration;

use legwork_proto::opentelemetry::proto::collector::logs::v1::{
    ExportLogsPartialSuccess, ExportLogsServiceResponse,
};
use legwork_proto::v1 as wire;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use super::request::Bad;
use crate::problem::Problem;

/// Refused records that are told one by one, and bytes of the text that does.
const TOLD: usize = 5;
const TEXT_MAX: usize = 1024;
/// When to come again after what may pass.
const LATER: Duration = Duration::from_secs(1);

/// What became of the records of a request.
#[derive(Debug)]
pub(super) struct Outcome {
    records: u32,
    refused: u64,
    told: Vec<String>,
}

impl Outcome {
    pub(super) fn new(records: u32) -> Self {
        Self {
            records,
            refused: 0,
            told: Vec::new(),
        }
    }

    /// A record was refused.
    pub(super) fn refuse(&mut self, place: u32, why: &str) {
        self.refused += 1;
        if self.told.len() < TOLD {
            self.told.push(format!("record {place}: {why}"));
        }
    }

    /// So many more were.
    pub(super) fn refuse_more(&mut self, count: u64) {
        self.refused += count;
    }

    pub(super) fn into_response(self) -> ExportLogsServiceResponse {
        let partial_success = (self.refused > 0).then(|| {
            let (refused, all) = (self.refused, self.records);
            let told = self.told.join("; ");
            let mut message = format!("{refused} of {all} records were refused: {told}");
            message.truncate(message.floor_char_boundary(TEXT_MAX));
            ExportLogsPartialSuccess {
                rejected_log_records: i64::try_from(refused).unwrap_or(i64::MAX),
                error_message: message,
            }
        });
        ExportLogsServiceResponse { partial_success }
    }
}

/// A problem as this protocol tells it.
pub(super) fn problem(problem: Problem) -> Status {
    let passes = match problem.code {
        Code::Unavailable | Code::Internal => true,
        Code::ResourceExhausted => matches!(problem.reason, "NO_SPACE" | "TOO_MANY_SENDERS"),
        _ => false,
    };
    if !passes {
        return problem.into();
    }
    let code = match problem.code {
        // Ours to mend, and no reason for a sender to drop what it has.
        Code::Internal => Code::Unavailable,
        code => code,
    };
    again(code, problem.reason, problem.message, LATER)
}

/// A request that cannot be taken apart.
pub(super) fn bad(bad: &Bad) -> Status {
    let reason = match bad {
        Bad::Encoding(_) => "MALFORMED",
        Bad::Expanded => "TOO_LARGE",
    };
    Problem::new(Code::InvalidArgument, reason, bad.to_string()).into()
}

/// A request that could not be read. Too large, it would be answered with a code after which senders try again.
pub(super) fn unreadable(status: Status) -> Status {
    let reason = match status.code() {
        Code::OutOfRange | Code::ResourceExhausted => "TOO_LARGE",
        Code::Internal => "MALFORMED",
        _ => return status,
    };
    let message = format!(
        "a request has to be one message of 4 MiB at most, unpacked: {}",
        status.message()
    );
    Problem::new(Code::InvalidArgument, reason, message).into()
}

/// More than somebody may send now.
pub(super) fn throttled(wait: Duration) -> Status {
    let message = "more than you may send to this stream: send it again later".to_owned();
    again(Code::ResourceExhausted, "THROTTLED", message, wait)
}

/// What the log does not take now.
pub(super) fn refusal(refusal: wire::IngestRefusal) -> Status {
    let code = match Code::from(i32::try_from(refusal.code).unwrap_or_default()) {
        Code::ResourceExhausted => Code::ResourceExhausted,
        _ => Code::Unavailable,
    };
    let wait = refusal.retry_after_ms.map(Duration::from_millis);
    again(
        code,
        &refusal.reason,
        refusal.message,
        wait.unwrap_or(LATER),
    )
}

fn again(code: Code, reason: &str, message: String, wait: Duration) -> Status {
    let none = std::collections::HashMap::new();
    let mut details = ErrorDetails::with_error_info(reason, crate::problem::DOMAIN, none);
    details.set_retry_info(Some(wait));
    Status::with_error_details(code, message, details)
}

#[cfg(test)]
mod tests {
    use tonic::{Code, Status};
    use tonic_types::StatusExt;

    use super::{Outcome, problem, unreadable};
    use crate::problem::Problem;

    #[test]
    fn what_was_refused_is_counted_and_told_in_short() {
        let none = Outcome::new(3).into_response();
        assert_eq!(none.partial_success, None);
        let mut outcome = Outcome::new(200);
        for place in 0..100 {
            outcome.refuse(place, &"é".repeat(300));
        }
        outcome.refuse_more(7);
        let told = outcome.into_response().partial_success.unwrap();
        assert_eq!(told.rejected_log_records, 107);
        let begin = "107 of 200 records were refused: record 0: é";
        assert!(told.error_message.starts_with(begin));
        assert!(told.error_message.len() <= 1024);
    }

    #[test]
    fn senders_try_again_only_where_it_helps() {
        for (code, reason, wanted, retried) in [
            (Code::Internal, "IO", Code::Unavailable, true),
            (Code::Unavailable, "STREAM_BUSY", Code::Unavailable, true),
            (
                Code::ResourceExhausted,
                "NO_SPACE",
                Code::ResourceExhausted,
                true,
            ),
            (
                Code::ResourceExhausted,
                "TOO_MANY_LOGS",
                Code::ResourceExhausted,
                false,
            ),
            (
                Code::PermissionDenied,
                "OWN_STREAM",
                Code::PermissionDenied,
                false,
            ),
        ] {
            let status = problem(Problem::new(code, reason, "because"));
            assert_eq!(status.code(), wanted, "{reason}");
            let info = status.get_details_retry_info();
            assert_eq!(info.is_some(), retried, "{reason}");
            let told = status.get_details_error_info().unwrap();
            assert_eq!(told.reason, reason);
        }
        let large = unreadable(Status::out_of_range("too large"));
        assert_eq!(large.code(), Code::InvalidArgument);
    }
}
