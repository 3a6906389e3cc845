//! No more bytes a second than somebody allows.
//!
//! A message waits for its turn before it is handed to the link, and whoever comes after it waits for the link; so all
//! workers together keep to the rate. Over any time no more than that times the rate goes out, and one message.

use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use crate::link::{Closed, Sending};
use crate::message::Up;
use crate::observer::Observer;

/// How long a wait may last before it is looked whether to give up.
const STEP: Duration = Duration::from_millis(50);
/// Bytes of an entry beside its path, about.
const ENTRY_BYTES: u64 = 48;

/// When how many bytes may go.
#[derive(Debug)]
struct Bucket {
    /// Bytes per second.
    rate: NonZeroU64,
    /// When all that has gone is paid for.
    paid_at: Duration,
}

impl Bucket {
    /// Lets `bytes` go; says how long after `now` they may.
    fn take(&mut self, now: Duration, bytes: u64) -> Duration {
        let wait = self.paid_at.saturating_sub(now);
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(self.rate.get());
        let takes = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        self.paid_at = self.paid_at.max(now).saturating_add(takes);
        wait
    }
}

/// A clock, and waiting by it.
pub(crate) trait Pace: Send {
    /// Since whenever.
    fn now(&self) -> Duration;

    /// Waits that long; `false` if there is no point in going on.
    fn pause(&self, time: Duration) -> bool;
}

/// The time of this machine, until the observer cancels.
pub(crate) struct Wall<'a> {
    began: Instant,
    observer: &'a dyn Observer,
}

impl<'a> Wall<'a> {
    pub(crate) fn watched_by(observer: &'a dyn Observer) -> Self {
        let began = Instant::now();
        Self { began, observer }
    }
}

impl Pace for Wall<'_> {
    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    fn pause(&self, time: Duration) -> bool {
        let until = self.now() + time;
        loop {
            if self.observer.cancelled() {
                return false;
            }
            match until.saturating_sub(self.now()) {
                Duration::ZERO => return true,
                left => std::thread::sleep(left.min(STEP)),
            }
        }
    }
}

/// The sending half of a link, at a rate.
pub(crate) struct Throttled<S, P> {
    link: S,
    pace: P,
    bucket: Option<Bucket>,
}

impl<S, P> Throttled<S, P> {
    /// As fast as the link without a rate, which is in bytes per second.
    pub(crate) fn new(link: S, rate: Option<NonZeroU64>, pace: P) -> Self {
        let bucket = rate.map(|rate| Bucket {
            rate,
            paid_at: Duration::ZERO,
        });
        Self { link, pace, bucket }
    }
}

impl<S: Sending<Up>, P: Pace> Sending<Up> for Throttled<S, P> {
    fn send(&mut self, message: Up) -> Result<(), Closed> {
        if let Some(bucket) = &mut self.bucket {
            let wait = bucket.take(self.pace.now(), weight(&message));
            if !wait.is_zero() && !self.pace.pause(wait) {
                return Err(Closed);
            }
        }
        self.link.send(message)
    }
}

/// Bytes of a message, about: exact for content.
fn weight(message: &Up) -> u64 {
    match message {
        Up::Data(data) => data.bytes.len() as u64,
        Up::Delta(delta) => {
            let puts = delta.puts.iter().map(|put| put.path.len());
            let paths = puts.chain(delta.deletes.iter().map(Vec::len));
            paths.map(|len| len as u64 + ENTRY_BYTES).sum()
        }
        Up::Reuse(reuse) => reuse.ranges.len() as u64 * ENTRY_BYTES,
        Up::Hello(_) | Up::Rebase | Up::End(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::num::NonZeroU64;
    use std::time::Duration;

    use bytes::Bytes;

    use super::{Pace, Throttled};
    use crate::link::{Closed, Sending};
    use crate::message::{Data, Packing, Up};

    /// Time passes only by waiting.
    #[derive(Default)]
    struct Waited {
        time: Cell<Duration>,
        patience: Option<Duration>,
    }

    impl Pace for &mut Waited {
        fn now(&self) -> Duration {
            self.time.get()
        }

        fn pause(&self, time: Duration) -> bool {
            self.time.set(self.time.get() + time);
            self.patience.is_none_or(|most| self.time.get() < most)
        }
    }

    #[derive(Default)]
    struct Count(u64);

    impl Sending<Up> for &mut Count {
        fn send(&mut self, message: Up) -> Result<(), Closed> {
            if let Up::Data(data) = message {
                self.0 += data.bytes.len() as u64;
            }
            Ok(())
        }
    }

    fn frame(len: usize) -> Up {
        let (pieces, bytes) = (Vec::new(), Bytes::from(vec![0; len]));
        Up::Data(Data {
            pieces,
            packing: Packing::Plain,
            bytes,
        })
    }

    #[test]
    fn bytes_go_at_the_rate_whatever_the_frames() {
        for frame_bytes in [1_000, 100_000] {
            let (mut sent, mut waited) = (Count::default(), Waited::default());
            let rate = NonZeroU64::new(50_000);
            let mut link = Throttled::new(&mut sent, rate, &mut waited);
            for _ in 0..1_000_000 / frame_bytes {
                link.send(frame(frame_bytes)).unwrap();
            }
            assert_eq!(sent.0, 1_000_000);
            let last = frame_bytes as u64;
            let expected = Duration::from_millis((1_000_000 - last) / 50);
            assert_eq!(
                waited.time.get(),
                expected,
                "the last need not wait for its own"
            );
        }
    }

    #[test]
    fn a_pause_gives_no_credit() {
        let (mut sent, mut waited) = (Count::default(), Waited::default());
        let rate = NonZeroU64::new(1000);
        waited.time.set(Duration::from_secs(3600));
        let mut link = Throttled::new(&mut sent, rate, &mut waited);
        for _ in 0..3 {
            link.send(frame(1000)).unwrap();
        }
        assert_eq!(waited.time.get(), Duration::from_secs(3602));
    }

    #[test]
    fn without_a_rate_nobody_waits_and_a_wait_can_be_given_up() {
        let (mut sent, mut waited) = (Count::default(), Waited::default());
        let mut link = Throttled::new(&mut sent, None, &mut waited);
        link.send(frame(1 << 20)).unwrap();
        assert_eq!(waited.time.get(), Duration::ZERO);
        waited.patience = Some(Duration::from_secs(1));
        let mut link = Throttled::new(&mut sent, NonZeroU64::new(1), &mut waited);
        link.send(frame(100)).unwrap();
        assert_eq!(link.send(frame(100)), Err(Closed));
        assert_eq!(sent.0, (1 << 20) + 100);
    }
}
