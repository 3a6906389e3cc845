//! The long form of a job: a fact a line.

use std::time::Duration;

use legwork_client::{Cause, Finish, Job, State, Usage};

use super::{bytes, command_line, end, limits, short, time};

/// Names and values, in the order in which they are shown.
#[derive(Default)]
struct Facts(Vec<(&'static str, String)>);

impl Facts {
    fn add(&mut self, name: &'static str, value: impl Into<String>) {
        self.0.push((name, value.into()));
    }
}

/// Everything about one job.
pub(crate) fn job(job: &Job) -> String {
    let mut facts = Facts::default();
    what(job, &mut facts);
    held(job, &mut facts);
    facts.add("created", time(job.created_at_ms));
    if let Some(started) = job.started_at_ms {
        facts.add("started", time(started));
    }
    if let Some(finish) = job.finish() {
        ended(finish, &mut facts);
    }
    let line = |(name, value): &(&str, String)| {
        format!("{name:<10} {}\n", crate::output::printable(value))
    };
    facts.0.iter().map(line).collect()
}

fn what(job: &Job, facts: &mut Facts) {
    facts.add("id", format!("{} ({})", short(job), job.id));
    let word = job.finish().map(end::summary);
    facts.add("state", word.unwrap_or_else(|| end::word(job)));
    match &job.state {
        State::Pending { why } => facts.add("why", why),
        State::Running { pid } => facts.add("pid", pid.to_string()),
        State::Paused { pid, since_ms } => {
            facts.add("pid", pid.to_string());
            facts.add("paused", time(*since_ms));
        }
        State::Unknown { why, alive } => {
            facts.add("why", why);
            let lives = if *alive {
                "may still run"
            } else {
                "nothing of it runs"
            };
            facts.add("note", format!("{lives}; it is left alone"));
        }
        State::Starting | State::Finished(_) => {}
    }
    facts.add("command", command_line(job));
    facts.add("directory", job.dir.to_string_lossy());
    if let Some(name) = &job.name {
        facts.add("name", name);
    }
    for (key, value) in &job.labels {
        facts.add("label", format!("{key}={value}"));
    }
    if let Some(workspace) = &job.workspace {
        facts.add("workspace", workspace);
    }
    facts.add("owner", &job.owner);
    if let Some(user) = &job.user {
        facts.add("runs as", user);
    }
}

fn held(job: &Job, facts: &mut Facts) {
    for limit in job.limits.iter().flat_map(|asked| limits::words(asked)) {
        facts.add("limit", limit);
    }
    if let Some(containment) = &job.containment {
        facts.add("held by", limits::held_by(containment));
        for limit in &containment.left_out {
            facts.add("not held", limit);
        }
    }
}

fn ended(finish: &Finish, facts: &mut Facts) {
    let at = match finish.cause {
        // Nobody saw its end: this is its last sign of life.
        Cause::Lost { .. } => "last seen",
        _ => "ended",
    };
    facts.add(at, time(finish.ended_at_ms));
    match &finish.cause {
        Cause::Lost { why } => facts.add("why", why),
        Cause::NotStarted(detail) => facts.add("why", &detail.why),
        Cause::Stopped { by } => facts.add("by", by),
        Cause::Other { word } => facts.add("why", end::other(word)),
        _ => {}
    }
    facts.add("exit code", finish.exit_code.to_string());
    facts.add("output", bytes(finish.output_end));
    if let Some(usage) = &finish.usage {
        consumed(usage, facts);
    }
    for remark in end::remarks(finish) {
        facts.add("note", remark);
    }
}

/// What a job consumed. Only what the kernel has counted for the whole job is told without reserve.
fn consumed(usage: &Usage, facts: &mut Facts) {
    let micros = Duration::from_micros;
    let (user, system) = (micros(usage.user_us), micros(usage.system_us));
    let about = if usage.exact { "" } else { "at least " };
    facts.add(
        "cpu",
        format!("{about}{user:.2?} user, {system:.2?} system"),
    );
    if let Some(held) = usage.throttled_us.filter(|held| *held > 0) {
        facts.add("held back", format!("{:.2?}", micros(held)));
    }
    if let Some(peak) = usage.memory_peak_bytes {
        facts.add("memory", format!("{} at most", bytes(peak)));
    }
    let largest = bytes(usage.max_rss_bytes);
    facts.add("memory", format!("{largest} in the largest process"));
    if let Some(most) = usage.pids_peak {
        facts.add("processes", format!("{most} at most"));
    }
    if let (Some(read), Some(written)) = (usage.read_bytes, usage.written_bytes) {
        let (read, written) = (bytes(read), bytes(written));
        facts.add("disk", format!("{read} read, {written} written"));
    }
    if let Some(taken) = usage.disk_bytes {
        facts.add("disk", format!("{} taken by its directory", bytes(taken)));
    }
    if let Some(killed) = usage.oom_kills.filter(|killed| *killed > 0) {
        facts.add("killed", format!("{killed} for want of memory"));
    }
}
