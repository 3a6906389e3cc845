//! How contact is kept, and who hears of it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::connect::Heartbeat;

/// How long to go on when contact is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// For ever: somebody is there who can interrupt.
    Forever,
    /// For this long after contact was lost.
    For(Duration),
}

impl Default for Patience {
    fn default() -> Self {
        Self::For(Duration::from_mins(10))
    }
}

/// What becomes of the contact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// It was lost, and is sought again. Told again when there is another cause.
    Lost {
        /// Why, as far as one can say.
        why: String,
    },
    /// It is there again, and what was under way goes on.
    Back,
}

/// Who hears of what becomes of the contact.
#[derive(Clone)]
pub struct Listener(Arc<dyn Fn(Notice) + Send + Sync>);

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Listener(..)")
    }
}

/// How to keep contact.
#[derive(Debug, Clone)]
pub struct Options {
    /// How long one attempt to connect may take.
    pub connect_timeout: Duration,
    /// How long to go on when contact is lost.
    pub patience: Patience,
    /// How a silent peer is noticed; `None` for one in the same process.
    pub heartbeat: Option<Heartbeat>,
    /// Who hears of it; see [`Options::on_notice`].
    pub listener: Option<Listener>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            patience: Patience::default(),
            heartbeat: Some(Heartbeat::default()),
            listener: None,
        }
    }
}

impl Options {
    /// The same with somebody who hears of what becomes of the contact. Must not block.
    #[must_use]
    pub fn on_notice(mut self, listener: impl Fn(Notice) + Send + Sync + 'static) -> Self {
        self.listener = Some(Listener(Arc::new(listener)));
        self
    }

    /// Tells whoever hears of it.
    pub(crate) fn tell(&self, notice: Notice) {
        if let Some(listener) = &self.listener {
            (listener.0)(notice);
        }
    }
}
