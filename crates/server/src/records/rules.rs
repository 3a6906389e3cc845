//! How streams are kept, and what one identity may send: what the settings say.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use legwork_records::{Durability, Limits, Retention, Schema};

use crate::audit;
use crate::export::ExportRule;

/// How records are kept.
#[derive(Debug, Clone)]
pub struct RecordRules {
    /// Streams of which nothing else is said.
    pub usual: StreamRule,
    /// Single streams, by name.
    pub streams: BTreeMap<String, StreamRule>,
    /// The server's own stream of who did what, of which nothing else is said.
    pub audit: StreamRule,
    /// Streams that one identity may have made.
    pub streams_each: usize,
    /// Calls that send which one identity may have open.
    pub senders_each: usize,
    /// Bytes of batches that are looked at or wait for the disk, of all senders.
    pub bytes_under_way: usize,
    /// The stream of what comes by OTLP and does not name one.
    pub otlp_stream: String,
    /// Where streams are sent on to, by name.
    pub exports: BTreeMap<String, ExportRule>,
    /// Bytes that stay free on the disk: below, batches are refused.
    pub free_bytes_min: u64,
}

/// How one stream is kept.
#[derive(Debug, Clone)]
pub struct StreamRule {
    /// What an acknowledgement promises.
    pub durability: Durability,
    /// What is kept; everything if nothing is said.
    pub retention: Retention,
    /// A segment ends when it is so long.
    pub segment_bytes: u64,
    /// A segment ends when it is so old.
    pub segment_age: Duration,
    /// What a record may be.
    pub limits: Limits,
    /// What it has to be.
    pub schema: Option<Arc<Schema>>,
    /// Records a second that one identity may send to it, with a second's worth at once.
    pub records_per_s: Option<u64>,
    /// Bytes of JSON a second, likewise.
    pub bytes_per_s: Option<u64>,
}

impl Default for RecordRules {
    fn default() -> Self {
        Self {
            usual: StreamRule::default(),
            streams: BTreeMap::new(),
            audit: StreamRule {
                durability: Durability::Interval(Duration::from_secs(1)),
                retention: Retention {
                    bytes: Some(1 << 30),
                    age: Some(Duration::from_hours(400 * 24)),
                },
                segment_bytes: 16 << 20,
                ..StreamRule::default()
            },
            streams_each: 64,
            senders_each: 64,
            bytes_under_way: 24 << 20,
            exports: BTreeMap::new(),
            otlp_stream: "otlp".to_owned(),
            free_bytes_min: 64 << 20,
        }
    }
}

impl Default for StreamRule {
    fn default() -> Self {
        Self {
            durability: Durability::Durable,
            retention: Retention::default(),
            segment_bytes: 64 << 20,
            segment_age: Duration::from_hours(24),
            limits: Limits::default(),
            schema: None,
            records_per_s: None,
            bytes_per_s: None,
        }
    }
}

impl RecordRules {
    /// The rule of a stream.
    pub(crate) fn of(&self, stream: &str) -> &StreamRule {
        let usual = match stream {
            audit::STREAM => &self.audit,
            _ => &self.usual,
        };
        self.streams.get(stream).unwrap_or(usual)
    }

    /// Bytes that stay free on the disk when the stream is written. The server's own go on a little longer than what clients send.
    pub(crate) fn free_bytes_min(&self, stream: &str) -> u64 {
        match stream {
            audit::STREAM => self.free_bytes_min / 4,
            _ => self.free_bytes_min,
        }
    }
}
