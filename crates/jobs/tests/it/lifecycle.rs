//! From start to removal.

use std::time::Duration;

use legwork_jobs::{Cause, Ended, JobError, JobState, ListQuery, Phase, StartError, Status, Step};

use crate::sandbox::{Sandbox, end_of, new_id, printed, request, shell, until, until_printed};

#[tokio::test]
async fn runs_and_tells_its_end() {
    let sandbox = Sandbox::new();
    let jobs = sandbox.open();
    let mut asked = shell("echo out; echo err >&2; exit 3");
    asked.name = Some("greeting".into());
    asked.labels = [("k".into(), "v".into())].into();
    let id = asked.id;
    let started = jobs.start(asked).await.unwrap();
    assert!(matches!(started.state, JobState::Running { .. }));
    assert_eq!(started.asked.meta.name.as_deref(), Some("greeting"));

    let job = jobs.wait(id).await.unwrap();
    let end = end_of(&job);
    assert_eq!(
        (&end.cause, end.status),
        (&Cause::Own, Some(Status::Code(3)))
    );
    assert_eq!(end.output_end, Some(8));
    assert!(end.started_at_ms <= end.ended_at_ms);
    assert_eq!(printed(&jobs, id).await.len(), 8);
    assert_eq!(jobs.get(id).await.unwrap(), job);
    assert_eq!(jobs.spec(id).await.unwrap().id, id.uuid());
    assert_eq!(jobs.pid(id).await.unwrap(), None);
    jobs.close().await;
}

#[tokio::test]
async fn an_end_is_counted_once_however_many_notice_it() {
    let sandbox = Sandbox::new();
    let jobs = sandbox.open();
    let waiting: Vec<_> = (0..8)
        .map(|_| shell("i=0; while [ $i -lt 5000 ]; do i=$((i+1)); done; echo four"))
        .collect();
    for asked in &waiting {
        jobs.start(asked.clone()).await.unwrap();
    }
    let mut looking = tokio::task::JoinSet::new();
    for asked in waiting.iter().cycle().take(32) {
        let (waits, lists, id) = (jobs.clone(), jobs.clone(), asked.id);
        looking.spawn(async move { drop(waits.wait(id).await.unwrap()) });
        looking.spawn(async move { drop(lists.list(&ListQuery::default()).await.unwrap()) });
    }
    looking.join_all().await;
    jobs.start(request(&["/no/such/program"])).await.unwrap();
    let ended = jobs.ended();
    assert_eq!(ended.jobs, [("own", 8), ("not_started", 1)].into());
    assert_eq!(ended.output_bytes, 40);
    assert!(ended.user_us > 0);
    // Another object has noticed none of them: they were ends already when it came.
    assert_eq!(sandbox.open().ended(), Ended::default());
    let late = sandbox.open();
    late.list(&ListQuery::default()).await.unwrap();
    assert_eq!(late.ended(), Ended::default());
}

#[tokio::test]
async fn what_cannot_run_is_a_finished_job() {
    let sandbox = Sandbox::new();
    let jobs = sandbox.open();
    let missing = jobs.start(request(&["/no/such/program"])).await.unwrap();
    let mut nowhere = request(&["true"]);
    nowhere.dir = "/no/such/directory".into();
    let nowhere = jobs.start(nowhere).await.unwrap();
    for (job, step) in [(missing, Step::Exec), (nowhere, Step::Dir)] {
        let Cause::NotStarted(why) = &end_of(&job).cause else {
            panic!("{job:?}");
        };
        assert_eq!((why.step, why.errno), (step, 2));
        assert_eq!(jobs.wait(job.id).await.unwrap(), job);
    }
}

#[tokio::test]
async fn a_repeated_start_finds_the_first() {
    let sandbox = Sandbox::new();
    let jobs = sandbox.open();
    let marks = sandbox.path("marks");
    let asked = shell(&format!("echo x >> {}", marks.display()));
    let (other, id) = (sandbox.open(), asked.id);
    let (one, two, three) = tokio::join!(
        jobs.start(asked.clone()),
        other.start(asked.clone()),
        jobs.start(asked.clone())
    );
    assert_eq!(
        [one.unwrap().id, two.unwrap().id, three.unwrap().id],
        [id; 3]
    );
    let job = jobs.wait(id).await.unwrap();
    assert_eq!(other.start(asked.clone()).await.unwrap(), job);
    assert_eq!(std::fs::read_to_string(marks).unwrap(), "x\n");

    let mut of_another = asked;
    of_another.owner = "another".into();
    assert!(matches!(
        jobs.start(of_another).await,
        Err(StartError::IdTaken { .. })
    ));
}

#[tokio::test]
async fn many_are_started_and_listed_page_by_page() {
    let sandbox = Sandbox::new();
    let jobs = sandbox.open();
    let requests: Vec<_> = (0..10)
        .map(|n| {
            let mut asked = request(&["true"]);
            asked.owner = if n % 2 == 0 { "even" } else { "odd" }.into();
            asked.labels = [("n".into(), n.to_string())].into();
            asked
        })
        .collect();
    let ids: Vec<_> = requests.iter().map(|asked| asked.id).collect();
    let started = jobs.start_many(requests).await;
    let answered: Vec<_> = started.into_iter().map(|job| job.unwrap().id).collect();
    assert_eq!(answered, ids);
    for id in &ids {
        jobs.wait(*id).await.unwrap();
    }

    let mut query = ListQuery {
        limit: Some(3),
        ..ListQuery::default()
    };
    let mut listed = Vec::new();
    loop {
        let page = jobs.list(&query).await.unwrap();
        listed.extend(page.jobs);
        query.after = page.next;
        if query.after.is_none() {
            break;
        }
    }
    assert_eq!(listed.len(), 10);
    let listed: Vec<_> = listed.into_iter().map(|job| job.id).rev().collect();
    assert_eq!(listed, ids);
    let count = async |query: ListQuery| jobs.list(&query).await.unwrap().jobs.len();
    let all = ListQuery::default;
    assert_eq!(
        count(ListQuery {
            owners: Some(vec!["odd".into(), "nobody".into()]),
            ..all()
        })
        .await,
        5
    );
    assert_eq!(
        count(ListQuery {
            labels: vec![("n".into(), "3".into())],
            ..all()
        })
        .await,
        1
    );
    assert_eq!(
        count(ListQuery {
            phases: Some([Phase::Running].into()),
            ..all()
        })
        .await,
        0
    );
    assert_eq!(
        count(ListQuery {
            phases: Some([Phase::Finished].into()),
            ..all()
        })
        .await,
        10
    );
}

#[tokio::test]
async fn named_by_any_unique_prefix_within_its_owner() {
    let sandbox = Sandbox::new();
    let jobs = sandbox.open();
    let mut asked = request(&["true"]);
    asked.owner = "me".into();
    let id = jobs.start(asked).await.unwrap().id;
    for typed in [
        id.to_string(),
        id.short(),
        id.uuid().to_string(),
        id.short().to_uppercase(),
    ] {
        assert_eq!(jobs.resolve(&typed, None).await.unwrap(), id);
        assert_eq!(jobs.resolve(&typed, Some("me")).await.unwrap(), id);
        assert!(jobs.resolve(&typed, Some("you")).await.is_err());
    }
    assert!(matches!(
        jobs.get(new_id()).await,
        Err(JobError::NotFound { .. })
    ));
    jobs.wait(id).await.unwrap();
}

#[tokio::test]
async fn removed_only_after_its_end() {
    let sandbox = Sandbox::new();
    let jobs = sandbox.open();
    let id = jobs.start(shell("echo ready; sleep 60")).await.unwrap().id;
    until_printed(&jobs, id, "ready").await;
    assert!(matches!(
        jobs.remove(id).await,
        Err(JobError::NotEnded { .. })
    ));
    jobs.signal(id, 9).await.unwrap();
    jobs.wait(id).await.unwrap();
    jobs.remove(id).await.unwrap();
    assert!(matches!(jobs.get(id).await, Err(JobError::NotFound { .. })));
    assert!(matches!(
        jobs.remove(id).await,
        Err(JobError::NotFound { .. })
    ));
    assert_eq!(
        std::fs::read_dir(sandbox.state().join("jobs"))
            .unwrap()
            .count(),
        0
    );
}

#[tokio::test]
async fn no_child_is_left_unreaped() {
    let sandbox = Sandbox::new();
    let jobs = sandbox.open();
    for _ in 0..5 {
        let id = jobs.start(request(&["true"])).await.unwrap().id;
        jobs.wait(id).await.unwrap();
        // A zombie would still be there.
        let shim = format!("/proc/{}", sandbox.launch(id).shim_pid);
        until(|| !std::path::Path::new(&shim).exists()).await;
    }
    tokio::time::timeout(Duration::from_secs(60), jobs.close())
        .await
        .unwrap();
    assert!(matches!(
        jobs.start(request(&["true"])).await,
        Err(StartError::Closed)
    ));
}
