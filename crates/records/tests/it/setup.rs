//! Logs, batches and readers for tests.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use legwork_records::query::{Item, Query};
use legwork_records::{
    Ack, AppendError, Batch, Clock, Config, Content, Log, Observed, Origin, Timestamp, Validator,
};

/// How long a test waits for what has to happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// When tests begin: 2026-11-22T12:00:00Z.
pub(crate) const NOON: i64 = 1_795_348_800_000_000;

/// A clock that goes when it is told to.
#[derive(Debug)]
pub(crate) struct Hand(AtomicI64);

impl Hand {
    pub(crate) fn at_noon() -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(NOON)))
    }

    /// Moves it by seconds, forward or back.
    pub(crate) fn turn(&self, seconds: i64) {
        self.0.fetch_add(seconds * 1_000_000, Ordering::SeqCst);
    }
}

impl Clock for Hand {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::SeqCst))
    }
}

/// A log as tests have it: no packing by itself, no watermark.
pub(crate) fn config(dir: &Path) -> Config {
    Config {
        packing: None,
        free_bytes_min: 0,
        clock: Hand::at_noon(),
        ..Config::new(dir, "test")
    }
}

pub(crate) fn open(dir: &Path) -> Log {
    Log::open(config(dir)).expect("the log opens").0
}

/// A numbered batch of a producer of client `c`.
pub(crate) fn batch(producer: &str, sequence: u64, input: &str) -> Batch {
    let prepared = Validator::default().batch(input.as_bytes(), Observed::Unsaid, None);
    Batch {
        client: "c".to_owned(),
        host: "h".to_owned(),
        origin: Some(Origin {
            producer: producer.to_owned(),
            sequence,
            session: 0,
        }),
        content: Content::Records(prepared.expect("a small batch")),
    }
}

/// A batch with no number, of somebody.
pub(crate) fn of(client: &str, input: &str) -> Batch {
    Batch {
        client: client.to_owned(),
        origin: None,
        ..batch("", 0, input)
    }
}

pub(crate) fn append(
    log: &Log,
    producer: &str,
    sequence: u64,
    input: &str,
) -> Result<Ack, AppendError> {
    log.append(batch(producer, sequence, input))
}

/// What a reader finds, in words: `seq body`, or `seq-seq damaged`.
pub(crate) fn told(log: &Log, query: Query) -> Vec<String> {
    let mut reader = log.read(query);
    let mut told = Vec::new();
    while let Some(item) = reader.next_item().expect("the log is read") {
        told.push(match item {
            Item::Entry(entry) => {
                let body = std::str::from_utf8(entry.body).expect("JSON is text");
                format!("{} {body}", entry.seq)
            }
            Item::Missing { from, to, damaged } => {
                format!(
                    "{from}-{to} {}",
                    if damaged { "damaged" } else { "removed" }
                )
            }
        });
    }
    told
}

pub(crate) fn everything(log: &Log) -> Vec<String> {
    told(log, Query::default())
}
