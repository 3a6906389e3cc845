//! Goal: one call starts a job and follows it, and does no more than the two that it stands for.
//! Method: a relay that cuts after each number of bytes, and a server that does not know the call.

use legwork_client::{Cause, JobSpec};
use testkit::{Direction, Host};

use crate::support::{Far, drain, seq, sh};

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_cut_anywhere_starts_once_and_misses_nothing() {
    let far = Far::start();
    let marks = far.host.scratch("marks");
    for (count, place) in (0..4000).step_by(97).enumerate() {
        let line = format!(
            "mktemp -p {} > /dev/null; seq 1 500; exit 3",
            marks.display()
        );
        let client = far.client_to_be_cut(Direction::Down, place).await;
        let spec = sh(&line);
        let (job, mut logs) = client.run(&spec).await.unwrap();
        assert_eq!(job.id, spec.id);
        assert_eq!(drain(&mut logs).await, (seq(500), 3));
        assert_eq!(std::fs::read_dir(&marks).unwrap().count(), count + 1);
    }
    assert!(far.losses() > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_is_not_there_is_told_at_once() {
    let far = Far::start();
    let client = far.client().await;
    let (job, _) = client
        .run(&JobSpec::new(["/there/is/no/such"]))
        .await
        .unwrap();
    assert!(matches!(job.finish().unwrap().cause, Cause::NotStarted(_)));
    assert_eq!(far.losses(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_is_told_as_a_start_tells_it() {
    let client = Far::start().host.client().await;
    let spec = JobSpec::new(Vec::<&str>::new());
    let run = client.run(&spec).await.unwrap_err();
    let start = client.start(&spec).await.unwrap_err();
    assert_eq!((run.code, run.reason), (start.code, start.reason));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_server_is_asked_in_two_calls() {
    let host = Host::start().unwrap();
    let client = host.client_without("/legwork.v1.JobService/Run");
    let (job, mut logs) = client.run(&sh("seq 1 500; exit 3")).await.unwrap();
    assert_eq!(drain(&mut logs).await, (seq(500), 3));
    let again = client.wait(&job.id.to_string()).await.unwrap();
    assert_eq!(again.finish().unwrap().exit_code, 3);
}
