//! Goal: joining checks the server before it sends anything, survives a lost answer, and what is joined can be talked to.
//! Method: a small server over TLS on a port of this machine, with a relay in front of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use legwork_client::{
    CallError, Client, Dialler, Enrolled, Joining, Options, Target, TlsTarget, join,
};
use legwork_identity::ca::{CA_LIFETIME, CLIENT_LIFETIME, Ca, SERVER_LIFETIME, Subject};
use legwork_identity::invite::{Invite, Secret};
use legwork_identity::tls::{self, Credentials};
use legwork_identity::{CertificateRequest, Fingerprint, PrivateKey, SystemClock, UnixTime};
use legwork_proto::v1 as wire;
use legwork_proto::v1::enroll_service_server::{EnrollService, EnrollServiceServer};
use legwork_proto::v1::host_service_server::{HostService, HostServiceServer};
use testkit::{Direction, Relay};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;
use tonic::{Request, Response, Status};
use uuid::Uuid;

const SERVER: Uuid = Uuid::from_u128(1);
const ALICE: Uuid = Uuid::from_u128(2);

/// Answers everybody who knows the secret with a certificate, and counts the asking.
#[derive(Clone)]
struct Fake {
    ca: Arc<Ca>,
    secret: Secret,
    asked: Arc<AtomicU32>,
}

impl Fake {
    fn issue(&self, request: &[u8]) -> Bytes {
        let request = CertificateRequest::verify(request).unwrap();
        let subject = Subject {
            id: ALICE,
            name: "alice",
        };
        let (now, life) = (UnixTime::now(), CLIENT_LIFETIME);
        let issued = self.ca.issue_client(&request, &subject, now, life);
        Bytes::copy_from_slice(&issued.unwrap().certificate)
    }
}

#[tonic::async_trait]
impl EnrollService for Fake {
    async fn join(
        &self,
        request: Request<wire::JoinRequest>,
    ) -> Result<Response<wire::JoinResponse>, Status> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let request = request.into_inner();
        if request.secret.as_ref() != self.secret.as_bytes() {
            return Err(Status::permission_denied("no such invite"));
        }
        Ok(Response::new(wire::JoinResponse {
            certificate: self.issue(&request.certificate_request),
            ca_certificate: Bytes::copy_from_slice(self.ca.certificate().der()),
            server_id: SERVER.to_string(),
            identity: Some(wire::Identity {
                id: ALICE.to_string(),
                name: "alice".into(),
                roles: vec!["run".into()],
                ..wire::Identity::default()
            }),
            server_time_ms: 1,
        }))
    }

    async fn renew(
        &self,
        request: Request<wire::RenewRequest>,
    ) -> Result<Response<wire::RenewResponse>, Status> {
        let certificate = self.issue(&request.into_inner().certificate_request);
        Ok(Response::new(wire::RenewResponse { certificate }))
    }

    async fn invite(
        &self,
        _request: Request<wire::InviteRequest>,
    ) -> Result<Response<wire::InviteResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn list_identities(
        &self,
        _request: Request<wire::ListIdentitiesRequest>,
    ) -> Result<Response<wire::ListIdentitiesResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn revoke(
        &self,
        _request: Request<wire::RevokeRequest>,
    ) -> Result<Response<wire::RevokeResponse>, Status> {
        Err(Status::unimplemented(""))
    }
}

#[tonic::async_trait]
impl HostService for Fake {
    async fn info(
        &self,
        _request: Request<wire::InfoRequest>,
    ) -> Result<Response<wire::InfoResponse>, Status> {
        Ok(Response::new(wire::InfoResponse::default()))
    }
}

/// The small server, behind a relay.
struct World {
    fake: Fake,
    relay: Relay,
    tasks: TaskTracker,
    invite: Invite,
}

impl World {
    async fn start() -> Self {
        let ca = Arc::new(Ca::create(UnixTime::now(), CA_LIFETIME).unwrap());
        let fake = Fake {
            ca: Arc::clone(&ca),
            secret: Secret::generate(),
            asked: Arc::default(),
        };
        let tasks = TaskTracker::new();
        let own = ca.issue_server(SERVER, UnixTime::now(), SERVER_LIFETIME);
        let config = tls::server(ca.certificate(), &own.unwrap(), Arc::new(SystemClock));
        let acceptor = TlsAcceptor::from(Arc::new(config.unwrap()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        tasks.spawn(serve(listener, acceptor, fake.clone(), tasks.clone()));
        let dialler = Dialler::new(move || async move {
            let stream = tokio::net::TcpStream::connect(at).await;
            stream.map_err(|error| CallError::unreachable(&error.to_string()))
        });
        let relay = Relay::new(dialler, tasks.clone());
        let port = relay.listen().await.unwrap();
        let invite = Invite::new(
            vec![port.to_string().parse().unwrap()],
            SERVER,
            ca.certificate().fingerprint(),
            fake.secret.clone(),
            UnixTime::since_unix_epoch(Duration::from_secs(u64::from(u32::MAX))),
        );
        Self {
            fake,
            relay,
            tasks,
            invite: invite.unwrap(),
        }
    }

    async fn join(&self, key: &PrivateKey, invite: Invite) -> legwork_client::Result<Enrolled> {
        let joining = Joining {
            invite,
            certificate_request: key.request().unwrap(),
        };
        let clock = Arc::new(SystemClock);
        join(&joining, clock, &Options::default(), &self.tasks).await
    }

    fn target(&self, own: &Credentials, server: Uuid, ca: &Ca) -> Target {
        let addresses = self.invite.addresses().to_vec();
        let ca = ca.certificate().clone();
        let target = TlsTarget::new(addresses, ca, server, own, Arc::new(SystemClock));
        Target::Tls(target.unwrap())
    }

    async fn connect(&self, target: Target) -> legwork_client::Result<Client> {
        let client = Client::connect(target, Options::default(), self.tasks.clone()).await?;
        client.info().await?;
        Ok(client)
    }
}

async fn serve(listener: TcpListener, acceptor: TlsAcceptor, fake: Fake, tasks: TaskTracker) {
    while let Ok((stream, _)) = listener.accept().await {
        let (acceptor, fake) = (acceptor.clone(), fake.clone());
        tasks.spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else {
                return;
            };
            let routes = tonic::service::Routes::new(EnrollServiceServer::new(fake.clone()))
                .add_service(HostServiceServer::new(fake))
                .prepare();
            let serving = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes));
            drop(serving.await);
        });
    }
}

/// A client's certificate of an authority, for a fresh key.
fn credentials(ca: &Ca, made: UnixTime) -> Credentials {
    let key = PrivateKey::generate().unwrap();
    let request = CertificateRequest::verify(&key.request().unwrap()).unwrap();
    let subject = Subject {
        id: ALICE,
        name: "alice",
    };
    let issued = ca.issue_client(&request, &subject, made, CLIENT_LIFETIME);
    Credentials::new(vec![issued.unwrap().certificate], &key)
}

#[tokio::test]
async fn joined_renewed_and_in_contact_over_a_cut() {
    let world = World::start().await;
    let key = PrivateKey::generate().unwrap();
    let enrolled = world.join(&key, world.invite.clone()).await.unwrap();
    assert_eq!((enrolled.server, &*enrolled.name), (SERVER, "alice"));
    assert_eq!(&enrolled.ca, world.fake.ca.certificate());
    assert_eq!(enrolled.roles, ["run"]);

    let own = Credentials::new(vec![enrolled.certificate.into()], &key);
    let target = world.target(&own, SERVER, &world.fake.ca);
    let client = world.connect(target).await.unwrap();
    let next = PrivateKey::generate().unwrap();
    let renewed = client.renew(&next.request().unwrap()).await.unwrap();
    let renewed = tls::PeerCertificate::parse(&renewed).unwrap();
    assert_eq!(renewed.id, ALICE);
    world.relay.cut();
    client.info().await.unwrap();
}

#[tokio::test]
async fn a_join_whose_answer_is_lost_is_made_again_with_the_same_key() {
    let world = World::start().await;
    let key = PrivateKey::generate().unwrap();
    let begun = world.relay.passed(Direction::Down);
    world.join(&key, world.invite.clone()).await.unwrap();
    let whole = world.relay.passed(Direction::Down) - begun;
    let asked = world.fake.asked.load(Ordering::Relaxed);
    world.relay.cut_next(Direction::Down, whole - 200);
    world.join(&key, world.invite.clone()).await.unwrap();
    assert_eq!(world.fake.asked.load(Ordering::Relaxed), asked + 2);
}

#[tokio::test]
async fn nothing_is_sent_to_another_authority_or_server() {
    let world = World::start().await;
    let key = PrivateKey::generate().unwrap();
    let other = |ca: Fingerprint, server, expires| {
        let (addresses, secret) = (world.invite.addresses().to_vec(), world.fake.secret.clone());
        Invite::new(addresses, server, ca, secret, expires).unwrap()
    };
    // Not even when the server is to say whether the invite has expired.
    let long_ago = UnixTime::since_unix_epoch(Duration::from_secs(1));
    for expires in [world.invite.expires_at(), long_ago] {
        let wrong_ca = other(Fingerprint::of(b"another"), SERVER, expires);
        let error = world.join(&key, wrong_ca).await.unwrap_err();
        assert_eq!(error.reason, "WRONG_CA");
        let wrong_server = other(world.invite.ca(), Uuid::from_u128(9), expires);
        let error = world.join(&key, wrong_server).await.unwrap_err();
        assert_eq!(error.reason, "WRONG_SERVER");
    }
    assert_eq!(world.fake.asked.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn each_failure_of_a_handshake_has_its_reason() {
    let world = World::start().await;
    let now = UnixTime::now();
    let own = credentials(&world.fake.ca, now);
    let other = Ca::create(now, CA_LIFETIME).unwrap();
    let reason = async |target| world.connect(target).await.unwrap_err().reason;

    let wrong = world.target(&own, SERVER, &other);
    assert_eq!(reason(wrong).await, "WRONG_CA");
    let wrong = world.target(&own, Uuid::from_u128(9), &world.fake.ca);
    assert_eq!(reason(wrong).await, "WRONG_SERVER");
    // What the server thinks of our certificate comes after the handshake.
    let stranger = world.target(&credentials(&other, now), SERVER, &world.fake.ca);
    assert_eq!(reason(stranger).await, "CERTIFICATE_REFUSED");
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = silent.local_addr().unwrap();
    drop(silent);
    let addresses = vec![nobody.to_string().parse().unwrap()];
    let ca = world.fake.ca.certificate().clone();
    let target = TlsTarget::new(addresses, ca, SERVER, &own, Arc::new(SystemClock)).unwrap();
    assert_eq!(reason(Target::Tls(target)).await, "UNREACHABLE");
}
