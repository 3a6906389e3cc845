//! Goal: a call whose answer is lost is made again where that does no harm, and nothing is done twice.
//! Method: a relay that cuts after each number of bytes that the answer may have.

use legwork_client::{CallError, ListFilter};
use testkit::{Direction, until};

use crate::support::{Far, sh};

#[tokio::test(flavor = "multi_thread")]
async fn a_start_whose_answer_is_lost_starts_once() {
    let far = Far::start();
    let marks = far.host.scratch("marks");
    let direct = far.host.client().await;
    for (count, place) in (0..500).step_by(23).enumerate() {
        let line = format!("mktemp -p {} > /dev/null", marks.display());
        let spec = sh(&line);
        let client = far.client_to_be_cut(Direction::Down, place).await;
        let job = client.start(&spec).await.unwrap();
        assert_eq!(job.id, spec.id);
        direct.wait(&spec.id.to_string()).await.unwrap();
        assert_eq!(std::fs::read_dir(&marks).unwrap().count(), count + 1);
    }
    assert!(far.losses() > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_is_answered_over_a_restart() {
    let far = Far::start();
    let gate = far.host.scratch("gate").join("open");
    let line = format!(
        "until [ -e {} ]; do sleep 0.02; done; exit 5",
        gate.display()
    );
    let client = far.client().await;
    let job = client.start(&sh(&line)).await.unwrap();
    let waiting = {
        let (client, id) = (client.clone(), job.short_id.clone());
        far.host
            .tasks()
            .spawn(async move { client.wait(&id).await })
    };
    far.relay.refuse(true);
    far.relay.cut();
    until("contact is lost", || far.losses() > 0).await;
    std::fs::write(&gate, "").unwrap();
    far.host.restart().unwrap();
    far.relay.refuse(false);
    let job = waiting.await.unwrap().unwrap();
    assert_eq!(job.finish().unwrap().exit_code, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_whose_answer_is_lost_is_done() {
    let far = Far::start();
    let direct = far.host.client().await;
    for place in (0..300).step_by(13) {
        let spec = sh("true");
        let id = spec.id.to_string();
        direct.start(&spec).await.unwrap();
        direct.wait(&id).await.unwrap();
        let client = far.client_to_be_cut(Direction::Down, place).await;
        client.remove(&id).await.unwrap();
    }
    let left = direct.list(&ListFilter::default()).await.unwrap();
    assert_eq!(left, []);
    // What was never there is still told.
    let nothing = uuid::Uuid::now_v7().to_string();
    let error = far.client().await.remove(&nothing).await.unwrap_err();
    assert_eq!(error.reason, "JOB_NOT_FOUND");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_that_may_have_arrived_is_not_sent_again() {
    let far = Far::start();
    let marks = far.host.scratch("marks").join("hups");
    let line = format!(
        "trap 'echo hup >> {}' HUP; echo ready; while :; do sleep 0.02; done",
        marks.display()
    );
    let direct = far.host.client().await;
    let job = direct.start(&sh(&line)).await.unwrap();
    let id = job.id.to_string();
    let mut logs = direct.logs(&id, crate::support::follow()).await.unwrap();
    logs.next().await.unwrap();

    let hups = || {
        std::fs::read_to_string(&marks)
            .unwrap_or_default()
            .lines()
            .count()
    };
    let client = far.client().await;
    client.info().await.unwrap();
    // It arrives, and its answer does not.
    far.relay.trap(Direction::Down);
    let error = client.signal(&id, 1).await.unwrap_err();
    assert_eq!(error.reason, CallError::CONTACT_LOST);
    until("the signal arrives", || hups() == 1).await;
    // A connection that was closed before is no reason to give up.
    far.relay.cut();
    client.signal(&id, 1).await.unwrap();
    until("the second one arrives", || hups() == 2).await;
    direct.stop(&id, Some(9), None).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_is_repeated_until_it_is_answered() {
    let far = Far::start();
    let direct = far.host.client().await;
    for place in (0..450).step_by(41) {
        let job = direct.start(&sh("sleep 600")).await.unwrap();
        let client = far.client_to_be_cut(Direction::Down, place).await;
        let stopped = client.stop(&job.id.to_string(), None, None).await.unwrap();
        assert!(stopped.finish().is_some());
    }
}
