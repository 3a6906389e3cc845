//! Goal: a mirror whose connection breaks in the middle is complete in the end, and so is what is pulled.

use std::path::Path;
use std::sync::Arc;

use legwork_client::{
    Client, JobSpec, Place, PullRequest, PullSource, PushRequest, WaitObserver, WorkspaceRef,
};
use legwork_sync::observer::Observer;
use legwork_sync::{pull, push};
use testkit::Direction;

use crate::support::{Far, sh};

pub(crate) struct Silent;

impl Observer for Silent {}
impl WaitObserver for Silent {}

fn workspace(name: &str) -> WorkspaceRef {
    WorkspaceRef::Name(name.to_owned())
}

async fn push(client: &Client, far: &Far, root: &Path, name: &str) -> push::Pushed {
    push_hearing(client, far, root, name, Arc::new(Silent)).await
}

pub(crate) async fn push_hearing(
    client: &Client,
    far: &Far,
    root: &Path,
    name: &str,
    observer: Arc<dyn WaitObserver>,
) -> push::Pushed {
    let pushed = try_push(client, far, root, name, observer).await;
    pushed.unwrap()
}

pub(crate) async fn try_push(
    client: &Client,
    far: &Far,
    root: &Path,
    name: &str,
    observer: Arc<dyn WaitObserver>,
) -> legwork_client::Result<push::Pushed> {
    #[expect(clippy::disallowed_methods, reason = "files are really changed now")]
    let now = std::time::SystemTime::now();
    let request = PushRequest {
        workspace: workspace(name),
        root: root.to_owned(),
        adopt: false,
        options: push::Options::at(now),
        cache: far.host.scratch("cache").join(name),
    };
    client.push(request, observer).await
}

/// A megabyte that does not compress, and some small files.
fn fill(root: &Path) {
    let mut noise = 1_u64;
    let bytes: Vec<u8> = (0..1 << 20)
        .map(|_| {
            noise = noise
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            noise.to_be_bytes()[0]
        })
        .collect();
    std::fs::write(root.join("big"), bytes).unwrap();
    for number in 0..50 {
        std::fs::write(root.join(format!("small{number}")), format!("{number}\n")).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_is_cut_in_the_middle_is_made_once_in_the_end() {
    let far = Far::start();
    let root = far.host.scratch("project");
    fill(&root);
    let up = [0, 40, 500, 2_000, 60_000, 500_000, 1_000_000];
    let down = [0, 200, 260, 350];
    let cuts = up
        .map(|after| (Direction::Up, after))
        .into_iter()
        .chain(down.map(|after| (Direction::Down, after)));
    for (count, (direction, after)) in cuts.enumerate() {
        let name = format!("w{count}");
        let client = far.client_to_be_cut(direction, after).await;
        let pushed = push(&client, &far, &root, &name).await;
        assert_eq!(pushed.summary.entries, 51);
        // Once more changes nothing: the mirror is as this side remembers it.
        let again = push(&client, &far, &root, &name).await;
        assert_eq!((again.sent_files, again.summary.written.total), (0, 0));
        assert_eq!(again.summary.root, pushed.summary.root);
        let check = JobSpec {
            place: Place {
                workspace: Some(workspace(&name)),
                require_root: Some(pushed.summary.root.0),
                root_wait_ms: Some(0),
                dir: "".into(),
            },
            ..sh(&format!(
                "cmp big {}/big && [ $(ls | wc -l) = 51 ]",
                root.display()
            ))
        };
        let job = client.start(&check).await.unwrap();
        let job = client.wait(&job.id.to_string()).await.unwrap();
        assert_eq!(job.finish().unwrap().exit_code, 0);
    }
    assert!(far.losses() >= 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_that_is_cut_in_the_middle_brings_everything() {
    let far = Far::start();
    let root = far.host.scratch("project");
    fill(&root);
    let direct = far.host.client().await;
    push(&direct, &far, &root, "w").await;
    for after in [0, 100, 5_000, 300_000, 1_000_000] {
        let into = far.host.scratch(&format!("into{after}"));
        let client = far.client_to_be_cut(Direction::Down, after).await;
        let request = PullRequest {
            source: PullSource::Workspace(workspace("w")),
            into: into.clone(),
            options: pull::Options {
                globs: vec!["**".into()],
                ..pull::Options::default()
            },
            record: far.host.scratch("records").join(after.to_string()),
        };
        client.pull(request, Arc::new(Silent)).await.unwrap();
        for file in ["big", "small0", "small49"] {
            let (here, there) = (into.join(file), root.join(file));
            assert!(std::fs::read(here).unwrap() == std::fs::read(there).unwrap());
        }
    }
}
