//! The limits that each process carries by itself: what the child does before it becomes its user, while it still has the right.

use alloc::format;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Resource as Kernel, Rlimit as Values};
use rustix::thread::CpuSet;

use legwork_shim::ByteString;
use legwork_shim::limits::{Confinement, Resource, Rlimit};

/// Where the kernel keeps how willingly it kills the caller for want of memory.
const OOM_SCORE: &str = "/proc/self/oom_score_adj";

/// A limit that could not be applied: which one, see [`subject`], and why.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) which: u8,
    pub(super) errno: Errno,
}

/// Beside the resource limits, which count from 0.
const NICE: u8 = 253;
const OOM: u8 = 254;
const CPUS: u8 = 255;

/// Applies them to the calling process.
pub(super) fn apply(wanted: &Confinement) -> Result<(), Failure> {
    let failed = |which: u8| move |errno| Failure { which, errno };
    for (which, limit) in (0..NICE).zip(&wanted.rlimits) {
        set(limit).map_err(failed(which))?;
    }
    if let Some(priority) = wanted.nice {
        rustix::process::setpriority_process(None, priority).map_err(failed(NICE))?;
    }
    if let Some(score) = wanted.oom_score_adj {
        score_oom(score).map_err(failed(OOM))?;
    }
    if !wanted.cpus.is_empty() {
        let mut cpus = CpuSet::new();
        for cpu in wanted.cpus.iter().map(|cpu| usize::from(*cpu)) {
            if cpu < CpuSet::MAX_CPU {
                cpus.set(cpu);
            }
        }
        rustix::thread::sched_setaffinity(None, &cpus).map_err(failed(CPUS))?;
    }
    Ok(())
}

/// The name of a limit that failed.
pub(super) fn subject(wanted: &Confinement, which: u8) -> ByteString {
    let limit = wanted.rlimits.get(usize::from(which));
    match (which, limit) {
        (NICE, _) => "nice".into(),
        (OOM, _) => "oom-score".into(),
        (CPUS, _) => "cpuset".into(),
        (_, Some(limit)) => format!("rlimit {}", limit.resource.name()).as_str().into(),
        (_, None) => "limits".into(),
    }
}

fn set(limit: &Rlimit) -> Result<(), Errno> {
    let values = Values {
        current: limit.soft,
        maximum: limit.hard,
    };
    rustix::process::setrlimit(of_kernel(limit.resource), values)
}

fn score_oom(score: i32) -> Result<(), Errno> {
    let file = rustix::fs::openat(
        CWD,
        OOM_SCORE,
        OFlags::WRONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    rustix::io::write(file, format!("{score}").as_bytes()).map(drop)
}

fn of_kernel(resource: Resource) -> Kernel {
    match resource {
        Resource::As => Kernel::As,
        Resource::Core => Kernel::Core,
        Resource::Cpu => Kernel::Cpu,
        Resource::Data => Kernel::Data,
        Resource::Fsize => Kernel::Fsize,
        Resource::Locks => Kernel::Locks,
        Resource::Memlock => Kernel::Memlock,
        Resource::Msgqueue => Kernel::Msgqueue,
        Resource::Nice => Kernel::Nice,
        Resource::Nofile => Kernel::Nofile,
        Resource::Nproc => Kernel::Nproc,
        Resource::Rss => Kernel::Rss,
        Resource::Rtprio => Kernel::Rtprio,
        Resource::Rttime => Kernel::Rttime,
        Resource::Sigpending => Kernel::Sigpending,
        Resource::Stack => Kernel::Stack,
    }
}
