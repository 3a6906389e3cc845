//! What is true when somebody asks, beside what was counted.

use std::fmt;
use std::sync::Arc;

use legwork_identity::UnixTime;
use legwork_jobs::Phase;
use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use super::Metrics;
use super::exports;
use super::records;
use super::usage::Usage;
use crate::authority::now;
use crate::listen::Listening;
use crate::records::{Now, Sums};
use crate::workspaces::blocking;

const DAY: f64 = 86_400.0;

type Labelled = [(&'static str, &'static str); 1];

/// All figures, as they are when asked for.
#[derive(Debug, Clone)]
pub(crate) struct Page {
    counted: Metrics,
    listening: Arc<Listening>,
}

/// What was looked up.
#[derive(Debug, Default)]
struct Found {
    /// `None` when the jobs cannot be read: no figure is better than a wrong one.
    jobs: Option<Vec<(&'static str, u64)>>,
    usage: Option<Usage>,
    records: Option<(Sums, Now)>,
    exports: exports::Told,
    /// Lines of the audit log that were written, and lost.
    audit: Option<(u64, u64)>,
    connections: Vec<(&'static str, u64)>,
    /// Connections that came to nothing.
    failed: Vec<(&'static str, u64)>,
    /// Bytes of calls and messages that are not whole.
    in_flight: u64,
    /// Bytes that the server's user may still write, and that the file system has in all.
    disk: Option<(u64, u64)>,
    /// Bytes in the mirrors of identities.
    mirrored: Option<u64>,
    /// Whose certificate has how many seconds left.
    certificates: Vec<(&'static str, f64)>,
}

impl Page {
    pub(crate) const fn new(counted: Metrics, listening: Arc<Listening>) -> Self {
        Self { counted, listening }
    }

    /// The text.
    ///
    /// # Errors
    /// Never in fact: writing to memory.
    pub(crate) async fn text(&self) -> Result<String, fmt::Error> {
        let mut page = String::new();
        text::encode_registry(&mut page, &self.counted.registry)?;
        text::encode(&mut page, &self.look().await.registry())?;
        Ok(page)
    }

    async fn look(&self) -> Found {
        let shared = self.listening.shared();
        let counts = shared.jobs.count().await;
        let jobs = counts.map(|counts| {
            let of = |phase: Phase| (phase.name(), counts.get(&phase).copied().unwrap_or(0));
            Phase::ALL.into_iter().map(of).collect()
        });
        if let Err(error) = &jobs {
            tracing::warn!(%error, "jobs cannot be counted");
        }
        let mirrored = shared.space.all(&shared.workspaces).await;
        if let Err(error) = &mirrored {
            tracing::warn!(%error, "mirrors cannot be measured");
        }
        let usage = Usage::look(&shared.jobs).await;
        if let Err(error) = &usage {
            tracing::warn!(%error, "jobs cannot be measured");
        }
        let streams = Arc::clone(&shared.records.streams);
        let records = blocking(move || streams.figures()).await;
        if let Err(error) = &records {
            tracing::warn!(%error, "records cannot be counted");
        }
        let disk = rustix::fs::statvfs(shared.jobs.state_dir()).ok();
        Found {
            jobs: jobs.ok(),
            usage: usage.ok(),
            records: records.ok(),
            exports: exports::told(shared),
            audit: self.listening.audit().map(|counts| counts.told()),
            connections: self.listening.connections().to_vec(),
            failed: self.listening.failed(),
            in_flight: shared.usage.in_flight.bytes(),
            disk: disk.map(|disk| {
                let bytes = |blocks: u64| blocks.saturating_mul(disk.f_frsize);
                (bytes(disk.f_bavail), bytes(disk.f_blocks))
            }),
            mirrored: mirrored.ok(),
            certificates: self.certificates(),
        }
    }

    fn certificates(&self) -> Vec<(&'static str, f64)> {
        let left = |ends: UnixTime| {
            let (ends, now) = (ends.as_secs(), now().as_secs());
            // Both are seconds of this century: exact as f64.
            ends as f64 - now as f64
        };
        let authority = self.listening.shared().authority.find().ok().flatten();
        let authority = authority.map(|opened| opened.ca.certificate().validity().1);
        [
            ("server", self.listening.certificate_ends()),
            ("authority", authority),
        ]
        .into_iter()
        .filter_map(|(whose, ends)| Some((whose, left(ends?))))
        .collect()
    }
}

impl Found {
    fn registry(&self) -> Registry {
        let mut registry = Registry::with_prefix("legwork");
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "Which legwork this is", build);
        if let Some(jobs) = &self.jobs {
            let help = "Jobs that the state directory knows, by what they are doing";
            registry.register("jobs", help, gauges("state", jobs));
        }
        if let Some(usage) = &self.usage {
            usage.register(&mut registry);
        }
        if let Some((sums, now)) = &self.records {
            records::register(&mut registry, sums, now);
        }
        exports::register(&mut registry, &self.exports);
        if let Some((written, lost)) = self.audit {
            let help = "Lines of the audit log that were written";
            registry.register("audit_lines", help, ConstCounter::new(written));
            let help = "Lines of the audit log that were lost";
            registry.register("audit_lost_lines", help, ConstCounter::new(lost));
        }
        let help = "Connections, by who is at their other end";
        registry.register("connections", help, gauges("peer", &self.connections));
        let help = "Connections over a network that came to nothing: their handshake failed, or there was no room";
        let failed = Family::<Labelled, Counter>::default();
        for (why, count) in &self.failed {
            failed.get_or_create(&[("why", why)]).inc_by(*count);
        }
        registry.register("handshakes_failed", help, failed);
        let help = "What calls of identities hold, and their messages that are not whole";
        let held = ConstGauge::new(self.in_flight);
        registry.register_with_unit("in_flight", help, Unit::Bytes, held);
        if let Some((left, all)) = self.disk {
            let help = "What the server may still write where its state directory is";
            let (left, all) = (ConstGauge::new(left), ConstGauge::new(all));
            registry.register_with_unit("disk_left", help, Unit::Bytes, left);
            let help = "How large the file system of the state directory is";
            registry.register_with_unit("disk_size", help, Unit::Bytes, all);
        }
        if let Some(bytes) = self.mirrored {
            let help = "What the mirrors of identities hold, as it counts for their limits";
            registry.register_with_unit("mirrors", help, Unit::Bytes, ConstGauge::new(bytes));
        }
        let days = Family::<Labelled, Gauge<f64, std::sync::atomic::AtomicU64>>::default();
        for (whose, seconds) in &self.certificates {
            days.get_or_create(&[("whose", whose)]).set(seconds / DAY);
        }
        let help = "Days until a certificate ends; the server's renews itself";
        registry.register("certificate_days_left", help, days);
        registry
    }
}

fn gauges(label: &'static str, counts: &[(&'static str, u64)]) -> Family<Labelled, Gauge> {
    let family = Family::<Labelled, Gauge>::default();
    for (name, count) in counts {
        let count = i64::try_from(*count).unwrap_or(i64::MAX);
        family.get_or_create(&[(label, name)]).set(count);
    }
    family
}
