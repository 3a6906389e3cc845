//! The limit of processor time of a whole job.
//!
//! Nobody tells when it is reached, so it is looked at, but no more often than it could be: a job that has a minute left on two
//! processors is left alone for half a minute. Times are milliseconds of the monotonic clock, or microseconds of processor time.

use super::cgroup::Cgroup;
use super::tree;

/// Shortest time between two looks.
const LOOK_MIN_MS: u64 = 50;

/// What a job may still use.
#[derive(Debug)]
pub(super) struct Budget {
    limit_us: u64,
    processors: u64,
    look_at: u64,
}

impl Budget {
    /// Of a job that runs since `started`.
    pub(super) fn new(limit_ms: u64, processors: u64, started: u64) -> Self {
        let mut budget = Self {
            limit_us: limit_ms.saturating_mul(1000),
            processors: processors.max(1),
            look_at: 0,
        };
        budget.is_spent(started, 0);
        budget
    }

    /// When to look again.
    pub(super) fn look_at(&self) -> u64 {
        self.look_at
    }

    /// Whether so much is too much.
    pub(super) fn is_spent(&mut self, now: u64, used_us: u64) -> bool {
        let left_us = self.limit_us.saturating_sub(used_us);
        let soonest = left_us / 1000 / self.processors;
        self.look_at = now.saturating_add(soonest.max(LOOK_MIN_MS));
        left_us == 0
    }
}

/// Processors that a job can use at once.
pub(super) fn processors() -> u64 {
    rustix::thread::sched_getaffinity(None).map_or(1, |cpus| u64::from(cpus.count()))
}

/// Microseconds that the job has used until now: what the kernel has counted, or what can be seen of its processes.
pub(super) fn used_us(cgroup: Option<&Cgroup>) -> u64 {
    cgroup.and_then(Cgroup::cpu_us).unwrap_or_else(tree::cpu_us)
}

#[cfg(test)]
mod tests {
    use super::{Budget, LOOK_MIN_MS};

    #[test]
    fn it_is_looked_at_no_sooner_than_it_can_be_spent() {
        let mut budget = Budget::new(60_000, 2, 1000);
        assert_eq!(budget.look_at(), 31_000);
        assert!(!budget.is_spent(31_000, 20_000_000));
        assert_eq!(budget.look_at(), 51_000);
        assert!(!budget.is_spent(51_000, 59_999_999));
        assert_eq!(budget.look_at(), 51_000 + LOOK_MIN_MS);
        assert!(budget.is_spent(51_050, 60_000_000));
        assert!(Budget::new(u64::MAX, 0, 0).look_at() > 0);
    }
}
