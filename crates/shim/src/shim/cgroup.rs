//! The control group of a job: made before anything runs, removed when nothing of the job is left.
//!
//! The payload is born in it (`CLONE_INTO_CGROUP`, clone(2)), so no process of the job is ever outside, and moving one, which takes the
//! kernel milliseconds, is not needed. The shim itself stays outside of its own limits. What the kernel has counted is read before
//! the group goes. Interface: Documentation/admin-guide/cgroup-v2.rst of Linux.

use alloc::format;
use alloc::vec::Vec;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::path::Arg;
use rustix::process::{Pid, Signal, kill_process};

use legwork_shim::ByteString;
use legwork_shim::exit::Usage;
use legwork_shim::limits::Cgroup as Wanted;

use super::{best_effort, files};

/// Rounds of freezing and killing on kernels without `cgroup.kill`.
const ROUNDS: u32 = 16;
/// Groups below the job's own that are looked for when they are removed.
const BELOW_MAX: usize = 4096;

/// A control group that the shim has made. It goes when this is dropped.
#[derive(Debug)]
pub(super) struct Cgroup {
    dir: OwnedFd,
    path: ByteString,
}

/// A step that failed, and on which file.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) errno: Errno,
    pub(super) subject: ByteString,
}

impl Cgroup {
    /// Makes the group with all its settings, or leaves nothing.
    pub(super) fn make(wanted: &Wanted) -> Result<Self, Failure> {
        let path = wanted.path.clone();
        let failed = |subject: &ByteString| {
            let subject = subject.clone();
            move |errno| Failure { errno, subject }
        };
        let mode = Mode::from_raw_mode(0o755);
        let made = match rustix::fs::mkdirat(CWD, path.as_bytes(), mode) {
            // What a launch that came to nothing has left. Whatever still lives there is not ours to touch.
            Err(Errno::EXIST) => rustix::fs::unlinkat(CWD, path.as_bytes(), AtFlags::REMOVEDIR)
                .and_then(|()| rustix::fs::mkdirat(CWD, path.as_bytes(), mode)),
            made => made,
        };
        made.map_err(failed(&path))?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::open(path.as_bytes(), flags, Mode::empty()).map_err(failed(&path))?;
        // Our umask leaves no right to enter it, which root alone does without.
        rustix::fs::fchmod(&dir, mode).map_err(failed(&path))?;
        let group = Self { dir, path };
        for setting in &wanted.settings {
            let written = group.write(setting.file.as_str(), setting.value.as_bytes());
            written.map_err(failed(&setting.file.as_str().into()))?;
        }
        Ok(group)
    }

    /// For whoever is to be born in it.
    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    /// Moves the calling process into it, on kernels where it cannot be born there.
    pub(super) fn enter(&self) -> Result<(), Errno> {
        self.write("cgroup.procs", b"0")
    }

    /// Whether there is a process in it, or in a group below. What cannot be told is taken for yes.
    pub(super) fn populated(&self) -> bool {
        self.number("cgroup.events", "populated") != Some(0)
    }

    /// Kills every process in it, those that are just being forked included.
    pub(super) fn kill(&self) {
        if self.write("cgroup.kill", b"1").is_err() {
            self.kill_frozen();
        }
    }

    /// The same before Linux 5.14: what is frozen does not fork, and dies all the same.
    fn kill_frozen(&self) {
        best_effort(self.freeze(true));
        for _ in 0..ROUNDS {
            let members = self.members();
            if members.is_empty() {
                break;
            }
            for pid in members {
                best_effort(kill_process(pid, Signal::KILL));
            }
        }
        best_effort(self.freeze(false));
    }

    /// Holds everything in it still, or lets it go on.
    pub(super) fn freeze(&self, still: bool) -> Result<(), Errno> {
        self.write("cgroup.freeze", if still { b"1" } else { b"0" })
    }

    /// The processes in it and in the groups below.
    pub(super) fn members(&self) -> Vec<Pid> {
        let mut found = Vec::new();
        for group in self.with_groups_below() {
            let Ok(list) = files::read(group.as_fd(), "cgroup.procs") else {
                continue;
            };
            let pids = list.split(|byte| *byte == b'\n').filter_map(files::number);
            found.extend(pids.filter_map(Pid::from_raw));
        }
        found
    }

    /// Processes of it that were killed for want of memory.
    pub(super) fn oom_kills(&self) -> Option<u64> {
        self.number("memory.events", "oom_kill")
    }

    /// Microseconds of processor time that it has used.
    pub(super) fn cpu_us(&self) -> Option<u64> {
        self.number("cpu.stat", "usage_usec")
    }

    /// Adds what the kernel has counted for the whole group to what is known of single processes.
    pub(super) fn account(&self, usage: &mut Usage) {
        if let Ok(stat) = files::read(self.as_fd(), "cpu.stat") {
            let times = (entry(&stat, "user_usec"), entry(&stat, "system_usec"));
            if let (Some(user), Some(system)) = times {
                (usage.user_us, usage.system_us) = (user, system);
                usage.exact = true;
            }
            usage.throttled_us = entry(&stat, "throttled_usec");
        }
        usage.memory_peak_bytes = self.single("memory.peak");
        usage.pids_peak = self.single("pids.peak");
        usage.oom_kills = self.oom_kills();
        if let Ok(stat) = files::read(self.as_fd(), "io.stat") {
            usage.read_bytes = Some(sum(&stat, b"rbytes="));
            usage.written_bytes = Some(sum(&stat, b"wbytes="));
        }
    }

    /// Removes it, with the groups that the job has made in it. One that still has processes stays.
    fn remove(&self) {
        let path = self.path.as_bytes();
        let remove = || rustix::fs::unlinkat(CWD, path, AtFlags::REMOVEDIR);
        // Hardly any job makes groups, and to look for them costs more than to be told so.
        if remove().is_ok() {
            return;
        }
        // The deepest come last.
        let mut below = self.with_groups_below();
        while let Some(group) = below.pop() {
            for name in directories(group.as_fd()) {
                best_effort(rustix::fs::unlinkat(&group, name, AtFlags::REMOVEDIR));
            }
        }
        best_effort(remove());
    }

    /// Its own directory and those below, parents before children.
    fn with_groups_below(&self) -> Vec<OwnedFd> {
        let Ok(own) = files::open(self.as_fd(), ".") else {
            return Vec::new();
        };
        let mut found = alloc::vec![own];
        let mut at = 0;
        while at < found.len() && found.len() < BELOW_MAX {
            for name in directories(found[at].as_fd()) {
                found.extend(files::open(found[at].as_fd(), name));
            }
            at += 1;
        }
        found
    }

    fn write(&self, name: impl Arg, content: &[u8]) -> Result<(), Errno> {
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.dir, name, flags, Mode::empty())?;
        rustix::io::write(file, content).map(drop)
    }

    fn number(&self, file: &str, key: &str) -> Option<u64> {
        entry(&files::read(self.as_fd(), file).ok()?, key)
    }

    fn single(&self, file: &str) -> Option<u64> {
        let raw = files::read(self.as_fd(), file).ok()?;
        decimal(raw.trim_ascii())
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        self.remove();
    }
}

fn directories(of: BorrowedFd<'_>) -> Vec<alloc::ffi::CString> {
    files::directories(of).unwrap_or_default()
}

fn decimal(text: &[u8]) -> Option<u64> {
    core::str::from_utf8(text).ok()?.parse().ok()
}

/// The value of a key in a file of lines `key value`.
fn entry(raw: &[u8], key: &str) -> Option<u64> {
    let begin = format!("{key} ");
    raw.split(|byte| *byte == b'\n')
        .find_map(|line| decimal(line.strip_prefix(begin.as_bytes())?))
}

/// The sum of all words that begin so, over all devices.
fn sum(raw: &[u8], begin: &[u8]) -> u64 {
    raw.split(u8::is_ascii_whitespace)
        .filter_map(|word| decimal(word.strip_prefix(begin)?))
        .sum()
}

#[cfg(test)]
mod tests {
    use super::{entry, sum};

    #[test]
    fn counters_are_found_by_their_whole_name() {
        let events = b"low 0\nhigh 1\nmax 2\noom 3\noom_kill 4\noom_group_kill 5\n";
        assert_eq!(entry(events, "oom_kill"), Some(4));
        assert_eq!(entry(events, "oom"), Some(3));
        assert_eq!(entry(events, "kill"), None);
        assert_eq!(entry(b"populated x\n", "populated"), None);
    }

    #[test]
    fn devices_are_summed_up() {
        let stat = b"8:0 rbytes=1 wbytes=2 rios=9\n8:16 rbytes=10 wbytes=20 rios=9\n";
        assert_eq!((sum(stat, b"rbytes="), sum(stat, b"wbytes=")), (11, 22));
        assert_eq!(sum(b"", b"rbytes="), 0);
    }
}
