//! Goal: what carries much keeps no small call waiting, and costs no connection where one is free.

use legwork_client::LogEvent;

use crate::support::{Far, drain, follow, sh};

#[tokio::test(flavor = "multi_thread")]
async fn one_after_the_other_they_share_a_connection() {
    let far = Far::start();
    let client = far.client().await;
    for _ in 0..3 {
        let job = client.start(&sh("echo a; exit 2")).await.unwrap();
        let mut logs = client.logs(&job.id.to_string(), follow()).await.unwrap();
        assert_eq!(drain(&mut logs).await, (b"a\n".to_vec(), 2));
    }
    assert_eq!(far.relay.connections(), 1);
    assert_eq!(far.losses(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_same_time_each_has_its_own() {
    let far = Far::start();
    let client = far.client().await;
    let job = client.start(&sh("echo a; exec sleep 600")).await.unwrap();
    let id = job.id.to_string();
    let mut followers = Vec::new();
    for others in 0..3 {
        // The one that small calls were made on is lent; the next small call makes another.
        let mut logs = client.logs(&id, follow()).await.unwrap();
        let first = logs.next().await.unwrap();
        assert!(matches!(first, Some(LogEvent::Chunk(_))));
        assert_eq!(far.relay.connections(), others + 1);
        client.get(&id).await.unwrap();
        assert_eq!(far.relay.connections(), others + 2);
        followers.push(logs);
    }
    client.stop(&id, Some(9), None).await.unwrap();
    for mut logs in followers {
        while let Some(event) = logs.next().await.unwrap() {
            assert!(matches!(event, LogEvent::End { .. }), "nothing twice");
        }
    }
    client.get(&id).await.unwrap();
    assert_eq!(far.relay.connections(), 4);
    assert_eq!(far.losses(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_that_are_lost_at_once_are_one_loss() {
    let far = Far::start();
    let client = far.client().await;
    let job = client.start(&sh("echo a; exec sleep 600")).await.unwrap();
    let id = job.id.to_string();
    let mut followers = Vec::new();
    // More than the times in a row that contact may be lost in vain.
    for _ in 0..30 {
        let mut logs = client.logs(&id, follow()).await.unwrap();
        logs.next().await.unwrap();
        followers.push(logs);
    }
    far.relay.cut();
    client.stop(&id, Some(9), None).await.unwrap();
    for mut logs in followers {
        while let Some(event) = logs.next().await.unwrap() {
            assert!(matches!(event, LogEvent::End { .. }), "nothing twice");
        }
    }
}
