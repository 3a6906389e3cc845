//! Stop and signal.

use std::time::{Duration, Instant};

use legwork_jobs::{Cause, JobError, Status, Stop};

use crate::sandbox::{Sandbox, end_of, printed, request, runs, shell, until_printed};

fn by(grace: Option<Duration>) -> Stop {
    Stop {
        signal: None,
        grace,
        by: "tester".into(),
    }
}

#[tokio::test]
async fn asked_politely_it_ends_by_the_signal() {
    let sandbox = Sandbox::new();
    let jobs = sandbox.open();
    let id = jobs.start(request(&["sleep", "60"])).await.unwrap().id;
    let job = jobs.stop(id, by(None)).await.unwrap();
    let end = end_of(&job);
    assert_eq!(
        end.cause,
        Cause::Stopped {
            by: "tester".into()
        }
    );
    assert_eq!(end.status, Some(Status::Signal(15)));
    assert!(end.survivors.is_empty());
    assert_eq!(jobs.stop(id, by(None)).await.unwrap(), job);
    assert!(matches!(
        jobs.signal(id, 15).await,
        Err(JobError::Ended { .. })
    ));
    assert!(matches!(
        jobs.signal(id, 65).await,
        Err(JobError::NoSuchSignal { number: 65 })
    ));
}

#[tokio::test]
async fn the_whole_tree_goes_with_it_after_the_grace() {
    let sandbox = Sandbox::new();
    let jobs = sandbox.open();
    let script = "trap '' TERM; setsid sleep 61 & echo $!; (trap '' TERM; sleep 62) & echo $!; \
                  echo ready; while :; do sleep 1; done";
    let id = jobs.start(shell(script)).await.unwrap().id;
    until_printed(&jobs, id, "ready").await;
    let begun = Instant::now();
    let job = jobs
        .stop(id, by(Some(Duration::from_millis(100))))
        .await
        .unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(100));
    assert_eq!(end_of(&job).status, Some(Status::Signal(9)));
    let pids: Vec<u32> = printed(&jobs, id)
        .await
        .lines()
        .filter_map(|line| line.parse().ok())
        .collect();
    assert_eq!(pids.len(), 2);
    assert!(pids.into_iter().all(|pid| !runs(pid)));
}

#[tokio::test]
async fn a_signal_is_for_the_payload_to_handle() {
    let sandbox = Sandbox::new();
    let jobs = sandbox.open();
    let script = "trap 'echo got it; exit 7' USR1; echo ready; while :; do sleep 0.05; done";
    let id = jobs.start(shell(script)).await.unwrap().id;
    until_printed(&jobs, id, "ready").await;
    jobs.signal(id, 10).await.unwrap();
    let end = jobs.wait(id).await.unwrap();
    assert_eq!(end_of(&end).status, Some(Status::Code(7)));
    assert_eq!(end_of(&end).cause, Cause::Own);
}

#[tokio::test]
async fn its_time_is_limited() {
    let sandbox = Sandbox::new();
    let jobs = sandbox.open();
    let mut asked = request(&["sleep", "60"]);
    asked.timeout = Some(Duration::from_millis(50));
    let id = jobs.start(asked).await.unwrap().id;
    assert_eq!(end_of(&jobs.wait(id).await.unwrap()).cause, Cause::Timeout);
}
