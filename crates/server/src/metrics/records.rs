//! Figures of the logs of records. Not by stream: clients name streams, and could make the figures grow.

use std::sync::atomic::AtomicU64;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};

use crate::records::{Now, Sums};

const MICROS: f64 = 1_000_000.0;

/// How long syncs took. The log has counted that already.
#[derive(Debug)]
struct Syncs {
    buckets: Vec<(f64, u64)>,
    count: u64,
    seconds: f64,
}

impl Collector for Syncs {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let help = "How long the disk took to have records for good";
        let mut metric = encoder.encode_descriptor(
            "records_sync",
            help,
            Some(&Unit::Seconds),
            MetricType::Histogram,
        )?;
        metric.encode_histogram::<NoLabelSet>(self.seconds, self.count, &self.buckets, None)
    }
}

impl Syncs {
    fn new(sums: &Sums) -> Self {
        let last = sums.sync_times.len() - 1;
        let bound = |n: usize| match n {
            _ if n == last => f64::MAX,
            // Far below what f64 is exact for.
            n => (1_u64 << n) as f64 / MICROS,
        };
        let counts = sums.sync_times.iter().enumerate();
        Self {
            buckets: counts.map(|(n, count)| (bound(n), *count)).collect(),
            count: sums.syncs,
            seconds: sums.sync_micros as f64 / MICROS,
        }
    }
}

/// Puts all of them on the page.
pub(super) fn register(registry: &mut Registry, sums: &Sums, now: &Now) {
    let counters = [
        (
            "records_accepted",
            "Records that were accepted",
            sums.accepted,
        ),
        ("records_batches", "Batches that were written", sums.batches),
        (
            "records_duplicate_batches",
            "Batches that came again",
            sums.duplicates,
        ),
        (
            "records_sync_failures",
            "Syncs of logs that failed",
            sums.sync_failures,
        ),
    ];
    for (name, help, count) in counters {
        registry.register(name, help, ConstCounter::new(count));
    }
    register_by_word(registry, sums, now);
    registry.register_with_unit(
        "records_written",
        "Lines that were written",
        Unit::Bytes,
        ConstCounter::new(sums.written_bytes),
    );
    registry.register_with_unit(
        "records_queue",
        "What waits to be written",
        Unit::Bytes,
        ConstGauge::new(now.queue_bytes),
    );
    let gauges = [
        ("records_open_logs", "Logs that are open", now.open),
        ("records_senders", "Calls that send", now.senders),
        ("records_readers", "Calls that read", now.readers),
        (
            "records_reader_lag",
            "Lines that the slowest of those that read is behind",
            now.lag,
        ),
    ];
    for (name, help, value) in gauges {
        registry.register(name, help, ConstGauge::new(value));
    }
    registry.register_collector(Box::new(Syncs::new(sums)));
}

/// What is told by reason and by kind.
fn register_by_word(registry: &mut Registry, sums: &Sums, now: &Now) {
    let rejected = Family::<Vec<(&'static str, String)>, Counter<u64, AtomicU64>>::default();
    for (reason, count) in &sums.rejected {
        let label = vec![("reason", reason.clone())];
        rejected.get_or_create(&label).inc_by(*count);
    }
    registry.register(
        "records_rejected",
        "Records that were refused, by reason",
        rejected,
    );
    for (name, label, help, counts) in [
        (
            "records_refused_batches",
            "reason",
            "Batches that were refused as a whole, by reason",
            &now.refused,
        ),
        (
            "records_alarms",
            "kind",
            "What was wrong with logs, by what it was",
            &now.alarms,
        ),
    ] {
        let family = Family::<[(&'static str, &'static str); 1], Counter>::default();
        for (word, count) in counts {
            family.get_or_create(&[(label, word)]).inc_by(*count);
        }
        registry.register(name, help, family);
    }
}
