//! From the client's types to what people and programs read.

pub(crate) mod end;
pub(crate) mod facts;
pub(crate) mod found;
pub(crate) mod json;
pub(crate) mod limits;
mod log_json;
pub(crate) mod logs;
pub(crate) mod moment;
pub(crate) mod processes;
pub(crate) mod stats;
pub(crate) mod table;

use legwork_client::{Job, State};

use crate::error::CommandError;
use crate::output::Output;

/// Characters of a short id that are shown: unique among a million jobs, and any prefix is accepted.
const SHOWN: usize = 8;

/// What people type to name a job.
pub(crate) fn short(job: &Job) -> &str {
    job.short_id.get(..SHOWN).unwrap_or(&job.short_id)
}

/// Prints the id of a job that was started.
pub(crate) fn id(out: Output, job: &Job) -> Result<(), CommandError> {
    let told = if out.json {
        out.json_line(&json::Job::from(job))
    } else {
        out.text(&format!("{}\n", short(job)))
    };
    told.map_err(CommandError::untold_start)
}

/// The state in one word.
pub(crate) fn state(job: &Job) -> &'static str {
    match &job.state {
        State::Pending { .. } => "pending",
        State::Starting => "starting",
        State::Running { .. } => "running",
        State::Paused { .. } => "paused",
        State::Finished(_) => "finished",
        State::Unknown { .. } => "unknown",
    }
}

/// A command line as a shell would read it.
pub(crate) fn command_line(job: &Job) -> String {
    let words: Vec<String> = job
        .argv
        .iter()
        .map(|word| quote(&word.to_string_lossy()))
        .collect();
    crate::output::printable(&words.join(" "))
}

fn quote(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "_-./=:,+@%^".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

/// Milliseconds since the epoch as local time.
pub(crate) fn time(ms: u64) -> String {
    let stamp = i64::try_from(ms)
        .ok()
        .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    stamp.map_or_else(
        || "?".to_owned(),
        |stamp| {
            let local = stamp.to_zoned(jiff::tz::TimeZone::system());
            local.strftime("%Y-%m-%d %H:%M:%S").to_string()
        },
    )
}

/// A number of bytes in units that people use.
pub(crate) fn bytes(count: u64) -> String {
    indicatif::BinaryBytes(count).to_string()
}

#[cfg(test)]
mod tests {
    use super::quote;

    #[test]
    fn words_are_quoted_where_a_shell_needs_it() {
        assert_eq!(quote("--a=b"), "--a=b");
        assert_eq!(quote("two words"), "'two words'");
        assert_eq!(quote("it's"), "'it'\\''s'");
        assert_eq!(quote(""), "''");
    }
}
