//! Killing what a lost shim left behind.
//!
//! A shim that lives kills its own tree. When it dies instead, the kernel kills the main process with it, and the rest of
//! the tree goes on with some other parent. Those processes are found by `LEGWORK_JOB` in their environment. Each is killed through
//! a pidfd that was opened before the environment was read for the last time, so that a process id that changes
//! hands in between never hits a stranger.

use std::collections::HashMap;
use std::fs;
use std::time::Duration;

use legwork_shim::exit::Survivor;
use legwork_shim::layout;
use rustix::process::{Pid, PidfdFlags, Signal};
use uuid::Uuid;

use crate::id::JobId;

/// Rounds until what is left is called a survivor, and the pauses between them.
const ROUNDS: u32 = 100;
const PAUSE_MIN: Duration = Duration::from_micros(500);
const PAUSE_MAX: Duration = Duration::from_millis(50);

/// Kills the processes of these jobs and returns those that would not die. May block for some seconds.
pub(crate) fn sweep(jobs: &[JobId]) -> HashMap<JobId, Vec<Survivor>> {
    let mut pause = PAUSE_MIN;
    for _ in 0..ROUNDS {
        let found = processes_of(jobs);
        if found.is_empty() {
            return HashMap::new();
        }
        for (pid, job) in found {
            kill(pid, job);
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(PAUSE_MAX);
    }
    let mut survivors: HashMap<_, Vec<_>> = HashMap::new();
    for (pid, job) in processes_of(jobs) {
        let mut name = fs::read(format!("/proc/{pid}/comm")).unwrap_or_default();
        name.truncate(name.trim_ascii_end().len());
        survivors.entry(job).or_default().push(Survivor {
            pid,
            name: name.into(),
        });
    }
    survivors
}

/// Every process but this one that belongs to one of the jobs.
fn processes_of(jobs: &[JobId]) -> Vec<(u32, JobId)> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid| *pid != std::process::id())
        .filter_map(|pid| Some((pid, job_of(pid)?)))
        .filter(|(_, job)| jobs.contains(job))
        .collect()
}

fn job_of(pid: u32) -> Option<JobId> {
    let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
    job_named_in(&environment)
}

fn job_named_in(environment: &[u8]) -> Option<JobId> {
    let value = environment.split(|byte| *byte == 0).find_map(|variable| {
        variable
            .strip_prefix(layout::JOB_ENV.as_bytes())?
            .strip_prefix(b"=")
    })?;
    Uuid::try_parse_ascii(value).ok().map(JobId::from)
}

fn kill(pid: u32, job: JobId) {
    let Some(pid_of) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
        return;
    };
    let Ok(held) = rustix::process::pidfd_open(pid_of, PidfdFlags::empty()) else {
        return;
    };
    if job_of(pid) == Some(job) {
        // Gone already, or not ours to kill: the next round tells.
        rustix::process::pidfd_send_signal(held, Signal::KILL).unwrap_or(());
    }
}

#[cfg(test)]
mod tests {
    use super::job_named_in;

    #[test]
    fn only_the_variable_itself_names_a_job() {
        let id = "0190a000-0000-7000-8000-000000000001";
        let named = |environment: &str| {
            job_named_in(environment.as_bytes()).map(|id| id.uuid().to_string())
        };
        assert_eq!(
            named(&format!("A=1\0LEGWORK_JOB={id}\0B=2\0")).as_deref(),
            Some(id)
        );
        assert_eq!(named(&format!("XLEGWORK_JOB={id}\0")), None);
        assert_eq!(named(&format!("LEGWORK_JOBS={id}\0")), None);
        assert_eq!(named("LEGWORK_JOB=\0"), None);
        assert_eq!(named(""), None);
    }
}
