//! Goal: what cannot be done is refused with its reason, and nothing else happens.

use std::os::unix::fs::PermissionsExt;

use legwork_client::{Code, JobSpec, ListFilter, LogOptions, Place, WorkspaceRef};
use testkit::Host;

fn on_host(argv: &[&str]) -> JobSpec {
    JobSpec {
        place: Place {
            dir: "/".into(),
            ..Place::default()
        },
        ..JobSpec::new(argv.iter().copied())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_name_nothing() {
    let host = Host::start().unwrap();
    let client = host.client().await;
    for (id, reason) in [
        ("00000000", "JOB_NOT_FOUND"),
        ("01900000-0000-7000-8000-000000000000", "JOB_NOT_FOUND"),
        ("", "NOT_AN_ID"),
        ("../../etc", "NOT_AN_ID"),
        ("nul\0", "NOT_AN_ID"),
    ] {
        assert_eq!(client.get(id).await.unwrap_err().reason, reason, "{id:?}");
        assert_eq!(
            client.stop(id, None, None).await.unwrap_err().reason,
            reason,
            "{id:?}"
        );
        assert_eq!(
            client.remove(id).await.unwrap_err().reason,
            reason,
            "{id:?}"
        );
        assert_eq!(client.wait(id).await.unwrap_err().reason, reason, "{id:?}");
        let logs = client.logs(id, LogOptions::default()).await;
        assert_eq!(logs.unwrap_err().reason, reason, "{id:?}");
    }
    assert_eq!(
        client.get("00000000").await.unwrap_err().code,
        Code::NotFound
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn specs_that_cannot_be_jobs() {
    let host = Host::start().unwrap();
    let client = host.client().await;
    let cases = [
        (on_host(&[]), "INVALID_JOB"),
        (on_host(&["a\0b"]), "INVALID_JOB"),
        (
            JobSpec {
                timeout_ms: Some(0),
                ..on_host(&["true"])
            },
            "INVALID_JOB",
        ),
        (
            JobSpec {
                stop_signal: Some(200),
                ..on_host(&["true"])
            },
            "INVALID_JOB",
        ),
        (
            JobSpec {
                env: vec![("A=B".into(), "".into())],
                ..on_host(&["true"])
            },
            "INVALID_JOB",
        ),
        (
            JobSpec {
                place: Place {
                    dir: "x".into(),
                    ..Place::default()
                },
                ..on_host(&["true"])
            },
            "DIR_RELATIVE",
        ),
    ];
    for (spec, reason) in cases {
        let error = client.start(&spec).await.unwrap_err();
        assert_eq!(
            (error.code, error.reason.as_str()),
            (Code::InvalidArgument, reason),
            "{spec:?}"
        );
    }
    let place = |name: &str, dir: &str| Place {
        workspace: Some(WorkspaceRef::Name(name.into())),
        dir: dir.into(),
        ..Place::default()
    };
    for (place, reason) in [
        (place("../x", ""), "BAD_NAME"),
        (place("x", "../.."), "DIR_OUTSIDE"),
    ] {
        let spec = JobSpec {
            place,
            ..on_host(&["true"])
        };
        assert_eq!(client.start(&spec).await.unwrap_err().reason, reason);
    }
    assert_eq!(
        client.list(&ListFilter::default()).await.unwrap(),
        [],
        "nothing was started"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_has_a_bound() {
    let host = Host::start().unwrap();
    let client = host.client().await;
    let specs: Vec<_> = (0..1001).map(|_| on_host(&["true"])).collect();
    assert_eq!(
        client.start_many(&specs).await.unwrap_err().reason,
        "MALFORMED"
    );
    assert_eq!(client.list(&ListFilter::default()).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_directory_of_a_newer_version_is_left_alone() {
    let host = Host::start().unwrap();
    let version = host.state_dir().join("version");
    std::fs::write(&version, "999\n").unwrap();
    let problem = host.another().await.unwrap_err();
    assert_eq!(problem.reason, "STATE_NEWER");
    assert!(problem.metadata.contains_key("path"), "{problem:?}");
    assert_eq!(std::fs::read_to_string(&version).unwrap(), "999\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_state_directory_is_its_owners_alone() {
    let host = Host::start().unwrap();
    let mode = std::fs::metadata(host.state_dir())
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o700);
}
