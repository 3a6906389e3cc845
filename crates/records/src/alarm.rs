//! What somebody should look at.

use std::time::Duration;

use crate::missing::Lost;

/// Something is wrong, and the log goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Alarm {
    /// A sync failed. What was not acknowledged is refused, and a new segment is begun.
    SyncFailed {
        /// What the kernel said.
        why: String,
    },
    /// A write failed, or a segment could not be begun.
    WriteFailed {
        /// What the kernel said.
        why: String,
    },
    /// The disk is full, or nearly; batches are refused.
    DiskFull {
        /// Bytes that are free.
        free: u64,
    },
    /// Batches are taken again.
    Recovered,
    /// The clock went backwards by more than a second. Numbers go on; times do not.
    ClockBack {
        /// By how much.
        by: Duration,
    },
    /// Two live senders use one producer.
    Rivals {
        /// Their identity.
        client: String,
        /// The producer.
        producer: String,
    },
    /// A batch was sent again with another content.
    Conflict {
        /// Whose it was.
        client: String,
        /// The producer.
        producer: String,
        /// The number of the batch.
        sequence: u64,
    },
    /// Lines were damaged when the log was opened.
    Damaged(Lost),
    /// A segment could not be packed, removed or indexed. It is tried again.
    Upkeep {
        /// What was tried, and what the kernel said.
        why: String,
    },
}
