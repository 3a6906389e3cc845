//! How a log is kept.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::alarm::Alarm;
use crate::faults::Faults;
use crate::timestamp::Timestamp;

/// What an ack promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// It is on the disk: no crash of a process, of the kernel or of the power loses it.
    #[default]
    Durable,
    /// It is with the kernel, and on the disk so much later at most: a crash of a process does not lose it.
    Interval(Duration),
    /// It is with the kernel, which puts it on the disk when it likes.
    Os,
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Durable => f.write_str("durable"),
            Self::Interval(every) => write!(f, "interval={}", every.as_millis()),
            Self::Os => f.write_str("os"),
        }
    }
}

/// How closed segments are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packing {
    /// The level of zstd.
    pub level: i32,
    /// How long after its last line. Until then it can be read without unpacking, and packing takes no time from a rush.
    pub after: Duration,
}

/// What is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Retention {
    /// Bytes on disk; the oldest segments beyond go.
    pub bytes: Option<u64>,
    /// Age of the last line of a segment.
    pub age: Option<Duration>,
}

/// Tells the time.
pub trait Clock: fmt::Debug + Send + Sync {
    /// Now.
    fn now(&self) -> Timestamp;
}

/// The clock of the system.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the clock that others take as an argument"
    )]
    fn now(&self) -> Timestamp {
        SystemTime::now().into()
    }
}

type OnAlarm = Arc<dyn Fn(&Alarm) + Send + Sync>;

/// How a log is kept.
#[derive(Clone)]
pub struct Config {
    /// Its directory.
    pub dir: PathBuf,
    /// The name of its stream.
    pub stream: String,
    /// What an ack promises.
    pub durability: Durability,
    /// A segment ends with the group that makes it this long.
    pub segment_bytes: u64,
    /// A segment ends when its first line is this old.
    pub segment_age: Duration,
    /// Whether and how closed segments are packed.
    pub packing: Option<Packing>,
    /// What is kept.
    pub retention: Retention,
    /// Bytes that may wait to be written.
    pub queue_bytes: usize,
    /// Bytes that are written and synced at once, and one batch.
    pub group_bytes: usize,
    /// Bytes that stay free on the disk.
    pub free_bytes_min: u64,
    /// Whether the numbers of batches are checked. A log whose one writer makes them itself does not need it.
    pub check_numbers: bool,
    /// Producers that are remembered.
    pub producers_max: usize,
    /// How long a silent producer is.
    pub producer_age: Duration,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Faults, for tests.
    pub faults: Faults,
    /// Called when something is wrong, on the thread that writes: it should be quick.
    pub on_alarm: Option<OnAlarm>,
}

impl Config {
    /// A log of a stream in a directory, as it is usual.
    pub fn new(dir: impl Into<PathBuf>, stream: impl Into<String>) -> Self {
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        Self {
            dir: dir.into(),
            stream: stream.into(),
            durability: Durability::Durable,
            segment_bytes: 64 << 20,
            segment_age: DAY,
            packing: Some(Packing {
                level: 3,
                after: Duration::from_secs(10 * 60),
            }),
            retention: Retention::default(),
            queue_bytes: 8 << 20,
            group_bytes: 1 << 20,
            free_bytes_min: 64 << 20,
            check_numbers: true,
            producers_max: 10_000,
            producer_age: 30 * DAY,
            clock: Arc::new(SystemClock),
            faults: Faults::default(),
            on_alarm: None,
        }
    }

    pub(crate) fn alarm(&self, alarm: &Alarm) {
        if let Some(hear) = &self.on_alarm {
            hear(alarm);
        }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("dir", &self.dir)
            .field("stream", &self.stream)
            .field("durability", &self.durability)
            .field("faults", &self.faults)
            .finish_non_exhaustive()
    }
}
