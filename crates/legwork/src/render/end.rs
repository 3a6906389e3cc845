//! How a job ended, in words.

use legwork_client::{Cause, Finish, Job, State, Status};

use super::bytes;
use crate::error::CommandError;
use crate::signals;

/// The end in a few words, as in a table: `exit 1`, `killed by SIGKILL`, `lost`.
pub(crate) fn summary(finish: &Finish) -> String {
    let status = match finish.status {
        Some(Status::Code(code)) => format!("exit {code}"),
        Some(Status::Signal(number)) => format!("killed by {}", signals::name(number)),
        None => String::new(),
    };
    let cause = match &finish.cause {
        Cause::Own => return status,
        Cause::Timeout => "time limit",
        Cause::Stopped { .. } => "stopped",
        Cause::OutOfMemory => "out of memory",
        Cause::Disk => "disk limit",
        Cause::CpuTime => "processor time",
        Cause::Lost { .. } => "lost",
        Cause::NotStarted(_) => "not started",
        Cause::Other { word } if word.is_empty() => "for a newer reason",
        Cause::Other { word } => word,
    };
    if status.is_empty() {
        cause.to_owned()
    } else {
        format!("{cause}, {status}")
    }
}

/// What to say about an end that the command's own output does not explain.
pub(crate) fn problem(job: &Job, finish: &Finish) -> Option<CommandError> {
    let short = super::short(job);
    let failure =
        |reason: &str, message: String| Some(CommandError::new(finish.exit_code, reason, message));
    match &finish.cause {
        Cause::Own => match finish.status {
            Some(Status::Signal(number)) => failure(
                "KILLED",
                format!("the command was killed by {}", signals::name(number)),
            ),
            _ => None,
        },
        Cause::Timeout => failure(
            "TIMEOUT",
            "the command was stopped at its time limit".to_owned(),
        ),
        Cause::Stopped { by } if by.is_empty() => {
            failure("STOPPED", "the job was stopped".to_owned())
        }
        Cause::Stopped { by } => failure("STOPPED", format!("the job was stopped by {by}")),
        Cause::OutOfMemory => failure("OUT_OF_MEMORY", out_of_memory(finish)),
        Cause::CpuTime => failure(
            "CPU_TIME",
            "the command was stopped at its limit of processor time".to_owned(),
        ),
        Cause::Disk => failure("DISK", over_disk(job, finish)),
        Cause::Other { word } => failure("NEWER_CAUSE", other(word)),
        Cause::Lost { why } => failure("LOST", format!("the outcome is unknown: {why}"))
            .map(|e| e.hint(format!("what it printed is kept: `legwork logs {short}`"))),
        Cause::NotStarted(detail) => {
            let error = CommandError::new(
                finish.exit_code,
                not_started(&detail.step, detail.errno),
                &detail.why,
            );
            Some(match advice(&detail.step, detail.errno) {
                Some(advice) => error.hint(advice),
                None => error,
            })
        }
    }
}

fn over_disk(job: &Job, finish: &Finish) -> String {
    let taken = finish.usage.as_ref().and_then(|usage| usage.disk_bytes);
    let limit = job.limits.as_ref().and_then(|limits| limits.disk);
    let mut message = "the command was stopped at its limit of disk space".to_owned();
    if let Some(taken) = taken {
        message += &format!(": its directory took {}", bytes(taken));
    }
    if let Some(limit) = limit {
        message += &format!(" of {}", bytes(limit));
    }
    message
}

/// The state of a job that has not ended, as in a table.
pub(crate) fn word(job: &Job) -> String {
    match job.state {
        State::Unknown { .. } => "unknown (newer version)".to_owned(),
        _ => super::state(job).to_owned(),
    }
}

/// What to say of a job that is over, and of which only a newer legwork can tell how it ended.
pub(crate) fn untold(job: &Job) -> CommandError {
    let why = match &job.state {
        State::Unknown { why, .. } => why.as_str(),
        _ => "it has not ended",
    };
    let short = super::short(job);
    CommandError::unknown(format!("it cannot be told how job {short} ended: {why}")).hint(
        "upgrade the legwork that its host runs; what the job printed is there: `legwork logs`",
    )
}

/// A cause that a newer legwork has added.
pub(super) fn other(word: &str) -> String {
    if word.is_empty() {
        return "the job was ended for a reason that only a newer legwork can tell".to_owned();
    }
    format!("the job was ended for a reason that this legwork does not know: {word}")
}

fn out_of_memory(finish: &Finish) -> String {
    match finish.usage.and_then(|usage| usage.memory_peak_bytes) {
        Some(peak) => format!("the job ran out of memory; it had used {}", bytes(peak)),
        None => "the job ran out of memory".to_owned(),
    }
}

fn not_started(step: &str, errno: i32) -> &'static str {
    match (step, errno) {
        ("exec", ENOENT) => "PROGRAM_NOT_FOUND",
        ("exec", _) => "NOT_EXECUTABLE",
        ("dir", _) => "DIR_NOT_USABLE",
        ("lease", _) => "WORKSPACE_BUSY",
        ("user", _) => "USER_NOT_USABLE",
        ("limit", _) => "LIMIT_UNAVAILABLE",
        (_, ENOSPC) => "NO_SPACE",
        _ => "NOT_STARTED",
    }
}

const ENOENT: i32 = rustix::io::Errno::NOENT.raw_os_error();
const ENOSPC: i32 = rustix::io::Errno::NOSPC.raw_os_error();

fn advice(step: &str, errno: i32) -> Option<&'static str> {
    match (step, errno) {
        ("exec", ENOENT) => {
            Some("check the name and PATH; in a mirror, what .gitignore excludes is not there")
        }
        ("exec", _) => Some("is it a program, with its execute bit set?"),
        ("dir", _) => Some("--dir is relative to the mirror, or absolute on the host"),
        _ => None,
    }
}

/// What else there is to know about a finished job: dropped output, processes that would not die.
pub(crate) fn remarks(finish: &Finish) -> Vec<String> {
    let mut remarks = Vec::new();
    if finish.output_dropped > 0 {
        remarks.push(format!(
            "{} of output were not kept",
            bytes(finish.output_dropped)
        ));
    }
    for left in &finish.survivors {
        remarks.push(format!(
            "process {} ({}) could not be killed",
            left.pid,
            left.name.to_string_lossy()
        ));
    }
    remarks
}
