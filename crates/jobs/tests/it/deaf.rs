//! Shims that cannot be reached over their socket.

use std::path::Path;
use std::time::Duration;

use legwork_jobs::{Cause, JobError, JobId, Jobs, Status, Stop};

use crate::sandbox::{Sandbox, end_of, hold, line, request, rewrite, shell, until, until_printed};

/// No test may take longer to be told.
const SOON: Duration = Duration::from_secs(60);

fn by(signal: Option<i32>, grace: Option<Duration>) -> Stop {
    Stop {
        signal,
        grace,
        by: "tester".into(),
    }
}

async fn running(jobs: &Jobs) -> JobId {
    let id = jobs.start(request(&["sleep", "60"])).await.unwrap().id;
    until(|| jobs.job_dir(id).join("control").exists()).await;
    id
}

/// As if there had been no room for it.
fn without_a_socket(dir: &Path) {
    std::fs::remove_file(dir.join("control")).unwrap();
}

async fn in_time<T>(answer: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, answer).await.unwrap()
}

#[tokio::test]
async fn without_a_socket_a_job_is_stopped_as_it_was_started_and_nothing_else() {
    let sandbox = Sandbox::new();
    let jobs = sandbox.open();
    let id = running(&jobs).await;
    without_a_socket(&jobs.job_dir(id));
    for refused in [
        in_time(jobs.signal(id, 10)).await,
        in_time(jobs.stop(id, by(Some(9), None))).await.map(drop),
        in_time(jobs.stop(id, by(None, Some(Duration::ZERO))))
            .await
            .map(drop),
    ] {
        assert!(
            matches!(refused, Err(JobError::NoSocket { .. })),
            "{refused:?}"
        );
    }
    assert!(jobs.get(id).await.unwrap().state.finished().is_none());
    let grace = Duration::from_millis(jobs.spec(id).await.unwrap().stop_grace_ms);
    let job = in_time(jobs.stop(id, by(Some(15), Some(grace))))
        .await
        .unwrap();
    assert!(matches!(end_of(&job).cause, Cause::Stopped { .. }));
    assert_eq!(end_of(&job).status, Some(Status::Signal(15)));
}

#[tokio::test]
async fn a_stranger_with_the_shims_number_is_left_alone() {
    let sandbox = Sandbox::new();
    let jobs = sandbox.open();
    let (id, stranger) = (running(&jobs).await, running(&jobs).await);
    let (dir, stranger_dir) = (jobs.job_dir(id), jobs.job_dir(stranger));
    let (own, other) = (line(&dir, "launch"), line(&stranger_dir, "launch"));
    let claim = |by: &str| {
        let is_it = |line: &str| line.starts_with("{\"launch\"");
        rewrite(&dir, |line| {
            Some(if is_it(line) { by } else { line }.to_owned())
        });
    };
    // Even another job's shim is a stranger.
    claim(&other);
    without_a_socket(&dir);
    let refused = in_time(jobs.stop(id, by(None, None))).await;
    assert!(
        matches!(refused, Err(JobError::NoSocket { .. })),
        "{refused:?}"
    );
    for job in [id, stranger] {
        assert!(jobs.get(job).await.unwrap().state.finished().is_none());
    }
    claim(&own);
    for job in [id, stranger] {
        in_time(jobs.stop(job, by(None, None))).await.unwrap();
    }
}

#[tokio::test]
async fn a_shim_that_is_held_still_is_woken_by_a_stop_of_any_kind() {
    let sandbox = Sandbox::new();
    let jobs = sandbox.open();
    let script = "trap 'exit 7' USR1; echo ready; while :; do sleep 0.05; done";
    let id = jobs.start(shell(script)).await.unwrap().id;
    until_printed(&jobs, id, "ready").await;
    hold(sandbox.launch(id).shim_pid).await;
    let job = in_time(jobs.stop(id, by(Some(10), None))).await.unwrap();
    let cause = Cause::Stopped {
        by: "tester".into(),
    };
    assert_eq!(end_of(&job).cause, cause);
    assert_eq!(end_of(&job).status, Some(Status::Code(7)));
}

#[tokio::test]
async fn a_signal_to_a_shim_that_is_held_still_is_refused_in_time() {
    let sandbox = Sandbox::new();
    let jobs = sandbox.open();
    let id = running(&jobs).await;
    hold(sandbox.launch(id).shim_pid).await;
    let refused = in_time(jobs.signal(id, 10)).await;
    assert!(
        matches!(refused, Err(JobError::Unreachable { .. })),
        "{refused:?}"
    );
}
