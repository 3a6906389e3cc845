//! From limits that somebody asked for to what the shim does about them, on this host.
//!
//! [`plan`] is a pure function of what was asked and of what the host has. A limit that cannot be applied refuses the job and
//! says what could be asked instead; with [`Mode::BestEffort`] it is left out, or applied less exactly, and the spec says so. A
//! limit is never applied by half without a word.

pub(crate) mod delegated;
mod device;
mod host;
mod request;

use legwork_shim::ByteString;
use legwork_shim::limits::{Cgroup, Confinement, Disk, Limits, Setting};

pub use self::host::{CgroupRoot, Cgroups, Host, HostError};
pub use self::request::InvalidLimit;
pub(crate) use self::request::validate;
use crate::id::JobId;

/// What to do about a limit that cannot be applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Refuse the job.
    #[default]
    Strict,
    /// Leave it out and say so.
    BestEffort,
}

/// A limit that this host cannot apply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the limit {limit} cannot be applied here: {why}")]
pub struct Unavailable {
    /// Its name, as in [`Limits`].
    pub limit: &'static str,
    /// What is missing.
    pub why: String,
    /// What could be asked for instead, if there is anything.
    pub instead: Option<&'static str>,
}

/// The period over which the kernel shares processor time out, in microseconds.
const PERIOD_US: u64 = 100_000;

/// Works out how a job is held in, of which the directory `tree` is measured.
///
/// # Errors
/// The first limit that this host cannot apply, unless best effort is enough.
pub(crate) fn plan(
    id: JobId,
    tree: &ByteString,
    limits: &Limits,
    mode: Mode,
    host: &Host,
) -> Result<Confinement, Unavailable> {
    let mut plan = Plan {
        host,
        mode,
        settings: Vec::new(),
        made: Confinement {
            rlimits: limits.rlimits.clone(),
            nice: limits.nice,
            oom_score_adj: limits.oom_score_adj,
            cpu_time_ms: limits.cpu_time_ms,
            disk: limits.disk.map(|bytes| Disk {
                path: tree.clone(),
                bytes,
            }),
            ..Confinement::default()
        },
    };
    plan.memory(limits)?;
    plan.processors(limits)?;
    if let Some(most) = limits.pids {
        plan.group("pids", "pids", None, [("pids.max", most.to_string())])?;
    }
    plan.io(limits)?;
    plan.made.cgroup = host.cgroups.as_ref().map(|root| Cgroup {
        path: root.path().join(id.uuid().to_string()).as_path().into(),
        settings: plan.settings,
    });
    Ok(plan.made)
}

/// A plan on its way.
struct Plan<'a> {
    host: &'a Host,
    mode: Mode,
    settings: Vec<Setting>,
    made: Confinement,
}

impl Plan<'_> {
    fn memory(&mut self, limits: &Limits) -> Result<(), Unavailable> {
        let swap = |bytes: u64| ("memory.swap.max", bytes.to_string());
        if let Some(most) = limits.memory {
            let settings = [
                ("memory.max", most.to_string()),
                swap(limits.swap.unwrap_or(0)),
                // Half a job is of no use to anybody.
                ("memory.oom.group", "1".to_owned()),
            ];
            let instead = "--rlimit as=SIZE limits the address space of each process";
            self.group("memory", "memory", Some(instead), settings)?;
        } else if let Some(most) = limits.swap {
            self.group("swap", "memory", None, [swap(most)])?;
        }
        if let Some(high) = limits.memory_high {
            let settings = [("memory.high", high.to_string())];
            self.group("memory-high", "memory", None, settings)?;
        }
        Ok(())
    }

    fn processors(&mut self, limits: &Limits) -> Result<(), Unavailable> {
        self.cpuset(&limits.cpuset)?;
        if let Some(millis) = limits.cpu_millis {
            let quota = u64::from(millis) * PERIOD_US / 1000;
            let settings = [("cpu.max", format!("{quota} {PERIOD_US}"))];
            let instead = "--cpuset LIST keeps it to some processors";
            let applied = self.group("cpus", "cpu", Some(instead), settings)?;
            if !applied && limits.cpuset.is_empty() {
                // Not the same, but nearer than nothing: it is told as left out.
                let some = usize::try_from(millis.div_ceil(1000)).unwrap_or(usize::MAX);
                self.made.cpus = self.host.processors.iter().copied().take(some).collect();
            }
        }
        if let Some(weight) = limits.cpu_weight {
            let settings = [("cpu.weight", weight.to_string())];
            let instead = "--nice N makes it give way to others";
            self.group("cpu-weight", "cpu", Some(instead), settings)?;
        }
        Ok(())
    }

    /// The kernel's own set holds also those who would change their affinity; without it, the affinity is what there is.
    fn cpuset(&mut self, wanted: &[u16]) -> Result<(), Unavailable> {
        if wanted.is_empty() {
            return Ok(());
        }
        let absent = wanted
            .iter()
            .find(|cpu| !self.host.processors.contains(cpu));
        if let Some(absent) = absent {
            return self.unavailable(Unavailable {
                limit: "cpuset",
                why: format!("there is no processor {absent} that jobs may use"),
                instead: None,
            });
        }
        if self.host.controls("cpuset") {
            let list: Vec<_> = wanted.iter().map(u16::to_string).collect();
            self.set([("cpuset.cpus", list.join(","))]);
        }
        self.made.cpus = wanted.to_vec();
        Ok(())
    }

    fn io(&mut self, limits: &Limits) -> Result<(), Unavailable> {
        for limit in &limits.io {
            let device = match device::of(limit) {
                Ok(device) => device,
                Err(why) => {
                    let (limit, instead) = ("io-max", None);
                    self.unavailable(Unavailable {
                        limit,
                        why,
                        instead,
                    })?;
                    continue;
                }
            };
            self.group("io-max", "io", None, [("io.max", device)])?;
        }
        Ok(())
    }

    /// Settings of one controller; whether they can be made.
    fn group<const N: usize>(
        &mut self,
        limit: &'static str,
        controller: &str,
        instead: Option<&'static str>,
        settings: [(&str, String); N],
    ) -> Result<bool, Unavailable> {
        if self.host.controls(controller) {
            self.set(settings);
            return Ok(true);
        }
        let why = match &self.host.cgroups {
            None => "jobs have no control groups on this host (see `legwork doctor`)".to_owned(),
            Some(root) => format!(
                "{} has no controller `{controller}` (see `legwork doctor`)",
                root.path().display()
            ),
        };
        self.unavailable(Unavailable {
            limit,
            why,
            instead,
        })?;
        Ok(false)
    }

    fn set<const N: usize>(&mut self, settings: [(&str, String); N]) {
        self.settings.extend(settings.map(|(file, value)| Setting {
            file: file.to_owned(),
            value,
        }));
    }

    fn unavailable(&mut self, unavailable: Unavailable) -> Result<(), Unavailable> {
        match self.mode {
            Mode::Strict => Err(unavailable),
            Mode::BestEffort => {
                let name = unavailable.limit.to_owned();
                if !self.made.left_out.contains(&name) {
                    self.made.left_out.push(name);
                }
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use legwork_shim::limits::{IoLimit, Limits};
    use uuid::Uuid;

    use super::{CgroupRoot, Host, Mode, plan};
    use crate::id::JobId;

    fn id() -> JobId {
        Uuid::from_u128(7).into()
    }

    fn host(controllers: Option<&[&str]>) -> Host {
        Host {
            cgroups: controllers.map(|names| CgroupRoot::pretended("/cg/jobs", names)),
            processors: vec![0, 1, 4],
        }
    }

    /// Everything that needs a controller.
    fn all() -> Limits {
        Limits {
            memory: Some(100),
            memory_high: Some(90),
            cpu_millis: Some(1500),
            cpu_weight: Some(50),
            cpuset: vec![1, 4],
            pids: Some(8),
            ..Limits::default()
        }
    }

    fn settings(limits: &Limits, host: &Host) -> Vec<(String, String)> {
        let made = plan(id(), &"/d".into(), limits, Mode::Strict, host).unwrap();
        let group = made.cgroup.unwrap();
        assert_eq!(
            group.path.as_bytes(),
            b"/cg/jobs/00000000-0000-0000-0000-000000000007"
        );
        let settings = group.settings.into_iter();
        settings.map(|set| (set.file, set.value)).collect()
    }

    #[test]
    fn with_all_controllers_the_kernel_holds_the_whole_job() {
        let host = host(Some(&["cpu", "cpuset", "io", "memory", "pids"]));
        let expected = [
            ("memory.max", "100"),
            ("memory.swap.max", "0"),
            ("memory.oom.group", "1"),
            ("memory.high", "90"),
            ("cpuset.cpus", "1,4"),
            ("cpu.max", "150000 100000"),
            ("cpu.weight", "50"),
            ("pids.max", "8"),
        ];
        let expected = expected.map(|(file, value)| (file.to_owned(), value.to_owned()));
        assert_eq!(settings(&all(), &host), expected);
        assert_eq!(settings(&Limits::default(), &host), []);
    }

    #[test]
    fn what_cannot_be_applied_is_refused_by_name_with_what_could_be_asked_instead() {
        for controllers in [None, Some(&[][..])] {
            let host = host(controllers);
            for (limits, name, instead) in [
                (
                    Limits {
                        memory: Some(1),
                        ..Limits::default()
                    },
                    "memory",
                    Some("--rlimit as"),
                ),
                (
                    Limits {
                        memory_high: Some(1),
                        ..Limits::default()
                    },
                    "memory-high",
                    None,
                ),
                (
                    Limits {
                        swap: Some(1),
                        ..Limits::default()
                    },
                    "swap",
                    None,
                ),
                (
                    Limits {
                        cpu_millis: Some(1),
                        ..Limits::default()
                    },
                    "cpus",
                    Some("--cpuset"),
                ),
                (
                    Limits {
                        cpu_weight: Some(1),
                        ..Limits::default()
                    },
                    "cpu-weight",
                    Some("--nice"),
                ),
                (
                    Limits {
                        pids: Some(1),
                        ..Limits::default()
                    },
                    "pids",
                    None,
                ),
                (
                    Limits {
                        cpuset: vec![2],
                        ..Limits::default()
                    },
                    "cpuset",
                    None,
                ),
            ] {
                let refused = plan(id(), &"/d".into(), &limits, Mode::Strict, &host).unwrap_err();
                assert_eq!(refused.limit, name);
                match instead {
                    Some(begin) => assert!(refused.instead.unwrap().starts_with(begin)),
                    None => assert_eq!(refused.instead, None),
                }
            }
        }
    }

    #[test]
    fn best_effort_does_what_it_can_and_names_the_rest() {
        let made = plan(
            id(),
            &"/d".into(),
            &all(),
            Mode::BestEffort,
            &host(Some(&["pids"])),
        )
        .unwrap();
        assert_eq!(
            made.left_out,
            ["memory", "memory-high", "cpus", "cpu-weight"]
        );
        assert_eq!(made.cpus, [1, 4]);
        assert_eq!(made.cgroup.unwrap().settings.len(), 1);
        let half = Limits {
            cpu_millis: Some(1001),
            ..Limits::default()
        };
        let made = plan(id(), &"/d".into(), &half, Mode::BestEffort, &host(None)).unwrap();
        assert_eq!((made.cpus, made.cgroup), (vec![0, 1], None));
    }

    #[test]
    fn what_every_process_carries_needs_no_controller() {
        let limits = Limits {
            cpuset: vec![4],
            nice: Some(5),
            oom_score_adj: Some(6),
            cpu_time_ms: Some(7),
            disk: Some(8),
            ..Limits::default()
        };
        let made = plan(id(), &"/d".into(), &limits, Mode::Strict, &host(None)).unwrap();
        assert_eq!((made.cpus, made.nice), (vec![4], Some(5)));
        assert_eq!((made.oom_score_adj, made.cpu_time_ms), (Some(6), Some(7)));
        let measured = made.disk.unwrap();
        assert_eq!((measured.path, measured.bytes), ("/d".into(), 8));
        assert!(
            plan(
                id(),
                &"/d".into(),
                &Limits::default(),
                Mode::Strict,
                &host(None)
            )
            .unwrap()
            .is_none()
        );
    }

    #[test]
    fn a_device_that_is_none_is_refused() {
        let limits = Limits {
            io: vec![IoLimit {
                path: "/proc/self/status".into(),
                read_bps: Some(1),
                write_bps: None,
                read_iops: None,
                write_iops: None,
            }],
            ..Limits::default()
        };
        let refused = plan(
            id(),
            &"/d".into(),
            &limits,
            Mode::Strict,
            &host(Some(&["io"])),
        )
        .unwrap_err();
        assert_eq!(refused.limit, "io-max");
    }
}
