//! Jobs that are accepted first and started later: none is forgotten, none runs twice.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use legwork_jobs::output::Read;
use legwork_jobs::{
    Cause, Config, Job, JobError, JobId, JobState, Jobs, ListQuery, LostWhy, PendingWhy, Phase,
    StartError, StartRequest, Step, Stop,
};

use crate::mounted::Mounted;
use crate::sandbox::{Sandbox, drain, end_of, line, shell, until};

/// A job that leaves its number in a file.
fn noting(log: &Path, number: usize) -> StartRequest {
    let mut request = shell(&format!("echo {number} >> {}; exit 3", log.display()));
    request.owner = "me".into();
    request
}

fn many(log: &Path, count: usize) -> Vec<StartRequest> {
    (0..count).map(|number| noting(log, number)).collect()
}

fn ids(requests: &[StartRequest]) -> Vec<JobId> {
    requests.iter().map(|request| request.id).collect()
}

/// What was left in the file, in order of the numbers.
fn noted(log: &Path) -> Vec<usize> {
    let text = fs::read_to_string(log).unwrap_or_default();
    let mut numbers: Vec<usize> = text.lines().map(|line| line.parse().unwrap()).collect();
    numbers.sort_unstable();
    numbers
}

fn batches(sandbox: &Sandbox) -> Vec<PathBuf> {
    let Ok(found) = fs::read_dir(sandbox.state().join("accepted")) else {
        return Vec::new();
    };
    found.map(|entry| entry.unwrap().path()).collect()
}

fn by() -> Stop {
    Stop {
        signal: None,
        grace: None,
        by: "tester".into(),
    }
}

/// Accepts and dies before anything is started.
async fn accept_and_die(sandbox: &Sandbox, requests: &[StartRequest]) -> Vec<Job> {
    let jobs = sandbox.open();
    jobs.hold_accepted();
    let answers = jobs.accept(requests.to_vec()).await.unwrap();
    jobs.close().await;
    answers.into_iter().map(Result::unwrap).collect()
}

async fn in_state(jobs: &Jobs, phase: Phase) -> Vec<JobId> {
    let query = ListQuery {
        phases: Some(BTreeSet::from([phase])),
        ..ListQuery::default()
    };
    let mut listed: Vec<_> = jobs.list(&query).await.unwrap().jobs;
    listed.reverse();
    listed.into_iter().map(|job| job.id).collect()
}

const SERVER: JobState = JobState::Pending {
    why: PendingWhy::Server,
};
const TURN: JobState = JobState::Pending {
    why: PendingWhy::Turn,
};

#[tokio::test]
async fn all_run_once_and_the_answers_are_in_order() {
    let sandbox = Sandbox::new();
    let (jobs, log) = (sandbox.open(), sandbox.path("log"));
    let mut asked = many(&log, 40);
    asked.insert(7, StartRequest::new(asked[0].id, [""; 0], "/"));
    let mut answers = jobs.accept(asked.clone()).await.unwrap();
    assert!(matches!(answers.remove(7), Err(StartError::Invalid(_))));
    asked.remove(7);
    for (request, answer) in asked.iter().zip(answers) {
        let job = answer.unwrap();
        assert_eq!((job.id, job.state), (request.id, TURN));
    }
    for request in &asked {
        let ended = jobs.wait(request.id).await.unwrap();
        assert_eq!(end_of(&ended).cause, Cause::Own, "{ended:?}");
    }
    assert_eq!(noted(&log), (0..40).collect::<Vec<_>>());
    assert_eq!(in_state(&jobs, Phase::Finished).await, ids(&asked));
    until(|| batches(&sandbox).is_empty()).await;
    assert_eq!(jobs.launch_accepted().await.unwrap(), 0);
}

#[tokio::test]
async fn what_was_accepted_outlives_whoever_accepted_it() {
    let sandbox = Sandbox::new();
    let log = sandbox.path("log");
    let asked = many(&log, 20);
    accept_and_die(&sandbox, &asked).await;
    for way in ["as it is", "rebuilt", "without an index"] {
        let jobs = sandbox.open();
        match way {
            "rebuilt" => assert_eq!(jobs.rebuild().await.unwrap().jobs, 20),
            "as it is" => assert_eq!(jobs.recover().await.unwrap(), 0),
            _ => fs::remove_file(sandbox.state().join("index.db")).unwrap(),
        }
        assert_eq!(in_state(&jobs, Phase::Pending).await, ids(&asked), "{way}");
        assert_eq!(
            jobs.count().await.unwrap(),
            [(Phase::Pending, 20)].into(),
            "{way}"
        );
        assert_eq!(jobs.alive("me", 0).await.unwrap(), 20);
        assert_eq!(jobs.get(asked[3].id).await.unwrap().state, SERVER);
        assert_eq!(jobs.spec(asked[3].id).await.unwrap().meta.owner, "me");
        let mut past = jobs.output(asked[3].id, Read::past()).await.unwrap();
        assert_eq!(drain(&mut past).await.0, b"");
    }
    assert!(!log.exists());

    let jobs = sandbox.open();
    let follower = jobs.output(asked[19].id, Read::all());
    let mut follower = follower.await.unwrap();
    assert_eq!(jobs.launch_accepted().await.unwrap(), 1);
    let (last, _) = tokio::join!(jobs.wait(asked[19].id), drain(&mut follower));
    assert!(last.unwrap().state.finished().is_some());
    for request in &asked {
        jobs.wait(request.id).await.unwrap();
    }
    assert_eq!(noted(&log), (0..20).collect::<Vec<_>>());
    until(|| batches(&sandbox).is_empty()).await;
}

/// Each job is as a crash at another moment leaves it.
#[tokio::test]
async fn wherever_it_was_cut_off_none_is_forgotten_and_none_runs_twice() {
    let sandbox = Sandbox::new();
    let log = sandbox.path("log");
    let asked = many(&log, 8);
    let other = sandbox.open();
    let done = other.start(shell("exit 0")).await.unwrap().id;
    other.wait(done).await.unwrap();
    let (claim, exit) = (
        line(&sandbox.job_dir(done), "launch"),
        line(&sandbox.job_dir(done), "exit"),
    );
    accept_and_die(&sandbox, &asked).await;
    let batch = batches(&sandbox).remove(0);
    let lines: Vec<_> = fs::read_to_string(&batch)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect();
    let torn = lines[2][..40].to_owned();
    let journals = [
        None,
        Some(String::new()),
        Some(torn),
        Some(format!("{}\n", lines[3])),
        Some(format!("{}\n{claim}\n", lines[4])),
        Some(format!("{}\n{claim}\n{exit}\n", lines[5])),
        // Its line feed need not have come to the disk.
        Some(format!("{}\n{exit}", lines[6])),
    ];
    for (request, journal) in asked.iter().zip(journals) {
        fs::create_dir(sandbox.job_dir(request.id)).unwrap();
        if let Some(journal) = journal {
            fs::write(sandbox.job_dir(request.id).join("journal"), journal).unwrap();
        }
    }
    // A call that was killed before it answered.
    fs::write(batch.with_extension("new"), "{\"spec\":").unwrap();

    let jobs = sandbox.open();
    assert_eq!(
        in_state(&jobs, Phase::Pending).await,
        [&ids(&asked)[..4], &ids(&asked)[7..]].concat()
    );
    assert_eq!(jobs.launch_accepted().await.unwrap(), 1);
    for request in &asked {
        jobs.wait(request.id).await.unwrap();
    }
    until(|| batches(&sandbox).is_empty()).await;
    assert_eq!(noted(&log), [0, 1, 2, 3, 7]);
    let lost = jobs.get(asked[4].id).await.unwrap();
    assert_eq!(end_of(&lost).cause, Cause::Lost(LostWhy::ShimDied));
}

#[tokio::test]
async fn one_that_is_stopped_before_it_begins_never_does() {
    let sandbox = Sandbox::new();
    let log = sandbox.path("log");
    let asked = many(&log, 4);
    accept_and_die(&sandbox, &asked).await;
    let jobs = sandbox.open();
    let id = asked[1].id;
    assert!(matches!(
        jobs.signal(id, 15).await,
        Err(JobError::Pending { .. })
    ));
    assert!(matches!(
        jobs.remove(id).await,
        Err(JobError::NotEnded { .. })
    ));
    let waiting = jobs.wait(id);
    let (waited, stopped) = tokio::join!(waiting, jobs.stop(id, by()));
    let stopped = stopped.unwrap();
    assert_eq!(waited.unwrap(), stopped);
    let end = end_of(&stopped);
    let cause = Cause::Stopped {
        by: "tester".into(),
    };
    assert_eq!((&end.cause, end.status), (&cause, None));
    assert_eq!(jobs.stop(id, by()).await.unwrap(), stopped);
    // One of them is removed, too.
    jobs.stop(asked[2].id, by()).await.unwrap();
    jobs.remove(asked[2].id).await.unwrap();

    for jobs in [jobs, sandbox.open()] {
        jobs.rebuild().await.unwrap();
        assert_eq!(jobs.get(id).await.unwrap(), stopped);
        let gone = jobs.get(asked[2].id).await;
        assert!(matches!(gone, Err(JobError::NotFound { .. })), "{gone:?}");
        jobs.launch_accepted().await.unwrap();
        for number in [0, 1, 3] {
            jobs.wait(asked[number].id).await.unwrap();
        }
        until(|| batches(&sandbox).is_empty()).await;
        assert_eq!(noted(&log), [0, 3]);
        // Nor by a repetition.
        let repeated = jobs.start(asked[1].clone()).await.unwrap();
        assert_eq!(repeated, stopped);
    }
}

#[tokio::test]
async fn one_that_ran_and_was_removed_does_not_run_again() {
    let sandbox = Sandbox::new();
    let log = sandbox.path("log");
    let asked = many(&log, 3);
    let jobs = sandbox.open();
    // The last can neither be started nor written off, so the batch stays.
    let in_the_way = sandbox.job_dir(asked[2].id);
    fs::write(&in_the_way, "").unwrap();
    jobs.accept(asked.clone()).await.unwrap();
    for request in &asked[..2] {
        jobs.wait(request.id).await.unwrap();
    }
    // Somebody works on it.
    assert_eq!(sandbox.open().launch_accepted().await.unwrap(), 0);
    sandbox.open().remove(asked[0].id).await.unwrap();
    assert_eq!(batches(&sandbox).len(), 1);
    jobs.close().await;

    fs::remove_file(in_the_way).unwrap();
    let next = sandbox.open();
    next.rebuild().await.unwrap();
    assert_eq!(next.launch_accepted().await.unwrap(), 1);
    next.wait(asked[2].id).await.unwrap();
    until(|| batches(&sandbox).is_empty()).await;
    assert_eq!(noted(&log), [0, 1, 2]);
    let gone = next.get(asked[0].id).await;
    assert!(matches!(gone, Err(JobError::NotFound { .. })), "{gone:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn stops_and_removals_beside_the_starts_leave_nothing_to_run() {
    let sandbox = Sandbox::new();
    let log = sandbox.path("log");
    let asked = many(&log, 60);
    accept_and_die(&sandbox, &asked).await;
    let (jobs, other) = (sandbox.open(), sandbox.open());
    let mut never = BTreeSet::new();
    // From the end, to meet the starts on their way, which begin when the last one has been stopped.
    for (number, request) in asked.iter().enumerate().rev() {
        let stopped = other.stop(request.id, by()).await.unwrap();
        if end_of(&stopped).started_at_ms.is_none() {
            never.insert(number);
        }
        other.remove(request.id).await.unwrap();
        if number + 1 == asked.len() {
            assert_eq!(jobs.launch_accepted().await.unwrap(), 1);
        }
    }
    until(|| batches(&sandbox).is_empty()).await;
    jobs.close().await;
    assert!(in_state(&other, Phase::Finished).await.is_empty());
    for request in &asked {
        let gone = other.get(request.id).await;
        assert!(matches!(gone, Err(JobError::NotFound { .. })), "{gone:?}");
    }
    let noted = noted(&log);
    assert!(noted.is_sorted_by(|one, next| one < next), "{noted:?}");
    assert!(
        !never.is_empty() && !noted.iter().any(|number| never.contains(number)),
        "{never:?} {noted:?}"
    );
}

#[tokio::test]
async fn a_damaged_file_costs_only_what_is_damaged() {
    let sandbox = Sandbox::new();
    let log = sandbox.path("log");
    let asked = many(&log, 4);
    accept_and_die(&sandbox, &asked).await;
    let batch = batches(&sandbox).remove(0);
    let mut raw = fs::read(&batch).unwrap();
    let second = raw.iter().position(|byte| *byte == b'\n').unwrap() + 20;
    raw[second..second + 10].fill(0);
    fs::write(&batch, &raw[..raw.len() - 30]).unwrap();

    let jobs = sandbox.open();
    assert_eq!(jobs.rebuild().await.unwrap().jobs, 2);
    assert_eq!(jobs.launch_accepted().await.unwrap(), 1);
    for number in [0, 2] {
        jobs.wait(asked[number].id).await.unwrap();
    }
    let kept = batch.with_extension("damaged");
    until(|| batches(&sandbox) == std::slice::from_ref(&kept)).await;
    assert_eq!(noted(&log), [0, 2]);
    assert_eq!(jobs.launch_accepted().await.unwrap(), 0);
}

#[tokio::test]
async fn an_id_is_one_job() {
    let sandbox = Sandbox::new();
    let log = sandbox.path("log");
    let asked = many(&log, 3);
    let first = accept_and_die(&sandbox, &asked[..2]).await;
    let jobs = sandbox.open();
    jobs.hold_accepted();

    let mut other = asked.clone();
    other
        .iter_mut()
        .for_each(|request| request.owner = "you".into());
    for refused in jobs.accept(other[..2].to_vec()).await.unwrap() {
        assert!(matches!(refused, Err(StartError::IdTaken { .. })));
    }
    let refused = jobs.start(other[0].clone()).await;
    assert!(matches!(refused, Err(StartError::IdTaken { .. })));
    assert!(!sandbox.job_dir(asked[0].id).exists());

    let mut again = asked.clone();
    again.push(asked[2].clone());
    let answers = jobs.accept(again).await.unwrap();
    let answers: Vec<_> = answers.into_iter().map(Result::unwrap).collect();
    assert_eq!(answers[0].asked, first[0].asked);
    assert_eq!(answers[2].id, answers[3].id);
    assert_eq!(jobs.start(asked[0].clone()).await.unwrap().state, SERVER);
    let lines: usize = batches(&sandbox)
        .iter()
        .map(|batch| fs::read_to_string(batch).unwrap().lines().count())
        .sum();
    assert_eq!(lines, 3);
    jobs.close().await;

    let next = sandbox.open();
    assert_eq!(next.launch_accepted().await.unwrap(), 2);
    for request in &asked {
        next.wait(request.id).await.unwrap();
    }
    let answers = next.accept(asked).await.unwrap();
    assert!(answers.iter().all(|answer| {
        let job = answer.as_ref().unwrap();
        job.state.finished().is_some()
    }));
    assert_eq!(noted(&log), [0, 1, 2]);
    until(|| batches(&sandbox).is_empty()).await;
}

#[tokio::test]
async fn batches_that_wait_are_limited() {
    let sandbox = Sandbox::new();
    let jobs = sandbox.open();
    jobs.hold_accepted();
    let log = sandbox.path("log");
    let asked = many(&log, 130);
    let mut accepted = 0;
    for request in &asked {
        match jobs.accept(vec![request.clone()]).await {
            Ok(_) => accepted += 1,
            Err(StartError::TooManyBatches { limit }) => assert_eq!(limit, accepted),
            Err(other) => panic!("{other:?}"),
        }
    }
    assert_eq!((accepted, batches(&sandbox).len()), (128, 128));
    // What is repeated takes no place.
    let again = jobs.accept(vec![asked[0].clone()]).await.unwrap();
    assert_eq!(again[0].as_ref().unwrap().state, SERVER);
}

#[tokio::test]
async fn what_cannot_be_launched_ends_with_the_reason() {
    #[derive(Debug)]
    struct Never;
    impl legwork_jobs::Launcher for Never {
        fn launch(
            &self,
            _: legwork_jobs::LaunchOrder<'_>,
        ) -> std::io::Result<legwork_jobs::Launched> {
            Err(rustix::io::Errno::AGAIN.into())
        }
        fn liveness(&self, dir: &Path) -> legwork_jobs::Liveness {
            legwork_jobs::LocalLauncher.liveness(dir)
        }
    }
    let sandbox = Sandbox::new();
    let mut config = sandbox.config();
    config.launcher = Some(std::sync::Arc::new(Never));
    let jobs = Jobs::open(config).unwrap();
    let asked = many(&sandbox.path("log"), 3);
    jobs.accept(asked.clone()).await.unwrap();
    for request in &asked {
        let ended = jobs.wait(request.id).await.unwrap();
        let Cause::NotStarted(why) = &end_of(&ended).cause else {
            panic!("{ended:?}");
        };
        let again = rustix::io::Errno::AGAIN.raw_os_error();
        assert_eq!((why.step, why.errno), (Step::Launch, again));
        // That is settled, for others as well.
        let other = sandbox.open();
        assert_eq!(other.get(request.id).await.unwrap(), ended);
        assert_eq!(other.start(request.clone()).await.unwrap(), ended);
    }
    until(|| batches(&sandbox).is_empty()).await;
}

#[tokio::test]
#[expect(clippy::print_stderr, reason = "tells why nothing was tested")]
async fn on_a_full_disk_none_is_accepted_and_those_that_are_wait_for_room() {
    let sandbox = Sandbox::new();
    let mount = sandbox.path("mount");
    fs::create_dir(&mount).unwrap();
    let Some(_mounted) = Mounted::new(mount.clone()) else {
        eprintln!("SKIPPED: needs root and mount(2)");
        return;
    };
    let (log, filler) = (sandbox.path("log"), mount.join("filler"));
    let jobs = Jobs::open(Config::new(mount.join("state"))).unwrap();
    let done = jobs.start(shell("exit 0")).await.unwrap().id;
    jobs.wait(done).await.unwrap();
    drop(fs::write(&filler, vec![0; 4 << 20]));
    let asked = many(&log, 4);
    let refused = jobs.accept(asked.clone()).await;
    let Err(StartError::DiskFull { .. } | StartError::Index(_)) = refused else {
        panic!("{refused:?}");
    };
    let left = fs::read_dir(mount.join("state/accepted")).unwrap();
    assert_eq!(left.count(), 0);
    assert_eq!(in_state(&jobs, Phase::Finished).await, [done]);

    fs::remove_file(&filler).unwrap();
    let held = Jobs::open(Config::new(mount.join("state"))).unwrap();
    held.hold_accepted();
    held.accept(asked.clone()).await.unwrap();
    held.close().await;
    drop(fs::write(&filler, vec![0; 4 << 20]));
    assert_eq!(jobs.launch_accepted().await.unwrap(), 1);
    let soon = tokio::time::timeout(Duration::from_millis(300), jobs.wait(asked[3].id)).await;
    assert!(soon.is_err(), "{soon:?}");
    fs::remove_file(&filler).unwrap();
    for request in &asked {
        let ended = jobs.wait(request.id).await.unwrap();
        assert_eq!(end_of(&ended).cause, Cause::Own);
    }
    assert_eq!(noted(&log), [0, 1, 2, 3]);
}
