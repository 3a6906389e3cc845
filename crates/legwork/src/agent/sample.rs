//! The half that collects: a thread that makes a snapshot whenever one is planned.
//!
//! The first one is made at once. Those that follow are planned at even steps from a moment that is drawn by lot, so that the agents of many
//! hosts that were started together do not all send together.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use legwork_processes::{CollectError, Collector, Recorder};
use legwork_records::spool::{Spool, SpoolError};
use legwork_records::{Clock, Observed, Prepared, SystemClock, Validator};
use uuid::Uuid;

use super::{Figures, Wanted};
use crate::error::{CommandError, FAILED};
use crate::output::Output;

/// Bytes of one batch, about; a server takes more.
const BATCH_BYTES: usize = 1 << 20;
/// A snapshot this much after its time is late, and so is one after a tenth of the interval.
const LATE: Duration = Duration::from_millis(50);

/// The thread.
#[derive(Debug)]
pub(crate) struct Sampler {
    /// Dropped when it is to end.
    wanted: mpsc::Sender<()>,
    thread: JoinHandle<()>,
}

impl Sampler {
    /// Begins to collect.
    pub(crate) fn begin(
        out: Output,
        wanted: &Wanted,
        spool: Arc<Spool>,
        figures: Arc<Figures>,
    ) -> Result<Self, CommandError> {
        let collector = Collector::open(wanted.settings).map_err(failed)?;
        let every_ms = u64::try_from(wanted.every.as_millis()).unwrap_or(u64::MAX);
        let work = Work {
            out,
            collector,
            recorder: Recorder::new(run_id(), every_ms),
            validator: Validator::default(),
            every: wanted.every,
            spool,
            figures,
            segments: 0,
            trouble: None,
        };
        let (wanted, ended) = mpsc::channel();
        let thread = std::thread::Builder::new().name("sampler".to_owned());
        let thread = thread.spawn(move || work.run(&ended))?;
        Ok(Self { wanted, thread })
    }

    /// Ends it, once it has kept what it is collecting. Blocks.
    pub(crate) fn end(self) {
        drop(self.wanted);
        if let Err(panic) = self.thread.join() {
            std::panic::resume_unwind(panic);
        }
    }
}

/// A name for a run of an agent that no other has.
pub(crate) fn run_id() -> String {
    Uuid::now_v7().simple().to_string()
}

pub(crate) fn failed(error: CollectError) -> CommandError {
    CommandError::new(FAILED, "IO", error.to_string())
}

struct Work {
    out: Output,
    collector: Collector,
    recorder: Recorder,
    validator: Validator,
    every: Duration,
    spool: Arc<Spool>,
    figures: Arc<Figures>,
    /// Segments of the spool.
    segments: usize,
    /// What went wrong last, said once.
    trouble: Option<String>,
}

impl Work {
    fn run(mut self, ended: &mpsc::Receiver<()>) {
        self.sample(Duration::ZERO, 0);
        let mut due = Instant::now() + lot(self.every);
        loop {
            let wait = due.saturating_duration_since(Instant::now());
            match ended.recv_timeout(wait) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
            }
            let late = due.elapsed();
            let skipped = late.as_nanos() / self.every.as_nanos().max(1);
            let skipped = u32::try_from(skipped).unwrap_or(u32::MAX);
            due += self.every * skipped;
            self.sample(late, skipped);
            due += self.every;
        }
    }

    /// Makes a snapshot and keeps it.
    fn sample(&mut self, late: Duration, skipped: u32) {
        if late > LATE.max(self.every / 10) {
            self.figures.late.fetch_add(1, Relaxed);
        }
        self.figures.skipped.fetch_add(skipped.into(), Relaxed);
        // What stands behind a gap is of use only from the next whole table on; the oldest segment goes as a whole.
        let segments = self.spool.log().stats().segments;
        // The first one does not stand behind another.
        let before = std::mem::replace(&mut self.segments, segments);
        let has_grown = segments > before.max(1);
        if self.figures.anew.swap(false, Relaxed) || has_grown {
            self.recorder.begin_anew();
        }
        match self.kept(late, skipped) {
            Ok(()) => {
                self.figures.snapshots.fetch_add(1, Relaxed);
                if self.trouble.take().is_some() {
                    self.out.note("snapshots are kept again");
                }
            }
            Err(error) => {
                self.figures.failed.fetch_add(1, Relaxed);
                self.recorder.begin_anew();
                let words = error.to_string();
                if self.trouble.as_ref() != Some(&words) {
                    self.out.note(&format!("a snapshot is lost: {words}"));
                    self.trouble = Some(words);
                }
            }
        }
    }

    fn kept(&mut self, late: Duration, skipped: u32) -> Result<(), Trouble> {
        let observed = Observed::At(SystemClock.now());
        let mut snapshot = self.collector.collect()?;
        snapshot.late_ms = u64::try_from(late.as_millis()).unwrap_or(u64::MAX);
        snapshot.skipped = skipped.into();
        for batch in batches(self.recorder.record(snapshot)) {
            let records = prepared(&mut self.validator, &batch, observed)?;
            self.spool.push(records)?;
        }
        Ok(())
    }
}

/// Why a snapshot was not kept.
#[derive(Debug)]
enum Trouble {
    Collect(CollectError),
    Spool(SpoolError),
    Record(String),
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Collect(error) => error.fmt(f),
            Self::Spool(error) => error.fmt(f),
            Self::Record(words) => f.write_str(words),
        }
    }
}

impl From<CollectError> for Trouble {
    fn from(error: CollectError) -> Self {
        Self::Collect(error)
    }
}

impl From<SpoolError> for Trouble {
    fn from(error: SpoolError) -> Self {
        Self::Spool(error)
    }
}

/// Records as lines, in as many batches as it takes.
pub(crate) fn batches(records: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let mut batches: Vec<Vec<u8>> = Vec::new();
    for record in records {
        match batches.last_mut() {
            Some(batch) if batch.len() + record.len() < BATCH_BYTES => {
                batch.extend_from_slice(&record);
                batch.push(b'\n');
            }
            _ => batches.push([&record[..], b"\n"].concat()),
        }
    }
    batches
}

fn prepared(
    validator: &mut Validator,
    batch: &[u8],
    observed: Observed<'_>,
) -> Result<Prepared, Trouble> {
    let records = validator.batch(batch, observed, None);
    let records = records.map_err(|error| Trouble::Record(error.to_string()))?;
    match records.rejections().records.first() {
        None => Ok(records),
        Some(rejection) => Err(Trouble::Record(rejection.message.clone())),
    }
}

/// Some time, up to this long.
fn lot(most: Duration) -> Duration {
    let mut random = [0; 4];
    let drawn = rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty());
    let share = drawn.map_or(0.5, |_: usize| {
        f64::from(u32::from_le_bytes(random)) / f64::from(u32::MAX)
    });
    most.mul_f64(share)
}

/// A pause as long as this, or up to a half longer.
pub(super) fn jittered(pause: Duration) -> Duration {
    pause + lot(pause / 2)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{BATCH_BYTES, batches, jittered};

    #[test]
    fn batches_have_all_records_in_order() {
        let records: Vec<Vec<u8>> = (0..30_u8).map(|n| vec![n; 100_000]).collect();
        let batches = batches(records.clone());
        assert!(batches.len() > 2 && batches.iter().all(|batch| batch.len() <= BATCH_BYTES));
        let lines: Vec<_> = records
            .into_iter()
            .flat_map(|line| [line, vec![b'\n']])
            .flatten()
            .collect();
        assert_eq!(batches.concat(), lines);
        assert!(super::batches(Vec::new()).is_empty());
    }

    #[test]
    fn pauses_differ() {
        let pauses: Vec<_> = (0..20).map(|_| jittered(Duration::from_secs(10))).collect();
        let within = Duration::from_secs(10)..=Duration::from_secs(15);
        assert!(pauses.iter().all(|pause| within.contains(pause)));
        assert!(pauses.iter().any(|pause| *pause != pauses[0]));
    }
}
