//! Connections that came to nothing: counted by why, and told in the diagnostics now and then.
//!
//! Anybody can make as many of them as they like, so not each is a line: the first of a kind is told at once, and those of the next minute by the first
//! one after it, with their number.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use legwork_identity::tls::HandshakeError;
use tokio::time::Instant;

/// How long nothing more is told of a kind.
const QUIET: Duration = Duration::from_secs(60);

/// All kinds, so that each is in the metrics before it happens.
const KINDS: [&str; 6] = ["certificate", CLOSED, "full", "late", "refused", "tls"];

/// The other end went away.
pub(super) const CLOSED: &str = "closed";

/// Counts them.
#[derive(Debug, Default)]
pub(super) struct Failed(Mutex<BTreeMap<&'static str, Kind>>);

#[derive(Debug, Default)]
struct Kind {
    count: u64,
    /// When one was told, and how many came afterwards.
    told: Option<Instant>,
    more: u64,
}

/// What kind of failure it is.
pub(super) const fn kind(error: &HandshakeError) -> &'static str {
    match error {
        HandshakeError::WrongCa
        | HandshakeError::WrongServer { .. }
        | HandshakeError::Expired { .. }
        | HandshakeError::NotYetValid { .. }
        | HandshakeError::WrongPurpose
        | HandshakeError::BadCertificate(_) => "certificate",
        HandshakeError::Refused(_) => "refused",
        HandshakeError::Closed | HandshakeError::Io(_) => CLOSED,
        _ => "tls",
    }
}

impl Failed {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, Kind>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One more.
    pub(super) fn tell(&self, why: &'static str, source: SocketAddr, error: &dyn Display) {
        if let Some(more) = self.count(why) {
            tracing::info!(%source, %error, more, "a connection came to nothing; `more` have since the last that was told");
        }
    }

    /// Counts one. If it is to be told, how many there were since the last that was.
    fn count(&self, why: &'static str) -> Option<u64> {
        let mut kinds = self.lock();
        let kind = kinds.entry(why).or_default();
        kind.count += 1;
        let is_quiet = kind.told.is_some_and(|told| told.elapsed() < QUIET);
        if is_quiet {
            kind.more += 1;
            return None;
        }
        kind.told = Some(Instant::now());
        Some(std::mem::take(&mut kind.more))
    }

    /// How many there were of each kind.
    pub(super) fn counts(&self) -> Vec<(&'static str, u64)> {
        let kinds = self.lock();
        let count = |why| kinds.get(why).map_or(0, |kind| kind.count);
        KINDS.into_iter().map(|why| (why, count(why))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{Failed, QUIET};

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_a_line_a_minute() {
        let failed = Failed::default();
        assert_eq!(failed.count("tls"), Some(0));
        for _ in 0..1000 {
            assert_eq!(failed.count("tls"), None);
        }
        assert_eq!(failed.count("late"), Some(0), "another kind");
        tokio::time::advance(QUIET).await;
        assert_eq!(failed.count("tls"), Some(1000));
        assert_eq!(failed.count("tls"), None);
        let counts = failed.counts();
        assert!(counts.contains(&("tls", 1003)) && counts.contains(&("late", 1)));
        assert!(counts.contains(&("full", 0)));
    }
}
