//! Figures of exports. Their names are from the settings, so nobody makes the figures grow.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::export::Counts;
use crate::server::Shared;

/// Of each export by name: how far it is behind, and its counts in the order of [`COUNTS`].
pub(super) type Told = Vec<(String, u64, [u64; COUNTS.len()])>;

type Labelled = Vec<(&'static str, String)>;

const COUNTS: [(&str, &str); 5] = [
    (
        "records_exported",
        "Records of requests that the receiver of an export took",
    ),
    (
        "records_export_rejected",
        "Those of them that it said it did not take",
    ),
    (
        "records_export_given_up",
        "Records that it could not be brought to take",
    ),
    (
        "records_export_missed",
        "Lines that were removed or damaged before they were exported",
    ),
    (
        "records_export_failures",
        "Requests of exports that failed; they are made again",
    ),
];

/// What exports tell now.
pub(super) fn told(shared: &Shared) -> Told {
    let exports = shared.records.exports.lock();
    let exports = exports.unwrap_or_else(PoisonError::into_inner);
    let own = |counts: &Counts| {
        let all = [
            &counts.sent,
            &counts.rejected,
            &counts.given_up,
            &counts.missed,
            &counts.failures,
        ];
        all.map(|count| count.load(Ordering::Relaxed))
    };
    let told = exports.iter().map(|(name, counts)| {
        let lag = counts.lag.load(Ordering::Relaxed);
        (name.clone(), lag, own(counts))
    });
    told.collect()
}

/// Puts all of them on the page.
pub(super) fn register(registry: &mut Registry, told: &Told) {
    if told.is_empty() {
        return;
    }
    let label = |name: &str| vec![("export", name.to_owned())];
    let lag = Family::<Labelled, Gauge>::default();
    for (name, behind, _) in told {
        let behind = i64::try_from(*behind).unwrap_or(i64::MAX);
        lag.get_or_create(&label(name)).set(behind);
    }
    let help = "Lines that an export is behind";
    registry.register("records_export_lag", help, lag);
    for (at, (name, help)) in COUNTS.into_iter().enumerate() {
        let family = Family::<Labelled, Counter>::default();
        for (export, _, counts) in told {
            family.get_or_create(&label(export)).inc_by(counts[at]);
        }
        registry.register(name, help, family);
    }
}
