//! How often strangers may try to join: each attempt costs the server a signature and a transaction.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tonic::Code;

use crate::problem::Problem;

/// Attempts from one address in a row.
const BURST: u32 = 20;
/// After which time another one is allowed.
const EACH: Duration = Duration::from_secs(3);
/// Addresses that are remembered. When there are more, those that have not tried lately are forgotten.
const SOURCES_MAX: usize = 4096;

/// Counts attempts by address.
#[derive(Debug, Default)]
pub(crate) struct Joins(Mutex<HashMap<Option<IpAddr>, Instant>>);

impl Joins {
    /// Counts one attempt, or refuses it.
    pub(crate) fn attempt(&self, source: Option<IpAddr>, now: Instant) -> Result<(), Problem> {
        let mut sources = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if sources.len() >= SOURCES_MAX {
            sources.retain(|_, free_at| *free_at > now);
        }
        // Until when the attempts so far are paid for.
        let paid = sources.get(&source).copied().unwrap_or(now).max(now);
        let wait = (paid + EACH).saturating_duration_since(now + EACH * BURST);
        if !wait.is_zero() || sources.len() >= SOURCES_MAX {
            let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
            let message = "too many attempts to join from this address: try again in a minute";
            let problem = Problem::new(Code::ResourceExhausted, "JOIN_RATE", message);
            return Err(problem.with("waitMs", wait_ms));
        }
        sources.insert(source, paid + EACH);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::{BURST, EACH, Joins, SOURCES_MAX};

    #[test]
    fn a_burst_and_then_one_at_a_time() {
        let joins = Joins::default();
        let now = Instant::now();
        for _ in 0..BURST {
            joins.attempt(None, now).unwrap();
        }
        assert_eq!(joins.attempt(None, now).unwrap_err().reason, "JOIN_RATE");
        let other = Some([10, 0, 0, 1].into());
        joins.attempt(other, now).unwrap();
        joins.attempt(None, now + EACH).unwrap();
        joins.attempt(None, now + EACH).unwrap_err();
    }

    #[test]
    fn the_memory_has_a_bound() {
        let joins = Joins::default();
        let now = Instant::now();
        for number in 0..u32::try_from(SOURCES_MAX).unwrap() {
            joins
                .attempt(Some(number.to_be_bytes().into()), now)
                .unwrap();
        }
        joins.attempt(None, now).unwrap_err();
        joins.attempt(None, now + EACH).unwrap();
    }
}
