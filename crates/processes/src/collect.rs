//! Going through `/proc`.
//!
//! Of each process its directory is held while its files are read, so that they are all of one process: a number that changes hands in
//! between makes reads fail, and what has ended is left out. All files are read into one buffer. What is dear to read and rarely changes is
//! read when the process, its name or its user is new, and else now and then, of some processes in each snapshot: see [`REFRESH`].

use std::collections::HashMap;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, RawDir, openat, readlinkat_raw, statat};
use rustix::io::Errno;
use rustix::time::{ClockId, clock_gettime};

use crate::process::Process;
use crate::read::{self, Stat, Status};
use crate::snapshot::{Host, Snapshot};
use crate::users::Users;
use crate::{job, redact, tty};

/// Bytes of a command line that are collected.
const CMDLINE_BYTES: usize = 4096;
/// Real user, swap, program and control group of a process are read at least in every so many snapshots.
const REFRESH: u64 = 4;
/// Names of users are asked for again after so many snapshots.
const USERS_REFRESH: u64 = 240;
/// Of a process: it is one of the kernel's (`PF_KTHREAD` of linux/sched.h).
const KERNEL_THREAD: u32 = 0x0020_0000;

/// What is collected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Whether command lines are.
    pub cmdline: bool,
    /// Whether what looks like a secret in them is left out.
    pub redact: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            cmdline: true,
            redact: true,
        }
    }
}

/// A process table that cannot be collected.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// `/proc` cannot be used.
    #[error("cannot read {what}: {source}")]
    Io {
        /// Which file.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
}

trait Reading<T> {
    fn reading(self, what: &'static str) -> Result<T, CollectError>;
}

impl<T> Reading<T> for rustix::io::Result<T> {
    fn reading(self, what: &'static str) -> Result<T, CollectError> {
        self.map_err(|errno| CollectError::Io {
            what,
            source: errno.into(),
        })
    }
}

/// Collects process tables. One that is kept is cheaper than one for each snapshot.
#[derive(Debug)]
pub struct Collector {
    proc: OwnedFd,
    boot: String,
    settings: Settings,
    users: Users,
    known: HashMap<u32, Known>,
    buffer: Vec<u8>,
    entries: Vec<MaybeUninit<u8>>,
    pids: Vec<u32>,
    round: u64,
    page_kb: u64,
    tick_ms: u64,
}

/// What is remembered of a process.
#[derive(Debug)]
struct Known {
    /// In which snapshot it was seen last.
    round: u64,
    raw_cmdline: Vec<u8>,
    process: Process,
}

impl Collector {
    /// Collects from `/proc`.
    ///
    /// # Errors
    /// There is none, or it does not tell which boot this is.
    pub fn open(settings: Settings) -> Result<Self, CollectError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let proc = openat(CWD, "/proc", flags, Mode::empty()).reading("/proc")?;
        let mut buffer = vec![0; CMDLINE_BYTES];
        let boot = file(&proc, "sys/kernel/random/boot_id", &mut buffer)
            .reading("/proc/sys/kernel/random/boot_id")?;
        let boot = String::from_utf8_lossy(&buffer[..boot]).trim().to_owned();
        Ok(Self {
            proc,
            boot,
            settings,
            users: Users::default(),
            known: HashMap::new(),
            buffer,
            entries: vec![MaybeUninit::uninit(); 32 << 10],
            pids: Vec::new(),
            round: 0,
            page_kb: rustix::param::page_size() as u64 / 1024,
            tick_ms: 1000 / rustix::param::clock_ticks_per_second().max(1),
        })
    }

    /// The process table now. Processes that end while it is collected are left out, and those that begin may be.
    ///
    /// # Errors
    /// `/proc` cannot be read.
    pub fn collect(&mut self) -> Result<Snapshot, CollectError> {
        self.round += 1;
        if self.round.is_multiple_of(USERS_REFRESH) {
            self.users.forget();
        }
        let mut host = self.host();
        self.list().reading("/proc")?;
        host.hidden = self.pids.first() != Some(&1);
        let has_swap = host.swap_total_kb > 0;
        let pids = std::mem::take(&mut self.pids);
        let mut processes = Vec::with_capacity(pids.len());
        for &pid in &pids {
            match self.process(pid, has_swap) {
                Ok(Some(process)) => processes.push(process),
                Ok(None) => {}
                Err(_) => host.unreadable += 1,
            }
        }
        self.pids = pids;
        let round = self.round;
        self.known.retain(|_, known| known.round == round);
        job::mark(&mut processes);
        Ok(Snapshot {
            host,
            processes,
            late_ms: 0,
            skipped: 0,
        })
    }

    fn host(&self) -> Host {
        let told = rustix::system::sysinfo();
        let uptime = clock_gettime(ClockId::Boottime);
        let unit = u64::from(told.mem_unit);
        // Fixed-point numbers with 16 bits behind the point (sysinfo(2)).
        let load = |n: usize| (told.loads[n] * 100) >> 16;
        Host {
            boot: self.boot.clone(),
            uptime_ms: u64::try_from(uptime.tv_sec).unwrap_or(0) * 1000
                + u64::try_from(uptime.tv_nsec).unwrap_or(0) / 1_000_000,
            mem_total_kb: told.totalram * unit / 1024,
            swap_total_kb: told.totalswap * unit / 1024,
            load_percent: [load(0), load(1), load(2)],
            unreadable: 0,
            hidden: false,
        }
    }

    /// The numbers of all processes, in order.
    fn list(&mut self) -> rustix::io::Result<()> {
        rustix::fs::seek(&self.proc, rustix::fs::SeekFrom::Start(0))?;
        self.pids.clear();
        let mut entries = RawDir::new(&self.proc, &mut self.entries);
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name.first().is_some_and(u8::is_ascii_digit)
                && let Some(pid) = std::str::from_utf8(name)
                    .ok()
                    .and_then(|name| name.parse().ok())
            {
                self.pids.push(pid);
            }
        }
        self.pids.sort_unstable();
        Ok(())
    }

    /// One process; `None` if it has ended.
    ///
    /// # Errors
    /// It may not be looked at.
    fn process(&mut self, pid: u32, has_swap: bool) -> Result<Option<Process>, Errno> {
        match self.look(pid, has_swap) {
            Ok(process) => Ok(Some(process)),
            Err(Errno::NOENT | Errno::SRCH) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn look(&mut self, pid: u32, has_swap: bool) -> Result<Process, Errno> {
        let mut name = [0; 12];
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = openat(&self.proc, decimal(pid, &mut name), flags, Mode::empty())?;
        // The directory belongs to the effective user, whatever else the process hides.
        let euid = statat(&dir, "", AtFlags::EMPTY_PATH)?.st_uid;
        let mut text = [0; 1024];
        let length = file(&dir, "stat", &mut text)?;
        let stat = read::stat(&text[..length]).ok_or(Errno::SRCH)?;
        let before = self
            .known
            .remove(&pid)
            .filter(|known| known.process.start == stat.start);
        let (was, raw) = before.map_or_else(Default::default, |known| {
            (Some(known.process), known.raw_cmdline)
        });
        let comm = String::from_utf8_lossy(stat.comm);
        let due = was.as_ref().is_none_or(|was| {
            was.euid != euid
                || was.comm != comm
                || stat.state == b'Z'
                || (u64::from(pid) + self.round).is_multiple_of(REFRESH)
        });
        let mut process = self.fresh(pid, euid, &stat, was.unwrap_or_default());
        if process.comm != comm {
            process.comm = comm.into_owned();
        }
        let raw_cmdline = self.cmdline(&dir, &stat, &mut process, raw);
        if due || (has_swap && !is_kernels(&stat)) {
            let status = file(&dir, "status", &mut self.buffer)
                .ok()
                .and_then(|length| read::status(&self.buffer[..length]));
            let status = status.unwrap_or(Status {
                uid: euid,
                swap_kb: 0,
            });
            (process.uid, process.swap_kb) = (status.uid, status.swap_kb);
        }
        if due {
            self.place(&dir, &stat, &mut process);
        }
        let known = Known {
            round: self.round,
            raw_cmdline,
            process: process.clone(),
        };
        self.known.insert(pid, known);
        Ok(process)
    }

    /// What `stat` says.
    fn fresh(&mut self, pid: u32, euid: u32, stat: &Stat<'_>, was: Process) -> Process {
        let user = if was.euid == euid
            && !was.user.is_empty()
            && !self.round.is_multiple_of(USERS_REFRESH)
        {
            was.user
        } else {
            self.users.name(euid).to_owned()
        };
        Process {
            pid,
            start: stat.start,
            ppid: stat.ppid,
            pgrp: stat.pgrp,
            session: stat.session,
            tty: tty::name(stat.tty),
            euid,
            user,
            state: char::from(stat.state).to_string(),
            threads: stat.threads,
            nice: stat.nice,
            processor: stat.processor,
            utime_ms: stat.utime * self.tick_ms,
            stime_ms: stat.stime * self.tick_ms,
            minflt: stat.minflt,
            majflt: stat.majflt,
            rss_kb: stat.rss * self.page_kb,
            vsize_kb: stat.vsize / 1024,
            ..was
        }
    }

    /// Reads the command line; its bytes as they are. What has ended has none any more, and none that is remembered either.
    fn cmdline(
        &mut self,
        dir: &OwnedFd,
        stat: &Stat<'_>,
        process: &mut Process,
        before: Vec<u8>,
    ) -> Vec<u8> {
        if !self.settings.cmdline || is_kernels(stat) || stat.state == b'Z' {
            process.cmdline.clear();
            return Vec::new();
        }
        let length = file(dir, "cmdline", &mut self.buffer).unwrap_or(0);
        let raw = &self.buffer[..length];
        if raw == before {
            return before;
        }
        process.cmdline = if self.settings.redact {
            redact::cmdline(raw)
        } else {
            redact::plain(raw)
        };
        raw.to_vec()
    }

    /// Its program and its control group.
    fn place(&mut self, dir: &OwnedFd, stat: &Stat<'_>, process: &mut Process) {
        let group = file(dir, "cgroup", &mut self.buffer).unwrap_or(0);
        process.cgroup = lossy(read::cgroup(&self.buffer[..group]));
        process.exe.clear();
        if is_kernels(stat) || stat.state == b'Z' {
            return;
        }
        let mut target = [MaybeUninit::uninit(); CMDLINE_BYTES];
        if let Ok((path, _)) = readlinkat_raw(dir, "exe", &mut target[..]) {
            process.exe = lossy(path);
        }
    }
}

fn is_kernels(stat: &Stat<'_>) -> bool {
    stat.flags & KERNEL_THREAD != 0
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Reads the beginning of a file: these files give all that there is room for at once.
fn file(dir: impl AsFd, name: &str, buffer: &mut [u8]) -> Result<usize, Errno> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file = openat(dir, name, flags, Mode::empty())?;
    rustix::io::read(file, buffer)
}

/// A number as a name.
fn decimal(mut number: u32, buffer: &mut [u8; 12]) -> &str {
    let mut at = buffer.len();
    loop {
        at -= 1;
        buffer[at] = b'0' + u8::try_from(number % 10).expect("a digit");
        number /= 10;
        if number == 0 {
            break;
        }
    }
    std::str::from_utf8(&buffer[at..]).expect("digits")
}

#[cfg(test)]
mod tests;
