//! Limits between the wire and the jobs crate.

use bytes::Bytes;
use legwork_jobs::{Confinement, IoLimit, Limits, LimitsMode, OnExit, Resource, Rlimit};
use legwork_proto::v1 as wire;
use tonic::Code;

use crate::problem::Problem;

/// What a spec asks for.
pub(crate) fn asked(limits: Option<wire::Limits>) -> Result<Limits, Problem> {
    let limits = limits.unwrap_or_default();
    let cpu = |number| {
        u16::try_from(number).map_err(|_| invalid(format!("there is no processor {number}")))
    };
    Ok(Limits {
        memory: limits.memory,
        memory_high: limits.memory_high,
        swap: limits.swap,
        cpu_millis: limits.cpu_millis,
        cpu_weight: limits.cpu_weight,
        cpuset: limits
            .cpuset
            .into_iter()
            .map(cpu)
            .collect::<Result<_, _>>()?,
        pids: limits.pids,
        io: limits.io.into_iter().map(io).collect(),
        cpu_time_ms: limits.cpu_time_ms,
        disk: limits.disk,
        nice: limits.nice,
        oom_score_adj: limits.oom_score_adj,
        rlimits: limits
            .rlimits
            .iter()
            .map(rlimit)
            .collect::<Result<_, _>>()?,
    })
}

fn invalid(message: String) -> Problem {
    Problem::new(Code::InvalidArgument, "INVALID_JOB", message)
}

fn io(limit: wire::IoLimit) -> IoLimit {
    IoLimit {
        path: Vec::from(limit.path).into(),
        read_bps: limit.read_bps,
        write_bps: limit.write_bps,
        read_iops: limit.read_iops,
        write_iops: limit.write_iops,
    }
}

fn rlimit(limit: &wire::Rlimit) -> Result<Rlimit, Problem> {
    let resource = Resource::of_name(&limit.resource)
        .ok_or_else(|| invalid(format!("there is no resource limit {:?}", limit.resource)))?;
    Ok(Rlimit {
        resource,
        soft: limit.soft,
        hard: limit.hard,
    })
}

/// What to do about those that cannot be applied.
pub(crate) fn mode(mode: wire::LimitsMode) -> LimitsMode {
    match mode {
        wire::LimitsMode::BestEffort => LimitsMode::BestEffort,
        wire::LimitsMode::Strict | wire::LimitsMode::Unspecified => LimitsMode::Strict,
    }
}

/// What becomes of what a main process leaves behind.
pub(crate) fn on_exit(on_exit: wire::OnExit) -> OnExit {
    match on_exit {
        wire::OnExit::Wait => OnExit::Wait,
        wire::OnExit::Kill | wire::OnExit::Unspecified => OnExit::Kill,
    }
}

/// What was asked for, as clients see it; nothing where nothing was.
pub(crate) fn told(limits: Limits) -> Option<wire::Limits> {
    if limits.is_none() {
        return None;
    }
    let io = |limit: IoLimit| wire::IoLimit {
        path: limit.path.0.into(),
        read_bps: limit.read_bps,
        write_bps: limit.write_bps,
        read_iops: limit.read_iops,
        write_iops: limit.write_iops,
    };
    let rlimit = |limit: Rlimit| wire::Rlimit {
        resource: limit.resource.name().to_owned(),
        soft: limit.soft,
        hard: limit.hard,
    };
    Some(wire::Limits {
        memory: limits.memory,
        memory_high: limits.memory_high,
        swap: limits.swap,
        cpu_millis: limits.cpu_millis,
        cpu_weight: limits.cpu_weight,
        cpuset: limits.cpuset.into_iter().map(u32::from).collect(),
        pids: limits.pids,
        io: limits.io.into_iter().map(io).collect(),
        cpu_time_ms: limits.cpu_time_ms,
        disk: limits.disk,
        nice: limits.nice,
        oom_score_adj: limits.oom_score_adj,
        rlimits: limits.rlimits.into_iter().map(rlimit).collect(),
    })
}

/// How a job with a control group is held in, and one without.
pub(crate) const KINDS: [&str; 2] = ["subreaper", "cgroup"];

/// How a job is held in.
pub(crate) fn containment(made: Confinement) -> wire::Containment {
    let kind = KINDS[usize::from(made.cgroup.is_some())].to_owned();
    let (cgroup, settings) = made.cgroup.map_or((None, Vec::new()), |group| {
        let settings = group.settings.into_iter();
        let settings = settings.map(|setting| format!("{}={}", setting.file, setting.value));
        (Some(Bytes::from(group.path.0)), settings.collect())
    });
    wire::Containment {
        kind,
        cgroup,
        settings,
        left_out: made.left_out,
    }
}

#[cfg(test)]
mod tests {
    use legwork_jobs::{RESOURCES, Rlimit};
    use legwork_proto::v1 as wire;

    use super::{asked, told};

    #[test]
    fn what_is_told_is_what_was_asked() {
        assert_eq!(told(asked(None).unwrap()), None);
        let limits = wire::Limits {
            memory: Some(1),
            memory_high: Some(2),
            swap: Some(0),
            cpu_millis: Some(1500),
            cpu_weight: Some(5),
            cpuset: vec![0, 7],
            pids: Some(9),
            io: vec![wire::IoLimit {
                path: "/dev/sda".into(),
                read_bps: Some(1),
                write_iops: Some(2),
                ..wire::IoLimit::default()
            }],
            cpu_time_ms: Some(10),
            disk: Some(11),
            nice: Some(-5),
            oom_score_adj: Some(-6),
            rlimits: RESOURCES
                .map(|(name, _)| wire::Rlimit {
                    resource: name.to_owned(),
                    soft: Some(0),
                    hard: None,
                })
                .to_vec(),
        };
        let read = asked(Some(limits.clone())).unwrap();
        assert!(
            read.rlimits
                .iter()
                .all(|Rlimit { soft, hard, .. }| (*soft, *hard) == (Some(0), None))
        );
        assert_eq!(told(read), Some(limits));
    }

    #[test]
    fn numbers_that_name_nothing_are_refused() {
        let far = wire::Limits {
            cpuset: vec![70_000],
            ..wire::Limits::default()
        };
        let odd = wire::Limits {
            rlimits: vec![wire::Rlimit {
                resource: "files".to_owned(),
                ..wire::Rlimit::default()
            }],
            ..wire::Limits::default()
        };
        for limits in [far, odd] {
            assert_eq!(asked(Some(limits)).unwrap_err().reason, "INVALID_JOB");
        }
    }
}
