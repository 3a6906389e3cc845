//! What `--json` prints. Names are those of the protocol's JSON form; they do not change meaning.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use legwork_client::{Cause, Finish, Status};
use serde::{Serialize, Serializer};

/// Bytes: a string when they are UTF-8, else `{"base64": "…"}`.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Text {
    Plain(String),
    Encoded { base64: String },
}

impl Text {
    pub(crate) fn new(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Plain(text.to_owned()),
            Err(_) => Self::Encoded {
                base64: BASE64_STANDARD.encode(bytes),
            },
        }
    }

    fn os(text: &OsStr) -> Self {
        Self::new(text.as_bytes())
    }
}

/// A job.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Job {
    id: String,
    short_id: String,
    state: &'static str,
    owner: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    argv: Vec<Text>,
    dir: Text,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    labels: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    workspace: Option<String>,
    created_at_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    started_at_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    finish: Option<End>,
}

/// How a job ended.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct End {
    cause: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signal: Option<i32>,
    exit_code: u8,
    ended_at_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_started: Option<NotStarted>,
    output_end: u64,
    output_dropped: u64,
    truncated: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Usage>,
    survivors: Vec<Survivor>,
}

#[derive(Debug, Serialize)]
struct NotStarted {
    step: String,
    errno: i32,
    subject: Text,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Usage {
    user_us: u64,
    system_us: u64,
    max_rss_bytes: u64,
}

#[derive(Debug, Serialize)]
struct Survivor {
    pid: u32,
    name: Text,
}

/// Jobs as a list, each made when it is written: there may be very many.
#[derive(Debug)]
pub(crate) struct Jobs<'a>(pub(crate) &'a [legwork_client::Job]);

impl Serialize for Jobs<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(Job::from))
    }
}

impl From<&legwork_client::Job> for Job {
    fn from(job: &legwork_client::Job) -> Self {
        let why = match &job.state {
            legwork_client::State::Pending { why } => Some(why.clone()),
            _ => None,
        };
        Self {
            id: job.id.to_string(),
            short_id: job.short_id.clone(),
            state: super::state(job),
            owner: job.owner.clone(),
            user: job.user.clone(),
            argv: job.argv.iter().map(|word| Text::os(word)).collect(),
            dir: Text::os(&job.dir),
            name: job.name.clone(),
            labels: job.labels.clone(),
            workspace: job.workspace.clone(),
            created_at_ms: job.created_at_ms,
            started_at_ms: job.started_at_ms,
            pid: job.pid(),
            why,
            finish: job.finish().map(End::from),
        }
    }
}

impl From<&Finish> for End {
    fn from(finish: &Finish) -> Self {
        let (code, signal) = match finish.status {
            Some(Status::Code(code)) => (Some(code), None),
            Some(Status::Signal(signal)) => (None, Some(signal)),
            None => (None, None),
        };
        let (by, why, not_started) = match &finish.cause {
            Cause::Stopped { by } => (Some(by.clone()), None, None),
            Cause::Lost { why } => (None, Some(why.clone()), None),
            Cause::NotStarted(detail) => (
                None,
                Some(detail.why.clone()),
                Some(NotStarted {
                    step: detail.step.clone(),
                    errno: detail.errno,
                    subject: Text::os(&OsString::from(&detail.subject)),
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
            usage: finish.usage.map(|usage| Usage {
                user_us: usage.user_us,
                system_us: usage.system_us,
                max_rss_bytes: usage.max_rss_bytes,
            }),
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

/// The cause in one word.
pub(crate) fn cause(cause: &Cause) -> &'static str {
    match cause {
        Cause::Own => "self",
        Cause::Timeout => "timeout",
        Cause::Stopped { .. } => "stopped",
        Cause::OutOfMemory => "out_of_memory",
        Cause::Disk => "disk",
        Cause::Lost { .. } => "lost",
        Cause::NotStarted(_) => "not_started",
    }
}
