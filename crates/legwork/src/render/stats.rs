//! What jobs have consumed until now, for people and for programs.

use std::time::Duration;

use legwork_client::JobStats;
use serde::Serialize;
use uuid::Uuid;

use super::json::Usage;
use super::{bytes, command_line, short, state, table};

/// A line each.
pub(crate) fn table(stats: &[JobStats]) -> String {
    let heads = [
        "ID", "STATE", "TIME", "CPU TIME", "CPU", "MEMORY", "PROCS", "READ", "WRITTEN", "COMMAND",
    ];
    table::aligned(heads, stats.iter().map(row))
}

fn row(stats: &JobStats) -> [String; 10] {
    let usage = &stats.usage;
    // What was not counted by the kernel is no more than what can be seen.
    let about = if usage.exact { "" } else { "~" };
    let used_ms = (usage.user_us + usage.system_us) / 1000;
    let share = used_ms.saturating_mul(100) / stats.elapsed_ms.max(1);
    let counted = |count: Option<u64>| count.map_or_else(|| "-".to_owned(), bytes);
    [
        short(&stats.job).to_owned(),
        state(&stats.job).to_owned(),
        seconds(stats.elapsed_ms),
        format!("{about}{}", seconds(used_ms)),
        format!("{about}{share}%"),
        format!("{about}{}", bytes(stats.memory_bytes)),
        format!("{about}{}", stats.processes),
        counted(usage.read_bytes),
        counted(usage.written_bytes),
        command_line(&stats.job),
    ]
}

/// A duration of which the smallest part is a tenth of a second.
fn seconds(ms: u64) -> String {
    match ms {
        0..60_000 => format!("{:.1}s", Duration::from_millis(ms).as_secs_f64()),
        _ => humantime::format_duration(Duration::from_secs(ms / 1000)).to_string(),
    }
}

/// For programs.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Json<'a> {
    id: Uuid,
    short_id: &'a str,
    state: &'static str,
    usage: Usage,
    memory_bytes: u64,
    processes: u64,
    elapsed_ms: u64,
}

impl<'a> From<&'a JobStats> for Json<'a> {
    fn from(stats: &'a JobStats) -> Self {
        Self {
            id: stats.job.id,
            short_id: &stats.job.short_id,
            state: state(&stats.job),
            usage: stats.usage.into(),
            memory_bytes: stats.memory_bytes,
            processes: stats.processes,
            elapsed_ms: stats.elapsed_ms,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::seconds;

    #[test]
    fn durations_are_short() {
        assert_eq!(seconds(0), "0.0s");
        assert_eq!(seconds(1_250), "1.2s");
        assert_eq!(seconds(3_725_999), "1h 2m 5s");
    }
}
