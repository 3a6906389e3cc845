//! Killing what a lost shim left behind.
//!
//! A shim that lives kills its own tree. When it dies instead, the kernel kills the main process with it, and the rest of
//! the tree goes on with some other parent. Those processes are found by `LEGWORK_JOB` in their environment. Each is killed through
//! a pidfd that was opened before the environment was read for the last time, so that a process id that changes
//! hands in between never hits a stranger. Where the job had a control group, everything in that is killed by the kernel, whatever
//! its environment says.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
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

/// The control group of a job whose shim is gone.
#[derive(Debug)]
pub(crate) struct LostGroup(PathBuf);

impl LostGroup {
    /// It may be gone, too.
    pub(crate) fn new(path: PathBuf) -> Self {
        Self(path)
    }

    fn kill(&self) {
        // A kernel without this leaves the rest to the environment.
        fs::write(self.0.join("cgroup.kill"), "1").unwrap_or(());
    }

    /// Removes it with what is below; not as long as there are processes in it.
    fn remove(&self) {
        remove_groups(&self.0).unwrap_or(());
    }

    /// Whether nobody is in it, nor below it: what is on its way out is no member any more, and still keeps it from being removed.
    fn is_empty(&self) -> bool {
        match fs::read_to_string(self.0.join("cgroup.events")) {
            Ok(events) => events.lines().any(|line| line == "populated 0"),
            Err(_gone) => self.members().is_empty(),
        }
    }

    fn members(&self) -> Vec<u32> {
        let list = fs::read_to_string(self.0.join("cgroup.procs")).unwrap_or_default();
        list.lines().filter_map(|line| line.parse().ok()).collect()
    }
}

fn remove_groups(path: &Path) -> io::Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_groups(&entry.path())?;
        }
    }
    fs::remove_dir(path)
}

/// Kills the processes of these jobs and returns those that would not die. May block for some seconds.
pub(crate) fn sweep(
    jobs: &[JobId],
    groups: &HashMap<JobId, LostGroup>,
) -> HashMap<JobId, Vec<Survivor>> {
    let left = kill_all(jobs, groups);
    groups.values().for_each(LostGroup::remove);
    left
}

fn kill_all(jobs: &[JobId], groups: &HashMap<JobId, LostGroup>) -> HashMap<JobId, Vec<Survivor>> {
    let (mut pause, mut was_empty) = (PAUSE_MIN, false);
    for _ in 0..ROUNDS {
        groups.values().for_each(LostGroup::kill);
        let found = processes_of(jobs);
        let is_empty = found.is_empty() && groups.values().all(LostGroup::is_empty);
        // One that is just executing a program has no environment for a moment, so it takes two looks to find nothing.
        if is_empty && std::mem::replace(&mut was_empty, true) {
            return HashMap::new();
        }
        was_empty = is_empty;
        for (pid, job) in found {
            kill(pid, job);
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(PAUSE_MAX);
    }
    let mut survivors: HashMap<_, Vec<_>> = HashMap::new();
    let in_groups = groups
        .iter()
        .flat_map(|(job, group)| group.members().into_iter().map(|pid| (pid, *job)));
    let mut left: Vec<_> = in_groups.chain(processes_of(jobs)).collect();
    left.sort_unstable_by_key(|(pid, _)| *pid);
    left.dedup_by_key(|(pid, _)| *pid);
    for (pid, job) in left {
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
