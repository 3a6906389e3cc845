//! Goal: what needs no connection is done while the first one is made; whoever needs one waits for it, or is told why there is none.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use legwork_client::{
    CallError, Client, Code, Dialler, Distance, ListFilter, Options, Target, WaitObserver,
};
use legwork_sync::observer::{Observer, Progress};
use testkit::PATIENCE;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::mirror::{Silent, push_hearing, try_push};
use crate::support::Far;

/// Lets a connection through when the tree has been looked at.
struct Opens(Arc<Semaphore>);

impl Observer for Opens {
    fn scanned(&self, _: Progress) {
        self.0.add_permits(1);
    }
}

impl WaitObserver for Opens {}

fn gated(dialler: Dialler, gate: &Arc<Semaphore>) -> Dialler {
    let gate = Arc::clone(gate);
    Dialler::new(move || {
        let (gate, dialler) = (Arc::clone(&gate), dialler.clone());
        async move {
            drop(gate.acquire().await);
            dialler.dial().await
        }
    })
}

#[tokio::test]
async fn a_tree_is_looked_at_before_there_is_a_connection() {
    let far = Far::start();
    let root = far.host.scratch("project");
    std::fs::write(root.join("file"), "content").unwrap();
    // That it is wrong makes no difference to what comes of it.
    for expected in [Distance::Far, Distance::Near] {
        let gate = Arc::new(Semaphore::new(0));
        let target = Target::Dialler(gated(far.relay.dialler(), &gate));
        let client = Client::connect_ahead(target, Options::default(), far.host.tasks(), expected);
        let known = far.client().await;
        // The first push has to ask what the server has, which it cannot know beforehand.
        push_hearing(&known, &far, &root, "w", Arc::new(Silent)).await;
        let heard = Arc::new(Opens(gate));
        let pushing = push_hearing(&client, &far, &root, "w", heard);
        let pushed = timeout(PATIENCE, pushing).await.unwrap();
        assert_eq!((pushed.sent_files, pushed.summary.entries), (0, 1));
        assert!(client.distance().await.is_some());
    }
}

#[tokio::test]
async fn a_first_connection_that_cannot_be_made_is_told_to_all_who_ask_and_tried_once() {
    let far = Far::start();
    let attempts = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&attempts);
    let dialler = Dialler::new(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        async {
            let refused = CallError::new(Code::Unavailable, "UNREACHABLE", "nobody is there");
            Err::<tokio::io::DuplexStream, _>(refused)
        }
    });
    let target = Target::Dialler(dialler);
    let client = Client::connect_ahead(target, Options::default(), far.host.tasks(), Distance::Far);
    let root = far.host.scratch("project");
    let pushed = try_push(&client, &far, &root, "w", Arc::new(Silent)).await;
    assert_eq!(pushed.unwrap_err().reason, "UNREACHABLE");
    let listed = client.list(&ListFilter::default()).await;
    assert_eq!(listed.unwrap_err().reason, "UNREACHABLE");
    assert_eq!(client.distance().await, None);
    assert_eq!(attempts.load(Ordering::Relaxed), 1);
}
