//! Goal: the page of figures tells what is so, to whoever asks properly, and to nobody else.

use std::net::SocketAddr;

use legwork_client::{JobSpec, Place};
use legwork_identity::Role;
use legwork_server::{Limits, ServerLock, Sockets};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::Code;

use crate::net::{Net, call, verdict};

/// Takes some processor time, and prints six bytes.
const BUSY: &str = "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; echo hello";

async fn ask(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

pub(crate) async fn page(address: SocketAddr) -> String {
    ask(address, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await
}

/// The figure of a line that begins so.
pub(crate) fn figure(page: &str, name: &str) -> f64 {
    let line = page.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap_or_else(|| panic!("{name} is not in\n{page}"))
        .trim()
        .parse()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_tells_what_is_so() {
    let net = Net::start(Limits::default()).await;
    let client = net.client(&net.enrolled("alice", Role::Run)).await;
    let spec = JobSpec {
        place: Place {
            dir: "/".into(),
            ..Place::default()
        },
        ..JobSpec::new(["/bin/sleep", "600"])
    };
    let job = client.start(&spec).await.unwrap();
    client.get("zzzzzzzz").await.unwrap_err();
    let mut stranger = net.raw(None).await;
    let answer = call(&mut stranger, "/made.Up/Name", &[]).await.unwrap();
    assert_eq!(verdict(answer.headers()).unwrap().0, Code::Unauthenticated);
    drop(answer);

    let first = page(net.metrics).await;
    assert!(first.starts_with("HTTP/1.1 200 OK\r\n"), "{first}");
    assert!(first.contains("content-type: application/openmetrics-text; version=1.0.0"));
    assert!(first.ends_with("# EOF\n"));
    let now = |name: &str| figure(&first, name);
    assert_eq!(now("legwork_jobs{state=\"running\"}"), 1.0);
    assert_eq!(now("legwork_jobs{state=\"finished\"}"), 0.0);
    assert_eq!(now("legwork_connections{peer=\"identity\"}"), 1.0);
    assert_eq!(now("legwork_connections{peer=\"stranger\"}"), 1.0);
    let calls = "legwork_call_seconds_count{method=";
    let of = |method: &str, code: &str| now(&format!("{calls}\"{method}\",code=\"{code}\"}}"));
    assert_eq!(of("JobService/Start", "OK"), 1.0);
    assert_eq!(of("JobService/Get", "NOT_FOUND"), 1.0);
    assert_eq!(of("other", "UNAUTHENTICATED"), 1.0);
    let bytes = "legwork_received_bytes_total{method=\"JobService/Start\"}";
    assert!(now(bytes) > 20.0);
    assert!(now("legwork_disk_left_bytes") > 0.0);
    let days = |whose| {
        now(&format!(
            "legwork_certificate_days_left{{whose=\"{whose}\"}}"
        ))
    };
    assert!(days("server") > 1.0 && days("authority") > days("server"));

    assert_eq!(now("legwork_running_processes"), 1.0);
    assert!(now("legwork_running_memory_bytes") > 0.0);
    assert!(now("legwork_running_cpu_seconds{mode=\"user\"}") >= 0.0);
    assert_eq!(now("legwork_ended_output_bytes_total"), 0.0);

    client.stop(&job.id.to_string(), None, None).await.unwrap();
    let spec = JobSpec {
        argv: ["/bin/sh", "-c", BUSY].map(Into::into).into(),
        id: uuid::Uuid::now_v7(),
        ..spec
    };
    client.start(&spec).await.unwrap();
    client.wait(&spec.id.to_string()).await.unwrap();
    let second = page(net.metrics).await;
    let now = |name: &str| figure(&second, name);
    assert_eq!(now("legwork_running_processes"), 0.0);
    for cause in ["stopped", "own"] {
        let ended = format!("legwork_ended_jobs_total{{cause=\"{cause}\"}}");
        assert_eq!(now(&ended), 1.0);
    }
    assert!(now("legwork_ended_cpu_seconds_total{mode=\"user\"}") > 0.0);
    assert_eq!(now("legwork_ended_output_bytes_total"), 6.0);
    assert_eq!(now("legwork_jobs{state=\"finished\"}"), 2.0);
    for secret in ["alice", &job.short_id] {
        assert!(!second.contains(secret));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_else_is_there() {
    let net = Net::start(Limits::default()).await;
    for (request, code) in [
        ("GET / HTTP/1.1\r\nHost: x\r\n\r\n", "404"),
        (
            "POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
            "405",
        ),
        ("nonsense\r\n\r\n", "400"),
    ] {
        let answer = ask(net.metrics, request).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {code} ")), "{answer}");
    }
    // Whoever says nothing takes one of the few turns, and the next waits for it; no more than that.
    let mut silent = Vec::new();
    for _ in 0..8 {
        silent.push(TcpStream::connect(net.metrics).await.unwrap());
    }
    let (answer, ()) = tokio::join!(page(net.metrics), async { drop(silent.pop()) });
    assert!(answer.ends_with("# EOF\n"));
    net.stop.cancel();
    net.serving.await.unwrap().unwrap();
}

#[tokio::test]
async fn metrics_are_for_this_host_only() {
    let state = tempfile::tempdir().unwrap();
    let lock = ServerLock::take(state.path()).unwrap();
    let mut sockets = Sockets::bind(&lock, state.path(), &[]).await.unwrap();
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:9705"] {
        let refused = sockets.with_metrics(address.parse().unwrap()).await;
        assert_eq!(refused.unwrap_err().reason, "NOT_LOOPBACK");
    }
}
