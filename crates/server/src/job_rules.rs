//! What jobs of identities get where they ask for no limit, and the most that they may ask for.
//!
//! A server that could not hold jobs to its own rules does not start: what a rule demands is never left out, also for somebody
//! who is content with best effort. Users of the host are not held to them: they may open the state directory.

use std::collections::BTreeMap;
use std::time::Duration;

use legwork_identity::{Principal, Role, Via};
use legwork_jobs::{Limits, Resource, Rlimit, StartRequest};
use tonic::Code;

use crate::problem::Problem;

/// The rules for everybody, and those that go before them for whoever has a role.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct JobRules {
    /// For every identity.
    pub all: JobRule,
    /// For identities with a role; of several, the first in the order of [`Role`] counts.
    pub roles: BTreeMap<&'static str, JobRule>,
    /// Bytes that the disk of the state directory must have left for a job to start; `None` means 256 MiB, or a hundredth of a smaller
    /// disk. It holds for everybody.
    pub disk_floor: Option<u64>,
}

/// Values for whoever asks for none, and the largest that may be asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct JobRule {
    /// Without a word.
    pub default: JobBounds,
    /// At most.
    pub max: JobBounds,
}

/// Each may be absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct JobBounds {
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// Bytes of swap.
    pub swap: Option<u64>,
    /// Thousandths of a processor.
    pub cpu_millis: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u64>,
    /// Milliseconds of processor time.
    pub cpu_time_ms: Option<u64>,
    /// Bytes that its directory takes on the disk.
    pub disk: Option<u64>,
    /// Open files of each process.
    pub nofile: Option<u64>,
    /// Bytes of each file.
    pub file_size: Option<u64>,
    /// Milliseconds from its start.
    pub timeout_ms: Option<u64>,
    /// Bytes of output that are kept.
    pub output_limit: Option<u64>,
}

/// How one of them is read from a request, and written to it.
struct Field {
    name: &'static str,
    of: fn(&JobBounds) -> Option<u64>,
    read: fn(&StartRequest) -> Option<u64>,
    write: fn(&mut StartRequest, u64),
}

const FIELDS: [Field; 10] = [
    Field {
        name: "memory",
        of: |bounds| bounds.memory,
        read: |request| request.limits.memory,
        write: |request, value| request.limits.memory = Some(value),
    },
    Field {
        name: "swap",
        of: |bounds| bounds.swap,
        read: |request| request.limits.swap,
        write: |request, value| request.limits.swap = Some(value),
    },
    Field {
        name: "cpus",
        of: |bounds| bounds.cpu_millis,
        read: |request| request.limits.cpu_millis.map(u64::from),
        write: |request, value| {
            request.limits.cpu_millis = Some(u32::try_from(value).unwrap_or(u32::MAX));
        },
    },
    Field {
        name: "pids",
        of: |bounds| bounds.pids,
        read: |request| request.limits.pids,
        write: |request, value| request.limits.pids = Some(value),
    },
    Field {
        name: "cpu-time",
        of: |bounds| bounds.cpu_time_ms,
        read: |request| request.limits.cpu_time_ms,
        write: |request, value| request.limits.cpu_time_ms = Some(value),
    },
    Field {
        name: "disk",
        of: |bounds| bounds.disk,
        read: |request| request.limits.disk,
        write: |request, value| request.limits.disk = Some(value),
    },
    Field {
        name: "nofile",
        of: |bounds| bounds.nofile,
        read: |request| hard(&request.limits, Resource::Nofile),
        write: |request, value| set(&mut request.limits, Resource::Nofile, value),
    },
    Field {
        name: "file-size",
        of: |bounds| bounds.file_size,
        read: |request| hard(&request.limits, Resource::Fsize),
        write: |request, value| set(&mut request.limits, Resource::Fsize, value),
    },
    Field {
        name: "timeout",
        of: |bounds| bounds.timeout_ms,
        read: |request| request.timeout.map(millis),
        write: |request, value| request.timeout = Some(Duration::from_millis(value)),
    },
    Field {
        name: "output-limit",
        of: |bounds| bounds.output_limit,
        // There always is one; who asks for none has the usual.
        read: |request| Some(request.output_limit),
        write: |request, value| request.output_limit = value,
    },
];

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// How far a process may go, if somebody has said so.
fn hard(limits: &Limits, resource: Resource) -> Option<u64> {
    let mut asked = limits.rlimits.iter();
    let asked = asked.find(|limit| limit.resource == resource)?;
    Some(asked.hard.unwrap_or(u64::MAX))
}

fn set(limits: &mut Limits, resource: Resource, value: u64) {
    limits.rlimits.retain(|limit| limit.resource != resource);
    limits.rlimits.push(Rlimit {
        resource,
        soft: Some(value),
        hard: Some(value),
    });
}

impl JobRules {
    /// Adds what the caller's rules demand; `output_asked` tells whether the request says how much output is kept.
    ///
    /// # Errors
    /// `LIMIT_TOO_HIGH` for the first that is above what the caller may ask for.
    pub(crate) fn apply(
        &self,
        caller: &Principal,
        request: &mut StartRequest,
        output_asked: bool,
    ) -> Result<(), Problem> {
        if caller.via != Via::Certificate {
            return Ok(());
        }
        let own = Role::ALL
            .into_iter()
            .filter(|role| caller.roles.has(*role))
            .find_map(|role| self.roles.get(role.name()));
        for field in &FIELDS {
            let first = |of: fn(&JobRule) -> &JobBounds| {
                let particular = own.and_then(|rule| (field.of)(of(rule)));
                particular.or_else(|| (field.of)(of(&self.all)))
            };
            let (usual, most) = (first(|rule| &rule.default), first(|rule| &rule.max));
            let asked =
                (field.read)(request).filter(|_| output_asked || field.name != "output-limit");
            match (asked, usual, most) {
                (Some(asked), _, Some(most)) if asked > most => {
                    return Err(too_high(field.name, asked, most));
                }
                (Some(_), _, _) | (None, None, None) => {}
                (None, Some(usual), most) => {
                    (field.write)(request, usual.min(most.unwrap_or(usual)));
                }
                (None, None, Some(most)) => {
                    let given = (field.read)(request).unwrap_or(most);
                    (field.write)(request, given.min(most));
                }
            }
        }
        Ok(())
    }

    /// All limits that rules may demand, for a check whether this host can apply them.
    pub(crate) fn demanded(&self) -> impl Iterator<Item = Limits> {
        let rules = [&self.all].into_iter().chain(self.roles.values());
        rules
            .flat_map(|rule| [&rule.default, &rule.max])
            .map(|bounds| Limits {
                memory: bounds.memory,
                swap: bounds.swap,
                cpu_millis: bounds
                    .cpu_millis
                    .and_then(|millis| u32::try_from(millis).ok()),
                pids: bounds.pids,
                ..Limits::default()
            })
    }
}

fn too_high(limit: &str, asked: u64, most: u64) -> Problem {
    let message = format!("the limit {limit} is {asked}, and this server allows at most {most}");
    Problem::new(Code::InvalidArgument, "LIMIT_TOO_HIGH", message)
        .with("limit", limit)
        .with("most", most)
}

#[cfg(test)]
mod tests {
    use legwork_identity::{Principal, PrincipalId, Role, Via};
    use legwork_jobs::{JobId, Limits, StartRequest};
    use uuid::Uuid;

    use super::{JobBounds, JobRule, JobRules};

    fn alice(role: Role) -> Principal {
        Principal {
            id: PrincipalId::Identity(Uuid::from_u128(1)),
            name: "alice".to_owned(),
            roles: role.into(),
            via: Via::Certificate,
        }
    }

    fn rules() -> JobRules {
        let all = JobRule {
            default: JobBounds {
                memory: Some(10),
                nofile: Some(20),
                ..JobBounds::default()
            },
            max: JobBounds {
                memory: Some(100),
                timeout_ms: Some(1000),
                output_limit: Some(50),
                ..JobBounds::default()
            },
        };
        let admin = JobRule {
            max: JobBounds {
                memory: Some(1000),
                ..JobBounds::default()
            },
            ..JobRule::default()
        };
        JobRules {
            all,
            roles: [("admin", admin)].into(),
            disk_floor: None,
        }
    }

    fn applied(caller: &Principal, limits: Limits) -> Result<StartRequest, &'static str> {
        let mut request = StartRequest::new(JobId::from(Uuid::nil()), ["true"], "/");
        request.limits = limits;
        let applied = rules().apply(caller, &mut request, false);
        applied.map(|()| request).map_err(|problem| problem.reason)
    }

    #[test]
    fn who_asks_for_nothing_gets_the_default_or_the_most() {
        let request = applied(&alice(Role::Run), Limits::default()).unwrap();
        assert_eq!(request.limits.memory, Some(10));
        assert_eq!(request.limits.rlimits[0].hard, Some(20));
        assert_eq!(request.timeout.unwrap().as_millis(), 1000);
        assert_eq!(request.output_limit, 50);
        assert_eq!(request.limits.pids, None);
    }

    #[test]
    fn nobody_gets_more_than_the_most_and_a_role_goes_before_all() {
        let asks = |bytes| Limits {
            memory: Some(bytes),
            ..Limits::default()
        };
        assert_eq!(
            applied(&alice(Role::Run), asks(100)).unwrap().limits.memory,
            Some(100)
        );
        assert_eq!(
            applied(&alice(Role::Run), asks(101)).unwrap_err(),
            "LIMIT_TOO_HIGH"
        );
        assert_eq!(
            applied(&alice(Role::Admin), asks(1000))
                .unwrap()
                .limits
                .memory,
            Some(1000)
        );
        assert_eq!(
            applied(&alice(Role::Admin), asks(1001)).unwrap_err(),
            "LIMIT_TOO_HIGH"
        );
    }

    #[test]
    fn users_of_the_host_are_not_held_to_them() {
        let request = applied(&Principal::local(0, "root"), Limits::default()).unwrap();
        assert_eq!((request.limits.memory, request.timeout), (None, None));
    }

    #[test]
    fn what_may_be_demanded_is_told() {
        let memory: Vec<_> = rules()
            .demanded()
            .filter_map(|limits| limits.memory)
            .collect();
        assert_eq!(memory, [10, 100, 1000]);
    }
}
