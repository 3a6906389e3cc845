//! Between the wire and this crate's words.

use std::time::Duration;

use bytes::Bytes;
use legwork_proto::v1 as wire;
use legwork_records::spool::Parcel;
use legwork_records::{Gap, GapWhy, Timestamp};

use super::answers::{Ack, Durability, Refusal, Rejection, SendLimits};
use crate::error::{CallError, Result};

pub(super) fn micros(moment: Timestamp) -> u64 {
    moment.as_micros().unsigned_abs()
}

/// A batch as it is sent.
pub(super) fn batch(parcel: Parcel) -> wire::IngestBatch {
    match parcel {
        Parcel::Records {
            sequence,
            lines,
            observed,
        } => wire::IngestBatch {
            sequence,
            records: Bytes::from(lines),
            observed_each: observed.into_iter().map(micros).collect(),
            ..wire::IngestBatch::default()
        },
        Parcel::Gap { sequence, gap } => wire::IngestBatch {
            sequence,
            gap: Some(told(&gap)),
            ..wire::IngestBatch::default()
        },
    }
}

fn told(gap: &Gap) -> wire::IngestGap {
    let reason = match gap.why {
        GapWhy::SpoolFull => wire::GapReason::SpoolFull,
        GapWhy::SpoolDamaged => wire::GapReason::SpoolDamaged,
        GapWhy::ServerForgot => wire::GapReason::ServerForgot,
        _ => wire::GapReason::Unspecified,
    };
    wire::IngestGap {
        first: gap.first,
        records: gap.records,
        from: micros(gap.from),
        to: micros(gap.to),
        reason: reason.into(),
    }
}

pub(super) fn durability(told: Option<wire::Durability>) -> Durability {
    use wire::durability::Policy;
    match told.and_then(|told| told.policy) {
        Some(Policy::Durable(_)) => Durability::Durable,
        Some(Policy::IntervalMs(every)) => Durability::Interval(Duration::from_millis(every)),
        Some(Policy::Os(_)) => Durability::Os,
        None => Durability::Unknown,
    }
}

pub(super) fn limits(welcome: wire::IngestWelcome) -> SendLimits {
    let size = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
    SendLimits {
        durability: durability(welcome.durability),
        record_bytes: size(welcome.record_bytes_max),
        depth: size(welcome.depth_max.into()),
        batch_records: size(welcome.batch_records_max.into()),
        batch_bytes: size(welcome.batch_bytes_max),
    }
}

pub(super) fn ack(ack: wire::IngestAck) -> Result<Ack> {
    let accepted = ack.accepted.map(|range| {
        let end = range.first.checked_add(range.count);
        let end = end.ok_or_else(|| CallError::protocol("lines beyond all numbers"));
        end.map(|end| range.first..end)
    });
    let rejections = ack.rejections.into_iter();
    Ok(Ack {
        sequence: ack.sequence,
        accepted: accepted.transpose()?,
        duplicate: ack.duplicate,
        durability: durability(ack.durability),
        rejected: ack.rejected,
        rejections: rejections
            .map(|told| Rejection {
                index: told.index,
                code: told.code,
                reason: told.reason,
                field: told.field,
                message: told.message,
            })
            .collect(),
        rivals: ack.rivals,
    })
}

pub(super) fn refusal(refusal: wire::IngestRefusal) -> Refusal {
    Refusal {
        sequence: refusal.sequence,
        code: refusal.code,
        reason: refusal.reason,
        message: refusal.message,
        expected: refusal.expected,
        retry_after: refusal.retry_after_ms.map(Duration::from_millis),
    }
}
