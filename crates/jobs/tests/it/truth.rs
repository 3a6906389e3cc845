//! Two openers, and an index that is wiped, damaged or new.

use std::os::unix::fs::MetadataExt;

use legwork_jobs::output::Read;
use legwork_jobs::{Cause, JobState, Jobs, ListQuery, LostWhy};

use crate::sandbox::{Sandbox, drain, kill, request, runs as lives, shell, until, until_printed};

async fn listed(jobs: &Jobs) -> Vec<legwork_jobs::Job> {
    jobs.list(&ListQuery::default()).await.unwrap().jobs
}

#[tokio::test]
async fn two_openers_tell_the_same() {
    let sandbox = Sandbox::new();
    let (one, two) = (sandbox.open(), sandbox.open());
    let id = one.start(shell("echo ready; sleep 60")).await.unwrap().id;
    until_printed(&two, id, "ready").await;
    assert!(matches!(
        two.get(id).await.unwrap().state,
        JobState::Running { .. }
    ));
    assert_eq!(listed(&one).await, listed(&two).await);
    let mut follower = two.output(id, Read::all()).await.unwrap();
    two.signal(id, 9).await.unwrap();
    let (ended, seen) = tokio::join!(one.wait(id), two.wait(id));
    assert_eq!(ended.unwrap(), seen.unwrap());
    drain(&mut follower).await;
    assert_eq!(listed(&one).await, listed(&two).await);
}

#[tokio::test]
async fn many_open_a_new_state_directory_at_once() {
    let sandbox = Sandbox::new();
    let mut openers = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let config = sandbox.config();
        openers.spawn_blocking(move || Jobs::open(config).unwrap());
    }
    let jobs: Vec<_> = openers.join_all().await;
    let mut starts = tokio::task::JoinSet::new();
    for opener in &jobs {
        let opener = opener.clone();
        starts.spawn(async move {
            let id = opener.start(request(&["true"])).await.unwrap().id;
            opener.wait(id).await.unwrap()
        });
    }
    assert_eq!(starts.join_all().await.len(), 8);
    for opener in &jobs {
        assert_eq!(listed(opener).await.len(), 8);
    }
}

#[tokio::test]
async fn a_job_whose_directory_is_deleted_is_lost_and_did_start() {
    let sandbox = Sandbox::new();
    let jobs = sandbox.open();
    for (script, gate) in [
        ("rm -rf \"$D/$LEGWORK_JOB\"", "one"),
        ("rm \"$D/$LEGWORK_JOB\"/*", "other"),
    ] {
        // What is left of the directory would have room for a record.
        let (gate, over) = (sandbox.path(gate), sandbox.path(&format!("{gate}-over")));
        let wait = format!("while [ ! -e {} ]; do sleep 0.01; done", gate.display());
        let mut asked = shell(&format!("{script}; {wait}; echo > {}", over.display()));
        let dir = jobs.job_dir(asked.id);
        let parent = dir.parent().unwrap().to_str().unwrap();
        asked.env.push(("D".into(), parent.into()));
        asked.env.push(("PATH".into(), "/usr/bin:/bin".into()));
        let id = jobs.start(asked).await.unwrap().id;
        let told = jobs.wait(id).await.unwrap();
        let cause = &told.state.finished().unwrap().cause;
        assert_eq!(*cause, Cause::Lost(LostWhy::DirectoryGone), "{script}");
        std::fs::write(gate, "").unwrap();
        // Nobody watches over it any more, so it must have seen the gate before that is deleted.
        until(|| over.exists()).await;
    }
}

#[tokio::test]
async fn the_index_is_disposable() {
    let sandbox = Sandbox::new();
    let jobs = sandbox.open();
    for _ in 0..3 {
        let id = jobs.start(request(&["true"])).await.unwrap().id;
        jobs.wait(id).await.unwrap();
    }
    let running = jobs.start(shell("echo ready; sleep 60")).await.unwrap().id;
    until_printed(&jobs, running, "ready").await;
    let before = listed(&jobs).await;
    let index = sandbox.state().join("index.db");

    // Removed, while it is open and for the next opener.
    std::fs::remove_file(&index).unwrap();
    assert_eq!(listed(&jobs).await, before);
    std::fs::remove_file(&index).unwrap();
    assert_eq!(listed(&sandbox.open()).await, before);
    assert_eq!(listed(&jobs).await, before);

    // Overwritten with something else.
    std::fs::write(&index, vec![7; 40_000]).unwrap();
    assert_eq!(listed(&sandbox.open()).await, before);
    assert_eq!(listed(&jobs).await, before);

    // Of an earlier form.
    let old = rusqlite::Connection::open(&index).unwrap();
    old.execute_batch("PRAGMA user_version = 0; DROP TABLE job;")
        .unwrap();
    drop(old);
    assert_eq!(listed(&sandbox.open()).await, before);

    assert_eq!(jobs.rebuild().await.unwrap().jobs, 4);
    assert_eq!(listed(&jobs).await, before);
}

#[tokio::test]
async fn a_start_while_the_index_is_built_is_in_it() {
    let sandbox = Sandbox::new();
    let jobs = sandbox.open();
    let (starter, builder) = (jobs.clone(), sandbox.open());
    let starting = async {
        for _ in 0..20 {
            starter.start(request(&["true"])).await.unwrap();
        }
    };
    let building = async {
        for _ in 0..10 {
            builder.rebuild().await.unwrap();
        }
    };
    tokio::join!(starting, building);
    assert_eq!(listed(&jobs).await.len(), 20);
    for job in listed(&jobs).await {
        jobs.wait(job.id).await.unwrap();
    }
}

#[tokio::test]
async fn an_index_without_its_log_is_built_anew() {
    let sandbox = Sandbox::new();
    let jobs = sandbox.open();
    let id = jobs.start(request(&["true"])).await.unwrap().id;
    jobs.wait(id).await.unwrap();
    let before = listed(&jobs).await;
    drop(jobs);
    for lost in [&["-wal", "-shm"][..], &["-wal"], &["-shm"]] {
        for suffix in lost {
            std::fs::remove_file(sandbox.state().join(format!("index.db{suffix}"))).unwrap();
        }
        assert_eq!(listed(&sandbox.open()).await, before, "{lost:?}");
    }
    // And only then.
    let built = std::fs::metadata(sandbox.state().join("index.db")).unwrap();
    assert_eq!(listed(&sandbox.open()).await, before);
    let now = std::fs::metadata(sandbox.state().join("index.db")).unwrap();
    assert_eq!(now.ino(), built.ino());
}

#[tokio::test]
async fn without_an_index_that_can_be_used_all_is_read_from_the_directories() {
    let sandbox = Sandbox::new();
    let jobs = sandbox.open();
    let done = jobs.start(request(&["true"])).await.unwrap().id;
    let gate = sandbox.path("gate");
    let waits = format!(
        "echo ready; while [ ! -e {} ]; do sleep 0.01; done",
        gate.display()
    );
    let runs = jobs.start(shell(&waits)).await.unwrap().id;
    let lost = jobs.start(request(&["sleep", "60"])).await.unwrap().id;
    jobs.wait(done).await.unwrap();
    until_printed(&jobs, runs, "ready").await;
    // Nothing can be put in its place.
    let index = sandbox.state().join("index.db");
    std::fs::remove_file(&index).unwrap();
    std::fs::create_dir_all(index.join("in the way")).unwrap();

    let next = sandbox.open();
    let shim = sandbox.launch(lost).shim_pid;
    kill(shim);
    until(|| !lives(shim)).await;
    for jobs in [&jobs, &next] {
        assert_eq!(jobs.recover().await.unwrap(), 1);
        assert_eq!(listed(jobs).await.len(), 3);
        assert_eq!(jobs.resolve(&done.to_string(), None).await.unwrap(), done);
    }
    let (first, second, ()) = tokio::join!(jobs.wait(runs), next.wait(runs), async {
        std::fs::write(&gate, "").unwrap();
    });
    assert_eq!(first.unwrap(), second.unwrap());
    next.output(done, Read::past()).await.unwrap();
    assert!(next.start(request(&["true"])).await.is_err());
}
