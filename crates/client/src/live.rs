//! One connection, and what is known of it.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use tokio::time::Instant;

use crate::connect::Channel;
use crate::distance::Distance;

/// A connection that calls can be made on.
#[derive(Debug, Clone)]
pub(crate) struct Live {
    pub(crate) channel: Channel,
    /// How long the first answer on it took, or the handshake; `None` for a server in this process.
    pub(crate) first_answer: Option<Duration>,
    pub(crate) since: Instant,
    pub(crate) shared: Arc<Shared>,
}

/// What all handles on one connection share. As many as there are users of it.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    /// Somebody has taken note of its loss.
    pub(crate) lost: AtomicBool,
}

impl Live {
    pub(crate) fn new(channel: Channel, first_answer: Option<Duration>) -> Self {
        Self {
            channel,
            first_answer,
            since: Instant::now(),
            shared: Arc::default(),
        }
    }

    /// How far away its other end is.
    pub(crate) fn distance(&self) -> Distance {
        Distance::of(self.first_answer)
    }

    /// Whether there is no other handle on it than this one.
    pub(crate) fn is_idle(&self) -> bool {
        Arc::strong_count(&self.shared) == 1
    }
}
