//! Figures for Prometheus, in its text form, on a loopback address when one is set.
//!
//! There are two kinds. What calls did is counted while they do it, at the place where they are also logged ([`Metrics::begin`]
//! and [`Metrics::end`]). What is true at a moment (jobs, connections, room on the disk, the age of certificates) is looked up when
//! somebody asks, by [`page::Page`], so that a server that nobody asks does nothing for it.
//!
//! The labels come from tables of ours: a method's name is one of the policy's, or `other`. So a peer can make up
//! names without making the figures grow. Nobody's name is in them; who did what is for the access log.
//!
//! The form is [OpenMetrics](https://prometheus.io/docs/specs/om/open_metrics_spec/), which Prometheus reads.

mod exports;
mod http;
mod page;
mod records;
mod usage;

pub(crate) use self::http::{Askers, answer};
pub(crate) use self::page::Page;

use std::sync::Arc;
use std::time::Duration;

use legwork_identity::policy;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use tonic::Code;

use crate::answer::STREAMS;

/// Upper bounds in seconds: a call on the same host takes some hundred microseconds, a wait half a minute.
const SECONDS: [f64; 12] = [
    0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.1, 0.25, 1.0, 2.5, 10.0, 30.0,
];

/// The label of what no service has.
const OTHER: &str = "other";

type OfMethod = [(&'static str, &'static str); 1];
type OfAnswer = [(&'static str, &'static str); 2];

/// Counts what calls do. Clones count together.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    calls: Family<OfAnswer, Histogram>,
    streams: Family<OfMethod, Gauge>,
    received: Family<OfMethod, Counter>,
    sent: Family<OfMethod, Counter>,
    registry: Arc<Registry>,
}

/// What a call did.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Done {
    pub(crate) code: Code,
    pub(crate) took: Duration,
    pub(crate) received: u64,
    pub(crate) sent: u64,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("legwork");
        let calls = Family::new_with_constructor(times as fn() -> Histogram);
        let streams = Family::default();
        let (received, sent) = (Family::default(), Family::default());
        registry.register_with_unit(
            "call",
            "How long calls took until their last byte",
            Unit::Seconds,
            calls.clone(),
        );
        registry.register(
            "streams",
            "Calls under way whose answers go on until somebody ends them",
            streams.clone(),
        );
        let bytes = || Unit::Bytes;
        registry.register_with_unit(
            "received",
            "What calls that have ended brought",
            bytes(),
            received.clone(),
        );
        registry.register_with_unit(
            "sent",
            "What calls that have ended were answered",
            bytes(),
            sent.clone(),
        );
        Self {
            calls,
            streams,
            received,
            sent,
            registry: Arc::new(registry),
        }
    }

    /// A call begins.
    pub(crate) fn begin(&self, path: &str) {
        if STREAMS.contains(&path) {
            self.streams
                .get_or_create(&[("method", method(path))])
                .inc();
        }
    }

    /// A call has ended.
    pub(crate) fn end(&self, path: &str, done: Done) {
        let method = ("method", method(path));
        if STREAMS.contains(&path) {
            self.streams.get_or_create(&[method]).dec();
        }
        self.calls
            .get_or_create(&[method, ("code", code(done.code))])
            .observe(done.took.as_secs_f64());
        self.received.get_or_create(&[method]).inc_by(done.received);
        self.sent.get_or_create(&[method]).inc_by(done.sent);
    }
}

fn times() -> Histogram {
    Histogram::new(SECONDS)
}

/// `Service/Method` if there is such a one: `JobService/Start`.
pub(crate) fn method(path: &str) -> &'static str {
    static NAMES: std::sync::LazyLock<Vec<(String, String)>> = std::sync::LazyLock::new(|| {
        let rows = policy::TABLE.iter();
        rows.map(|(service, method, _)| {
            let short = service.rsplit('.').next().unwrap_or(service);
            (format!("/{service}/{method}"), format!("{short}/{method}"))
        })
        .collect()
    });
    let found = NAMES.iter().find(|(known, _)| known == path);
    found.map_or(OTHER, |(_, short)| short)
}

/// The name that gRPC's own documents have for a code.
pub(crate) fn code(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use prometheus_client::encoding::text;
    use tonic::Code;

    use super::{Done, Metrics};

    #[test]
    fn made_up_methods_are_one_and_streams_are_counted_while_they_last() {
        let metrics = Metrics::new();
        let shown = || {
            let mut page = String::new();
            text::encode(&mut page, &metrics.registry).unwrap();
            page
        };
        let done = |code| Done {
            code,
            took: Duration::from_millis(7),
            received: 10,
            sent: 20,
        };
        let logs = "/legwork.v1.JobService/Logs";
        metrics.begin(logs);
        let streaming = "legwork_streams{method=\"JobService/Logs\"}";
        assert!(shown().contains(&format!("{streaming} 1\n")));
        metrics.end(logs, done(Code::Ok));
        assert!(shown().contains(&format!("{streaming} 0\n")));
        for path in ["/a/b", "/c/d", ""] {
            metrics.begin(path);
            metrics.end(path, done(Code::Unimplemented));
        }
        let page = shown();
        assert!(page.contains("legwork_sent_bytes_total{method=\"other\"} 60\n"));
        assert!(
            page.contains(
                "legwork_call_seconds_count{method=\"other\",code=\"UNIMPLEMENTED\"} 3\n"
            )
        );
        assert!(
            page.contains("le=\"0.01\",method=\"JobService/Logs\",code=\"OK\"} 1\n"),
            "{page}"
        );
    }
}
