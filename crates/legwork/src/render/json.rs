//! What `--json` prints. Names are those of the protocol's JSON form; they do not change meaning.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use legwork_client::{Cause, Finish, Status};
use serde::Serialize;
use uuid::Uuid;

use super::limits::{ContainmentJson, LimitsJson};

/// Bytes: a string when they are UTF-8, else `{"base64": "…"}`.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Text<'a> {
    Plain(&'a str),
    Encoded { base64: String },
}

impl<'a> Text<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Plain(text),
            Err(_) => Self::Encoded {
                base64: BASE64_STANDARD.encode(bytes),
            },
        }
    }

    fn os(text: &'a OsStr) -> Self {
        Self::new(text.as_bytes())
    }
}

/// A job.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Job<'a> {
    id: Uuid,
    short_id: &'a str,
    state: &'static str,
    owner: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    argv: Vec<Text<'a>>,
    dir: Text<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    labels: &'a BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    workspace: Option<&'a str>,
    created_at_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    started_at_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    paused_at_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limits: Option<LimitsJson<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    containment: Option<ContainmentJson<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    finish: Option<End<'a>>,
}

/// How a job ended.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct End<'a> {
    cause: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signal: Option<i32>,
    exit_code: u8,
    ended_at_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_started: Option<NotStarted<'a>>,
    output_end: u64,
    output_dropped: u64,
    truncated: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Usage>,
    survivors: Vec<Survivor<'a>>,
}

#[derive(Debug, Serialize)]
struct NotStarted<'a> {
    step: &'a str,
    errno: i32,
    subject: Text<'a>,
}

/// What a job consumed.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Usage {
    user_us: u64,
    system_us: u64,
    max_rss_bytes: u64,
    exact: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_peak_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pids_peak: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    read_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    written_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    throttled_us: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    oom_kills: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    disk_bytes: Option<u64>,
}

#[derive(Debug, Serialize)]
struct Survivor<'a> {
    pid: u32,
    name: Text<'a>,
}

impl<'a> From<&'a legwork_client::Job> for Job<'a> {
    fn from(job: &'a legwork_client::Job) -> Self {
        let (why, paused_at_ms) = match &job.state {
            legwork_client::State::Pending { why } => (Some(why.as_str()), None),
            legwork_client::State::Unknown { why, .. } => (Some(why.as_str()), None),
            legwork_client::State::Paused { since_ms, .. } => (None, Some(*since_ms)),
            _ => (None, None),
        };
        Self {
            id: job.id,
            short_id: &job.short_id,
            state: super::state(job),
            owner: &job.owner,
            user: job.user.as_deref(),
            argv: job.argv.iter().map(|word| Text::os(word)).collect(),
            dir: Text::os(&job.dir),
            name: job.name.as_deref(),
            labels: &job.labels,
            workspace: job.workspace.as_deref(),
            created_at_ms: job.created_at_ms,
            started_at_ms: job.started_at_ms,
            pid: job.pid(),
            paused_at_ms,
            why,
            limits: job.limits.as_deref().map(LimitsJson::from),
            containment: job.containment.as_deref().map(ContainmentJson::from),
            finish: job.finish().map(End::from),
        }
    }
}

impl<'a> From<&'a Finish> for End<'a> {
    fn from(finish: &'a Finish) -> Self {
        let (code, signal) = match finish.status {
            Some(Status::Code(code)) => (Some(code), None),
            Some(Status::Signal(signal)) => (None, Some(signal)),
            None => (None, None),
        };
        let (by, why, not_started) = match &finish.cause {
            Cause::Stopped { by } => (Some(by.as_str()), None, None),
            Cause::Lost { why } | Cause::Other { word: why } => (None, Some(why.as_str()), None),
            Cause::NotStarted(detail) => (
                None,
                Some(detail.why.as_str()),
                Some(NotStarted {
                    step: &detail.step,
                    errno: detail.errno,
                    subject: Text::os(&detail.subject),
                }),
            ),
            _ => (None, None, None),
        };
        Self {
            cause: cause(&finish.cause),
            code,
            signal,
            exit_code: finish.exit_code,
            ended_at_ms: finish.ended_at_ms,
            by,
            why,
            not_started,
            output_end: finish.output_end,
            output_dropped: finish.output_dropped,
            truncated: finish.output_dropped > 0,
            usage: finish.usage.map(Usage::from),
            survivors: finish
                .survivors
                .iter()
                .map(|left| Survivor {
                    pid: left.pid,
                    name: Text::os(&left.name),
                })
                .collect(),
        }
    }
}

impl From<legwork_client::Usage> for Usage {
    fn from(usage: legwork_client::Usage) -> Self {
        Self {
            user_us: usage.user_us,
            system_us: usage.system_us,
            max_rss_bytes: usage.max_rss_bytes,
            exact: usage.exact,
            memory_peak_bytes: usage.memory_peak_bytes,
            pids_peak: usage.pids_peak,
            read_bytes: usage.read_bytes,
            written_bytes: usage.written_bytes,
            throttled_us: usage.throttled_us,
            oom_kills: usage.oom_kills,
            disk_bytes: usage.disk_bytes,
        }
    }
}

/// The cause in one word.
pub(crate) fn cause(cause: &Cause) -> &'static str {
    match cause {
        Cause::Own => "self",
        Cause::Timeout => "timeout",
        Cause::Stopped { .. } => "stopped",
        Cause::OutOfMemory => "out_of_memory",
        Cause::Disk => "disk",
        Cause::CpuTime => "cpu_time",
        Cause::Lost { .. } => "lost",
        Cause::NotStarted(_) => "not_started",
        Cause::Other { .. } => "other",
    }
}
