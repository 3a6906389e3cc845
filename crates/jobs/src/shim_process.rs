//! The process of a job's shim: for when nothing can be said to it over its socket.
//!
//! A shim takes SIGTERM for a stop. But a process id is a number that changes hands, so the claim's is believed only after these
//! questions, asked in this order:
//!
//! 1. The claim is of this boot, for after a reboot its number is anybody's.
//! 2. A pidfd is opened: from here on a signal reaches the process that has the number now, or nobody.
//! 3. What has that number is called as a shim is, and one of its descriptors is this job's journal with an open-file-description
//!    lock on it (proc(5), `fdinfo`). That lock is exclusive and a shim's for life, so this process is the job's shim. Neither an
//!    observer is taken for it, who has the file open and locks nothing, nor a starter that holds the lock for a moment, whose name is
//!    another.
//!
//! If a signal then reaches somebody, that process has lived since the second step, so the number was its own while the third one
//! asked. Where proc(5) does not tell, as in some sandboxes, there is no such process and nothing is signalled.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use legwork_shim::layout;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::job_dir::JobDir;

/// What a shim calls itself.
const NAME: &str = "legwork-shim";

/// A shim that lives, on this host.
#[derive(Debug)]
pub(crate) struct ShimProcess {
    pidfd: OwnedFd,
    pid: u32,
}

impl ShimProcess {
    /// The shim of the job in this directory, if it can be told for certain.
    pub(crate) fn of(dir: &JobDir, boot_id: &str) -> Option<Self> {
        let claim = dir.launch().ok()??;
        if claim.boot_id != boot_id {
            return None;
        }
        let pid = Pid::from_raw(i32::try_from(claim.shim_pid).ok()?)?;
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).ok()?;
        let found = Self {
            pidfd,
            pid: claim.shim_pid,
        };
        (found.is_named_so() && found.holds(&dir.path.join(layout::JOURNAL))?).then_some(found)
    }

    /// Its process id, which means it for as long as it lives.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Whether it is stopped, as by SIGSTOP, and so hears nothing.
    pub(crate) fn is_held(&self) -> bool {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap_or_default();
        // The name before the state is in brackets and may hold anything.
        let state = stat.rsplit(')').next().unwrap_or_default();
        matches!(state.trim_start().bytes().next(), Some(b'T' | b't'))
    }

    /// Lets it go on if it is stopped.
    pub(crate) fn wake(&self) {
        // Gone already: then there is nobody to be woken.
        pidfd_send_signal(&self.pidfd, Signal::CONT).unwrap_or(());
    }

    /// Has it stop its job by the rules of the spec. `false` if it is gone, or not ours to signal.
    pub(crate) fn terminate(&self) -> bool {
        let sent: Result<(), Errno> = pidfd_send_signal(&self.pidfd, Signal::TERM);
        sent.is_ok()
    }

    fn is_named_so(&self) -> bool {
        fs::read_to_string(format!("/proc/{}/comm", self.pid))
            .is_ok_and(|name| name.trim_end() == NAME)
    }

    /// Whether one of its descriptors is that file, with a lock on it.
    fn holds(&self, journal: &Path) -> Option<bool> {
        let journal = fs::metadata(journal).ok()?;
        let own = format!("/proc/{}", self.pid);
        let holds = |descriptor: &str| {
            let file = fs::metadata(format!("{own}/fd/{descriptor}")).ok()?;
            let is_it = (file.dev(), file.ino()) == (journal.dev(), journal.ino());
            let told = fs::read_to_string(format!("{own}/fdinfo/{descriptor}")).ok()?;
            let locks = told
                .lines()
                .any(|line| line.starts_with("lock:") && line.contains("OFDLCK"));
            (is_it && locks).then_some(())
        };
        let mut descriptors = fs::read_dir(format!("{own}/fd")).ok()?.flatten();
        Some(descriptors.any(|entry| entry.file_name().to_str().and_then(holds).is_some()))
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use legwork_shim::journal::Line;
    use legwork_shim::launch::{self, Launch};
    use legwork_shim::{layout, lock};

    use super::ShimProcess;
    use crate::job_dir::JobDir;

    #[test]
    fn who_only_has_the_number_or_the_lock_is_no_shim() {
        let dir = tempfile::tempdir().unwrap();
        let job = JobDir {
            path: dir.path().to_owned(),
        };
        let claim = Launch {
            version: launch::VERSION,
            control: 1,
            boot_id: "b".into(),
            shim_pid: std::process::id(),
            pid: 1,
            started_at_ms: 1,
        };
        let path = job.path.join(layout::JOURNAL);
        std::fs::write(&path, Line::Launch.encode(&claim).unwrap()).unwrap();
        let held = File::options().write(true).open(&path).unwrap();
        let this = || {
            let pidfd = rustix::process::pidfd_open(
                rustix::process::getpid(),
                rustix::process::PidfdFlags::empty(),
            );
            ShimProcess {
                pidfd: pidfd.unwrap(),
                pid: std::process::id(),
            }
        };
        assert_eq!(this().holds(&path), Some(false));
        assert!(lock::acquire(&held).unwrap());
        assert_eq!(this().holds(&path), Some(true));
        assert!(!this().is_named_so() && !this().is_held());
        for boot in ["b", "another"] {
            assert!(ShimProcess::of(&job, boot).is_none());
        }
    }
}
