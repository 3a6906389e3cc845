//! Goal: a connection beyond an identity's limit is told so, costs nobody else a place, and does not stay.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http2;
use legwork_client::{
    CallError, Client, JobSpec, LogEvent, LogOptions, Notice, Options, Patience, Place, Stdin,
    Target, TlsTarget,
};
use legwork_identity::tls::Credentials;
use legwork_identity::{Role, SystemClock};
use legwork_server::Limits;
use tokio::io::AsyncReadExt;
use tokio::sync::watch;
use tonic::Code;

use crate::metrics;
use crate::net::{Net, SHORT, call, verdict};

const INFO: &str = "/legwork.v1.HostService/Info";
/// How many of one identity stay to be told.
const EXCESS_EACH: usize = 8;
const EXCESS_MOST: f64 = 8.0;

fn few(connections_each: usize) -> Limits {
    Limits {
        connections_each,
        ..Limits::default()
    }
}

/// What became of the contact of a client.
#[derive(Clone)]
struct Heard {
    notices: Arc<Mutex<Vec<Notice>>>,
    count: watch::Sender<usize>,
}

impl Heard {
    fn notices(&self) -> Vec<Notice> {
        self.notices.lock().unwrap().clone()
    }

    async fn some(&self) {
        let mut count = self.count.subscribe();
        let heard = count.wait_for(|count| *count > 0);
        let heard = tokio::time::timeout(testkit::PATIENCE, heard).await;
        heard.unwrap().unwrap();
    }
}

/// A client that connects again.
async fn keeping(net: &Net, own: &Credentials, patience: Patience) -> (Client, Heard) {
    let heard = Heard {
        notices: Arc::default(),
        count: watch::Sender::default(),
    };
    let hearing = heard.clone();
    let options = Options {
        patience,
        ..Options::default()
    };
    let options = options.on_notice(move |notice| {
        hearing.notices.lock().unwrap().push(notice);
        hearing.count.send_modify(|count| *count += 1);
    });
    let target = TlsTarget::new(
        vec![net.address.to_string().parse().unwrap()],
        net.ca.certificate().clone(),
        net.store.server(),
        own,
        Arc::new(SystemClock),
    );
    let target = Target::Tls(target.unwrap());
    let client = Client::connect(target, options, net.tasks.clone()).await;
    (client.unwrap(), heard)
}

fn assert_told(error: &CallError, name: &str, limit: &str) {
    assert_eq!(
        (error.code, &*error.reason),
        (Code::ResourceExhausted, "TOO_MANY_CONNECTIONS"),
        "{error:?}"
    );
    assert!(error.retryable());
    assert_eq!(error.metadata["limit"], limit);
    assert_eq!(error.metadata["identity"], name);
    let begins = format!("{name} has {limit} connections to this server");
    assert!(error.message.starts_with(&begins), "{error}");
    for step in ["end some", "connections_each"] {
        assert!(error.message.contains(step), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_call_on_one_too_many_is_told_so() {
    let net = Net::start(Limits {
        strangers: 1,
        ..few(2)
    })
    .await;
    let own = net.enrolled("alice", Role::Admin);
    let mut held = Vec::new();
    for _ in 0..2 {
        let client = net.client(&own).await;
        client.info().await.unwrap();
        held.push(client);
    }
    let excess = net.client(&own).await;
    for _ in 0..2 {
        assert_told(&excess.info().await.unwrap_err(), "alice", "2");
    }
    assert_told(&excess.identities().await.unwrap_err(), "alice", "2");
    // Larger than what such a peer may send before it is read.
    let large = JobSpec::new(["/bin/true", &"x".repeat(1 << 20)]);
    let started = excess.start(&large).await;
    assert_told(&started.unwrap_err(), "alice", "2");
    // Also what anybody may call, and what there is not.
    let mut raw = net.raw(Some(&own)).await;
    for path in [
        "/grpc.health.v1.Health/Check",
        "/legwork.v1.EnrollService/Join",
        "/made.Up/Name",
    ] {
        let answer = call(&mut raw, path, &[]).await.unwrap();
        let told = verdict(answer.headers()).unwrap();
        assert_eq!(told.1, "TOO_MANY_CONNECTIONS", "{path}");
    }
    let page = metrics::page(net.metrics).await;
    let of = |peer| {
        let name = format!("legwork_connections{{peer=\"{peer}\"}}");
        metrics::figure(&page, &name)
    };
    assert_eq!(
        (of("identity"), of("excess"), of("stranger")),
        (2.0, 2.0, 0.0)
    );
    // The one place that strangers have is free, and so are those of others.
    let bob = net.client(&net.enrolled("bob", Role::Run)).await;
    bob.info().await.unwrap();
    for client in &held {
        client.info().await.unwrap();
    }
}

/// A connection on which a call was refused for there being too many; `None` where the server closed it.
async fn told(net: &Net, own: &Credentials) -> Option<http2::SendRequest<Full<Bytes>>> {
    let mut raw = net.raw(Some(own)).await;
    let answer = call(&mut raw, INFO, &[]).await.ok()?;
    let reason = verdict(answer.headers()).unwrap().1;
    assert_eq!(reason, "TOO_MANY_CONNECTIONS");
    Some(raw)
}

#[tokio::test(flavor = "multi_thread")]
async fn those_beyond_are_few() {
    let net = Net::start(few(1)).await;
    let own = net.enrolled("alice", Role::Run);
    let first = net.client(&own).await;
    first.info().await.unwrap();
    let mut staying = Vec::new();
    // They stay for ten seconds; on a machine on which that is short, there are never more of them all the same.
    for _ in 0..2 * EXCESS_EACH {
        staying.extend(told(&net, &own).await);
        let page = metrics::page(net.metrics).await;
        let excess = metrics::figure(&page, "legwork_connections{peer=\"excess\"}");
        assert!(excess <= EXCESS_MOST, "{excess}");
    }
    assert!(staying.len() >= EXCESS_EACH, "{}", staying.len());
    first.info().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn those_beyond_do_not_stay() {
    let net = Net::start(Limits {
        stranger_life: Duration::from_millis(300),
        ..few(1)
    })
    .await;
    let own = net.enrolled("alice", Role::Run);
    let first = net.client(&own).await;
    first.info().await.unwrap();
    // They are sent away, though they would stay; then others are told.
    let all = async {
        let mut count = 0;
        while count <= EXCESS_EACH {
            let Some(mut raw) = told(&net, &own).await else {
                continue;
            };
            while call(&mut raw, INFO, &[]).await.is_ok() {}
            count += 1;
        }
    };
    tokio::time::timeout(testkit::PATIENCE, all).await.unwrap();
    first.info().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_says_nothing_does_not_stay_either() {
    let net = Net::start(Limits {
        handshake: SHORT,
        stranger_life: Duration::from_millis(200),
        drain: Duration::from_millis(200),
        ..few(1)
    })
    .await;
    let own = net.enrolled("alice", Role::Run);
    let first = net.client(&own).await;
    first.info().await.unwrap();
    let mut silent = net.tls(Some(&own)).await.unwrap();
    let mut rest = Vec::new();
    let ended = silent.read_to_end(&mut rest);
    drop(
        tokio::time::timeout(testkit::PATIENCE, ended)
            .await
            .unwrap(),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_who_is_revoked_is_told_that() {
    let net = Net::start(few(1)).await;
    let admin = net.client(&net.enrolled("admin", Role::Admin)).await;
    let own = net.enrolled("alice", Role::Run);
    let first = net.client(&own).await;
    first.info().await.unwrap();
    let excess = net.client(&own).await;
    assert_told(&excess.info().await.unwrap_err(), "alice", "1");
    admin.revoke("alice").await.unwrap();
    assert_eq!(excess.info().await.unwrap_err().reason, "NOT_ENROLLED");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_waits_until_there_is_room() {
    let net = Net::start(few(1)).await;
    let own = net.enrolled("alice", Role::Run);
    let first = net.client(&own).await;
    first.info().await.unwrap();
    let (second, heard) = keeping(&net, &own, Patience::Forever).await;
    let asking = net.tasks.spawn(async move { second.info().await });
    heard.some().await;
    drop(first);
    let told = tokio::time::timeout(testkit::PATIENCE, asking).await;
    assert_eq!(told.unwrap().unwrap().unwrap().principal, "alice");
    let notices = heard.notices();
    let [Notice::Lost { why }, Notice::Back] = &notices[..] else {
        panic!("{notices:?}");
    };
    assert!(why.starts_with("alice has 1 connections"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_without_patience_tells_what_the_server_said() {
    let net = Net::start(few(1)).await;
    let own = net.enrolled("alice", Role::Run);
    let first = net.client(&own).await;
    first.info().await.unwrap();
    // Neither what may be repeated nor what must not be has been done, and nobody doubts it.
    let none = Patience::For(Duration::ZERO);
    let (second, _) = keeping(&net, &own, none).await;
    assert_told(&second.info().await.unwrap_err(), "alice", "1");
    let (third, _) = keeping(&net, &own, none).await;
    let id = uuid::Uuid::now_v7().to_string();
    assert_told(&third.signal(&id, 9).await.unwrap_err(), "alice", "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_may_have_no_other_connection_shares_the_one_it_has() {
    let net = Net::start(few(2)).await;
    let own = net.enrolled("alice", Role::Run);
    let (client, heard) = keeping(&net, &own, Patience::Forever).await;
    let spec = JobSpec {
        place: Place {
            dir: "/".into(),
            ..Place::default()
        },
        stdin: Stdin::Pipe,
        ..JobSpec::new(["/bin/sh", "-c", "echo begun; exec sleep 600"])
    };
    let id = client.start(&spec).await.unwrap().id.to_string();
    // It shares a connection with small calls, and so keeps it from being lent.
    let mut input = client.input(&id).await.unwrap();
    assert!(input.write("x".into()).await.unwrap());
    let follow = LogOptions {
        follow: true,
        ..LogOptions::default()
    };
    let mut followers = Vec::new();
    for _ in 0..3 {
        let mut logs = client.logs(&id, follow).await.unwrap();
        let first = tokio::time::timeout(testkit::PATIENCE, logs.next()).await;
        let first = first.unwrap().unwrap();
        assert!(matches!(first, Some(LogEvent::Chunk(_))), "{first:?}");
        client.get(&id).await.unwrap();
        followers.push(logs);
    }
    client.stop(&id, Some(9), None).await.unwrap();
    for mut logs in followers {
        while let Some(event) = logs.next().await.unwrap() {
            assert!(matches!(event, LogEvent::End { .. }), "nothing twice");
        }
    }
    assert_eq!(heard.notices(), []);
}
