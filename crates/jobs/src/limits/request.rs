//! The check of limits that can be made without a host.

use legwork_shim::limits::{Limits, Resource};

/// Numbers of processors that Linux can name in one mask of 1024 bits.
const PROCESSORS_MAX: u16 = 1024;
/// Devices of one job.
const DEVICES_MAX: usize = 64;

/// Why limits make no sense anywhere.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidLimit {
    /// A number outside what there is.
    #[error("{limit} {value} is outside of {least} to {most}")]
    Range {
        /// The limit's name.
        limit: &'static str,
        /// What was asked.
        value: i64,
        /// The least that makes sense.
        least: i64,
        /// The most.
        most: i64,
    },
    /// A limit under which nothing can begin.
    #[error("a limit of no {limit} would let nothing begin")]
    Zero {
        /// The limit's name.
        limit: &'static str,
    },
    /// The same resource twice.
    #[error("the limit of {} is given twice", resource.name())]
    Twice {
        /// The resource.
        resource: Resource,
    },
    /// A soft limit above the hard one.
    #[error("the soft limit of {} is above its hard limit", resource.name())]
    SoftAboveHard {
        /// The resource.
        resource: Resource,
    },
    /// More devices than are looked at.
    #[error("{count} limits of devices are more than {DEVICES_MAX}")]
    Devices {
        /// How many.
        count: usize,
    },
    /// The path of a device that is relative, or holds a NUL byte.
    #[error("the device {path:?} is not an absolute path")]
    DevicePath {
        /// As asked.
        path: legwork_shim::ByteString,
    },
}

/// Checks what can be checked without starting.
pub(crate) fn validate(limits: &Limits) -> Result<(), InvalidLimit> {
    for (limit, value) in [
        ("memory", limits.memory),
        ("memory-high", limits.memory_high),
        ("processes", limits.pids),
        ("processor time", limits.cpu_time_ms),
        ("disk space", limits.disk),
        ("processors", limits.cpu_millis.map(u64::from)),
    ] {
        if value == Some(0) {
            return Err(InvalidLimit::Zero { limit });
        }
    }
    in_range(
        "cpus (in thousandths)",
        limits.cpu_millis.map(i64::from),
        10,
        i64::from(u32::MAX),
    )?;
    in_range("cpu-weight", limits.cpu_weight.map(i64::from), 1, 10_000)?;
    in_range("nice", limits.nice.map(i64::from), -20, 19)?;
    in_range(
        "oom-score",
        limits.oom_score_adj.map(i64::from),
        -1000,
        1000,
    )?;
    let last = i64::from(PROCESSORS_MAX - 1);
    for cpu in &limits.cpuset {
        in_range("cpuset", Some(i64::from(*cpu)), 0, last)?;
    }
    for (at, limit) in limits.rlimits.iter().enumerate() {
        let resource = limit.resource;
        if limits.rlimits[..at]
            .iter()
            .any(|other| other.resource == resource)
        {
            return Err(InvalidLimit::Twice { resource });
        }
        if limit.soft.unwrap_or(u64::MAX) > limit.hard.unwrap_or(u64::MAX) {
            return Err(InvalidLimit::SoftAboveHard { resource });
        }
    }
    if limits.io.len() > DEVICES_MAX {
        let count = limits.io.len();
        return Err(InvalidLimit::Devices { count });
    }
    for limit in &limits.io {
        let path = &limit.path;
        if path.as_bytes().first() != Some(&b'/') || path.as_bytes().contains(&0) {
            return Err(InvalidLimit::DevicePath { path: path.clone() });
        }
    }
    Ok(())
}

fn in_range(
    limit: &'static str,
    value: Option<i64>,
    least: i64,
    most: i64,
) -> Result<(), InvalidLimit> {
    match value {
        Some(value) if !(least..=most).contains(&value) => Err(InvalidLimit::Range {
            limit,
            value,
            least,
            most,
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use legwork_shim::limits::{Limits, Resource, Rlimit};

    use super::{InvalidLimit, validate};

    #[test]
    fn numbers_outside_of_what_there_is_are_refused() {
        assert_eq!(validate(&Limits::default()), Ok(()));
        for limits in [
            Limits {
                memory: Some(0),
                ..Limits::default()
            },
            Limits {
                pids: Some(0),
                ..Limits::default()
            },
            Limits {
                cpu_millis: Some(9),
                ..Limits::default()
            },
            Limits {
                cpu_weight: Some(10_001),
                ..Limits::default()
            },
            Limits {
                nice: Some(20),
                ..Limits::default()
            },
            Limits {
                oom_score_adj: Some(-1001),
                ..Limits::default()
            },
            Limits {
                cpuset: vec![1024],
                ..Limits::default()
            },
        ] {
            assert!(validate(&limits).is_err(), "{limits:?}");
        }
        // To use no swap at all is a wish that makes sense.
        let no_swap = Limits {
            swap: Some(0),
            ..Limits::default()
        };
        assert_eq!(validate(&no_swap), Ok(()));
    }

    #[test]
    fn resource_limits_must_agree_with_themselves() {
        let limit = |soft, hard| Rlimit {
            resource: Resource::Nofile,
            soft,
            hard,
        };
        let with = |rlimits| Limits {
            rlimits,
            ..Limits::default()
        };
        assert_eq!(validate(&with(vec![limit(Some(1), None)])), Ok(()));
        let resource = Resource::Nofile;
        assert_eq!(
            validate(&with(vec![limit(None, Some(1))])),
            Err(InvalidLimit::SoftAboveHard { resource })
        );
        assert_eq!(
            validate(&with(vec![limit(None, None), limit(None, None)])),
            Err(InvalidLimit::Twice { resource })
        );
    }
}
