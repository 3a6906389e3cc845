//! Goal: every call of `JobService` does what the proto says. Method: a real server and real shims.

use bytes::Bytes;
use legwork_client::{
    Cause, JobSpec, ListFilter, LogEvent, LogFrom, LogOptions, LogStream, Place, Status, Stdin,
};
use testkit::Host;

fn sh(line: &str) -> JobSpec {
    JobSpec {
        env: vec![("PATH".into(), "/usr/bin:/bin".into())],
        place: Place {
            dir: "/".into(),
            ..Place::default()
        },
        ..JobSpec::new(["/bin/sh", "-c", line])
    }
}

/// Everything that a job printed, and its end.
async fn output(
    client: &legwork_client::Client,
    id: &str,
    options: LogOptions,
) -> (Vec<u8>, Option<i32>) {
    let mut logs = client.logs(id, options).await.unwrap();
    let mut bytes = Vec::new();
    let mut code = None;
    let mut ended = false;
    while let Some(event) = logs.next().await.unwrap() {
        assert!(!ended, "the end is the last event");
        match event {
            LogEvent::Chunk(chunk) => bytes.extend_from_slice(&chunk.data),
            LogEvent::Found(_) | LogEvent::Gap { .. } => panic!("nothing was sought or dropped"),
            LogEvent::End { offset, job } => {
                ended = true;
                assert!(offset >= bytes.len() as u64);
                code = job.and_then(|job| job.finish().map(|finish| i32::from(finish.exit_code)));
            }
        }
    }
    assert!(ended, "there was an end");
    (bytes, code)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_from_start_to_removal() {
    let host = Host::start().unwrap();
    let client = host.client().await;
    let job = client
        .start(&sh("echo out; echo err >&2; exit 3"))
        .await
        .unwrap();
    let id = job.id.to_string();

    let follow = LogOptions {
        follow: true,
        ..LogOptions::default()
    };
    let (bytes, code) = output(&client, &id, follow).await;
    assert_eq!(String::from_utf8_lossy(&bytes).lines().count(), 2);
    assert_eq!(code, Some(3));
    let only = |stream| LogOptions {
        stream,
        follow: true,
        from: LogFrom::default(),
    };
    assert_eq!(
        output(&client, &id, only(LogStream::Stdout)).await.0,
        b"out\n"
    );
    assert_eq!(
        output(&client, &id, only(LogStream::Stderr)).await.0,
        b"err\n"
    );

    let ended = client.wait(&job.short_id[..8]).await.unwrap();
    assert_eq!(ended.finish().unwrap().status, Some(Status::Code(3)));
    assert_eq!(ended.finish().unwrap().cause, Cause::Own);
    let mut got = client.get(&id).await.unwrap();
    // Only who asks for one job learns how it was held.
    assert_eq!(got.containment.take().unwrap().kind, "subreaper");
    assert_eq!(got, ended);
    assert_eq!(client.list(&ListFilter::default()).await.unwrap(), [ended]);

    client.remove(&id).await.unwrap();
    assert_eq!(client.get(&id).await.unwrap_err().reason, "JOB_NOT_FOUND");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_start_gives_the_first_answer() {
    let host = Host::start().unwrap();
    let client = host.client().await;
    let marks = host.scratch("marks");
    let spec = sh(&format!("mktemp -p {}", marks.display()));
    let first = client.start(&spec).await.unwrap();
    let again = client.start(&spec).await.unwrap();
    assert_eq!(first.id, again.id);
    client.wait(&first.id.to_string()).await.unwrap();
    client.start(&spec).await.unwrap();
    assert_eq!(std::fs::read_dir(&marks).unwrap().count(), 1, "it ran once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_answers_each_by_itself() {
    let host = Host::start().unwrap();
    let client = host.client().await;
    let nowhere = JobSpec {
        place: Place {
            dir: "relative".into(),
            ..Place::default()
        },
        ..sh("true")
    };
    let missing = JobSpec {
        argv: vec!["no-such-program".into()],
        ..sh("")
    };
    let results = client
        .start_many(&[sh("true"), nowhere, missing, sh("exit 4")])
        .await
        .unwrap();
    assert!(results[0].is_ok());
    assert_eq!(results[1].as_ref().unwrap_err().reason, "DIR_RELATIVE");
    let finish = results[2].as_ref().unwrap().finish().unwrap().clone();
    assert_eq!(finish.exit_code, 127);
    assert!(matches!(finish.cause, Cause::NotStarted(why) if why.step == "exec"));
    let last = client
        .wait(&results[3].as_ref().unwrap().id.to_string())
        .await
        .unwrap();
    assert_eq!(last.finish().unwrap().exit_code, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn input_is_forwarded_and_half_closed() {
    let host = Host::start().unwrap();
    let client = host.client().await;
    let spec = JobSpec {
        stdin: Stdin::Pipe,
        ..sh("cat; echo done")
    };
    let job = client.start(&spec).await.unwrap();
    let id = job.id.to_string();
    let mut input = client.input(&id).await.unwrap();
    assert!(input.write(Bytes::from_static(b"one\n")).await.unwrap());
    assert!(input.write(Bytes::from(vec![b'x'; 200_000])).await.unwrap());
    input.end().await.unwrap();
    let follow = LogOptions {
        follow: true,
        ..LogOptions::default()
    };
    let (bytes, code) = output(&client, &id, follow).await;
    assert_eq!(bytes.len(), 4 + 200_000 + 5);
    assert!(bytes.ends_with(b"xdone\n"));
    assert_eq!(code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn signals_and_stops_reach_the_job() {
    let host = Host::start().unwrap();
    let client = host.client().await;
    let spec = sh("trap 'echo hup' HUP; echo ready; while :; do sleep 0.02; done");
    let job = client.start(&spec).await.unwrap();
    let id = job.id.to_string();
    let mut logs = client
        .logs(
            &id,
            LogOptions {
                follow: true,
                ..LogOptions::default()
            },
        )
        .await
        .unwrap();
    let mut seen = String::new();
    while !seen.contains("ready") {
        let Some(LogEvent::Chunk(chunk)) = logs.next().await.unwrap() else {
            panic!("it goes on")
        };
        seen.push_str(&String::from_utf8_lossy(&chunk.data));
    }
    client.signal(&id, 1).await.unwrap();
    while !seen.contains("hup") {
        let Some(LogEvent::Chunk(chunk)) = logs.next().await.unwrap() else {
            panic!("it goes on")
        };
        seen.push_str(&String::from_utf8_lossy(&chunk.data));
    }
    assert_eq!(
        client.signal(&id, 999).await.unwrap_err().reason,
        "BAD_SIGNAL"
    );
    assert_eq!(client.remove(&id).await.unwrap_err().reason, "JOB_RUNNING");
    let ended = client.stop(&id, None, Some(5_000)).await.unwrap();
    let finish = ended.finish().unwrap();
    assert_eq!(
        finish.cause,
        Cause::Stopped {
            by: "tester".into()
        }
    );
    assert_eq!(finish.status, Some(Status::Signal(15)));
    assert_eq!(finish.exit_code, 143);
    assert_eq!(
        client.signal(&id, 1).await.unwrap_err().reason,
        "JOB_FINISHED"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_paged_and_filtered() {
    let host = Host::start().unwrap();
    let client = host.client().await;
    let spec = |n: usize| JobSpec {
        name: Some(format!("n{}", n % 2)),
        labels: [("n".to_owned(), n.to_string())].into(),
        ..sh("true")
    };
    let specs: Vec<_> = (0..7).map(spec).collect();
    for result in client.start_many(&specs).await.unwrap() {
        client.wait(&result.unwrap().id.to_string()).await.unwrap();
    }
    let list = async |filter: ListFilter| client.list(&filter).await.unwrap().len();
    assert_eq!(list(ListFilter::default()).await, 7);
    assert_eq!(
        list(ListFilter {
            finished: Some(false),
            ..ListFilter::default()
        })
        .await,
        0
    );
    assert_eq!(
        list(ListFilter {
            name: Some("n1".into()),
            ..ListFilter::default()
        })
        .await,
        3
    );
    let labels = [("n".to_owned(), "4".to_owned())].into();
    assert_eq!(
        list(ListFilter {
            labels,
            ..ListFilter::default()
        })
        .await,
        1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn two_servers_on_one_state_directory_agree() {
    let host = Host::start().unwrap();
    let (one, two) = (host.client().await, host.another().await.unwrap());
    let job = one.start(&sh("read x || exit 9")).await.unwrap();
    let id = job.id.to_string();
    assert_eq!(one.wait(&id).await.unwrap().finish().unwrap().exit_code, 9);
    assert_eq!(two.get(&id).await.unwrap(), one.get(&id).await.unwrap());
    let again = one
        .start(&sh("exec sleep 1000"))
        .await
        .unwrap()
        .id
        .to_string();
    assert!(two.get(&again).await.unwrap().pid().is_some());
    let stopped = two.stop(&again, Some(9), None).await.unwrap();
    let seen = one.get(&again).await.unwrap();
    assert_eq!(seen.state, stopped.state);
    assert_eq!(two.get(&again).await.unwrap(), seen);
}
