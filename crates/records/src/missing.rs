//! What is not there, told by lines of its own: no hole is silent.

use serde::{Deserialize, Serialize};

use crate::timestamp::Timestamp;

/// Batches that a sender had to drop: the body of a `gap` line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// The number of the first of these batches. The last one's is that of the batch which says this.
    pub first: u64,
    /// How many records they had.
    pub records: u64,
    /// When the first of them was observed, or else taken by the sender.
    pub from: Timestamp,
    /// When the last one was.
    pub to: Timestamp,
    /// Why.
    pub why: GapWhy,
}

/// Why a sender dropped batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[non_exhaustive]
pub enum GapWhy {
    /// Its spool was full.
    SpoolFull,
    /// Its spool was damaged.
    SpoolDamaged,
    /// The server had acknowledged them under another producer, and does not know them any more.
    ServerForgot,
    /// A reason of a newer version.
    #[serde(other)]
    Other,
}

/// Lines of a log that are gone: the body of a `lost` line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lost {
    /// The first missing number.
    pub from: u64,
    /// The last one.
    pub to: u64,
    /// Bytes that were damaged.
    pub bytes: u64,
    /// The file in `quarantine` to which they were copied; empty if there was nothing to keep.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub file: String,
}
