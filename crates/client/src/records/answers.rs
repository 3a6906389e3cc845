//! What a server says to who sends records.

use std::fmt;
use std::ops::Range;
use std::time::Duration;

/// What an acknowledgement promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// No crash of a process, of the kernel or of the power loses it.
    Durable,
    /// No crash of a process loses it; it is on the disk so much later at most.
    Interval(Duration),
    /// No crash of a process loses it; it is on the disk when the kernel likes.
    Os,
    /// Something newer.
    Unknown,
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Durable => f.write_str("durable"),
            Self::Interval(every) => write!(f, "interval={}", every.as_millis()),
            Self::Os => f.write_str("os"),
            Self::Unknown => f.write_str("unknown"),
        }
    }
}

/// What a stream takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SendLimits {
    /// What acknowledgements will promise.
    pub durability: Durability,
    /// Bytes of a record without insignificant white space.
    pub record_bytes: usize,
    /// Objects and arrays within each other.
    pub depth: usize,
    /// Records of a batch.
    pub batch_records: usize,
    /// Bytes of a batch.
    pub batch_bytes: usize,
}

/// A record that was refused. Its neighbours were not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// Its place in the batch, from 0.
    pub index: u32,
    /// As in gRPC: 3 means that it is useless to send it again.
    pub code: u32,
    /// Names the cause, in capitals: `DUPLICATE_KEY`. Stable.
    pub reason: String,
    /// Where in the record, as a JSON pointer; empty for the whole of it.
    pub field: String,
    /// In words.
    pub message: String,
}

/// What the log has of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ack {
    /// The number of the batch.
    pub sequence: u64,
    /// The numbers of its lines. `None`: all was refused, or it was there already and it is not known any more where.
    pub accepted: Option<Range<u64>>,
    /// It was there already; this is what was answered then.
    pub duplicate: bool,
    /// What is promised.
    pub durability: Durability,
    /// Records that were refused.
    pub rejected: u64,
    /// The first hundred of them.
    pub rejections: Vec<Rejection>,
    /// Another live sender uses the same producer.
    pub rivals: bool,
}

/// A batch of which nothing was written. It is sent again, or the call fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The number of the batch.
    pub sequence: u64,
    /// As in gRPC.
    pub code: u32,
    /// Names the cause, in capitals: `THROTTLED`. Stable.
    pub reason: String,
    /// In words.
    pub message: String,
    /// The number that the server wants next.
    pub expected: Option<u64>,
    /// When to send it again.
    pub retry_after: Option<Duration>,
}

/// What is heard while records are sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// A conversation has begun; told again after each loss of contact.
    Welcome(SendLimits),
    /// A batch was taken.
    Ack(Ack),
    /// A batch was not taken, and is sent again after a while.
    Delayed(Refusal),
}
