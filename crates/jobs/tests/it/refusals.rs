//! What is refused, each with an error of its own.

use std::os::unix::fs::{MetadataExt, PermissionsExt};

use legwork_jobs::{
    Config, IndexError, InvalidRequest, Jobs, ListQuery, OpenError, ResolveError, StartError,
    StartRequest,
};

use crate::mounted::{Mounted, is_root};
use crate::sandbox::{Sandbox, request, shell, until};

#[tokio::test]
async fn requests_that_cannot_be_jobs() {
    let sandbox = Sandbox::new();
    let jobs = sandbox.open();
    type Change = fn(&mut StartRequest);
    type Expected = fn(&InvalidRequest) -> bool;
    let cases: [(Change, Expected); 9] = [
        (
            |r| r.argv.clear(),
            |e| matches!(e, InvalidRequest::EmptyCommand),
        ),
        (
            |r| r.argv.push(vec![b'a', 0].into()),
            |e| matches!(e, InvalidRequest::Nul { .. }),
        ),
        (
            |r| r.env.push(("A=B".into(), "".into())),
            |e| matches!(e, InvalidRequest::VariableName { .. }),
        ),
        (
            |r| r.dir = "relative".into(),
            |e| matches!(e, InvalidRequest::NotAbsolute { .. }),
        ),
        (
            |r| r.argv.push("x".repeat(200_000).into()),
            |e| matches!(e, InvalidRequest::TooLarge { .. }),
        ),
        (
            |r| drop(r.labels.insert("a=b".into(), String::new())),
            |e| matches!(e, InvalidRequest::LabelKey { .. }),
        ),
        (
            |r| r.name = Some("a\nb".into()),
            |e| matches!(e, InvalidRequest::ControlCharacter { .. }),
        ),
        (
            |r| r.stop_signal = 0,
            |e| matches!(e, InvalidRequest::Signal { number: 0 }),
        ),
        (
            |r| r.timeout = Some(std::time::Duration::ZERO),
            |e| matches!(e, InvalidRequest::ZeroTimeout),
        ),
    ];
    for (change, expected) in cases {
        let mut asked = request(&["true"]);
        change(&mut asked);
        match jobs.start(asked).await {
            Err(StartError::Invalid(why)) => assert!(expected(&why), "{why}"),
            other => panic!("{other:?}"),
        }
    }
    assert!(
        jobs.list(&ListQuery::default())
            .await
            .unwrap()
            .jobs
            .is_empty()
    );
}

#[tokio::test]
async fn names_that_name_nothing_or_too_much() {
    let sandbox = Sandbox::new();
    let jobs = sandbox.open();
    for _ in 0..40 {
        let id = jobs.start(request(&["true"])).await.unwrap().id;
        jobs.wait(id).await.unwrap();
    }
    let all = jobs.list(&ListQuery::default()).await.unwrap().jobs;
    // Of forty jobs two share a first character, for there are only thirty-two.
    let first = |job: &legwork_jobs::Job| format!("{:.1}", job.id);
    let shared = all
        .iter()
        .map(first)
        .find(|letter| all.iter().filter(|job| first(job) == *letter).count() > 1);
    match jobs.resolve(&shared.unwrap(), None).await {
        Err(ResolveError::Ambiguous { matches, .. }) => assert!(matches.len() > 1),
        other => panic!("{other:?}"),
    }
    let absent = (0..32_u32)
        .map(|n| format!("{n:012}"))
        .find(|code| !all.iter().any(|job| job.id.to_string() == *code));
    let refused = jobs.resolve(&absent.unwrap(), None).await;
    assert!(matches!(refused, Err(ResolveError::NotFound { .. })));
    assert!(matches!(
        jobs.resolve("", None).await,
        Err(ResolveError::NotAnId(_))
    ));
}

#[tokio::test]
async fn state_of_a_newer_version_or_of_another_user() {
    let sandbox = Sandbox::new();
    drop(sandbox.open());
    let state = sandbox.state();
    std::fs::write(state.join("version"), "2\n").unwrap();
    assert!(matches!(
        Jobs::open(sandbox.config()),
        Err(OpenError::Newer { found: 2, .. })
    ));
    std::fs::write(state.join("version"), "1\n").unwrap();

    let jobs = sandbox.open();
    jobs.list(&ListQuery::default()).await.unwrap();
    let index = rusqlite::Connection::open(state.join("index.db")).unwrap();
    index.pragma_update(None, "user_version", 99).unwrap();
    drop(index);
    // Nothing is in it that cannot be found again.
    sandbox.open().list(&ListQuery::default()).await.unwrap();
    let index = rusqlite::Connection::open(state.join("index.db")).unwrap();
    let version = index.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0));
    assert_ne!(version.unwrap(), 99);
    drop(index);

    std::fs::set_permissions(&state, std::fs::Permissions::from_mode(0o755)).unwrap();
    drop(sandbox.open());
    assert_eq!(std::fs::metadata(&state).unwrap().mode() & 0o777, 0o700);
    if is_root() {
        std::os::unix::fs::chown(&state, Some(12345), None).unwrap();
        let refused = Jobs::open(sandbox.config());
        assert!(matches!(
            refused,
            Err(OpenError::OtherOwner {
                owner: 12345,
                user: 0,
                ..
            })
        ));
        std::os::unix::fs::chown(&state, Some(0), None).unwrap();
    }
}

#[tokio::test]
async fn a_full_disk_and_one_that_is_read_only() {
    let sandbox = Sandbox::new();
    let mount = sandbox.path("mount");
    std::fs::create_dir(&mount).unwrap();
    // Only root may mount, and not in every container.
    let Some(mounted) = Mounted::new(mount.clone()) else {
        return;
    };
    let jobs = Jobs::open(Config::new(mount.join("state"))).unwrap();
    let id = jobs.start(request(&["true"])).await.unwrap().id;
    jobs.wait(id).await.unwrap();
    drop(std::fs::write(mount.join("filler"), vec![0; 4 << 20]));
    let refused = jobs.start(request(&["true"])).await;
    assert!(
        matches!(
            refused,
            Err(StartError::DiskFull { .. } | StartError::Index(IndexError::DiskFull { .. }))
        ),
        "{refused:?}"
    );
    assert_eq!(
        jobs.list(&ListQuery::default()).await.unwrap().jobs.len(),
        1
    );
    let full = Jobs::open(Config::new(mount.join("other")));
    assert!(matches!(full, Err(OpenError::DiskFull { .. })), "{full:?}");

    std::fs::remove_file(mount.join("filler")).unwrap();
    jobs.close().await;
    drop(jobs);
    mounted.make_read_only().await;
    for name in ["new", "state"] {
        let refused = Jobs::open(Config::new(mount.join(name)));
        assert!(
            matches!(refused, Err(OpenError::NotWritable { .. })),
            "{refused:?}"
        );
    }
}

#[tokio::test]
#[expect(clippy::print_stderr, reason = "tells why nothing was tested")]
async fn on_a_full_disk_all_can_be_read_and_removed_without_an_index() {
    let sandbox = Sandbox::new();
    let mount = sandbox.path("mount");
    std::fs::create_dir(&mount).unwrap();
    let Some(_mounted) = Mounted::new(mount.clone()) else {
        eprintln!("SKIPPED: needs root and mount(2)");
        return;
    };
    let state = mount.join("state");
    let jobs = Jobs::open(Config::new(&state)).unwrap();
    let done = jobs.start(request(&["true"])).await.unwrap().id;
    let runs = jobs.start(request(&["/bin/sleep", "60"])).await.unwrap().id;
    jobs.wait(done).await.unwrap();
    // A full disk has no room for the socket through which a job is stopped: here it came first.
    let control = jobs.job_dir(runs).join("control");
    until(|| control.exists()).await;
    drop(std::fs::write(mount.join("filler"), vec![0; 4 << 20]));
    for with_index in [true, false] {
        if !with_index {
            std::fs::remove_file(state.join("index.db")).unwrap();
            drop(std::fs::write(mount.join("filler2"), vec![0; 4 << 20]));
        }
        let opened = Jobs::open(Config::new(&state)).unwrap();
        assert_eq!(opened.recover().await.unwrap(), 0);
        // It may find room for an index or not, and says so; all can be read in either case.
        drop(opened.rebuild().await);
        let page = opened.list(&ListQuery::default()).await.unwrap();
        let ended = page.jobs.iter().map(|job| job.state.finished().is_some());
        assert_eq!(ended.collect::<Vec<_>>(), [false, true]);
        assert!(opened.get(runs).await.unwrap().state.finished().is_none());
        opened.wait(done).await.unwrap();
        opened
            .output(done, legwork_jobs::output::Read::past())
            .await
            .unwrap();
        assert_eq!(opened.resolve(&done.to_string(), None).await.unwrap(), done);
    }
    let stop = legwork_jobs::Stop {
        signal: Some(9),
        grace: None,
        by: "me".into(),
    };
    jobs.stop(runs, stop).await.unwrap();
    for id in [done, runs] {
        jobs.remove(id).await.unwrap();
        assert!(!jobs.job_dir(id).exists());
    }
    assert!(
        jobs.list(&ListQuery::default())
            .await
            .unwrap()
            .jobs
            .is_empty()
    );
}

#[tokio::test]
#[expect(clippy::print_stderr, reason = "tells why nothing was tested")]
async fn on_a_full_disk_an_end_is_listed_though_it_cannot_be_noted() {
    let sandbox = Sandbox::new();
    let mount = sandbox.path("mount");
    std::fs::create_dir(&mount).unwrap();
    let Some(_mounted) = Mounted::new(mount.clone()) else {
        eprintln!("SKIPPED: needs root and mount(2)");
        return;
    };
    let state = mount.join("state");
    let jobs = Jobs::open(Config::new(&state)).unwrap();
    let gate = sandbox.path("gate");
    let waits = format!("while [ ! -e {} ]; do sleep 0.01; done", gate.display());
    let id = jobs.start(shell(&waits)).await.unwrap().id;
    jobs.list(&ListQuery::default()).await.unwrap();
    drop(std::fs::write(mount.join("filler"), vec![0; 4 << 20]));
    std::fs::write(&gate, "").unwrap();
    let journal = jobs.job_dir(id).join("journal");
    until(|| std::fs::read_to_string(&journal).is_ok_and(|lines| lines.contains("\n{\"exit\":")))
        .await;
    for jobs in [jobs, Jobs::open(Config::new(&state)).unwrap()] {
        let page = jobs.list(&ListQuery::default()).await.unwrap();
        assert!(page.jobs[0].state.finished().is_some(), "{page:?}");
    }
}
