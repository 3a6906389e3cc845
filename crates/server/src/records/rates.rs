//! How fast identities send, and what is too fast.
//!
//! A token bucket of a second's worth for each identity and stream. A batch is let through while there is anything in it, and may leave it in
//! debt; so a batch that is larger than the bucket is only late, and never stuck.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Buckets that are remembered. Beyond, those that are full again go.
const KNOWN_MAX: usize = 4096;

/// What may come in a second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Rate {
    pub(crate) records: Option<u64>,
    pub(crate) bytes: Option<u64>,
}

/// How much of it is left.
#[derive(Debug)]
struct Bucket {
    at: Instant,
    rate: Rate,
    records: f64,
    bytes: f64,
}

/// The buckets.
#[derive(Debug, Default)]
pub(crate) struct Rates(Mutex<HashMap<(String, String), Bucket>>);

impl Rates {
    /// Whether more may come now; else how long to wait.
    pub(crate) fn check(&self, owner: &str, stream: &str, rate: Rate) -> Result<(), Duration> {
        self.with(owner, stream, rate, |bucket| bucket.wait())
    }

    /// Takes what came.
    pub(crate) fn take(&self, owner: &str, stream: &str, rate: Rate, records: u64, bytes: u64) {
        self.with(owner, stream, rate, |bucket| {
            // Both are far below what f64 is exact for.
            bucket.records -= records as f64;
            bucket.bytes -= bytes as f64;
            Ok(())
        })
        .unwrap_or_default();
    }

    fn with(
        &self,
        owner: &str,
        stream: &str,
        rate: Rate,
        work: impl FnOnce(&mut Bucket) -> Result<(), Duration>,
    ) -> Result<(), Duration> {
        if rate == Rate::default() {
            return Ok(());
        }
        let now = Instant::now();
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= KNOWN_MAX {
            known.retain(|_, bucket| !bucket.filled(now));
        }
        let key = (owner.to_owned(), stream.to_owned());
        let bucket = known.entry(key).or_insert_with(|| Bucket::full(now, rate));
        bucket.fill(now);
        work(bucket)
    }
}

impl Bucket {
    fn full(at: Instant, rate: Rate) -> Self {
        let most = |rate: Option<u64>| rate.unwrap_or(0) as f64;
        Self {
            at,
            rate,
            records: most(rate.records),
            bytes: most(rate.bytes),
        }
    }

    fn fill(&mut self, now: Instant) {
        let passed = now.duration_since(self.at).as_secs_f64();
        self.at = now;
        for (level, rate) in [
            (&mut self.records, self.rate.records),
            (&mut self.bytes, self.rate.bytes),
        ] {
            let rate = rate.unwrap_or(0) as f64;
            *level = (*level + rate * passed).min(rate);
        }
    }

    fn filled(&mut self, now: Instant) -> bool {
        self.fill(now);
        let full = |level: f64, rate: Option<u64>| level >= rate.unwrap_or(0) as f64;
        full(self.records, self.rate.records) && full(self.bytes, self.rate.bytes)
    }

    /// Nothing, if there is something of both; else how long until there is.
    fn wait(&self) -> Result<(), Duration> {
        let until = |level: f64, rate: Option<u64>| match rate {
            Some(rate) if level < 1.0 => (1.0 - level) / (rate.max(1) as f64),
            _ => 0.0,
        };
        let wait = until(self.records, self.rate.records).max(until(self.bytes, self.rate.bytes));
        match Duration::try_from_secs_f64(wait) {
            Ok(Duration::ZERO) => Ok(()),
            Ok(wait) => Err(wait),
            Err(_) => Err(Duration::from_hours(1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Rate, Rates};

    const RATE: Rate = Rate {
        records: Some(10),
        bytes: Some(1000),
    };

    #[tokio::test(start_paused = true)]
    async fn what_is_too_fast_waits_for_as_long_as_it_was_too_much() {
        let rates = Rates::default();
        let check = |who: &str| rates.check(who, "s", RATE);
        assert!(check("a").is_ok());
        rates.take("a", "s", RATE, 30, 100);
        let wait = check("a").unwrap_err();
        assert!((2.0..2.2).contains(&wait.as_secs_f64()), "{wait:?}");
        assert!(check("b").is_ok(), "others have theirs");
        tokio::time::advance(wait).await;
        assert!(check("a").is_ok());
        rates.take("a", "s", RATE, 0, 1200);
        assert!(check("a").is_err(), "bytes count, too");
        tokio::time::advance(Duration::from_secs(60)).await;
        rates.take("a", "s", RATE, 9, 0);
        assert!(check("a").is_ok());
        rates.take("a", "s", RATE, 1, 0);
        assert!(check("a").is_err(), "a rest is not piled up");
    }

    #[tokio::test]
    async fn without_a_rate_nothing_is_remembered() {
        let rates = Rates::default();
        rates.take("a", "s", Rate::default(), u64::MAX, u64::MAX);
        assert!(rates.check("a", "s", Rate::default()).is_ok());
        assert!(rates.0.lock().unwrap().is_empty());
    }
}
