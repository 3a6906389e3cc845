//! Jobs that ended long ago go by themselves.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use legwork_jobs::{Clock, Config, JobId, Jobs, ListQuery, Removed, Retention, StartRequest};

use crate::sandbox::Sandbox;

/// A clock that stands still until it is set.
#[derive(Debug)]
struct Set(AtomicU64);

impl Clock for Set {
    fn now_ms(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

const HOUR: Duration = Duration::from_hours(1);
const HOUR_MS: u64 = 3_600_000;

fn now_ms() -> u64 {
    legwork_jobs::SystemClock.now_ms()
}

async fn run(jobs: &Jobs, text: &str) -> JobId {
    let id = JobId::generate(now_ms());
    let argv = ["/bin/sh", "-c", text];
    jobs.start(StartRequest::new(id, argv, "/")).await.unwrap();
    id
}

async fn ended(jobs: &Jobs, text: &str) -> JobId {
    let id = run(jobs, text).await;
    jobs.wait(id).await.unwrap();
    id
}

async fn left(jobs: &Jobs) -> Vec<JobId> {
    let page = jobs.list(&ListQuery::default()).await.unwrap();
    page.jobs.iter().map(|job| job.id).collect()
}

const NONE: Retention = Retention {
    age: None,
    jobs: None,
    bytes: None,
};

#[tokio::test]
async fn what_is_too_old_or_too_much_goes_with_its_files_and_the_rest_stays() {
    let sandbox = Sandbox::new();
    let clock = Arc::new(Set(AtomicU64::new(now_ms())));
    let jobs = Jobs::open(Config {
        clock: clock.clone(),
        ..sandbox.config()
    })
    .unwrap();
    let (first, second) = (
        ended(&jobs, "printf 12345").await,
        ended(&jobs, "printf 123").await,
    );
    let runs = run(&jobs, "exec sleep 1000").await;
    let keep = |retention| jobs.retain(retention, Duration::ZERO);
    assert_eq!(
        keep(Retention::default()).await.unwrap(),
        Some(Removed::default())
    );

    let bytes = Some(4);
    let removed = keep(Retention { bytes, ..NONE }).await.unwrap().unwrap();
    assert_eq!((removed.jobs, removed.bytes, removed.failed), (1, 5, 0));
    assert_eq!(left(&jobs).await, [runs, second]);
    assert!(!sandbox.job_dir(first).exists());

    let third = ended(&jobs, ":").await;
    let removed = keep(Retention {
        jobs: Some(1),
        ..NONE
    })
    .await
    .unwrap();
    assert_eq!(removed.unwrap().jobs, 1);
    assert_eq!(left(&jobs).await, [third, runs]);

    clock.0.fetch_add(2 * HOUR_MS, Ordering::Relaxed);
    let age = Some(HOUR);
    let removed = keep(Retention { age, ..NONE }).await.unwrap();
    assert_eq!(removed.unwrap().jobs, 1);
    // What has not ended has no age.
    assert_eq!(left(&jobs).await, [runs]);
}

#[tokio::test]
async fn openers_take_turns() {
    let sandbox = Sandbox::new();
    let clock = Arc::new(Set(AtomicU64::new(now_ms())));
    let open = || {
        Jobs::open(Config {
            clock: clock.clone(),
            ..sandbox.config()
        })
        .unwrap()
    };
    let (one, two) = (open(), open());
    ended(&one, ":").await;
    let nothing = Retention {
        jobs: Some(0),
        ..NONE
    };
    assert!(one.retain(NONE, HOUR).await.unwrap().is_some());
    assert_eq!(two.retain(nothing, HOUR).await.unwrap(), None);
    clock.0.fetch_add(HOUR_MS, Ordering::Relaxed);
    assert_eq!(two.retain(nothing, HOUR).await.unwrap().unwrap().jobs, 1);
    assert_eq!(one.retain(nothing, HOUR).await.unwrap(), None);
    // A clock that was ahead and is right again does not stop it for ever.
    clock.0.fetch_sub(24 * HOUR_MS, Ordering::Relaxed);
    assert!(one.retain(nothing, HOUR).await.unwrap().is_some());
}
