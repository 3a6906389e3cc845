//! What a job may consume, and how it is held to that.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use bytes::Bytes;
use legwork_proto::v1 as wire;

/// Limits of a job. What is absent is not limited.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Limits {
    /// Bytes of memory of the whole job, page cache included; more ends it with [`crate::Cause::OutOfMemory`].
    pub memory: Option<u64>,
    /// Bytes above which it is slowed down and its memory taken back.
    pub memory_high: Option<u64>,
    /// Bytes of swap; absent means none where `memory` is given.
    pub swap: Option<u64>,
    /// Thousandths of one processor's time, at least 10.
    pub cpu_millis: Option<u32>,
    /// Share of processor time beside others, 1 to 10000; 100 is usual.
    pub cpu_weight: Option<u32>,
    /// Numbers of the processors that it may run on.
    pub cpuset: Vec<u32>,
    /// Processes and threads at once.
    pub pids: Option<u64>,
    /// Of block devices.
    pub io: Vec<IoLimit>,
    /// Milliseconds of processor time of the whole job; more ends it with [`crate::Cause::CpuTime`].
    pub cpu_time_ms: Option<u64>,
    /// Bytes that its workspace, or its directory if it has none, may take on the disk, what was there before included; more ends it
    /// with [`crate::Cause::Disk`].
    pub disk: Option<u64>,
    /// Priority, -20 to 19; the higher, the more it gives way.
    pub nice: Option<i32>,
    /// How willingly the kernel kills it when the host is out of memory, -1000 to 1000.
    pub oom_score_adj: Option<i32>,
    /// Of each single process.
    pub rlimits: Vec<Rlimit>,
}

/// A limit on one block device.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct IoLimit {
    /// The device's file on the host, or any path on a file system that is on it; absolute.
    pub path: PathBuf,
    /// Bytes read a second.
    pub read_bps: Option<u64>,
    /// Bytes written a second.
    pub write_bps: Option<u64>,
    /// Read operations a second.
    pub read_iops: Option<u64>,
    /// Write operations a second.
    pub write_iops: Option<u64>,
}

/// A limit of each single process, as setrlimit(2) has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rlimit {
    /// In lower case and without `RLIMIT_`, such as `nofile`.
    pub resource: String,
    /// The value in force; absent means unlimited.
    pub soft: Option<u64>,
    /// How far a process may raise it; absent means unlimited.
    pub hard: Option<u64>,
}

/// What to do about a limit that the host cannot apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LimitsMode {
    /// Refuse the job.
    #[default]
    Strict,
    /// Leave it out, and name it in [`Containment::left_out`].
    BestEffort,
}

/// What becomes of processes that a job's main process leaves behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnExit {
    /// They are killed.
    #[default]
    Kill,
    /// The job ends with the last of them.
    Wait,
}

/// How a job is held together and to its limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Containment {
    /// `cgroup`: a control group of its own; `subreaper`: its processes are found as descendants of its supervisor.
    pub kind: String,
    /// The control group's path on the host.
    pub cgroup: Option<OsString>,
    /// What was written to its files, as `name=value`.
    pub settings: Vec<String>,
    /// Limits that were asked for and left out.
    pub left_out: Vec<String>,
}

impl From<&Limits> for wire::Limits {
    fn from(limits: &Limits) -> Self {
        Self {
            memory: limits.memory,
            memory_high: limits.memory_high,
            swap: limits.swap,
            cpu_millis: limits.cpu_millis,
            cpu_weight: limits.cpu_weight,
            cpuset: limits.cpuset.clone(),
            pids: limits.pids,
            io: limits.io.iter().map(Into::into).collect(),
            cpu_time_ms: limits.cpu_time_ms,
            disk: limits.disk,
            nice: limits.nice,
            oom_score_adj: limits.oom_score_adj,
            rlimits: limits.rlimits.iter().map(Into::into).collect(),
        }
    }
}

impl From<wire::Limits> for Limits {
    fn from(limits: wire::Limits) -> Self {
        Self {
            memory: limits.memory,
            memory_high: limits.memory_high,
            swap: limits.swap,
            cpu_millis: limits.cpu_millis,
            cpu_weight: limits.cpu_weight,
            cpuset: limits.cpuset,
            pids: limits.pids,
            io: limits.io.into_iter().map(Into::into).collect(),
            cpu_time_ms: limits.cpu_time_ms,
            disk: limits.disk,
            nice: limits.nice,
            oom_score_adj: limits.oom_score_adj,
            rlimits: limits.rlimits.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<&IoLimit> for wire::IoLimit {
    fn from(limit: &IoLimit) -> Self {
        Self {
            path: Bytes::copy_from_slice(limit.path.as_os_str().as_bytes()),
            read_bps: limit.read_bps,
            write_bps: limit.write_bps,
            read_iops: limit.read_iops,
            write_iops: limit.write_iops,
        }
    }
}

impl From<wire::IoLimit> for IoLimit {
    fn from(limit: wire::IoLimit) -> Self {
        Self {
            path: OsString::from_vec(limit.path.into()).into(),
            read_bps: limit.read_bps,
            write_bps: limit.write_bps,
            read_iops: limit.read_iops,
            write_iops: limit.write_iops,
        }
    }
}

impl From<&Rlimit> for wire::Rlimit {
    fn from(limit: &Rlimit) -> Self {
        Self {
            resource: limit.resource.clone(),
            soft: limit.soft,
            hard: limit.hard,
        }
    }
}

impl From<wire::Rlimit> for Rlimit {
    fn from(limit: wire::Rlimit) -> Self {
        Self {
            resource: limit.resource,
            soft: limit.soft,
            hard: limit.hard,
        }
    }
}

impl From<wire::Containment> for Containment {
    fn from(told: wire::Containment) -> Self {
        Self {
            kind: told.kind,
            cgroup: told.cgroup.map(|path| OsString::from_vec(path.into())),
            settings: told.settings,
            left_out: told.left_out,
        }
    }
}

impl LimitsMode {
    pub(crate) fn to_wire(self) -> i32 {
        match self {
            Self::Strict => wire::LimitsMode::Strict.into(),
            Self::BestEffort => wire::LimitsMode::BestEffort.into(),
        }
    }
}

impl OnExit {
    pub(crate) fn to_wire(self) -> i32 {
        match self {
            Self::Kill => wire::OnExit::Kill.into(),
            Self::Wait => wire::OnExit::Wait.into(),
        }
    }
}
