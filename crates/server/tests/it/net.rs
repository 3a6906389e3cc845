//! A server that listens on this machine, and peers of every kind.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use legwork_client::Client;
use legwork_identity::ca::{CA_LIFETIME, CLIENT_LIFETIME, Ca};
use legwork_identity::store::{NewInvite, Store};
use legwork_identity::tls::{self, Credentials, HandshakeError};
use legwork_identity::{CertificateRequest, PrivateKey, Role, SystemClock, UnixTime};
use legwork_server::{
    Cgroups, Config, JobRules, Limits, Problem, RecordRules, RunAs, Server, ServerLock, Sockets,
};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// For a handshake that is not made: shorter than usual, and longer than one that is made takes on a machine that is busy.
pub(crate) const SHORT: Duration = Duration::from_secs(3);

/// A server on a free port of the loopback interface.
pub(crate) struct Net {
    pub(crate) dir: TempDir,
    pub(crate) address: SocketAddr,
    pub(crate) metrics: SocketAddr,
    pub(crate) stop: CancellationToken,
    pub(crate) serving: JoinHandle<Result<(), Problem>>,
    pub(crate) store: Store,
    pub(crate) ca: Ca,
    pub(crate) tasks: TaskTracker,
}

/// How a call was answered, as far as the headers of the answer say.
pub(crate) type Verdict = Option<(tonic::Code, String)>;

impl Net {
    pub(crate) async fn start(limits: Limits) -> Self {
        Self::on(tempfile::tempdir().unwrap(), limits, None).await
    }

    /// With rules for records.
    pub(crate) async fn keeping(rules: RecordRules) -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self::with(dir, Limits::default(), None, rules).await
    }

    /// On a directory that an earlier one may have left; as root with users for its jobs.
    pub(crate) async fn on(dir: TempDir, limits: Limits, run_as: Option<&RunAs>) -> Self {
        Self::with(dir, limits, run_as, RecordRules::default()).await
    }

    async fn with(
        dir: TempDir,
        limits: Limits,
        run_as: Option<&RunAs>,
        records: RecordRules,
    ) -> Self {
        let state_dir = dir.path().join("state");
        let tasks = TaskTracker::new();
        let config = Config {
            state_dir: state_dir.clone(),
            cgroups: Cgroups::None,
            keeper: None,
            job_rules: JobRules::default(),
            sites: std::collections::BTreeMap::new(),
            records,
        };
        let server = match run_as {
            Some(run_as) => Server::open_for(config, run_as, tasks.clone()).await,
            None => Server::open(config, tasks.clone()),
        };
        let server = server.unwrap();
        let lock = ServerLock::take(&state_dir).unwrap();
        // Old enough for certificates that are expired by now.
        let now = UnixTime::now().as_secs();
        let yesterday = UnixTime::since_unix_epoch(Duration::from_secs(now - 86_400));
        Ca::load_or_create(&state_dir, yesterday, CA_LIFETIME).unwrap();
        assert!(!server.initialise().unwrap(), "there was one");
        let any = "127.0.0.1:0".parse().unwrap();
        let mut sockets = Sockets::bind(&lock, &state_dir, &[any]).await.unwrap();
        let metrics = sockets.with_metrics(any).await.unwrap();
        let address = sockets.addresses().unwrap()[0];
        server
            .advertise(&[address.to_string().parse().unwrap()])
            .unwrap();
        let stop = CancellationToken::new();
        let stopping = stop.clone();
        let serving = tasks.spawn(async move {
            let served = server.listen(sockets, limits, None, stopping).await;
            drop(lock);
            served
        });
        Self {
            store: Store::open(&state_dir, UnixTime::now()).unwrap(),
            ca: Ca::load(&state_dir).unwrap().unwrap(),
            dir,
            address,
            metrics,
            stop,
            serving,
            tasks,
        }
    }

    /// Stops it, and leaves its directory.
    pub(crate) async fn end(self) -> TempDir {
        self.stop.cancel();
        self.serving.await.unwrap().unwrap();
        self.dir
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// Somebody who has joined.
    pub(crate) fn enrolled(&self, name: &str, role: Role) -> Credentials {
        self.enrolled_at(name, role, UnixTime::now(), CLIENT_LIFETIME)
    }

    /// Somebody who joined then, with a certificate for so long.
    pub(crate) fn enrolled_at(
        &self,
        name: &str,
        role: Role,
        now: UnixTime,
        life: Duration,
    ) -> Credentials {
        let new = NewInvite {
            certificate_lifetime: life,
            ..NewInvite::new(name, role)
        };
        let offer = self.store.invite(&new, now).unwrap();
        let key = PrivateKey::generate().unwrap();
        let asked = CertificateRequest::verify(&key.request().unwrap()).unwrap();
        let redeemed = self.store.redeem(&self.ca, &offer.secret, &asked, now);
        Credentials::new(vec![redeemed.unwrap().certificate.certificate], &key)
    }

    pub(crate) async fn tcp(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// A connection after the handshake. With TLS 1.3, the server's refusal is read later.
    pub(crate) async fn tls(
        &self,
        own: Option<&Credentials>,
    ) -> Result<TlsStream<TcpStream>, HandshakeError> {
        let server = self.store.server();
        let config = tls::client(self.ca.certificate(), server, own, Arc::new(SystemClock));
        let connector = TlsConnector::from(Arc::new(config.unwrap()));
        let stream = connector.connect(tls::server_name(), self.tcp().await);
        Ok(stream.await?)
    }

    pub(crate) async fn client(&self, own: &Credentials) -> Client {
        let stream = self.tls(Some(own)).await.unwrap();
        Client::over(stream, self.tasks.clone()).await.unwrap()
    }

    /// A connection for calls by hand.
    pub(crate) async fn raw(&self, own: Option<&Credentials>) -> http2::SendRequest<Full<Bytes>> {
        let stream = TokioIo::new(self.tls(own).await.unwrap());
        let (requests, connection) = http2::handshake(TokioExecutor::new(), stream)
            .await
            .unwrap();
        self.tasks.spawn(async move { drop(connection.await) });
        requests
    }
}

/// Calls a method with one message, already encoded.
pub(crate) async fn call(
    requests: &mut http2::SendRequest<Full<Bytes>>,
    path: &str,
    message: &[u8],
) -> hyper::Result<http::Response<hyper::body::Incoming>> {
    let length = u32::try_from(message.len()).unwrap();
    let framed = [&[0], &length.to_be_bytes()[..], message].concat();
    let request = http::Request::post(format!("http://legwork{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Full::new(Bytes::from(framed)))
        .unwrap();
    requests.send_request(request).await
}

/// The code and reason of a call that was refused before it reached its service.
pub(crate) fn verdict(headers: &http::HeaderMap) -> Verdict {
    use tonic_types::StatusExt;
    let status = tonic::Status::from_header_map(headers)?;
    let reason = status.get_details_error_info().map(|info| info.reason);
    Some((status.code(), reason.unwrap_or_default()))
}

/// The one message of an answer, or how it ended.
pub(crate) async fn message<M: prost::Message + Default>(
    answer: http::Response<hyper::body::Incoming>,
) -> Result<M, Verdict> {
    if let Some(refused) = verdict(answer.headers()) {
        return Err(Some(refused));
    }
    let body = answer.into_body().collect().await.unwrap();
    let trailers = body.trailers().cloned().unwrap_or_default();
    let bytes = body.to_bytes();
    match bytes.get(5..) {
        Some(message) => Ok(M::decode(message).unwrap()),
        None => Err(verdict(&trailers)),
    }
}
