//! What jobs consume: those that run, as it is at the moment, and those that have ended, in sums that only grow.
//!
//! Without a control group the figures of a job are lower bounds, and memory that its processes share counts for each of them: what
//! `stats` marks as approximate for one job is so for the sum.

use std::sync::atomic::AtomicU64;

use legwork_jobs::{Consumption, Ended, JobError, Jobs, ListQuery, Phase};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::{Registry, Unit};

/// Jobs that are looked at for one page; a host that runs more tells of these.
const JOBS_MAX: usize = 1000;

/// Microseconds in a second.
const MICROS: f64 = 1e6;

type Labelled = [(&'static str, &'static str); 1];

/// What all jobs consume.
#[derive(Debug)]
pub(super) struct Usage {
    running: Consumption,
    ended: Ended,
}

impl Usage {
    /// Looks at the jobs.
    ///
    /// # Errors
    /// What keeps the index from being read.
    pub(super) async fn look(jobs: &Jobs) -> Result<Self, JobError> {
        let query = ListQuery {
            phases: Some([Phase::Running, Phase::Paused].into()),
            limit: Some(JOBS_MAX),
            ..ListQuery::default()
        };
        let mut running = Consumption::default();
        for job in jobs.list(&query).await?.jobs {
            // One that has ended or gone meanwhile counts no more.
            if let Ok(one) = jobs.consumption(job.id).await {
                running.usage.user_us += one.usage.user_us;
                running.usage.system_us += one.usage.system_us;
                running.memory_bytes += one.memory_bytes;
                running.processes += one.processes;
            }
        }
        let ended = jobs.ended();
        Ok(Self { running, ended })
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        let running = &self.running;
        let help = "Memory of the jobs that run";
        let memory = ConstGauge::new(running.memory_bytes);
        registry.register_with_unit("running_memory", help, Unit::Bytes, memory);
        let help = "Processes of the jobs that run";
        registry.register(
            "running_processes",
            help,
            ConstGauge::new(running.processes),
        );
        let help = "Processor time that the jobs that run have had";
        let times = Family::<Labelled, Gauge<f64, AtomicU64>>::default();
        for (mode, micros) in modes(running.usage.user_us, running.usage.system_us) {
            times.get_or_create(&[("mode", mode)]).set(micros / MICROS);
        }
        registry.register_with_unit("running_cpu", help, Unit::Seconds, times);
        self.register_ended(registry);
    }

    fn register_ended(&self, registry: &mut Registry) {
        let Ended {
            jobs,
            user_us,
            system_us,
            read_bytes,
            written_bytes,
            output_bytes,
        } = &self.ended;
        let help = "Jobs whose end this server has noticed, by its cause";
        let causes = Family::<Labelled, Counter>::default();
        for (cause, count) in jobs {
            causes.get_or_create(&[("cause", cause)]).inc_by(*count);
        }
        registry.register("ended_jobs", help, causes);
        let help = "Processor time of those jobs";
        let times = Family::<Labelled, Counter<f64, AtomicU64>>::default();
        for (mode, micros) in modes(*user_us, *system_us) {
            times
                .get_or_create(&[("mode", mode)])
                .inc_by(micros / MICROS);
        }
        registry.register_with_unit("ended_cpu", help, Unit::Seconds, times);
        for (name, help, bytes) in [
            ("ended_read", "What they have read from disks", read_bytes),
            (
                "ended_written",
                "What they have written to disks",
                written_bytes,
            ),
            ("ended_output", "What they have printed", output_bytes),
        ] {
            registry.register_with_unit(name, help, Unit::Bytes, ConstCounter::new(*bytes));
        }
    }
}

const fn modes(user_us: u64, system_us: u64) -> [(&'static str, f64); 2] {
    // Exact until jobs have had 285 years.
    [("user", user_us as f64), ("system", system_us as f64)]
}
