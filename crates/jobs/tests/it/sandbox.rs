//! A state directory of a test's own, and what tests say often.

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use legwork_jobs::output::{Output, OutputEvent, Read};
use legwork_jobs::{Config, Finished, Job, JobId, JobState, Jobs, StartRequest, SystemClock};
use legwork_shim::journal::Journal;
use legwork_shim::launch::Launch;
use legwork_shim::{layout, lock};
use rustix::process::{Pid, Signal};
use tempfile::TempDir;

/// A state directory. Whatever still runs in it dies with it.
pub(crate) struct Sandbox {
    dir: TempDir,
}

impl Sandbox {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        Self { dir }
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// A place for payloads to write to.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn open(&self) -> Jobs {
        Jobs::open(self.config()).expect("a state directory")
    }

    pub(crate) fn config(&self) -> Config {
        Config::new(self.state())
    }

    pub(crate) fn launch(&self, id: JobId) -> Launch {
        launch_in(&self.job_dir(id)).expect("a claim")
    }

    pub(crate) fn job_dir(&self, id: JobId) -> PathBuf {
        self.state().join("jobs").join(id.uuid().to_string())
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let Ok(dirs) = std::fs::read_dir(self.state().join("jobs")) else {
            return;
        };
        for dir in dirs.flatten() {
            let held = std::fs::File::open(dir.path().join(layout::JOURNAL))
                .and_then(|journal| Ok(lock::is_held(journal)?));
            if let (Ok(true), Some(launch)) = (held, launch_in(&dir.path())) {
                kill(launch.shim_pid);
            }
        }
    }
}

fn launch_in(dir: &Path) -> Option<Launch> {
    let raw = std::fs::read(dir.join(layout::JOURNAL)).ok()?;
    serde_json::from_slice(Journal::parse(&raw).launch?).ok()
}

/// Writes a job's journal anew with the lines for which there is another now, and without those for which there is none.
pub(crate) fn rewrite(dir: &Path, change: impl Fn(&str) -> Option<String>) {
    let path = dir.join(layout::JOURNAL);
    let raw = std::fs::read_to_string(&path).expect("a journal");
    let lines: Vec<_> = raw.lines().filter_map(change).collect();
    // In place, for whoever has locked it.
    let journal = std::fs::File::options().write(true).open(&path);
    let journal = journal.expect("a journal");
    journal.set_len(0).expect("a file can be cut");
    let content = lines.into_iter().map(|line| line + "\n");
    journal
        .write_all_at(content.collect::<String>().as_bytes(), 0)
        .expect("room");
}

/// The line of a job's journal that begins so.
pub(crate) fn line(dir: &Path, kind: &str) -> String {
    let raw = std::fs::read_to_string(dir.join(layout::JOURNAL)).expect("a journal");
    let mut lines = raw.lines();
    let found = lines.find(|line| line.starts_with(&format!("{{\"{kind}\":")));
    found.expect("such a line").to_owned()
}

/// Sends SIGKILL.
pub(crate) fn kill(pid: u32) {
    send(pid, Signal::KILL);
}

/// Sends a signal.
fn send(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(pid).expect("a pid")).expect("a pid");
    rustix::process::kill_process(pid, signal).unwrap_or(());
}

/// Whether a process is there and not a zombie.
pub(crate) fn runs(pid: u32) -> bool {
    !matches!(status(pid), None | Some('Z'))
}

/// The letter for what a process is doing, if it is there.
fn status(pid: u32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit(')').next()?.trim_start().chars().next()
}

/// Sends SIGSTOP and waits for it to take effect.
pub(crate) async fn hold(pid: u32) {
    send(pid, Signal::STOP);
    until(|| status(pid) == Some('T')).await;
}

pub(crate) fn new_id() -> JobId {
    JobId::generate(legwork_jobs::Clock::now_ms(&SystemClock))
}

pub(crate) fn request(argv: &[&str]) -> StartRequest {
    let mut request = StartRequest::new(new_id(), argv.iter().copied(), "/");
    request.env = vec![("PATH".into(), "/usr/local/bin:/usr/bin:/bin".into())];
    request
}

pub(crate) fn shell(script: &str) -> StartRequest {
    request(&["sh", "-c", script])
}

pub(crate) fn end_of(job: &Job) -> &Finished {
    match &job.state {
        JobState::Finished(end) => end,
        other => panic!("not finished: {other:?}"),
    }
}

/// Everything up to the end: the bytes, and the last event.
pub(crate) async fn drain(output: &mut Output) -> (Vec<u8>, OutputEvent) {
    let mut bytes = Vec::new();
    loop {
        match output
            .next()
            .await
            .expect("an end comes last")
            .expect("readable")
        {
            OutputEvent::Chunk(chunk) => {
                assert_eq!(
                    chunk.runs.iter().map(|run| run.len).sum::<usize>(),
                    chunk.data.len()
                );
                bytes.extend(&chunk.data);
            }
            OutputEvent::Gap { .. } => panic!("a gap"),
            end @ OutputEvent::End { .. } => {
                assert!(output.next().await.is_none());
                return (bytes, end);
            }
        }
    }
}

/// What a job printed until its end.
pub(crate) async fn printed(jobs: &Jobs, id: JobId) -> String {
    let mut output = jobs.output(id, Read::all()).await.expect("a job");
    String::from_utf8(drain(&mut output).await.0).expect("text")
}

/// Waits until a job has printed this.
pub(crate) async fn until_printed(jobs: &Jobs, id: JobId, wanted: &str) {
    let mut output = jobs.output(id, Read::all()).await.expect("a job");
    let mut seen = String::new();
    while !seen.contains(wanted) {
        match output.next().await.expect("goes on").expect("readable") {
            OutputEvent::Chunk(chunk) => seen.push_str(&String::from_utf8_lossy(&chunk.data)),
            other => panic!("{other:?} before {wanted:?}; seen: {seen:?}"),
        }
    }
}

/// Waits until something that nobody tells of is so.
pub(crate) async fn until(mut so: impl FnMut() -> bool) {
    let patience = std::time::Duration::from_secs(60);
    let looking = async {
        while !so() {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(patience, looking)
        .await
        .expect("in time");
}
