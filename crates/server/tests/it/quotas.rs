//! Goal: one identity cannot take what is everybody's, and gets its share back when it is done.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use legwork_client::{
    CallError, Client, JobSpec, LogOptions, Place, PushRequest, WaitObserver, WorkspaceRef,
};
use legwork_identity::Role;
use legwork_server::{Limits, Quotas};
use legwork_sync::observer::Observer;
use legwork_sync::push;
use testkit::write_tree;

use crate::metrics;
use crate::net::Net;

fn few() -> Limits {
    Limits {
        quotas: Quotas {
            jobs: 3,
            streams: 2,
            workspace_bytes: 100,
            workspace_entries: 5,
            staging_bytes: 90,
            tree_entries: 4,
            ..Quotas::default()
        },
        ..Limits::default()
    }
}

async fn small() -> Net {
    Net::start(few()).await
}

fn sleeping() -> JobSpec {
    JobSpec {
        place: Place {
            dir: "/".into(),
            ..Place::default()
        },
        ..JobSpec::new(["/bin/sleep", "600"])
    }
}

fn specs_of(count: usize) -> Vec<JobSpec> {
    (0..count).map(|_| sleeping()).collect()
}

/// Starts all at once; how many were, and the reasons of the others.
async fn start(client: &Client, specs: &[JobSpec]) -> (Vec<String>, Vec<String>) {
    let (mut started, mut refused) = (Vec::new(), Vec::new());
    for result in client.start_many(specs).await.unwrap() {
        match result {
            Ok(job) => started.push(job.id.to_string()),
            Err(error) => refused.push(error.reason),
        }
    }
    (started, refused)
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_that_have_not_ended_are_limited() {
    let net = small().await;
    let alice = net.client(&net.enrolled("alice", Role::Run)).await;
    let bob = net.client(&net.enrolled("bob", Role::Run)).await;
    let specs = specs_of(5);
    let (started, refused) = start(&alice, &specs).await;
    assert_eq!(started.len(), 3);
    assert_eq!(refused, ["TOO_MANY_JOBS", "TOO_MANY_JOBS"]);
    // Those that are only accepted count as well.
    let accepted = bob.accept_many(&specs_of(4)).await.unwrap();
    let accepted: Vec<_> = accepted.into_iter().filter_map(Result::ok).collect();
    assert_eq!(accepted.len(), 3);
    assert_eq!(start(&bob, &[sleeping()]).await.1, ["TOO_MANY_JOBS"]);
    for job in &accepted {
        bob.stop(&job.id.to_string(), None, None).await.unwrap();
    }
    assert_eq!(start(&bob, &[sleeping()]).await.1, [""; 0]);

    // A start that is repeated is answered as before.
    let (again, refused) = start(&alice, &specs).await;
    assert_eq!((again, refused.len()), (started.clone(), 2));
    alice.stop(&started[0], None, None).await.unwrap();
    let (next, refused) = start(&alice, &[sleeping(), sleeping()]).await;
    assert_eq!(
        (next.len(), &refused[..]),
        (1, &["TOO_MANY_JOBS".to_owned()][..])
    );

    // Those that are repeated take no place from the one that is new.
    alice.stop(&started[1], None, None).await.unwrap();
    let mixed = [specs[2].clone(), sleeping()];
    let (both, refused) = start(&alice, &mixed).await;
    assert_eq!((both.len(), refused.len()), (2, 0), "{refused:?}");

    // Many at once are not more than few.
    for id in both.iter().chain(&next) {
        alice.stop(id, None, None).await.unwrap();
    }
    let specs: Vec<_> = (0..4).map(|_| [sleeping(), sleeping()]).collect();
    let [a, b, c, d] = &specs[..] else {
        unreachable!()
    };
    let (a, b, c, d) = tokio::join!(
        start(&alice, a),
        start(&alice, b),
        start(&alice, c),
        start(&alice, d)
    );
    let alive: Vec<String> = [a.0, b.0, c.0, d.0].concat();
    assert!((1..=3).contains(&alive.len()), "{alive:?}");
    let root = net.client(&net.enrolled("root", Role::Admin)).await;
    for job in root
        .list(&legwork_client::ListFilter::default())
        .await
        .unwrap()
    {
        root.stop(&job.id.to_string(), None, None).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_are_limited() {
    let net = small().await;
    let alice = net.client(&net.enrolled("alice", Role::Run)).await;
    let job = alice.start(&sleeping()).await.unwrap();
    let id = job.id.to_string();
    let follow = || LogOptions {
        follow: true,
        ..LogOptions::default()
    };
    let first = alice.logs(&id, follow()).await.unwrap();
    let second = alice.logs(&id, follow()).await.unwrap();
    let refused = alice.logs(&id, follow()).await.unwrap_err();
    assert_eq!(refused.reason, "TOO_MANY_STREAMS");
    let root = net.client(&net.enrolled("root", Role::Admin)).await;
    let other = root.logs(&id, follow()).await.unwrap();
    // Stopping needs no stream; and the end of the job is the end of its followers.
    alice.stop(&id, None, None).await.unwrap();
    for mut logs in [first, second, other] {
        while logs.next().await.unwrap().is_some() {}
    }
    // A stream is given back when the server lets go of it, which may be after its reader has its end.
    let read = async {
        while let Err(error) = alice.logs(&id, LogOptions::default()).await {
            assert_eq!(error.reason, "TOO_MANY_STREAMS");
        }
    };
    tokio::time::timeout(testkit::PATIENCE, read).await.unwrap();
}

struct Silent;

impl Observer for Silent {}
impl WaitObserver for Silent {}

/// Mirrors `home/name` to the workspace of that name.
async fn push(client: &Client, home: &Path, name: &str) -> Result<push::Pushed, CallError> {
    #[expect(clippy::disallowed_methods, reason = "files are really changed now")]
    let now = SystemTime::now();
    let request = PushRequest {
        workspace: WorkspaceRef::Name(name.into()),
        root: home.join(name),
        adopt: false,
        options: push::Options {
            force_delete: true,
            ..push::Options::at(now)
        },
        cache: home.join(format!("{name}.cache")),
    };
    client.push(request, Arc::new(Silent)).await
}

fn too_many(pushed: Result<push::Pushed, CallError>, used: &str) {
    let error = pushed.unwrap_err();
    assert_eq!(error.reason, "TOO_MANY_BYTES", "{error:?}");
    assert_eq!(error.code, legwork_client::Code::ResourceExhausted);
    assert_eq!(error.metadata["limit"], "100");
    assert_eq!(error.metadata["used"], used);
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_in_mirrors_are_limited_over_all_of_them_and_after_a_restart() {
    let net = small().await;
    let (alice, bob) = (
        net.enrolled("alice", Role::Run),
        net.enrolled("bob", Role::Run),
    );
    let temp = tempfile::tempdir().unwrap();
    let home = temp.path();
    let (a60, a41) = ("a".repeat(60), "b".repeat(41));
    write_tree(&home.join("one"), &[("a", &a60)]);
    write_tree(&home.join("two"), &[("b", &a41)]);
    let client = net.client(&alice).await;
    push(&client, home, "one").await.unwrap();
    too_many(push(&client, home, "two").await, "60");
    let other = net.client(&bob).await;
    push(&other, home, "two").await.unwrap();
    drop((client, other));

    let net = Net::on(net.end().await, few(), None).await;
    let client = net.client(&alice).await;
    too_many(push(&client, home, "two").await, "60");
    fs::write(home.join("one/a"), "less").unwrap();
    push(&client, home, "one").await.unwrap();
    push(&client, home, "two").await.unwrap();
    write_tree(&home.join("three"), &[("c", &a60)]);
    too_many(push(&client, home, "three").await, "45");
    fs::remove_file(home.join("two/b")).unwrap();
    push(&client, home, "two").await.unwrap();
    push(&client, home, "three").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_in_mirrors_and_bytes_on_their_way_are_limited_too() {
    let net = small().await;
    let temp = tempfile::tempdir().unwrap();
    let home = temp.path();
    let client = net.client(&net.enrolled("alice", Role::Run)).await;
    write_tree(&home.join("one"), &[("d/a", ""), ("d/b", "")]);
    write_tree(&home.join("two"), &[("a", ""), ("b", ""), ("c", "")]);
    push(&client, home, "one").await.unwrap();
    let refused = push(&client, home, "two").await.unwrap_err();
    assert_eq!(refused.reason, "TOO_MANY_ENTRIES");
    assert_eq!(
        (&*refused.metadata["limit"], &*refused.metadata["used"]),
        ("5", "3")
    );
    fs::remove_file(home.join("two/c")).unwrap();
    push(&client, home, "two").await.unwrap();
    fs::remove_dir_all(home.join("one/d")).unwrap();
    push(&client, home, "one").await.unwrap();
    write_tree(&home.join("three"), &[("a", &"x".repeat(91))]);
    let refused = push(&client, home, "three").await.unwrap_err();
    assert_eq!(
        (&*refused.reason, &*refused.metadata["limit"]),
        ("TOO_MUCH_STAGED", "90")
    );
    fs::write(home.join("three/a"), "x".repeat(90)).unwrap();
    push(&client, home, "three").await.unwrap();
    let shown = client.workspaces().await.unwrap();
    let entries: u64 = shown.iter().map(|workspace| workspace.entries).sum();
    assert_eq!((shown.len(), entries), (3, 3));
    client.remove_workspace("two").await.unwrap();
    write_tree(
        &home.join("five"),
        &[("d/a", ""), ("d/b", ""), ("d/c", ""), ("d/e", "")],
    );
    let refused = push(&client, home, "five").await.unwrap_err();
    assert_eq!(refused.reason, "TOO_MUCH");
    assert!(refused.message.contains("4 entries"), "{refused:?}");
    write_tree(
        &home.join("four"),
        &[("a", ""), ("b", ""), ("c", ""), ("e", "")],
    );
    push(&client, home, "four").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn mirrors_are_limited_however_they_come_to_be() {
    let mut limits = few();
    limits.quotas.workspaces = 2;
    limits.quotas.streams = 100;
    let net = Net::start(limits).await;
    let (alice, bob) = (
        net.enrolled("alice", Role::Run),
        net.enrolled("bob", Role::Run),
    );
    let temp = tempfile::tempdir().unwrap();
    let home = temp.path().to_owned();
    let mut pushing = Vec::new();
    for name in ["a", "b", "c", "d", "e", "f"] {
        write_tree(&home.join(name), &[("file", "")]);
        let (client, home) = (net.client(&alice).await, home.clone());
        let pushed = async move { push(&client, &home, name).await.map(|_| name) };
        pushing.push(net.tasks.spawn(pushed));
    }
    let (mut there, mut refused) = (Vec::new(), Vec::new());
    for pushed in pushing {
        match pushed.await.unwrap() {
            Ok(name) => there.push(name),
            Err(error) => refused.push(error),
        }
    }
    assert_eq!((there.len(), refused.len()), (2, 4));
    for error in refused {
        assert_eq!(error.reason, "TOO_MANY_WORKSPACES", "{error:?}");
        assert_eq!(error.metadata["limit"], "2");
        assert!(error.message.contains("legwork workspaces rm"), "{error:?}");
    }
    let client = net.client(&alice).await;
    let started = async |name: &str| {
        let place = Place {
            workspace: Some(WorkspaceRef::Name(name.into())),
            ..Place::default()
        };
        let spec = JobSpec {
            place,
            ..JobSpec::new(["/bin/true"])
        };
        client.start(&spec).await.map_err(|error| error.reason)
    };
    // A start makes one too, and has to be let: it is its owner's.
    assert_eq!(started("x").await.unwrap_err(), "TOO_MANY_WORKSPACES");
    push(&client, &home, there[0]).await.unwrap();
    client.remove_workspace(there[1]).await.unwrap();
    let job = started("x").await.unwrap();
    client.wait(&job.id.to_string()).await.unwrap();
    assert_eq!(client.workspaces().await.unwrap().len(), 2);
    let refused = push(&client, &home, there[1]).await.unwrap_err();
    assert_eq!(refused.reason, "TOO_MANY_WORKSPACES");
    client.remove_workspace("x").await.unwrap();
    push(&client, &home, there[1]).await.unwrap();
    push(&net.client(&bob).await, &home, "a").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_at_once_are_not_more_than_one_after_the_other() {
    let mut limits = few();
    limits.quotas.streams = 100;
    let net = Net::start(limits).await;
    let alice = net.enrolled("alice", Role::Run);
    let temp = tempfile::tempdir().unwrap();
    let names: Vec<String> = (0..6).map(|number| format!("w{number}")).collect();
    let mut pushing = Vec::new();
    for name in names {
        let home = temp.path().to_owned();
        write_tree(&home.join(&name), &[("file", &"x".repeat(40))]);
        let client = net.client(&alice).await;
        pushing.push(
            net.tasks
                .spawn(async move { push(&client, &home, &name).await.is_ok() }),
        );
    }
    let mut in_place = 0;
    for pushed in pushing {
        in_place += usize::from(pushed.await.unwrap());
    }
    assert_eq!(in_place, 2);
    let page = metrics::page(net.metrics).await;
    assert_eq!(metrics::figure(&page, "legwork_mirrors_bytes"), 80.0);
}
