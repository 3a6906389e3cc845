//! Goal: a directory travels, a job runs on exactly the committed tree, and results come back.

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use legwork_client::{
    Client, JobSpec, Place, PullRequest, PullSource, PushRequest, WaitObserver, WorkspaceRef,
};
use legwork_sync::observer::Observer;
use legwork_sync::{pull, push};
use testkit::{Host, write_tree};

struct Silent;

impl Observer for Silent {}
impl WaitObserver for Silent {}

fn origin(root: &Path) -> WorkspaceRef {
    WorkspaceRef::Origin {
        machine_id: "m".into(),
        root: root.to_owned(),
    }
}

async fn push(client: &Client, host: &Host, root: &Path) -> legwork_client::Result<push::Pushed> {
    #[expect(clippy::disallowed_methods, reason = "files are really changed now")]
    let now = SystemTime::now();
    let request = PushRequest {
        workspace: origin(root),
        root: root.to_owned(),
        adopt: false,
        options: push::Options::at(now),
        cache: host.scratch("cache").join("one"),
    };
    client.push(request, Arc::new(Silent)).await
}

fn sh(root: &Path, tree: [u8; 32], line: &str) -> JobSpec {
    JobSpec {
        env: vec![("PATH".into(), "/usr/bin:/bin".into())],
        place: Place {
            workspace: Some(origin(root)),
            require_root: Some(tree),
            root_wait_ms: Some(0),
            dir: "".into(),
        },
        ..JobSpec::new(["/bin/sh", "-c", line])
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn there_and_back() {
    let host = Host::start().unwrap();
    let client = host.client().await;
    let root = host.scratch("project");
    write_tree(
        &root,
        &[("src/a", "1"), ("b", "2"), (".gitignore", "out\n")],
    );
    let pushed = push(&client, &host, &root).await.unwrap();
    assert_eq!(pushed.sent_files, 3);

    let spec = sh(
        &root,
        pushed.summary.root.0,
        "mkdir out && cat src/a b > out/both",
    );
    let id = client.start(&spec).await.unwrap().id.to_string();
    assert_eq!(
        client.wait(&id).await.unwrap().finish().unwrap().exit_code,
        0
    );

    let again = push(&client, &host, &root).await.unwrap();
    assert_eq!(
        (again.sent_files, again.summary.generation),
        (0, pushed.summary.generation)
    );

    let into = host.scratch("results");
    let request = PullRequest {
        source: PullSource::Job(id),
        into: into.clone(),
        options: pull::Options {
            globs: vec!["out/*".into()],
            ..pull::Options::default()
        },
        record: host.scratch("cache").join("pulled"),
    };
    let pulled = client.pull(request, Arc::new(Silent)).await.unwrap();
    assert_eq!(pulled.written, [Path::new("out/both")]);
    assert_eq!(
        std::fs::read_to_string(into.join("out/both")).unwrap(),
        "12"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn guards_reach_the_client_as_reasons() {
    let host = Host::start().unwrap();
    let client = host.client().await;
    let root = host.scratch("project");
    write_tree(&root, &[("a", "1")]);
    push(&client, &host, &root).await.unwrap();
    std::fs::remove_file(root.join("a")).unwrap();
    let error = push(&client, &host, &root).await.unwrap_err();
    assert_eq!(error.reason, "EMPTY_ROOT", "{error:?}");
    assert_eq!(error.metadata.get("tracked").map(String::as_str), Some("1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_cannot_be_pulled() {
    let host = Host::start().unwrap();
    let client = host.client().await;
    let pull = async |source| {
        let request = PullRequest {
            source,
            into: host.scratch("results"),
            options: pull::Options {
                globs: vec!["x".into()],
                ..pull::Options::default()
            },
            record: host.scratch("cache").join("pulled"),
        };
        client
            .pull(request, Arc::new(Silent))
            .await
            .unwrap_err()
            .reason
    };
    let named = PullSource::Workspace(WorkspaceRef::Name("none".into()));
    assert_eq!(pull(named).await, "WORKSPACE_NOT_FOUND");
    assert_eq!(
        pull(PullSource::Job("00000000".into())).await,
        "JOB_NOT_FOUND"
    );
    let spec = JobSpec {
        place: Place {
            dir: "/".into(),
            ..Place::default()
        },
        ..JobSpec::new(["/bin/true"])
    };
    let id = client.start(&spec).await.unwrap().id.to_string();
    assert_eq!(pull(PullSource::Job(id)).await, "NO_WORKSPACE");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_root_that_another_commit_replaced_is_not_waited_for() {
    let host = Host::start().unwrap();
    let client = host.client().await;
    let root = host.scratch("project");
    write_tree(&root, &[("a", "1")]);
    let old = push(&client, &host, &root).await.unwrap().summary.root.0;
    write_tree(&root, &[("a", "2")]);
    let new = push(&client, &host, &root).await.unwrap().summary.root.0;
    let spec = sh(&root, old, "true");
    let error = client.start(&spec).await.unwrap_err();
    assert_eq!(error.reason, "ROOT_NOT_COMMITTED");
    // The same id on the tree that is there: nothing of the first attempt is in the way.
    let again = JobSpec {
        place: sh(&root, new, "").place,
        ..spec
    };
    let id = client.start(&again).await.unwrap().id.to_string();
    assert_eq!(
        client.wait(&id).await.unwrap().finish().unwrap().exit_code,
        0
    );
}
