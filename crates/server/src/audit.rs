//! The audit log: who changed what, and who was refused, as records in a stream of the server's own.
//!
//! A line is written for each call that changes something ([`CHANGES`]), once it has ended, and for one that goes on for long also when it
//! has begun. Calls that failed, refusals of any call, and connections whose handshake came to nothing, are written when they first happen; their repeats are counted and told
//! once a minute ([`tally`]), so that nobody who is refused can fill the disk or push out what matters. What is in calls is never written: arguments,
//! environments, paths and records are the callers' business, as in the access log.
//!
//! The log behind it is one like all others, with its own retention and an interval instead of a sync for each line. It is handed lines
//! without waiting: where the log does not take one, it is counted, told in the metrics and the diagnostics, and written as `dropped` once the log
//! takes lines again. No call fails or waits for it.

mod entry;
mod tally;

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use legwork_records::{
    Ack, AppendError, Batch, Clock, Content, Observed, SystemClock, Timestamp, Validator,
};
use tokio_util::sync::CancellationToken;
use tonic::Code;

use self::entry::{Seen, Who};
use self::tally::{Tally, Verdict};
use crate::access::Call;
use crate::metrics::{Done, method};
use crate::records::Stream;
use crate::server::Shared;

/// The stream of the audit log.
pub const STREAM: &str = "legwork.audit";
/// How often what was counted is told.
const TELL: Duration = Duration::from_secs(60);

/// The calls that change something of the server, its jobs and its mirrors. Records are no part of it: each of them says who sent it.
pub(crate) const CHANGES: &[&str] = &[
    "/legwork.v1.JobService/Start",
    "/legwork.v1.JobService/Run",
    "/legwork.v1.JobService/Input",
    "/legwork.v1.JobService/Stop",
    "/legwork.v1.JobService/Signal",
    "/legwork.v1.JobService/Pause",
    "/legwork.v1.JobService/Resume",
    "/legwork.v1.JobService/Remove",
    "/legwork.v1.SyncService/Commit",
    "/legwork.v1.SyncService/RemoveWorkspace",
    "/legwork.v1.SyncService/RestoreTrash",
    "/legwork.v1.EnrollService/Join",
    "/legwork.v1.EnrollService/Renew",
    "/legwork.v1.EnrollService/Invite",
    "/legwork.v1.EnrollService/Revoke",
];

/// Those of them that may go on for hours.
const LONG: &[&str] = &["/legwork.v1.JobService/Run", "/legwork.v1.JobService/Input"];

/// The audit log. Clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Audit(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    shared: Arc<Shared>,
    stream: Mutex<Option<Arc<Stream>>>,
    tally: Mutex<Tally>,
    counts: Arc<Counts>,
}

/// How the log is doing.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    written: AtomicU64,
    lost: AtomicU64,
    /// Lost, and not yet told in the log.
    untold: AtomicU64,
}

impl Counts {
    /// Lines that were written, and that were lost.
    pub(crate) fn told(&self) -> (u64, u64) {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        (read(&self.written), read(&self.lost))
    }

    fn lose(&self, why: &dyn std::fmt::Display) {
        self.untold.fetch_add(1, Ordering::Relaxed);
        let before = self.lost.fetch_add(1, Ordering::Relaxed);
        if before == 0 || before.is_power_of_two() {
            tracing::error!(lines = before + 1, %why, "the audit log loses lines");
        }
    }
}

impl Audit {
    /// Opens the log. That it cannot be opened is told, and tried again; the server goes on.
    pub(crate) async fn begin(shared: Arc<Shared>) -> Self {
        let audit = Self(Arc::new(Inner {
            shared,
            stream: Mutex::default(),
            tally: Mutex::default(),
            counts: Arc::default(),
        }));
        audit.open().await;
        audit.server("started");
        audit
    }

    /// Tells what was counted from time to time, until the server stops accepting.
    pub(crate) async fn keep(self, stop: CancellationToken) {
        loop {
            let pause = tokio::time::sleep(TELL);
            if stop.run_until_cancelled(pause).await.is_none() {
                return;
            }
            self.open().await;
            self.tell();
        }
    }

    /// The last lines.
    pub(crate) fn finish(&self) {
        self.tell();
        self.server("stopped");
        // The log is closed with all others.
        drop(self.stream().take());
    }

    pub(crate) fn counts(&self) -> Arc<Counts> {
        Arc::clone(&self.0.counts)
    }

    /// A call goes on for long, and has begun.
    pub(crate) fn begun(&self, call: &Call, path: &str) {
        if !LONG.contains(&path) {
            return;
        }
        let (who, now) = (Who::of(call), now());
        let seen = Seen {
            event: "begun",
            method: method(path),
            code: Code::Ok,
            reason: "",
        };
        if self.tally().change(&who, &seen, call.source(), now) == Verdict::Write {
            self.write(&who, now, &entry::one(&seen, &who, call, None));
        }
    }

    /// A call has ended.
    pub(crate) fn ended(&self, call: &Call, path: &str, done: Done, reason: &str) {
        let changes = CHANGES.contains(&path);
        let refused = is_refusal(done.code);
        if !changes && !refused {
            return;
        }
        let (who, now) = (Who::of(call), now());
        let left = done.code == Code::Cancelled && LONG.contains(&path);
        let good = changes && (done.code == Code::Ok || left);
        let seen = Seen {
            event: match (good, refused) {
                (true, _) => "call",
                (_, true) => "refused",
                _ => "failed",
            },
            method: method(path),
            code: done.code,
            reason,
        };
        let mut tally = self.tally();
        let verdict = match good {
            true => tally.change(&who, &seen, call.source(), now),
            false => tally.failure(&who, &seen, call.source(), now),
        };
        drop(tally);
        if verdict == Verdict::Write {
            self.write(&who, now, &entry::one(&seen, &who, call, Some(done.took)));
        }
    }

    /// A connection came to nothing before anybody was known.
    pub(crate) fn handshake(&self, why: &str, source: IpAddr) {
        let (who, now) = (Who::Stranger, now());
        let seen = Seen {
            event: "refused",
            method: "handshake",
            code: Code::Unauthenticated,
            reason: why,
        };
        if self.tally().failure(&who, &seen, Some(source), now) == Verdict::Write {
            self.write(&who, now, &entry::connection(&seen, &who, source));
        }
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.0.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stream(&self) -> MutexGuard<'_, Option<Arc<Stream>>> {
        self.0.stream.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn open(&self) {
        if self.stream().is_some() {
            return;
        }
        match self.0.shared.records.streams.own(STREAM).await {
            Ok(stream) => *self.stream() = Some(stream),
            Err(problem) => tracing::error!(%problem, "the audit log cannot be opened"),
        }
    }

    /// Writes what was counted since the last time.
    fn tell(&self) {
        let told = self.tally().tell();
        let now = now();
        for repeats in told {
            self.write(&repeats.who, now, &entry::many(&repeats));
        }
        let untold = self.0.counts.untold.swap(0, Ordering::Relaxed);
        if untold > 0 {
            self.write(&Who::Server, now, &entry::dropped(untold));
        }
    }

    fn server(&self, event: &str) {
        self.write(&Who::Server, now(), &entry::server(event));
    }

    /// Hands a line to the log.
    fn write(&self, who: &Who, now: Timestamp, line: &serde_json::Value) {
        let counts = self.counts();
        let Some(stream) = self.stream().clone() else {
            return counts.lose(&"it is not open");
        };
        let text = line.to_string();
        let checked = Validator::default().batch(text.as_bytes(), Observed::At(now), None);
        let Ok(checked) = checked else {
            return counts.lose(&"a line is too large");
        };
        let batch = Batch {
            client: who.client(),
            host: entry::host(line),
            origin: None,
            content: Content::Records(checked),
        };
        let heard = Arc::clone(&counts);
        let done = move |answer: Result<Ack, AppendError>| match answer {
            Ok(ack) if ack.accepted.is_some() => {
                heard.written.fetch_add(1, Ordering::Relaxed);
            }
            Ok(_) => heard.lose(&"a line is no record"),
            Err(error) => heard.lose(&error),
        };
        if let Err(refused) = stream.log().try_append(batch, done) {
            counts.lose(&refused.error);
        }
    }
}

/// Whether somebody was kept from something, whatever it was.
fn is_refusal(code: Code) -> bool {
    matches!(
        code,
        Code::Unauthenticated
            | Code::PermissionDenied
            | Code::ResourceExhausted
            | Code::Unimplemented
    )
}

fn now() -> Timestamp {
    SystemClock.now()
}

#[cfg(test)]
mod tests {
    use legwork_identity::policy;

    use super::{CHANGES, LONG};

    /// Methods that change nothing, or what their records say themselves.
    const OTHERS: &[&str] = &[
        "JobService/Get",
        "JobService/List",
        "JobService/Wait",
        "JobService/Logs",
        "JobService/Stats",
        "SyncService/Pull",
        "SyncService/ListWorkspaces",
        "SyncService/ListTrash",
        "RecordService/Ingest",
        "RecordService/Tail",
        "RecordService/At",
        "RecordService/ListStreams",
        "RecordService/StreamStats",
        "RecordService/Fsck",
        "LogsService/Export",
        "HostService/Info",
        "EnrollService/ListIdentities",
        "Health/Check",
        "Health/Watch",
        "ServerReflection/ServerReflectionInfo",
    ];

    #[test]
    fn of_every_method_it_is_known_whether_it_changes_something() {
        let mut known: Vec<String> = CHANGES.iter().map(|&path| path.to_owned()).collect();
        let mut methods: Vec<String> = Vec::new();
        for (service, method, _) in policy::TABLE {
            let path = format!("/{service}/{method}");
            let short = crate::metrics::method(&path);
            if OTHERS.contains(&short) {
                known.push(path.clone());
            }
            methods.push(path);
        }
        known.sort_unstable();
        methods.sort_unstable();
        assert_eq!(known, methods);
        assert!(LONG.iter().all(|path| CHANGES.contains(path)));
    }
}
