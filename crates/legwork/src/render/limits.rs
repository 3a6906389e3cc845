//! What a job may consume and how it is held to that, for people and for programs.

use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use legwork_client::{Containment, IoLimit, Job, Limits, Rlimit};
use serde::Serialize;

use super::bytes;
use super::json::Text;

/// Each limit that was asked for, in words.
pub(super) fn words(limits: &Limits) -> Vec<String> {
    let mut words = Vec::new();
    for (name, value) in [
        ("memory", limits.memory),
        ("memory-high", limits.memory_high),
        ("swap", limits.swap),
    ] {
        words.extend(value.map(|size| format!("{name} {}", bytes(size))));
    }
    let cpus = limits.cpu_millis;
    words.extend(cpus.map(|millis| format!("cpus {}", f64::from(millis) / 1000.0)));
    words.extend(
        limits
            .cpu_weight
            .map(|weight| format!("cpu-weight {weight}")),
    );
    if !limits.cpuset.is_empty() {
        let list: Vec<_> = limits.cpuset.iter().map(u32::to_string).collect();
        words.push(format!("cpuset {}", list.join(",")));
    }
    words.extend(limits.pids.map(|most| format!("pids {most}")));
    words.extend(limits.io.iter().map(io));
    words.extend(limits.cpu_time_ms.map(|ms| {
        let time = humantime::format_duration(Duration::from_millis(ms));
        format!("cpu-time {time}")
    }));
    let disk = limits.disk;
    words.extend(disk.map(|size| format!("disk {} (measured)", bytes(size))));
    words.extend(limits.nice.map(|nice| format!("nice {nice}")));
    words.extend(
        limits
            .oom_score_adj
            .map(|score| format!("oom-score {score}")),
    );
    words.extend(limits.rlimits.iter().map(rlimit));
    words
}

fn io(limit: &IoLimit) -> String {
    let rates = [
        ("rbps", limit.read_bps),
        ("wbps", limit.write_bps),
        ("riops", limit.read_iops),
        ("wiops", limit.write_iops),
    ];
    let rates = rates
        .iter()
        .filter_map(|(name, rate)| Some(format!("{name}={}", (*rate)?)));
    let rates: Vec<_> = rates.collect();
    format!("io-max {}:{}", limit.path.display(), rates.join(","))
}

fn rlimit(limit: &Rlimit) -> String {
    let value =
        |value: Option<u64>| value.map_or("unlimited".to_owned(), |value| value.to_string());
    let (soft, hard) = (value(limit.soft), value(limit.hard));
    match soft == hard {
        true => format!("rlimit {}={soft}", limit.resource),
        false => format!("rlimit {}={soft}:{hard}", limit.resource),
    }
}

/// What a job was to be held to and is not, in words: whoever asked for that with `--limits best-effort` is told which it became.
pub(crate) fn left_out(job: &Job) -> Option<String> {
    let names = &job.containment.as_ref()?.left_out;
    (!names.is_empty()).then(|| {
        format!(
            "this host cannot hold job {} to {}: it runs without (see `legwork doctor`)",
            super::short(job),
            names.join(", ")
        )
    })
}

/// How it is held, in words.
pub(super) fn held_by(containment: &Containment) -> String {
    match &containment.cgroup {
        Some(path) => format!("{} {}", containment.kind, path.to_string_lossy()),
        None => containment.kind.clone(),
    }
}

/// Limits for programs.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct LimitsJson<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    memory: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_high: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    swap: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_millis: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_weight: Option<u32>,
    #[serde(skip_serializing_if = "<[u32]>::is_empty")]
    cpuset: &'a [u32],
    #[serde(skip_serializing_if = "Option::is_none")]
    pids: Option<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    io: Vec<IoJson<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_time_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    disk: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nice: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    oom_score_adj: Option<i32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    rlimits: Vec<RlimitJson<'a>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct IoJson<'a> {
    path: Text<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    read_bps: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    write_bps: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    read_iops: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    write_iops: Option<u64>,
}

#[derive(Debug, Serialize)]
struct RlimitJson<'a> {
    resource: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    soft: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hard: Option<u64>,
}

/// Containment for programs.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ContainmentJson<'a> {
    kind: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    cgroup: Option<Text<'a>>,
    settings: &'a [String],
    left_out: &'a [String],
}

impl<'a> From<&'a Limits> for LimitsJson<'a> {
    fn from(limits: &'a Limits) -> Self {
        let io = |limit: &'a IoLimit| IoJson {
            path: Text::new(limit.path.as_os_str().as_bytes()),
            read_bps: limit.read_bps,
            write_bps: limit.write_bps,
            read_iops: limit.read_iops,
            write_iops: limit.write_iops,
        };
        let rlimit = |limit: &'a Rlimit| RlimitJson {
            resource: &limit.resource,
            soft: limit.soft,
            hard: limit.hard,
        };
        Self {
            memory: limits.memory,
            memory_high: limits.memory_high,
            swap: limits.swap,
            cpu_millis: limits.cpu_millis,
            cpu_weight: limits.cpu_weight,
            cpuset: &limits.cpuset,
            pids: limits.pids,
            io: limits.io.iter().map(io).collect(),
            cpu_time_ms: limits.cpu_time_ms,
            disk: limits.disk,
            nice: limits.nice,
            oom_score_adj: limits.oom_score_adj,
            rlimits: limits.rlimits.iter().map(rlimit).collect(),
        }
    }
}

impl<'a> From<&'a Containment> for ContainmentJson<'a> {
    fn from(containment: &'a Containment) -> Self {
        Self {
            kind: &containment.kind,
            cgroup: containment
                .cgroup
                .as_ref()
                .map(|path| Text::new(path.as_bytes())),
            settings: &containment.settings,
            left_out: &containment.left_out,
        }
    }
}

#[cfg(test)]
mod tests {
    use legwork_client::{IoLimit, Limits, Rlimit};

    use super::words;

    #[test]
    fn limits_are_told_as_they_are_asked_for() {
        let limits = Limits {
            memory: Some(512 << 20),
            cpu_millis: Some(1500),
            cpuset: vec![0, 2],
            pids: Some(9),
            io: vec![IoLimit {
                path: "/dev/sda".into(),
                write_bps: Some(7),
                ..IoLimit::default()
            }],
            cpu_time_ms: Some(90_000),
            nice: Some(-1),
            rlimits: vec![
                Rlimit {
                    resource: "core".into(),
                    soft: Some(0),
                    hard: Some(0),
                },
                Rlimit {
                    resource: "stack".into(),
                    soft: Some(1),
                    hard: None,
                },
            ],
            ..Limits::default()
        };
        let expected = [
            "memory 512.00 MiB",
            "cpus 1.5",
            "cpuset 0,2",
            "pids 9",
            "io-max /dev/sda:wbps=7",
            "cpu-time 1m 30s",
            "nice -1",
            "rlimit core=0",
            "rlimit stack=1:unlimited",
        ];
        assert_eq!(words(&limits), expected);
        assert!(words(&Limits::default()).is_empty());
    }
}
