//! What a job may consume: what was asked for, and what the shim makes of it.
//!
//! [`Limits`] is what somebody asked for; a shim does not look at it. Whoever launches the job works out from it, and from what this host
//! can do, the [`Confinement`]: nothing but files to write and calls to make, in order. So a limit that comes later needs no
//! newer shim, and what a host cannot do is known before anything is started.

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::ByteString;

/// Limits that somebody asked for. Absent means none.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Bytes of memory of the whole job, page cache included; more ends it with the cause *out of memory*.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
    /// Bytes of memory above which it is slowed down and its memory taken back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_high: Option<u64>,
    /// Bytes of swap; absent means none where `memory` is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub swap: Option<u64>,
    /// Thousandths of one processor's time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_millis: Option<u32>,
    /// Share of processor time beside others, 1 to 10000; 100 is usual.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_weight: Option<u32>,
    /// Numbers of the processors it may run on; empty means all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cpuset: Vec<u16>,
    /// Processes and threads at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pids: Option<u64>,
    /// Bandwidth of block devices.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io: Vec<IoLimit>,
    /// Milliseconds of processor time of the whole job; then it is stopped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_time_ms: Option<u64>,
    /// Bytes that its directory may take on the disk; more ends it with the cause *disk*.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk: Option<u64>,
    /// Priority for the scheduler, -20 to 19; the higher, the more it gives way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nice: Option<i32>,
    /// How willingly the kernel kills it when the host is out of memory, -1000 to 1000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oom_score_adj: Option<i32>,
    /// Limits of each single process, as setrlimit(2) has them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rlimits: Vec<Rlimit>,
}

impl Limits {
    /// Whether nothing is limited.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// A limit on one block device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IoLimit {
    /// The device's file, or any path on a file system that is on it.
    pub path: ByteString,
    /// Bytes read a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_bps: Option<u64>,
    /// Bytes written a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub write_bps: Option<u64>,
    /// Read operations a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_iops: Option<u64>,
    /// Write operations a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub write_iops: Option<u64>,
}

/// A limit of every single process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rlimit {
    /// What it limits.
    pub resource: Resource,
    /// The value in force; absent means unlimited.
    pub soft: Option<u64>,
    /// How far a process may raise it; absent means unlimited.
    pub hard: Option<u64>,
}

/// What setrlimit(2) can limit, by its name there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names are those of setrlimit(2)")]
pub enum Resource {
    As,
    Core,
    Cpu,
    Data,
    Fsize,
    Locks,
    Memlock,
    Msgqueue,
    Nice,
    Nofile,
    Nproc,
    Rss,
    Rtprio,
    Rttime,
    Sigpending,
    Stack,
}

/// All of them, with their names.
pub const RESOURCES: [(&str, Resource); 16] = [
    ("as", Resource::As),
    ("core", Resource::Core),
    ("cpu", Resource::Cpu),
    ("data", Resource::Data),
    ("fsize", Resource::Fsize),
    ("locks", Resource::Locks),
    ("memlock", Resource::Memlock),
    ("msgqueue", Resource::Msgqueue),
    ("nice", Resource::Nice),
    ("nofile", Resource::Nofile),
    ("nproc", Resource::Nproc),
    ("rss", Resource::Rss),
    ("rtprio", Resource::Rtprio),
    ("rttime", Resource::Rttime),
    ("sigpending", Resource::Sigpending),
    ("stack", Resource::Stack),
];

impl Resource {
    /// As setrlimit(2) has it, in lower case and without `RLIMIT_`.
    #[must_use]
    pub fn name(self) -> &'static str {
        RESOURCES
            .iter()
            .find(|(_, resource)| *resource == self)
            .map_or("", |(name, _)| name)
    }

    /// The one of this name.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        RESOURCES
            .iter()
            .find(|(other, _)| *other == name)
            .map(|(_, resource)| *resource)
    }
}

/// What the shim does to hold a job in.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Confinement {
    /// A control group of the job's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<Cgroup>,
    /// For the payload, before it becomes its user.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rlimits: Vec<Rlimit>,
    /// Its priority.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nice: Option<i32>,
    /// Its `oom_score_adj`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oom_score_adj: Option<i32>,
    /// The processors that it may run on; empty means all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cpus: Vec<u16>,
    /// Milliseconds of processor time of the whole tree, after which it is stopped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_time_ms: Option<u64>,
    /// What a directory may take, after which it is stopped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk: Option<Disk>,
    /// Limits that were asked for and left out because this host cannot apply them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<String>,
}

impl Confinement {
    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// A directory that is measured, and what it may come to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// Its absolute path.
    pub path: ByteString,
    /// Bytes that everything in it may take on its file system, what was there before included.
    pub bytes: u64,
}

/// A control group (cgroups(7), version 2), which the shim makes, and removes when the job has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cgroup {
    /// Its absolute path. The directory above it exists, and its processes may not be in it.
    pub path: ByteString,
    /// Files to write in it before anything runs, in this order.
    #[serde(default)]
    pub settings: Vec<Setting>,
}

/// A file of a control group, and what to write to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    /// Its name, such as `memory.max`.
    pub file: String,
    /// The content.
    pub value: String,
}

#[cfg(test)]
mod tests {
    use super::{Cgroup, Confinement, Disk, IoLimit, Limits, RESOURCES, Resource, Rlimit, Setting};

    #[test]
    fn what_was_asked_for_is_pinned() {
        let limits = Limits {
            memory: Some(1),
            memory_high: Some(2),
            swap: Some(3),
            cpu_millis: Some(4),
            cpu_weight: Some(5),
            cpuset: vec![6],
            pids: Some(7),
            io: vec![IoLimit {
                path: "/dev/sda".into(),
                read_bps: Some(8),
                write_bps: None,
                read_iops: None,
                write_iops: Some(9),
            }],
            cpu_time_ms: Some(10),
            disk: Some(14),
            nice: Some(-1),
            oom_score_adj: Some(12),
            rlimits: vec![Rlimit {
                resource: Resource::Nofile,
                soft: Some(13),
                hard: None,
            }],
        };
        let json = concat!(
            r#"{"memory":1,"memory_high":2,"swap":3,"cpu_millis":4,"cpu_weight":5,"cpuset":[6],"pids":7,"#,
            r#""io":[{"path":"/dev/sda","read_bps":8,"write_iops":9}],"cpu_time_ms":10,"disk":14,"nice":-1,"#,
            r#""oom_score_adj":12,"rlimits":[{"resource":"nofile","soft":13,"hard":null}]}"#,
        );
        assert_eq!(serde_json::to_string(&limits).unwrap(), json);
        assert_eq!(serde_json::from_str::<Limits>(json).unwrap(), limits);
        assert_eq!(serde_json::to_string(&Limits::default()).unwrap(), "{}");
        assert!(serde_json::from_str::<Limits>("{}").unwrap().is_none());
    }

    #[test]
    fn what_is_done_is_pinned() {
        let confinement = Confinement {
            cgroup: Some(Cgroup {
                path: "/sys/fs/cgroup/x".into(),
                settings: vec![Setting {
                    file: "pids.max".into(),
                    value: "1".into(),
                }],
            }),
            rlimits: Vec::new(),
            nice: Some(2),
            oom_score_adj: Some(3),
            cpus: vec![4],
            cpu_time_ms: Some(5),
            disk: Some(Disk {
                path: "/d".into(),
                bytes: 6,
            }),
            left_out: vec!["io".into()],
        };
        let json = concat!(
            r#"{"cgroup":{"path":"/sys/fs/cgroup/x","settings":[{"file":"pids.max","value":"1"}]},"#,
            r#""nice":2,"oom_score_adj":3,"cpus":[4],"cpu_time_ms":5,"disk":{"path":"/d","bytes":6},"left_out":["io"]}"#,
        );
        assert_eq!(serde_json::to_string(&confinement).unwrap(), json);
        assert_eq!(
            serde_json::from_str::<Confinement>(json).unwrap(),
            confinement
        );
        assert!(serde_json::from_str::<Confinement>("{}").unwrap().is_none());
    }

    #[test]
    fn resources_have_the_names_that_are_written() {
        for (name, resource) in RESOURCES {
            assert_eq!(resource.name(), name);
            assert_eq!(Resource::of_name(name), Some(resource));
            let written = serde_json::to_value(resource).unwrap();
            assert_eq!(written.as_str(), Some(name));
        }
        assert_eq!(Resource::of_name("files"), None);
    }
}
