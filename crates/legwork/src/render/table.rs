//! Tables and the long form of a job.

use legwork_client::{Cause, Job, State};

use super::{bytes, command_line, end, short, state, time};

/// Jobs as a table, a line each.
pub(crate) fn jobs(jobs: &[Job], now_ms: u64) -> String {
    let rows: Vec<[String; 5]> = jobs.iter().map(|job| row(job, now_ms)).collect();
    let heads = ["ID", "STATE", "AGE", "NAME", "COMMAND"];
    let mut widths = heads.map(str::len);
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in std::iter::once(&heads.map(String::from)).chain(&rows) {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            line.push_str(cell);
            line.extend(std::iter::repeat_n(' ', width - cell.chars().count() + 2));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn row(job: &Job, now_ms: u64) -> [String; 5] {
    let word = match job.finish() {
        Some(finish) => end::summary(finish),
        None => state(job).to_owned(),
    };
    let age = std::time::Duration::from_secs(now_ms.saturating_sub(job.created_at_ms) / 1000);
    [
        short(job).to_owned(),
        word,
        coarse(age),
        crate::output::printable(job.name.as_deref().unwrap_or_default()),
        command_line(job),
    ]
}

/// A duration in its largest unit.
fn coarse(age: std::time::Duration) -> String {
    match age.as_secs() {
        s @ 0..60 => format!("{s}s"),
        s @ 60..3600 => format!("{}m", s / 60),
        s @ 3600..86400 => format!("{}h", s / 3600),
        s => format!("{}d", s / 86400),
    }
}

/// Everything about one job, a fact a line.
pub(crate) fn job(job: &Job) -> String {
    let mut text = String::new();
    let mut fact = |name: &str, value: &str| {
        text.push_str(&format!("{name:<10} {}\n", crate::output::printable(value)));
    };
    fact("id", &format!("{} ({})", short(job), job.id));
    fact(
        "state",
        &job.finish()
            .map_or_else(|| state(job).to_owned(), end::summary),
    );
    match &job.state {
        State::Pending { why } => fact("why", why),
        State::Running { pid } | State::Paused { pid } => fact("pid", &pid.to_string()),
        State::Starting | State::Finished(_) => {}
    }
    fact("command", &command_line(job));
    fact("directory", &job.dir.to_string_lossy());
    if let Some(name) = &job.name {
        fact("name", name);
    }
    for (key, value) in &job.labels {
        fact("label", &format!("{key}={value}"));
    }
    if let Some(workspace) = &job.workspace {
        fact("workspace", workspace);
    }
    fact("owner", &job.owner);
    if let Some(user) = &job.user {
        fact("runs as", user);
    }
    fact("created", &time(job.created_at_ms));
    if let Some(started) = job.started_at_ms {
        fact("started", &time(started));
    }
    if let Some(finish) = job.finish() {
        let ended = match finish.cause {
            // Nobody saw its end: this is its last sign of life.
            Cause::Lost { .. } => "last seen",
            _ => "ended",
        };
        fact(ended, &time(finish.ended_at_ms));
        match &finish.cause {
            Cause::Lost { why } => fact("why", why),
            Cause::NotStarted(detail) => fact("why", &detail.why),
            Cause::Stopped { by } => fact("by", by),
            _ => {}
        }
        fact("exit code", &finish.exit_code.to_string());
        fact("output", &bytes(finish.output_end));
        if let Some(usage) = finish.usage {
            let micros = std::time::Duration::from_micros;
            fact(
                "cpu",
                &format!(
                    "at least {:.2?} user, {:.2?} system",
                    micros(usage.user_us),
                    micros(usage.system_us)
                ),
            );
            fact(
                "memory",
                &format!("{} in the largest process", bytes(usage.max_rss_bytes)),
            );
        }
        for remark in end::remarks(finish) {
            fact("note", &remark);
        }
    }
    text
}
