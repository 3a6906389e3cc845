//! Between this crate's types and the wire's.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use bytes::Bytes;
use legwork_proto::v1 as wire;

use crate::error::{CallError, Result};
use crate::job::{Cause, Finish, Job, JobStats, NotStarted, State, Status, Survivor, Usage};
use crate::limits::Limits;
use crate::logs::{FoundLine, LogFrom, LogOptions, LogStream, Run, Search};
use crate::spec::{JobSpec, Place, Stdin, WorkspaceRef};

fn bytes(text: &OsStr) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn os(bytes: &Bytes) -> OsString {
    OsString::from_vec(bytes.to_vec())
}

pub(crate) fn spec(spec: &JobSpec) -> wire::JobSpec {
    wire::JobSpec {
        id: spec.id.to_string(),
        argv: spec.argv.iter().map(|arg| bytes(arg)).collect(),
        env: spec
            .env
            .iter()
            .map(|(name, value)| wire::EnvVar {
                name: bytes(name),
                value: bytes(value),
            })
            .collect(),
        place: Some(place(&spec.place)),
        stdin: match spec.stdin {
            Stdin::Null => wire::Stdin::Null.into(),
            Stdin::Pipe => wire::Stdin::Pipe.into(),
        },
        merge: spec.merge,
        timeout_ms: spec.timeout_ms,
        stop_signal: spec.stop_signal,
        stop_grace_ms: spec.stop_grace_ms,
        output_limit: spec.output_limit,
        name: spec.name.clone(),
        labels: spec.labels.clone().into_iter().collect(),
        limits: (spec.limits != Limits::default()).then(|| (&spec.limits).into()),
        limits_mode: spec.limits_mode.to_wire(),
        on_exit: spec.on_exit.to_wire(),
    }
}

fn place(place: &Place) -> wire::Place {
    wire::Place {
        workspace: place.workspace.as_ref().map(workspace),
        require_root: place.require_root.map(|root| Bytes::copy_from_slice(&root)),
        root_wait_ms: place.root_wait_ms,
        dir: bytes(place.dir.as_os_str()),
    }
}

pub(crate) fn workspace(workspace: &WorkspaceRef) -> wire::WorkspaceRef {
    let by = match workspace {
        WorkspaceRef::Name(name) => wire::workspace_ref::By::Name(name.clone()),
        WorkspaceRef::Origin { machine_id, root } => {
            wire::workspace_ref::By::Origin(wire::WorkspaceOrigin {
                machine_id: machine_id.clone(),
                root: bytes(root.as_os_str()),
            })
        }
    };
    wire::WorkspaceRef { by: Some(by) }
}

pub(crate) fn start_result(result: wire::StartResult) -> Result<Job> {
    match result.result {
        Some(wire::start_result::Result::Job(started)) => job(started),
        Some(wire::start_result::Result::Refusal(refusal)) => Err(refusal.into()),
        None => Err(CallError::protocol("an empty start result")),
    }
}

pub(crate) fn job_of(wire: Option<wire::Job>) -> Result<Job> {
    job(wire.ok_or_else(|| CallError::protocol("an answer without a job"))?)
}

/// What people type to name a job: it is shown as it is, so it must not be anything else.
fn short_id(told: String) -> Result<String> {
    let plain = !told.is_empty() && told.bytes().all(|byte| byte.is_ascii_alphanumeric());
    plain
        .then_some(told)
        .ok_or_else(|| CallError::protocol("a short id of a job that is none"))
}

pub(crate) fn job(wire: wire::Job) -> Result<Job> {
    Ok(Job {
        id: wire
            .id
            .parse()
            .map_err(|_| CallError::protocol("a job id that is no UUID"))?,
        state: state(&wire)?,
        short_id: short_id(wire.short_id)?,
        owner: wire.owner,
        user: wire.user,
        argv: wire.argv.iter().map(os).collect(),
        dir: os(&wire.dir),
        name: wire.name,
        labels: wire.labels.into_iter().collect(),
        workspace: wire.workspace,
        created_at_ms: wire.created_at_ms,
        started_at_ms: wire.started_at_ms,
        limits: wire.limits.map(|limits| Box::new((*limits).into())),
        containment: wire.containment.map(|told| Box::new((*told).into())),
    })
}

fn state(job: &wire::Job) -> Result<State> {
    let pid = job.pid.unwrap_or_default();
    match job.state() {
        wire::JobState::Pending => Ok(State::Pending {
            why: job.why.clone().unwrap_or_default(),
        }),
        wire::JobState::Starting => Ok(State::Starting),
        wire::JobState::Running => Ok(State::Running { pid }),
        wire::JobState::Paused => Ok(State::Paused {
            pid,
            since_ms: job.paused_at_ms.unwrap_or_default(),
        }),
        wire::JobState::Finished => match &job.finish {
            Some(end) => Ok(State::Finished(Box::new(finish(end)?))),
            None => Err(CallError::protocol("a finished job without its end")),
        },
        wire::JobState::Unknown => {
            let newer = job.newer.clone().unwrap_or_default();
            Ok(State::Unknown {
                why: newer.why,
                alive: newer.alive,
            })
        }
        // A state that the server's version has added. One job must not keep a list from being told.
        wire::JobState::Unspecified => Ok(State::Unknown {
            why: "the server is of a newer legwork, and tells what this one does not know"
                .to_owned(),
            alive: job.finish.is_none(),
        }),
    }
}

fn finish(wire: &wire::Finish) -> Result<Finish> {
    Ok(Finish {
        cause: cause(wire)?,
        status: wire.status.map(|status| match status {
            wire::finish::Status::Code(code) => Status::Code(code),
            wire::finish::Status::Signal(signal) => Status::Signal(signal),
        }),
        // An exit code out of range must never turn into success.
        exit_code: u8::try_from(wire.exit_code).unwrap_or(u8::MAX),
        ended_at_ms: wire.ended_at_ms,
        output_end: wire.output_end,
        output_dropped: wire.output_dropped,
        usage: wire.usage.as_ref().map(usage),
        survivors: wire
            .survivors
            .iter()
            .map(|survivor| Survivor {
                pid: survivor.pid,
                name: os(&survivor.name),
            })
            .collect(),
    })
}

fn usage(usage: &wire::Usage) -> Usage {
    Usage {
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

pub(crate) fn stats(wire: wire::JobStats) -> Result<JobStats> {
    Ok(JobStats {
        job: job_of(wire.job)?,
        usage: usage(&wire.usage.unwrap_or_default()),
        memory_bytes: wire.memory_bytes,
        processes: wire.processes,
        elapsed_ms: wire.elapsed_ms,
    })
}

fn cause(finish: &wire::Finish) -> Result<Cause> {
    let why = || finish.why.clone().unwrap_or_default();
    match finish.cause() {
        wire::Cause::Self_ => Ok(Cause::Own),
        wire::Cause::Timeout => Ok(Cause::Timeout),
        wire::Cause::Stopped => Ok(Cause::Stopped {
            by: finish.by.clone().unwrap_or_default(),
        }),
        wire::Cause::OutOfMemory => Ok(Cause::OutOfMemory),
        wire::Cause::Disk => Ok(Cause::Disk),
        wire::Cause::CpuTime => Ok(Cause::CpuTime),
        wire::Cause::Lost => Ok(Cause::Lost { why: why() }),
        wire::Cause::NotStarted => {
            let detail = finish.not_started.clone().unwrap_or_default();
            Ok(Cause::NotStarted(NotStarted {
                step: detail.step,
                errno: detail.errno,
                subject: os(&detail.subject),
                why: why(),
            }))
        }
        wire::Cause::Other | wire::Cause::Unspecified => Ok(Cause::Other { word: why() }),
    }
}

pub(crate) fn states(finished: Option<bool>) -> Vec<i32> {
    use wire::JobState::{Finished, Paused, Pending, Running, Starting, Unknown};
    match finished {
        None => Vec::new(),
        Some(true) => vec![Finished.into()],
        Some(false) => [Pending, Starting, Running, Paused, Unknown]
            .map(i32::from)
            .to_vec(),
    }
}

pub(crate) fn logs_request(
    id: &str,
    options: LogOptions,
    search: Option<&Search>,
) -> wire::LogsRequest {
    use wire::logs_request::From;
    wire::LogsRequest {
        id: id.to_owned(),
        stream: log_stream(options.stream).into(),
        follow: options.follow,
        from: Some(match options.from {
            LogFrom::Offset(offset) => From::Offset(offset),
            LogFrom::Tail(lines) => From::TailLines(lines),
            LogFrom::Live => From::Live(true),
        }),
        filter: search.map(|search| wire::LogFilter {
            pattern: search.filter.pattern.clone(),
            fixed: search.filter.fixed,
            ignore_case: search.filter.ignore_case,
            stdout_from: search.from.map(|from| from.stdout),
            stderr_from: search.from.map(|from| from.stderr),
        }),
    }
}

fn log_stream(stream: LogStream) -> wire::LogStream {
    match stream {
        LogStream::Raw => wire::LogStream::Raw,
        LogStream::Stdout => wire::LogStream::Stdout,
        LogStream::Stderr => wire::LogStream::Stderr,
    }
}

pub(crate) fn run(run: &wire::LogRun) -> Run {
    Run {
        length: run.length as usize,
        stream: origin(run.stream()),
        time_us: run.time_us,
    }
}

pub(crate) fn found_line(line: &wire::LogLine) -> FoundLine {
    FoundLine {
        offset: line.offset,
        length: line.length as usize,
        stream: origin(line.stream()),
        time_us: line.time_us,
    }
}

fn origin(stream: wire::LogStream) -> LogStream {
    match stream {
        wire::LogStream::Stderr => LogStream::Stderr,
        _ => LogStream::Stdout,
    }
}
