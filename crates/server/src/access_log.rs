//! The access log: one line of JSON for each call that came over a socket. What is in the calls is not in it.
//!
//! Lines are written by a thread of their own. When it cannot keep up, lines are left out and counted: a full
//! disk or a stuck reader of standard error must not hold up calls.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use legwork_jobs::{Clock, SystemClock};
use serde_json::json;
use tonic::Code;

use crate::access::Call;

/// Lines that may wait to be written.
const QUEUE: usize = 4096;

/// Where calls are logged. Clones are the same log.
#[derive(Debug, Clone)]
pub struct AccessLog {
    lines: SyncSender<String>,
    left_out: Arc<AtomicU64>,
}

/// The thread that writes a log; it ends when every [`AccessLog`] is gone.
#[derive(Debug)]
pub struct AccessLogWriter(JoinHandle<()>);

impl AccessLogWriter {
    /// Waits until every line is written. Every clone of the log must have been dropped.
    pub fn finish(self) {
        // A thread that panicked has nothing left to write.
        drop(self.0.join());
    }
}

/// One call.
pub(crate) struct Entry<'a> {
    pub(crate) call: &'a Call,
    pub(crate) method: &'a str,
    pub(crate) code: Code,
    pub(crate) took: Duration,
    pub(crate) received: u64,
    pub(crate) sent: u64,
}

impl AccessLog {
    /// Logs to `out`.
    ///
    /// # Errors
    /// When there can be no further thread.
    pub fn to(out: impl Write + Send + 'static) -> std::io::Result<(Self, AccessLogWriter)> {
        let (lines, queue) = sync_channel(QUEUE);
        let writer = std::thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || write_all(out, &queue))?;
        let log = Self {
            lines,
            left_out: Arc::default(),
        };
        Ok((log, AccessLogWriter(writer)))
    }

    pub(crate) fn write(&self, entry: &Entry<'_>) {
        let principal = entry.call.principal().ok();
        let line = json!({
            "time": time(SystemClock.now_ms()),
            "principal": principal.map(|principal| &principal.name),
            "principalId": principal.map(|principal| principal.id.to_string()),
            "source": entry.call.source(),
            // A path that no service has may be anything.
            "method": entry.method.chars().take(200).collect::<String>(),
            "subject": entry.call.subject(),
            "code": format!("{:?}", entry.code),
            "ms": u64::try_from(entry.took.as_millis()).unwrap_or(u64::MAX),
            "bytesReceived": entry.received,
            "bytesSent": entry.sent,
        });
        if self.lines.try_send(line.to_string()).is_err() {
            let before = self.left_out.fetch_add(1, Ordering::Relaxed);
            if before.is_power_of_two() || before == 0 {
                tracing::warn!(lines = before + 1, "the access log cannot keep up");
            }
        }
    }
}

fn time(ms: u64) -> Option<String> {
    let stamp = jiff::Timestamp::from_millisecond(i64::try_from(ms).ok()?).ok()?;
    Some(format!("{stamp:.3}"))
}

fn write_all(mut out: impl Write, queue: &Receiver<String>) {
    while let Ok(mut line) = queue.recv() {
        line.push('\n');
        if let Err(error) = out.write_all(line.as_bytes()) {
            tracing::warn!(%error, "a line of the access log could not be written");
        }
    }
}
