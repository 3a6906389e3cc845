//! Goal: silence is noticed, patience has an end, and what no new connection can mend is told at once.

use std::time::Duration;

use legwork_client::{
    CallError, Client, Code, Dialler, Heartbeat, Notice, Options, Patience, Target,
};
use testkit::Direction;

use crate::support::{Far, follow, sh};

#[tokio::test]
async fn a_peer_that_vanished_without_a_word_is_noticed() {
    let far = Far::start();
    let job = sh("true");
    let id = job.id.to_string();
    let direct = far.host.client().await;
    direct.start(&job).await.unwrap();
    direct.wait(&id).await.unwrap();
    tokio::time::pause();
    let heartbeat = Heartbeat::default();
    let client = far.client().await;
    client.info().await.unwrap();
    far.relay.silence();
    let begun = tokio::time::Instant::now();
    assert!(client.get(&id).await.unwrap().finish().is_some());
    let took = begun.elapsed();
    assert!(took >= heartbeat.timeout, "{took:?}");
    assert!(
        took <= heartbeat.interval + heartbeat.timeout + Duration::from_secs(2),
        "{took:?}"
    );
    assert_eq!(far.losses(), 1);
    let heard = far.heard.lock().unwrap();
    assert!(
        matches!(&heard[0], Notice::Lost { why } if why.contains("does not answer")),
        "{heard:?}"
    );
}

#[tokio::test]
async fn patience_has_an_end_and_begins_with_the_loss() {
    let far = Far::start();
    tokio::time::pause();
    let options = Options {
        patience: Patience::For(Duration::from_secs(60)),
        ..Options::default()
    };
    let client = far.client_with(options).await;
    client.info().await.unwrap();
    far.relay.refuse(true);
    far.relay.cut();
    let begun = tokio::time::Instant::now();
    let error = client.info().await.unwrap_err();
    assert_eq!(error.reason, CallError::CONTACT_LOST);
    let took = begun.elapsed();
    assert!(took >= Duration::from_secs(60) && took < Duration::from_secs(75));
    let heard = far.heard.lock().unwrap();
    let last = heard.last().unwrap();
    assert!(matches!(last, Notice::Lost { why } if why.contains("refused by the test")));
}

#[tokio::test]
async fn for_ever_is_long() {
    let far = Far::start();
    tokio::time::pause();
    let options = Options {
        patience: Patience::Forever,
        ..Options::default()
    };
    let client = far.client_with(options).await;
    far.relay.refuse(true);
    far.relay.cut();
    let asked = tokio::time::timeout(Duration::from_hours(20), client.info());
    assert!(asked.await.is_err(), "still trying");
    far.relay.refuse(false);
    client.info().await.unwrap();
    assert_eq!(far.heard.lock().unwrap().last(), Some(&Notice::Back));
}

#[tokio::test]
async fn a_listener_that_only_hangs_up_is_no_server() {
    let far = Far::start();
    tokio::time::pause();
    let client = far.client().await;
    client.info().await.unwrap();
    for _ in 0..2000 {
        far.relay.cut_next(Direction::Down, 0);
    }
    far.relay.cut();
    let error = client.info().await.unwrap_err();
    assert_eq!(error.reason, CallError::CONTACT_LOST);
    let heard = far.heard.lock().unwrap();
    assert!(!heard.contains(&Notice::Back), "{heard:?}");
}

#[tokio::test]
async fn the_first_attempt_is_the_only_one() {
    let far = Far::start();
    far.relay.refuse(true);
    let target = Target::Dialler(far.relay.dialler());
    let opened = Client::connect(target, Options::default(), far.host.tasks()).await;
    let error = opened.unwrap_err();
    assert_eq!(
        (error.code, &*error.reason),
        (Code::Unavailable, "UNREACHABLE")
    );
}

#[tokio::test]
async fn a_connection_that_is_the_only_one_fails_its_calls() {
    let far = Far::start();
    let stream = far.relay.dialler().dial().await.unwrap();
    let client = Client::over(stream, far.host.tasks()).await.unwrap();
    client.info().await.unwrap();
    far.relay.cut();
    assert!(client.info().await.is_err());
    assert!(client.logs("x", follow()).await.is_err());
}

#[tokio::test]
async fn a_refusal_ends_the_search() {
    let far = Far::start();
    let relayed = far.relay.dialler();
    let first = std::sync::atomic::AtomicBool::new(true);
    let dialler = Dialler::new(move || {
        let refused = !first.swap(false, std::sync::atomic::Ordering::Relaxed);
        let relayed = relayed.clone();
        async move {
            if refused {
                return Err(CallError::new(Code::Unauthenticated, "REVOKED", "revoked"));
            }
            relayed.dial().await
        }
    });
    let target = Target::Dialler(dialler);
    let client = Client::connect(target, Options::default(), far.host.tasks());
    let client = client.await.unwrap();
    client.info().await.unwrap();
    far.relay.cut();
    assert_eq!(client.info().await.unwrap_err().reason, "REVOKED");
}
