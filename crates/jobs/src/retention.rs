//! Removing jobs that ended long ago.
//!
//! Who keeps everything fills the disk, and who asks people to clean up fills it too. So jobs that have ended go by themselves: by age, and
//! the oldest of too many, or of too many bytes. What goes is decided by a fold over the list, the newest job first; each is then
//! removed as by hand. Several openers of a state directory do it in turn: the time of a file says when it was done last.

use std::fs::{self, File};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;
use std::time::Duration;

use crate::error::JobError;
use crate::id::JobId;
use crate::index;
use crate::inner::{self, Inner};
use crate::job::{Job, ListQuery};
use crate::job_dir::modified_ms;
use crate::remove::{self, Newcomers};
use crate::state::Phase;

/// Its time is that of the last look.
const MARK: &str = "retained";
/// Jobs that are looked at together.
const PAGE: usize = 500;

/// Which jobs that have ended are kept: those that are within every bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Since their end.
    pub age: Option<Duration>,
    /// How many of them.
    pub jobs: Option<u64>,
    /// Bytes of their output together.
    pub bytes: Option<u64>,
}

impl Default for Retention {
    /// Two weeks, and ten thousand jobs.
    fn default() -> Self {
        Self {
            age: Some(Duration::from_hours(14 * 24)),
            jobs: Some(10_000),
            bytes: None,
        }
    }
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Removed {
    /// Jobs that are gone.
    pub jobs: u64,
    /// Bytes of output that they had.
    pub bytes: u64,
    /// Jobs that should have gone and could not be removed now.
    pub failed: u64,
}

/// What is kept of the jobs that were looked at so far, the newest first.
#[derive(Debug, Default)]
struct Kept {
    jobs: u64,
    bytes: u64,
}

impl Retention {
    /// Whether the next older job goes.
    fn passes(&self, kept: &mut Kept, ended_ms: u64, bytes: u64, now_ms: u64) -> bool {
        let age = Duration::from_millis(now_ms.saturating_sub(ended_ms));
        let too_old = self.age.is_some_and(|most| age > most);
        let too_many = self.jobs.is_some_and(|most| kept.jobs >= most);
        let too_large = self
            .bytes
            .is_some_and(|most| kept.bytes.saturating_add(bytes) > most);
        if too_old || too_many || too_large {
            return true;
        }
        kept.jobs += 1;
        kept.bytes = kept.bytes.saturating_add(bytes);
        false
    }
}

/// Removes what is not to be kept, unless somebody has done so within `every`.
pub(crate) async fn retain(
    inner: &Arc<Inner>,
    retention: Retention,
    every: Duration,
) -> Result<Option<Removed>, JobError> {
    if !is_due(inner, every) {
        return Ok(None);
    }
    let mut removed = Removed::default();
    for (id, bytes) in outdated(inner, retention).await? {
        if inner.tasks.stopping().is_cancelled() {
            break;
        }
        match remove::remove(inner, id, Newcomers::LeftAlone).await {
            Ok(()) => {
                removed.jobs += 1;
                removed.bytes += bytes;
            }
            // Somebody else was faster, or it may begin after all, or it is for a newer legwork to remove.
            Err(JobError::NotFound { .. } | JobError::NotEnded { .. } | JobError::Newer { .. }) => {
            }
            Err(_) => removed.failed += 1,
        }
    }
    Ok(Some(removed))
}

/// Whether it is time, and if so, that it is done now.
fn is_due(inner: &Inner, every: Duration) -> bool {
    let path = inner.state.path.join(MARK);
    let now_ms = inner.clock.now_ms();
    let every_ms = u64::try_from(every.as_millis()).unwrap_or(u64::MAX);
    if let Ok(found) = fs::metadata(&path) {
        let last_ms = modified_ms(&found);
        // A time that is still to come is of a clock that was wrong.
        if last_ms <= now_ms && now_ms - last_ms < every_ms {
            return false;
        }
    }
    let now = std::time::UNIX_EPOCH + Duration::from_millis(now_ms);
    let open = File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path);
    // Where nothing can be written nothing can be removed.
    open.and_then(|mark| mark.set_modified(now)).is_ok()
}

/// The jobs that go, with the bytes of their output.
async fn outdated(inner: &Arc<Inner>, retention: Retention) -> Result<Vec<(JobId, u64)>, JobError> {
    let now_ms = inner.clock.now_ms();
    let mut query = ListQuery {
        phases: Some([Phase::Finished].into()),
        limit: Some(PAGE),
        ..ListQuery::default()
    };
    let (mut kept, mut going) = (Kept::default(), Vec::new());
    loop {
        let page = inner::ask(inner, |db| index::list(db, &query)).await?;
        for job in page.jobs {
            let (ended_ms, bytes) = end_of(&job);
            if retention.passes(&mut kept, ended_ms, bytes, now_ms) {
                going.push((job.id, bytes));
            }
        }
        let Some(next) = page.next else {
            return Ok(going);
        };
        query.after = Some(next);
    }
}

/// When a job ended, in milliseconds since the epoch, and how many bytes of output it has left.
fn end_of(job: &Job) -> (u64, u64) {
    let accepted = job.asked.meta.created_at_ms;
    let Some(end) = job.state.finished() else {
        return (accepted, 0);
    };
    let printed = end.output_end.unwrap_or(0);
    (
        end.ended_at_ms.unwrap_or(accepted),
        printed.saturating_sub(end.output_dropped),
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::{Kept, Retention};

    const NOW: u64 = 1_000_000;

    fn gone(retention: Retention, jobs: &[(u64, u64)]) -> Vec<usize> {
        let mut kept = Kept::default();
        let passes = |(at, (ended, bytes)): (usize, &(u64, u64))| {
            retention
                .passes(&mut kept, *ended, *bytes, NOW)
                .then_some(at)
        };
        jobs.iter().enumerate().filter_map(passes).collect()
    }

    const NONE: Retention = Retention {
        age: None,
        jobs: None,
        bytes: None,
    };

    #[test]
    fn each_bound_is_a_bound_by_itself() {
        let jobs = [(NOW, 5), (NOW - 10, 5), (NOW - 2000, 5), (NOW - 20, 1)];
        assert_eq!(gone(NONE, &jobs), Vec::<usize>::new());
        let age = Some(Duration::from_secs(1));
        assert_eq!(gone(Retention { age, ..NONE }, &jobs), [2]);
        assert_eq!(
            gone(
                Retention {
                    jobs: Some(2),
                    ..NONE
                },
                &jobs
            ),
            [2, 3]
        );
        // A small one fits where a large one did not.
        assert_eq!(
            gone(
                Retention {
                    bytes: Some(11),
                    ..NONE
                },
                &jobs
            ),
            [2]
        );
        assert_eq!(
            gone(
                Retention {
                    jobs: Some(0),
                    ..NONE
                },
                &jobs
            ),
            [0, 1, 2, 3]
        );
    }

    #[test]
    fn a_clock_that_went_back_makes_nothing_old() {
        let age = Some(Duration::ZERO);
        let jobs = [(NOW + 1, 0), (NOW, 0), (NOW - 1, 0)];
        assert_eq!(gone(Retention { age, ..NONE }, &jobs), [2]);
    }

    proptest! {
        #[test]
        fn what_is_kept_is_within_every_bound(
            jobs in prop::collection::vec((0..2 * NOW, 0..100_u64), 0..50),
            age in prop::option::of(0..2 * NOW),
            most in prop::option::of(0..60_u64),
            bytes in prop::option::of(0..2000_u64),
        ) {
            let retention = Retention { age: age.map(Duration::from_millis), jobs: most, bytes };
            let gone = gone(retention, &jobs);
            let kept: Vec<_> = (0..jobs.len()).filter(|at| !gone.contains(at)).collect();
            prop_assert!(most.is_none_or(|most| kept.len() as u64 <= most));
            let sum: u64 = kept.iter().map(|at| jobs[*at].1).sum();
            prop_assert!(bytes.is_none_or(|most| sum <= most));
            prop_assert!(kept.iter().all(|at| age.is_none_or(|most| NOW.saturating_sub(jobs[*at].0) <= most)));
        }
    }
}
