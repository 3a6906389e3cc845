//! Between the records library and the wire.

use std::time::Duration;

use legwork_proto::v1 as wire;
use legwork_records::fsck::{Problem as Found, Report, Trouble};
use legwork_records::{
    Ack, AppendError, BatchError, Durability, Gap, GapWhy, OpenError, ReadError, Reason, Stats,
    Timestamp,
};
use tonic::Code;

use super::ingest::later;
use crate::problem::Problem;

/// When a batch was observed, as it came.
#[derive(Debug)]
pub(super) enum Observed {
    At(Option<Timestamp>),
    Each(Vec<Timestamp>),
}

impl Observed {
    pub(super) fn new(at: Option<u64>, each: &[u64]) -> Self {
        match each.is_empty() {
            true => Self::At(at.map(moment)),
            false => Self::Each(each.iter().copied().map(moment).collect()),
        }
    }

    pub(super) fn told(&self) -> legwork_records::Observed<'_> {
        match self {
            Self::At(None) => legwork_records::Observed::Unsaid,
            Self::At(Some(moment)) => legwork_records::Observed::At(*moment),
            Self::Each(moments) => legwork_records::Observed::Each(moments),
        }
    }
}

pub(super) fn moment(micros: u64) -> Timestamp {
    Timestamp::from_micros(i64::try_from(micros).unwrap_or(i64::MAX))
}

pub(super) fn micros(moment: Timestamp) -> u64 {
    moment.as_micros().unsigned_abs()
}

pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

pub(super) fn durability(durability: Durability) -> wire::Durability {
    use wire::durability::Policy;
    wire::Durability {
        policy: Some(match durability {
            Durability::Durable => Policy::Durable(wire::DurableNow {}),
            Durability::Interval(every) => Policy::IntervalMs(millis(every)),
            Durability::Os => Policy::Os(wire::LeftToSystem {}),
        }),
    }
}

pub(super) fn gap(gap: wire::IngestGap) -> Gap {
    let why = match gap.reason() {
        wire::GapReason::SpoolFull => GapWhy::SpoolFull,
        wire::GapReason::SpoolDamaged => GapWhy::SpoolDamaged,
        wire::GapReason::ServerForgot => GapWhy::ServerForgot,
        wire::GapReason::Unspecified => GapWhy::Other,
    };
    Gap {
        first: gap.first,
        records: gap.records,
        from: moment(gap.from),
        to: moment(gap.to),
        why,
    }
}

pub(super) fn ack(sequence: u64, ack: Ack) -> wire::IngestAck {
    let rejections = ack.rejections.records.into_iter();
    wire::IngestAck {
        sequence,
        accepted: ack.accepted.map(|accepted| wire::SeqRange {
            first: accepted.first,
            count: accepted.count,
        }),
        duplicate: ack.duplicate,
        durability: Some(durability(ack.durability)),
        rejected: ack.rejections.total,
        rejections: rejections
            .map(|told| wire::RecordRejection {
                index: told.index,
                code: told.code,
                reason: word(told.reason),
                field: told.field,
                message: told.message,
            })
            .collect(),
        rivals: ack.rivals,
    }
}

/// As the library writes it.
fn word(reason: Reason) -> String {
    let word = serde_json::to_value(reason).ok();
    let word = word.as_ref().and_then(|word| word.as_str());
    word.unwrap_or("OTHER").to_owned()
}

/// Why a batch was not appended.
pub(super) fn refusal(sequence: u64, error: &AppendError) -> wire::IngestRefusal {
    let (code, reason) = match error {
        AppendError::BadName { .. } => (Code::InvalidArgument, "BAD_NAME"),
        AppendError::OutOfOrder { .. } => (Code::FailedPrecondition, "OUT_OF_ORDER"),
        AppendError::Conflict { .. } => (Code::AlreadyExists, "CONFLICT"),
        AppendError::Congested { .. } => (Code::Unavailable, "CONGESTED"),
        AppendError::DiskFull { .. } => (Code::ResourceExhausted, "NO_SPACE"),
        AppendError::Disk { .. } => (Code::Unavailable, "DISK"),
        AppendError::Closed => (Code::Unavailable, "CLOSED"),
    };
    let expected = match error {
        AppendError::OutOfOrder { expected, .. } => Some(*expected),
        _ => None,
    };
    wire::IngestRefusal {
        sequence,
        code: code as u32,
        reason: reason.to_owned(),
        message: error.to_string(),
        expected,
        retry_after_ms: later().filter(|_| error.is_transient()),
    }
}

/// A batch that is too large whenever it comes.
pub(super) fn too_large(sequence: u64, error: BatchError) -> wire::IngestRefusal {
    wire::IngestRefusal {
        sequence,
        code: Code::InvalidArgument as u32,
        reason: "TOO_LARGE".to_owned(),
        message: error.to_string(),
        expected: None,
        retry_after_ms: None,
    }
}

/// A reason as a label of metrics.
pub(super) fn refused_for(reason: &str) -> &'static str {
    const KNOWN: [&str; 8] = [
        "OUT_OF_ORDER",
        "CONFLICT",
        "TOO_LARGE",
        "THROTTLED",
        "CONGESTED",
        "NO_SPACE",
        "DISK",
        "CLOSED",
    ];
    let known = KNOWN.into_iter().find(|known| *known == reason);
    known.unwrap_or("OTHER")
}

/// What everybody who sees all may know of a log.
pub(super) fn info(name: &str, stats: &Stats) -> wire::StreamInfo {
    wire::StreamInfo {
        name: name.to_owned(),
        disk_bytes: stats.disk_bytes,
        first: stats.first,
        next: stats.next,
        earliest: stats.times.map(|(earliest, _)| micros(earliest)),
        latest: stats.times.map(|(_, latest)| micros(latest)),
        problem: String::new(),
    }
}

pub(super) fn report(report: Report) -> wire::FsckResponse {
    wire::FsckResponse {
        segments: report.segments as u64,
        lines: report.lines,
        bytes: report.bytes,
        total: report.total,
        problems: report.problems.into_iter().map(problem).collect(),
    }
}

fn problem(found: Found) -> wire::LogProblem {
    let (kind, message) = match found.what {
        Trouble::Damaged { bytes } => ("DAMAGED", format!("{bytes} bytes are no line")),
        Trouble::TornEnd { bytes } => (
            "TORN_END",
            format!("the last {bytes} bytes are torn; the next opening cuts them off"),
        ),
        Trouble::Missing { from, to } => ("MISSING", format!("lines {from} to {to} are missing")),
        Trouble::OutOfOrder { seq } => (
            "OUT_OF_ORDER",
            format!("line {seq} is not above the one before"),
        ),
        Trouble::Unfinished { first } => (
            "UNFINISHED",
            format!("the batch of line {first} is not whole"),
        ),
        Trouble::Index => (
            "INDEX",
            "its index does not fit; it is made anew".to_owned(),
        ),
        Trouble::Unreadable { why } => ("UNREADABLE", why),
        _ => ("OTHER", "something newer".to_owned()),
    };
    wire::LogProblem {
        segment: found.segment,
        offset: found.offset,
        kind: kind.to_owned(),
        message,
    }
}

impl From<OpenError> for Problem {
    fn from(error: OpenError) -> Self {
        let message = error.to_string();
        match &error {
            OpenError::Io { path, source, .. } => {
                let told = Self::io(path, source);
                Self { message, ..told }
            }
            OpenError::Busy { path } => {
                Self::new(Code::Unavailable, "STREAM_BUSY", message).with("path", path.display())
            }
            OpenError::Newer { path, .. } => {
                Self::new(Code::FailedPrecondition, "STATE_NEWER", message)
                    .with("path", path.display())
            }
            OpenError::BadName { .. } => Self::new(Code::InvalidArgument, "BAD_NAME", message),
        }
    }
}

impl From<ReadError> for Problem {
    fn from(error: ReadError) -> Self {
        let ReadError::Io { .. } = error;
        Self::new(Code::Internal, "IO", error.to_string())
    }
}
