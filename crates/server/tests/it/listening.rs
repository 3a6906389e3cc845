//! Goal: who comes in over a socket is who it says, gets what its own is, and cannot stay against the server's will.

use std::time::Duration;

use legwork_client::{Client, JobSpec, ListFilter, LogEvent, LogOptions, Place};
use legwork_identity::ca::{CA_LIFETIME, Ca};
use legwork_identity::invite::Invite;
use legwork_identity::tls::Credentials;
use legwork_identity::{PrivateKey, Role, UnixTime};
use legwork_proto::v1 as wire;
use legwork_server::{Limits, ServerLock, connect};
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic::Code;

use crate::net::{Net, SHORT, call, message};

const HOUR: Duration = Duration::from_secs(3600);

fn sh(line: &str) -> JobSpec {
    JobSpec {
        place: Place {
            dir: "/".into(),
            ..Place::default()
        },
        ..JobSpec::new(["/bin/sh", "-c", line])
    }
}

fn follow() -> LogOptions {
    LogOptions {
        follow: true,
        ..LogOptions::default()
    }
}

/// A job of somebody that has printed something and goes on, and its output.
async fn talking(client: &Client) -> (String, legwork_client::Logs) {
    let job = client
        .start(&sh("echo begun; exec sleep 600"))
        .await
        .unwrap();
    let id = job.id.to_string();
    let mut logs = client.logs(&id, follow()).await.unwrap();
    let first = logs.next().await.unwrap();
    assert!(matches!(first, Some(LogEvent::Chunk(_))), "{first:?}");
    (id, logs)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_sees_its_own() {
    let net = Net::start(Limits::default()).await;
    let mut clients = Vec::new();
    for (name, role) in [
        ("alice", Role::Run),
        ("bob", Role::Run),
        ("eve", Role::Read),
        ("root", Role::Admin),
    ] {
        clients.push(net.client(&net.enrolled(name, role)).await);
    }
    let [alice, bob, eve, root] = clients.try_into().unwrap();
    let (id, _logs) = talking(&alice).await;
    for id in [&id[..], &alice.get(&id).await.unwrap().short_id[..8]] {
        assert_eq!(bob.get(id).await.unwrap_err().reason, "JOB_NOT_FOUND");
        assert_eq!(bob.wait(id).await.unwrap_err().reason, "JOB_NOT_FOUND");
        assert_eq!(bob.remove(id).await.unwrap_err().reason, "JOB_NOT_FOUND");
        assert_eq!(bob.signal(id, 9).await.unwrap_err().reason, "JOB_NOT_FOUND");
        let stopped = bob.stop(id, None, None).await;
        assert_eq!(stopped.unwrap_err().reason, "JOB_NOT_FOUND");
        let logs = bob.logs(id, follow()).await;
        assert_eq!(logs.unwrap_err().reason, "JOB_NOT_FOUND");
    }
    let of = |owner: Option<&str>| ListFilter {
        owner: owner.map(str::to_owned),
        ..ListFilter::default()
    };
    assert_eq!(bob.list(&of(None)).await.unwrap(), []);
    assert_eq!(bob.list(&of(Some("alice"))).await.unwrap(), []);
    for client in [&alice, &eve, &root] {
        let listed = client.list(&of(Some("alice"))).await.unwrap();
        assert_eq!((listed.len(), listed[0].owner.as_str()), (1, "alice"));
    }
    let same = JobSpec {
        id: id.parse().unwrap(),
        ..sh("true")
    };
    let taken = bob.start(&same).await;
    assert_eq!(taken.unwrap_err().reason, "ID_TAKEN");
    root.stop(&id, None, None).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invite_gives_a_certificate_once() {
    let net = Net::start(Limits::default()).await;
    let admin = net.client(&net.enrolled("admin", Role::Admin)).await;
    let invited = admin
        .invite("carol", &["run".to_owned()], None)
        .await
        .unwrap();
    let invite = Invite::parse(&invited.token).unwrap();
    let key = PrivateKey::generate().unwrap();
    let join = async |key: &PrivateKey| {
        let request = wire::JoinRequest {
            secret: bytes::Bytes::copy_from_slice(invite.secret().as_bytes()),
            certificate_request: key.request().unwrap().into(),
        };
        let path = "/legwork.v1.EnrollService/Join";
        let mut requests = net.raw(None).await;
        let answer = call(&mut requests, path, &request.encode_to_vec()).await;
        message::<wire::JoinResponse>(answer.unwrap()).await
    };
    let joined = join(&key).await.unwrap();
    assert_eq!(join(&key).await.unwrap().certificate, joined.certificate);
    let used = join(&PrivateKey::generate().unwrap()).await.unwrap_err();
    assert_eq!(
        used,
        Some((Code::PermissionDenied, "INVITE_USED".to_owned()))
    );
    let own = Credentials::new(vec![joined.certificate.to_vec().into()], &key);
    assert_eq!(
        net.client(&own).await.info().await.unwrap().principal,
        "carol"
    );
    let known = admin.identities().await.unwrap();
    assert_eq!(known.len(), 2);
    let again = admin.invite("carol", &["run".to_owned()], None).await;
    assert_eq!(again.unwrap_err().reason, "NAME_TAKEN");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_not_known_does_not_get_in() {
    let net = Net::start(Limits::default()).await;
    let now = UnixTime::now();
    let earlier = UnixTime::since_unix_epoch(Duration::from_secs(now.as_secs()) - 3 * HOUR);
    let later = UnixTime::since_unix_epoch(Duration::from_secs(now.as_secs()) + 3 * HOUR);
    let expired = net.enrolled_at("expired", Role::Admin, earlier, HOUR);
    let early = net.enrolled_at("early", Role::Admin, later, HOUR);
    let other = Ca::create(now, CA_LIFETIME).unwrap();
    let foreign = other.issue_server(net.store.server(), now, HOUR).unwrap();
    for own in [&expired, &early, &foreign] {
        // In TLS 1.3 a client learns at its first read that it was refused.
        let refused = match net.tls(Some(own)).await {
            Ok(mut stream) => stream.read_u8().await.is_err(),
            Err(_) => true,
        };
        assert!(refused, "{own:?}");
    }
    let mut plain = net.tcp().await;
    plain.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    // An alert, and the end; or a reset, if the server was quicker.
    drop(plain.read_to_end(&mut answer).await);
    assert!(answer.len() < 16, "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn revoking_ends_open_streams_too() {
    let net = Net::start(Limits::default()).await;
    let admin = net.client(&net.enrolled("admin", Role::Admin)).await;
    let own = net.enrolled("alice", Role::Run);
    let alice = net.client(&own).await;
    let (id, mut logs) = talking(&alice).await;
    admin.revoke("alice").await.unwrap();
    logs.next().await.unwrap_err();
    alice.info().await.unwrap_err();
    let again = net.client(&own).await.info().await.unwrap_err();
    assert_eq!(
        (again.code, &*again.reason),
        (Code::Unauthenticated, "NOT_ENROLLED")
    );
    // The job is as good as any other, and the admin's to end.
    assert_eq!(admin.get(&id).await.unwrap().owner, "alice");
    admin.stop(&id, None, None).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_says_nothing_does_not_stay() {
    let net = Net::start(Limits {
        handshake: SHORT,
        ..Limits::default()
    })
    .await;
    let mut silent = net.tcp().await;
    let mut shaken = net.tls(None).await.unwrap();
    let mut rest = Vec::new();
    assert_eq!(silent.read_to_end(&mut rest).await.unwrap(), 0);
    drop(shaken.read_to_end(&mut rest).await);
    assert_eq!(rest, b"");
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_are_few() {
    let net = Net::start(Limits {
        strangers_each: 3,
        ..Limits::default()
    })
    .await;
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(net.tls(None).await.unwrap());
    }
    let mut fourth = net.tcp().await;
    let mut rest = Vec::new();
    drop(fourth.read_to_end(&mut rest).await);
    assert_eq!(rest, b"");
    drop(held);
    let mut fifth = net.tls(None).await;
    let deadline = tokio::time::Instant::now() + testkit::PATIENCE;
    while fifth.is_err() && tokio::time::Instant::now() < deadline {
        fifth = net.tls(None).await;
    }
    fifth.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_who_only_stay_keep_nobody_out() {
    let net = Net::start(Limits {
        strangers: 2,
        stranger_grace: Duration::ZERO,
        ..Limits::default()
    })
    .await;
    let alice = net.enrolled("alice", Role::Run);
    let mut first = net.tls(None).await.unwrap();
    let _second = net.tcp().await;
    net.client(&alice).await.info().await.unwrap();
    let mut rest = Vec::new();
    drop(first.read_to_end(&mut rest).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stops_lets_its_clients_go_and_its_jobs_run() {
    let net = Net::start(Limits::default()).await;
    let own = net.enrolled("alice", Role::Run);
    let alice = net.client(&own).await;
    let (id, mut logs) = talking(&alice).await;
    let waiting = alice.clone();
    let waited = id.clone();
    let waiting = net.tasks.spawn(async move { waiting.wait(&waited).await });
    net.stop.cancel();
    let cut = logs.next().await.unwrap_err();
    assert_eq!(
        (cut.code, &*cut.reason),
        (Code::Unavailable, "SHUTTING_DOWN")
    );
    net.serving.await.unwrap().unwrap();
    // It was told what is known, and asks again what is not there any more.
    waiting.await.unwrap().unwrap_err();
    assert!(tokio::net::TcpStream::connect(net.address).await.is_err());
    assert!(
        connect(&net.dir.path().join("state"))
            .await
            .unwrap()
            .is_none()
    );
    assert!(!net.dir.path().join("state/sock").exists());
    let host = testkit::Host::on(net.dir).unwrap();
    let local = host.client().await;
    assert!(local.get(&id).await.unwrap().finish().is_none());
    local.stop(&id, None, None).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn users_of_this_host_come_through_the_socket() {
    let net = Net::start(Limits::default()).await;
    let stream = connect(&net.state()).await.unwrap().unwrap();
    let local = Client::over(stream, net.tasks.clone()).await.unwrap();
    let invited = local.invite("dave", &["read".to_owned()], Some(60)).await;
    assert!(invited.unwrap().token.starts_with("lw1."));
    let second = ServerLock::take(&net.state()).unwrap_err();
    assert_eq!(second.reason, "SERVER_RUNNING");
    assert!(second.message.contains("process"), "{second}");
}
