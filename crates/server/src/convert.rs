//! Between the jobs crate's types and the wire's.

use bytes::Bytes;
use legwork_jobs::output::{OutputEvent, Position, Read, SearchEvent, Stream, Streams, Undecided};
use legwork_jobs::{
    ByteString, Cause, Cursor, Finished, Job, JobState, ListQuery, LostWhy, NotStarted, PendingWhy,
    Phase, Status, Step, Usage,
};
use legwork_proto::v1 as wire;

use crate::problem::Problem;

fn bytes(text: ByteString) -> Bytes {
    text.0.into()
}

/// A job as clients see it, with the name of its owner.
pub(crate) fn job(job: Job, owner: String) -> wire::Job {
    let meta = job.asked.meta;
    let mut wire = wire::Job {
        id: job.id.uuid().to_string(),
        short_id: job.id.to_string(),
        owner,
        argv: job.asked.argv.into_iter().map(bytes).collect(),
        dir: bytes(job.asked.dir),
        name: meta.name,
        labels: meta.labels.into_iter().collect(),
        workspace: meta.workspace,
        created_at_ms: meta.created_at_ms,
        user: meta.user,
        ..wire::Job::default()
    };
    let state = match job.state {
        JobState::Pending { why } => {
            wire.why = Some(pending(why).to_owned());
            wire::JobState::Pending
        }
        JobState::Starting => wire::JobState::Starting,
        JobState::Running { pid, since_ms } => {
            wire.pid = Some(pid);
            wire.started_at_ms = Some(since_ms);
            wire::JobState::Running
        }
        JobState::Paused {
            pid,
            since_ms,
            paused_ms,
        } => {
            wire.pid = Some(pid);
            wire.paused_at_ms = Some(paused_ms);
            wire.started_at_ms = Some(since_ms);
            wire::JobState::Paused
        }
        JobState::Finished(end) => {
            wire.started_at_ms = end.started_at_ms;
            wire.finish = Some(finish(*end, meta.created_at_ms));
            wire::JobState::Finished
        }
        JobState::Unknown { what, alive } => {
            let why = what.to_string();
            wire.newer = Some(wire::Newer { why, alive });
            wire::JobState::Unknown
        }
    };
    wire.set_state(state);
    wire
}

fn finish(end: Finished, created_at_ms: u64) -> wire::Finish {
    let mut wire = wire::Finish {
        exit_code: exit_code(&end),
        // Of a job of which nothing is left, nobody knows; it was not before its beginning.
        ended_at_ms: end
            .ended_at_ms
            .or(end.started_at_ms)
            .unwrap_or(created_at_ms),
        status: end.status.map(|status| match status {
            Status::Code(code) => wire::finish::Status::Code(code),
            Status::Signal(signal) => wire::finish::Status::Signal(signal),
        }),
        output_end: end.output_end.unwrap_or_default(),
        output_dropped: end.output_dropped,
        survivors: end
            .survivors
            .into_iter()
            .map(|left| wire::Survivor {
                pid: left.pid,
                name: bytes(left.name),
            })
            .collect(),
        ..wire::Finish::default()
    };
    if end.status.is_some() {
        wire.usage = Some(usage(&end.usage));
    }
    let cause = match end.cause {
        Cause::Own => wire::Cause::Self_,
        Cause::Timeout => wire::Cause::Timeout,
        Cause::OutOfMemory => wire::Cause::OutOfMemory,
        Cause::CpuTime => wire::Cause::CpuTime,
        Cause::Disk => wire::Cause::Disk,
        Cause::Stopped { by } => {
            wire.by = Some(by);
            wire::Cause::Stopped
        }
        Cause::Other(word) => {
            wire.why = Some(word);
            wire::Cause::Other
        }
        Cause::Lost(why) => {
            wire.why = Some(lost(why).to_owned());
            wire::Cause::Lost
        }
        Cause::NotStarted(detail) => {
            wire.why = Some(not_started(&detail));
            wire.not_started = Some(wire::NotStarted {
                step: step(detail.step).to_owned(),
                errno: detail.errno,
                subject: bytes(detail.subject),
            });
            wire::Cause::NotStarted
        }
    };
    wire.set_cause(cause);
    wire
}

/// What a job consumed.
pub(crate) fn usage(usage: &Usage) -> wire::Usage {
    wire::Usage {
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

/// What `run` exits with: the job's own code, or what says why there is none.
fn exit_code(end: &Finished) -> i32 {
    match (&end.cause, end.status) {
        (Cause::Timeout | Cause::CpuTime | Cause::Disk, _) => 124,
        (Cause::NotStarted(detail), _) => match (detail.step, detail.errno) {
            (Step::Exec, NOENT | NOTDIR) => 127,
            (Step::Exec, _) => 126,
            _ => 125,
        },
        // Whatever that cause means, it is not that everything went well.
        (Cause::Lost(_), _) | (_, None) | (Cause::Other(_), Some(Status::Code(0))) => 255,
        (_, Some(Status::Code(code))) => code,
        (_, Some(Status::Signal(signal))) => 128 + signal,
    }
}

const NOENT: i32 = rustix::io::Errno::NOENT.raw_os_error();
const NOTDIR: i32 = rustix::io::Errno::NOTDIR.raw_os_error();
const ACCESS: i32 = rustix::io::Errno::ACCESS.raw_os_error();

fn pending(why: PendingWhy) -> &'static str {
    match why {
        PendingWhy::Root => "the tree that it needs is not committed yet",
        PendingWhy::Turn => "its turn to be started has not come yet",
        PendingWhy::Server => {
            "no server is running that would start it: `legwork serve` on its state directory does"
        }
        PendingWhy::Newer => "a newer legwork accepted it, and only such a one can start it",
    }
}

fn lost(why: LostWhy) -> &'static str {
    match why {
        LostWhy::ShimDied => "its supervisor was killed",
        LostWhy::HostRebooted => "the host was rebooted while it ran",
        LostWhy::DirectoryGone => "its directory is gone",
    }
}

fn step(step: Step) -> &'static str {
    match step {
        Step::Spec => "spec",
        Step::Lease => "lease",
        Step::Setup => "setup",
        Step::Limit => "limit",
        Step::User => "user",
        Step::Dir => "dir",
        Step::Exec => "exec",
        Step::Launch => "launch",
        Step::Other => "other",
    }
}

/// What kept a job from starting, in words.
fn not_started(detail: &NotStarted) -> String {
    let subject = detail.subject.as_os_str().to_string_lossy();
    let system = std::io::Error::from_raw_os_error(detail.errno);
    match (detail.step, detail.errno) {
        (Step::Exec, NOENT) if subject.contains('/') => {
            format!("cannot run {subject}: there is no such program")
        }
        (Step::Exec, NOENT) => {
            format!("cannot run {subject}: no program of that name is in PATH")
        }
        (Step::Exec, ACCESS) => {
            format!("cannot run {subject}: it may not be executed")
        }
        (Step::Exec, _) => format!("cannot run {subject}: {system}"),
        (Step::Dir, _) => format!("cannot enter the directory {subject}: {system}"),
        (Step::Lease, NOENT) => "nothing was ever committed to its workspace".to_owned(),
        (Step::Lease, _) => "its workspace was being changed".to_owned(),
        (Step::Limit, _) => format!("cannot apply the limit {subject}: {system}"),
        (Step::User, _) => format!("cannot become user {subject}: {system}"),
        (Step::Spec, _) => format!("its spec cannot be used: {subject}"),
        (Step::Setup, _) => format!("cannot prepare it: {subject}: {system}"),
        (Step::Other, _) => {
            format!("something of a newer legwork kept it from starting: {subject}: {system}")
        }
        (Step::Launch, _) if subject.is_empty() => {
            "whoever started it died before it began".to_owned()
        }
        (Step::Launch, _) => format!("it was accepted, and then could not be started: {subject}"),
    }
}

/// A list request; a page never has more than `page_max` jobs, of these owners.
pub(crate) fn list_query(
    request: wire::ListRequest,
    owners: Option<Vec<String>>,
    page_max: usize,
) -> Result<ListQuery, Problem> {
    let asked = request.page_size as usize;
    let phases: Vec<Phase> = request.states().filter_map(phase).collect();
    Ok(ListQuery {
        phases: (!phases.is_empty()).then(|| phases.into_iter().collect()),
        labels: request.labels.into_iter().collect(),
        owners,
        name: request.name,
        limit: Some(if asked == 0 {
            page_max
        } else {
            asked.min(page_max)
        }),
        after: match request.page_token.as_str() {
            "" => None,
            token => Some(cursor(token).ok_or_else(|| Problem::malformed("page_token"))?),
        },
    })
}

fn phase(state: wire::JobState) -> Option<Phase> {
    match state {
        wire::JobState::Unspecified => None,
        wire::JobState::Pending => Some(Phase::Pending),
        wire::JobState::Starting => Some(Phase::Starting),
        wire::JobState::Running => Some(Phase::Running),
        wire::JobState::Paused => Some(Phase::Paused),
        wire::JobState::Finished => Some(Phase::Finished),
        wire::JobState::Unknown => Some(Phase::Unknown),
    }
}

/// A cursor as an opaque word.
pub(crate) fn page_token(cursor: Cursor) -> String {
    format!("{}.{}", cursor.created_at_ms, cursor.id.uuid())
}

fn cursor(token: &str) -> Option<Cursor> {
    let (created, id) = token.split_once('.')?;
    let id: uuid::Uuid = id.parse().ok()?;
    Some(Cursor {
        created_at_ms: created.parse().ok()?,
        id: id.into(),
    })
}

/// What a logs request asks to read.
pub(crate) fn read(request: &wire::LogsRequest) -> Read {
    use wire::logs_request::From;
    Read {
        from: match request.from {
            None => Position::Start,
            Some(From::Offset(offset)) => Position::Offset(offset),
            Some(From::TailLines(lines)) => Position::TailLines(lines),
            Some(From::Live(live)) => {
                if live {
                    Position::End
                } else {
                    Position::Start
                }
            }
        },
        follow: request.follow,
        streams: match request.stream() {
            wire::LogStream::Stdout => Streams::Stdout,
            wire::LogStream::Stderr => Streams::Stderr,
            wire::LogStream::Raw | wire::LogStream::Unspecified => Streams::Raw,
        },
    }
}

/// One event of a job's output; `job` converts the job at the end.
pub(crate) fn log_event(
    event: OutputEvent,
    job: impl FnOnce(Job) -> wire::Job,
) -> wire::LogsResponse {
    use wire::logs_response::Event;
    let event = match event {
        OutputEvent::Chunk(chunk) => Event::Chunk(wire::LogChunk {
            offset: chunk.offset,
            runs: chunk
                .runs
                .iter()
                .map(|run| wire::LogRun {
                    length: length(run.len),
                    stream: stream(run.stream).into(),
                    time_us: run.time_us,
                })
                .collect(),
            data: chunk.data,
        }),
        OutputEvent::Gap { offset, len } => gap(offset, len),
        OutputEvent::End { offset, job: ended } => end(offset, ended, job),
    };
    wire::LogsResponse { event: Some(event) }
}

/// One event of a search in a job's output.
pub(crate) fn search_event(
    event: SearchEvent,
    job: impl FnOnce(Job) -> wire::Job,
) -> wire::LogsResponse {
    use wire::logs_response::Event;
    let event = match event {
        SearchEvent::Found(found) => Event::Found(wire::LogFound {
            data: found.data,
            lines: found
                .lines
                .iter()
                .map(|line| wire::LogLine {
                    offset: line.offset,
                    length: length(line.len),
                    stream: stream(line.stream).into(),
                    time_us: line.time_us,
                })
                .collect(),
            stdout_next: found.next.stdout,
            stderr_next: found.next.stderr,
        }),
        SearchEvent::Gap { offset, len } => gap(offset, len),
        SearchEvent::End { offset, job: ended } => end(offset, ended, job),
    };
    wire::LogsResponse { event: Some(event) }
}

/// Where a search goes on.
pub(crate) fn undecided(request: &wire::LogsRequest) -> Undecided {
    let filter = request.filter.as_ref();
    Undecided {
        stdout: filter.and_then(|filter| filter.stdout_from).unwrap_or(0),
        stderr: filter.and_then(|filter| filter.stderr_from).unwrap_or(0),
    }
}

fn gap(offset: u64, length: u64) -> wire::logs_response::Event {
    wire::logs_response::Event::Gap(wire::LogGap { offset, length })
}

fn end(
    offset: u64,
    ended: Option<Box<Job>>,
    job: impl FnOnce(Job) -> wire::Job,
) -> wire::logs_response::Event {
    wire::logs_response::Event::End(wire::LogEnd {
        offset,
        job: ended.map(|ended| job(*ended)),
    })
}

/// Of what is told in one piece, which has at most 1 MiB.
fn length(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

fn stream(stream: Stream) -> wire::LogStream {
    match stream {
        Stream::Stderr => wire::LogStream::Stderr,
        Stream::Stdout | Stream::Dropped => wire::LogStream::Stdout,
    }
}

#[cfg(test)]
mod tests {
    use legwork_jobs::{NotStarted, Step};

    use super::not_started;

    #[test]
    fn any_number_that_a_record_may_hold_is_told_in_words() {
        for step in [
            Step::Exec,
            Step::Dir,
            Step::Setup,
            Step::Launch,
            Step::Lease,
        ] {
            for errno in [0, -1, 2, 13, 4096, i32::MAX, i32::MIN] {
                let detail = NotStarted {
                    step,
                    errno,
                    subject: "x".into(),
                };
                assert!(!not_started(&detail).is_empty());
            }
        }
    }
}
