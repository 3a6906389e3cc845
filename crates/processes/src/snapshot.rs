//! A process table at one moment, and what a record says of the snapshot that it belongs to.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::process::{Change, Identity, Process};

/// What a snapshot says of the host.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Host {
    /// The id of this boot.
    pub boot: String,
    /// Milliseconds since the boot, suspended ones included.
    pub uptime_ms: u64,
    /// Memory, in KiB.
    pub mem_total_kb: u64,
    /// Swap, in KiB.
    pub swap_total_kb: u64,
    /// Load in the last 1, 5 and 15 minutes, in hundredths.
    pub load_percent: [u64; 3],
    /// Processes that can be seen, but not looked at.
    #[serde(skip_serializing_if = "is_zero")]
    pub unreadable: u32,
    /// Not even the first process can be seen: those of others are hidden.
    #[serde(skip_serializing_if = "is_false")]
    pub hidden: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "this is how serde asks")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "this is how serde asks")]
fn is_false(flag: &bool) -> bool {
    !*flag
}

/// What was collected at once.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Snapshot {
    /// The host.
    pub host: Host,
    /// By number.
    pub processes: Vec<Process>,
    /// How much later than planned, in milliseconds.
    pub late_ms: u64,
    /// Snapshots that were planned since the one before and not made.
    pub skipped: u64,
}

/// Which part of which snapshot a record is. Stands in each as `snapshot`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Of the form of records.
    pub version: u32,
    /// The run of the agent.
    pub run: String,
    /// Which snapshot of the run.
    pub number: u64,
    /// The snapshot of the run that was recorded as a whole, and on which this one stands; itself, if it is one.
    pub full: u64,
    /// Which part of it, from 0.
    #[serde(default)]
    pub part: u32,
    /// How many there are.
    pub parts: u32,
    /// How often snapshots are planned, in milliseconds; 0 for one alone.
    pub every_ms: u64,
    /// How much later than planned it was made, in milliseconds, where that is worth telling.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub late_ms: Option<u64>,
    /// Snapshots that were planned before it and not made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skipped: Option<u64>,
}

impl Header {
    /// The form that this version writes.
    pub const VERSION: u32 = 1;

    /// Whether it is one of the whole table.
    pub fn is_full(&self) -> bool {
        self.full == self.number
    }

    /// Reads that of a record; `None` if it is another's, or of a version that is not known.
    pub fn of(data: &[u8]) -> Option<Self> {
        // It stands first, so that what follows costs nothing, and others' records neither.
        let rest = data.strip_prefix(br#"{"snapshot":"#)?;
        let mut values = serde_json::Deserializer::from_slice(rest).into_iter::<Self>();
        let header = values.next()?.ok()?;
        (header.version == Self::VERSION).then_some(header)
    }
}

/// A snapshot that was rebuilt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Which it is.
    pub header: Header,
    /// When it was collected, in microseconds since 1970.
    pub observed: i64,
    /// The host.
    pub host: Host,
    /// The processes, by number.
    pub processes: BTreeMap<Identity, Process>,
}

/// A record as it is read.
#[derive(Debug, Deserialize)]
pub(crate) struct Record {
    pub(crate) snapshot: Header,
    #[serde(default)]
    pub(crate) host: Option<Host>,
    #[serde(default)]
    pub(crate) processes: Vec<Process>,
    #[serde(default)]
    pub(crate) started: Vec<Process>,
    #[serde(default)]
    pub(crate) changed: Vec<Change>,
    #[serde(default)]
    pub(crate) ended: Vec<Identity>,
}

impl Record {
    /// Reads one; `None` if it is another's, damaged, or of a version that is not known.
    pub(crate) fn read(data: &[u8]) -> Option<Self> {
        Header::of(data)?;
        serde_json::from_slice(data).ok()
    }
}
