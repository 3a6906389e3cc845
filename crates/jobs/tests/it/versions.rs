//! Jobs whose shims are of another version: what is not understood is shown and left alone.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use legwork_jobs::output::Read;
use legwork_jobs::{
    Cause, Job, JobError, JobId, JobState, Jobs, ListQuery, Newer, Phase, RecordKind, Retention,
    Status, Step, Stop,
};
use serde_json::json;
use testkit::standin::{PAUSE, STOP, Standin, Voice};

use crate::sandbox::{Sandbox, drain, end_of, new_id, printed, request, runs, shell, until};

/// Removes whatever has ended.
const NOTHING: Retention = Retention {
    age: None,
    jobs: Some(0),
    bytes: None,
};

fn begin(sandbox: &Sandbox, voice: Voice) -> (Standin, JobId) {
    let id = new_id();
    let standin = Standin::begin(&sandbox.state().join("jobs"), id.uuid(), voice).unwrap();
    (standin, id)
}

fn stop() -> Stop {
    Stop {
        signal: None,
        grace: None,
        by: "tester".into(),
    }
}

/// Everything in a directory but its times.
fn content(dir: &Path) -> BTreeMap<String, Option<Vec<u8>>> {
    let of = |entry: std::io::Result<std::fs::DirEntry>| {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        (name, std::fs::read(entry.path()).ok())
    };
    std::fs::read_dir(dir).unwrap().map(of).collect()
}

async fn phase(jobs: &Jobs, id: JobId) -> Phase {
    jobs.get(id).await.unwrap().state.phase()
}

async fn listed(jobs: &Jobs) -> Vec<Job> {
    jobs.list(&ListQuery::default()).await.unwrap().jobs
}

const fn newer(kind: RecordKind, alive: bool) -> JobState {
    let (found, known) = (2, 1);
    let what = Newer::Record { kind, found, known };
    JobState::Unknown { what, alive }
}

#[tokio::test]
async fn one_of_a_newer_version_is_shown_and_left_alone() {
    let sandbox = Sandbox::new();
    let jobs = sandbox.open();
    let (mut standin, id) = begin(&sandbox, Voice::newer());
    standin.prints("hello\n").unwrap();
    let before = content(&standin.dir);

    // It is told of as far as it can be: at once, in lists, by its id, and by whoever builds the index.
    let unknown = newer(RecordKind::Launch, true);
    assert_eq!(jobs.rebuild().await.unwrap().damaged, []);
    for jobs in [&jobs, &sandbox.open()] {
        let job = jobs.get(id).await.unwrap();
        assert_eq!(job.state, unknown);
        assert_eq!(job.asked.argv[0].as_bytes(), b"make");
        assert_eq!(job.asked.meta.owner, "tester");
        assert_eq!(listed(jobs).await, [job]);
        assert_eq!(jobs.resolve(&id.to_string(), None).await.unwrap(), id);
        assert_eq!(jobs.count().await.unwrap()[&Phase::Unknown], 1);
        assert_eq!(jobs.recover().await.unwrap(), 0);
    }
    let mut past = jobs.output(id, Read::past()).await.unwrap();
    assert_eq!(drain(&mut past).await.0, b"hello\n");

    // What it understands is done, and what it answers in its own way is told so, at once.
    jobs.signal(id, 10).await.unwrap();
    let refused = jobs.pause(id).await.unwrap_err();
    assert!(matches!(refused, JobError::NewerAnswer { .. }), "{refused}");
    let refused = jobs.resume(id).await.unwrap_err();
    assert!(matches!(refused, JobError::Unsupported { .. }), "{refused}");

    // Nobody removes it or begins it again.
    assert!(matches!(jobs.remove(id).await, Err(JobError::Newer { .. })));
    let forced = jobs.remove_whatever_it_is(id).await;
    assert!(matches!(forced, Err(JobError::NotEnded { .. })));
    jobs.retain(NOTHING, Duration::ZERO).await.unwrap();
    let mut again = request(&["true"]);
    again.id = id;
    again.owner = "tester".into();
    assert_eq!(jobs.start(again).await.unwrap().state, unknown);
    assert_eq!(content(&standin.dir), before);
    assert_eq!(standin.heard(), [3, PAUSE, 6]);

    // A stop it understands. How it ended only a newer legwork can tell, and only by force is it removed.
    let follower = jobs.output(id, Read::all()).await.unwrap();
    let (stopped, waited) = tokio::join!(jobs.stop(id, stop()), jobs.wait(id));
    assert_eq!(standin.heard().last(), Some(&STOP));
    assert_eq!(stopped.unwrap().state, newer(RecordKind::Exit, false));
    assert_eq!(waited.unwrap().state, newer(RecordKind::Exit, false));
    assert_eq!(drain(&mut { follower }).await.0, b"hello\n");
    let late = jobs.signal(id, 10).await;
    assert!(matches!(late, Err(JobError::Ended { .. })));
    jobs.retain(NOTHING, Duration::ZERO).await.unwrap();
    assert!(matches!(jobs.remove(id).await, Err(JobError::Newer { .. })));
    assert_eq!(phase(&jobs, id).await, Phase::Unknown);
    jobs.remove_whatever_it_is(id).await.unwrap();
    assert!(listed(&jobs).await.is_empty() && !standin.dir.exists());
}

#[tokio::test]
async fn one_of_a_newer_version_that_is_gone_is_not_lost_and_nothing_of_it_is_killed() {
    let sandbox = Sandbox::new();
    let jobs = sandbox.open();
    // What a newer version leaves behind on purpose looks as what a lost job leaves.
    let payload = jobs.start(shell("sleep 60")).await.unwrap().id;
    let pid = jobs.pid(payload).await.unwrap().unwrap();
    for (record, kind) in [("spec", RecordKind::Spec), ("launch", RecordKind::Launch)] {
        let mut voice = Voice::older();
        let mut value = match record {
            "spec" => voice.spec.clone(),
            _ => voice.launch.clone(),
        };
        value["version"] = json!(2);
        voice = voice.with(record, value);
        let (standin, id) = begin(&sandbox, voice);
        assert_eq!(jobs.get(id).await.unwrap().state, newer(kind, true));
        let dir = standin.dir.clone();
        let waiting = jobs.wait(id);
        let dying = async { drop(standin) };
        let (ended, ()) = tokio::join!(waiting, dying);
        assert_eq!(ended.unwrap().state, newer(kind, false));
        let before = content(&dir);
        let mut rebooted = sandbox.config();
        rebooted.boot_id = Some("another".into());
        for jobs in [&jobs, &Jobs::open(rebooted).unwrap()] {
            assert_eq!(jobs.recover().await.unwrap(), 0);
            assert_eq!(jobs.get(id).await.unwrap().state, newer(kind, false));
            assert_eq!(
                jobs.stop(id, stop()).await.unwrap().state,
                newer(kind, false)
            );
        }
        assert_eq!(content(&dir), before);
    }
    assert!(runs(pid));
}

#[tokio::test]
async fn one_of_which_only_the_end_is_understood_has_that_end_and_stays() {
    let sandbox = Sandbox::new();
    let jobs = sandbox.open();
    let end = Voice::older().exit;
    let (standin, id) = begin(&sandbox, Voice::newer().with("exit", end));
    let dir = standin.dir.clone();
    let (waited, ended) = tokio::join!(jobs.wait(id), async { standin.ends() });
    ended.unwrap();
    assert_eq!(end_of(&waited.unwrap()).status, Some(Status::Signal(15)));
    let before = content(&dir);
    jobs.retain(NOTHING, Duration::ZERO).await.unwrap();
    assert!(matches!(jobs.remove(id).await, Err(JobError::Newer { .. })));
    assert_eq!(phase(&jobs, id).await, Phase::Finished);
    assert_eq!(content(&dir), before);
}

#[tokio::test]
async fn what_a_later_version_adds_is_passed_over() {
    let sandbox = Sandbox::new();
    let jobs = sandbox.open();
    let (mut standin, id) = begin(&sandbox, Voice::later());
    standin.prints("hello\n").unwrap();
    standin
        .writes(&json!({"moved": {"to": "elsewhere"}}))
        .unwrap();
    assert_eq!(phase(&jobs, id).await, Phase::Running);
    let stopped = jobs.stop(id, stop()).await.unwrap();
    let end = end_of(&stopped);
    assert_eq!(end.cause, Cause::Other("evicted".into()));
    assert_eq!(end.status, Some(Status::Signal(15)));
    assert_eq!(end.usage.max_rss_bytes, 3);
    // All of it was understood, so it goes as others do.
    jobs.retain(NOTHING, Duration::ZERO).await.unwrap();
    assert!(listed(&jobs).await.is_empty());

    let never = json!({
        "version": 1, "cause": {"not_started": {"step": "unpack", "errno": 28, "subject": "image"}},
        "status": null, "started_at_ms": null, "ended_at_ms": 9, "output_end": 0,
    });
    let (standin, id) = begin(&sandbox, Voice::later().with("exit", never));
    standin.ends().unwrap();
    match &end_of(&jobs.wait(id).await.unwrap()).cause {
        Cause::NotStarted(why) => assert_eq!((why.step, why.errno), (Step::Other, 28)),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn one_of_an_older_version_is_found_again_and_there_is_no_second_copy() {
    let sandbox = Sandbox::new();
    drop(sandbox.open());
    let (mut standin, id) = begin(&sandbox, Voice::older());
    standin.prints("before\n").unwrap();
    let jobs = sandbox.open();
    assert_eq!(phase(&jobs, id).await, Phase::Running);
    // What it cannot do is refused, with what to do instead, and changes nothing.
    for refused in [jobs.pause(id).await, jobs.resume(id).await] {
        let refused = refused.unwrap_err();
        assert!(matches!(refused, JobError::Unsupported { .. }));
        assert!(refused.to_string().contains("older legwork"), "{refused}");
    }
    let mut again = request(&["make", "test"]);
    again.id = id;
    assert_eq!(
        jobs.start(again).await.unwrap().state.phase(),
        Phase::Running
    );
    for jobs in [&jobs, &sandbox.open()] {
        assert_eq!(phase(jobs, id).await, Phase::Running);
        assert_eq!(jobs.recover().await.unwrap(), 0);
        assert_eq!(listed(jobs).await.len(), 1);
    }
    let follower = jobs.output(id, Read::all()).await.unwrap();
    standin.prints("after\n").unwrap();
    jobs.signal(id, 10).await.unwrap();
    let end = jobs.stop(id, stop()).await.unwrap();
    assert_eq!(
        end_of(&end).cause,
        Cause::Stopped {
            by: "tester".into()
        }
    );
    drop(follower);
    assert_eq!(printed(&jobs, id).await, "before\nafter\n");
}

#[tokio::test]
async fn a_journal_with_lines_that_nobody_knows_is_not_begun_again() {
    let sandbox = Sandbox::new();
    let jobs = sandbox.open();
    let voice = Voice::older().with("launch", json!(null));
    let (standin, id) = begin(&sandbox, voice);
    assert_eq!(phase(&jobs, id).await, Phase::Starting);
    standin
        .writes(&json!({"relaunch": {"version": 1}}))
        .unwrap();
    let (dir, before) = (standin.dir.clone(), content(&standin.dir));
    drop(standin);
    let what = Newer::Lines;
    let gone = JobState::Unknown { what, alive: false };
    assert_eq!(jobs.get(id).await.unwrap().state, gone);
    let mut again = request(&["true"]);
    again.id = id;
    assert_eq!(jobs.start(again).await.unwrap().state, gone);
    assert_eq!(content(&dir), before);
}

#[tokio::test]
async fn what_a_newer_version_accepted_waits_for_it() {
    let sandbox = Sandbox::new();
    let (ours, theirs) = (request(&["true"]), new_id());
    let batch = new_id().uuid().to_string();
    let jobs = sandbox.open();
    let ours_id = jobs
        .accept(vec![ours])
        .await
        .unwrap()
        .pop()
        .unwrap()
        .unwrap()
        .id;
    jobs.wait(ours_id).await.unwrap();
    let accepted = sandbox.state().join("accepted");
    until(|| std::fs::read_dir(&accepted).unwrap().next().is_none()).await;

    let mut spec = Voice::newer().spec;
    spec["id"] = json!(theirs.uuid());
    let line = format!("{}\n", json!({ "spec": spec }));
    std::fs::write(accepted.join(&batch), &line).unwrap();
    let next = sandbox.open();
    next.launch_accepted().await.unwrap();
    let waits = next.get(theirs).await.unwrap();
    assert_eq!(waits.state.phase(), Phase::Pending);
    assert!(listed(&next).await.contains(&waits));
    for refused in [
        next.stop(theirs, stop()).await.map(drop),
        next.remove(theirs).await,
    ] {
        let refused = refused.unwrap_err();
        let told = matches!(refused, JobError::Newer { .. } | JobError::NotEnded { .. });
        assert!(told, "{refused}");
    }
    next.close().await;
    assert_eq!(
        std::fs::read_to_string(accepted.join(&batch)).unwrap(),
        line
    );
    assert!(!next.job_dir(theirs).exists());
}
