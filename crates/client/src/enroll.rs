//! Becoming known to a server, and staying so.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use legwork_identity::TimeProvider;
use legwork_identity::ca::CaCertificate;
use legwork_identity::invite::Invite;
use legwork_identity::tls::{self, Joined};
use legwork_proto::v1 as wire;
use legwork_proto::v1::enroll_service_client::EnrollServiceClient;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::client::Client;
use crate::clocks::Asking;
use crate::connect::Channel;
use crate::contact;
use crate::dial;
use crate::error::{CallError, Result};
use crate::lost::is_lost;
use crate::options::Options;

/// How long a join whose answer was lost is repeated.
const PATIENCE: Duration = Duration::from_secs(30);
/// Pause before it is.
const PAUSE: Duration = Duration::from_millis(300);

/// What it takes to join.
#[derive(Debug, Clone)]
pub struct Joining {
    /// The invite.
    pub invite: Invite,
    /// The certificate request of the key that was made for this. Whoever repeats a join must use the same key.
    pub certificate_request: Vec<u8>,
}

/// What a server said to somebody who joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enrolled {
    /// The own certificate, in DER.
    pub certificate: Vec<u8>,
    /// The certificate of the server's authority.
    pub ca: CaCertificate,
    /// The server.
    pub server: Uuid,
    /// The name of the identity.
    pub name: String,
    /// What it may do.
    pub roles: Vec<String>,
    /// The server's clock, in milliseconds since the epoch.
    pub server_time_ms: u64,
}

/// Joins a server. Nothing is sent before the server has shown the authority that the invite names. A join whose
/// answer was lost is repeated; the server answers the same key in the same way.
///
/// # Errors
/// `UNREACHABLE`, `WRONG_CA`, `WRONG_SERVER` and the like, and what the server has against the invite.
pub async fn join(
    joining: &Joining,
    clock: Arc<dyn TimeProvider>,
    options: &Options,
    tasks: &TaskTracker,
) -> Result<Enrolled> {
    let invite = &joining.invite;
    let config = tls::join(invite.ca(), invite.server(), Arc::clone(&clock))
        .map_err(|error| CallError::bad_credentials(&error))?;
    let connector = TlsConnector::from(Arc::new(config));
    let asking = Asking {
        addresses: invite.addresses(),
        stranger: |clock| {
            let config = tls::join(invite.ca(), invite.server(), clock).ok()?;
            Some(TlsConnector::from(Arc::new(config)))
        },
        clock: &clock,
        limit: options.connect_timeout,
        tasks,
    };
    let mut doubtful_since = None;
    loop {
        match attempt(joining, &connector, options, tasks).await {
            Ok(enrolled) => return Ok(enrolled),
            Err(Failure::Final(error)) => return Err(error),
            // The secret may be used up by now, and then only the same key is answered: do not give up at once.
            Err(Failure::Lost(_)) if doubtful_since.is_none() => {
                doubtful_since = Some(Instant::now());
            }
            Err(Failure::Lost(error) | Failure::NotThere(error)) => match doubtful_since {
                Some(since) if since.elapsed() < PATIENCE => {}
                Some(_) => return Err(CallError::contact_lost(&error.message)),
                None => return Err(asking.explain(error).await),
            },
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Why one attempt to join failed.
enum Failure {
    /// It is of no use to try again.
    Final(CallError),
    /// The answer was lost.
    Lost(CallError),
    /// There was no connection.
    NotThere(CallError),
}

async fn attempt(
    joining: &Joining,
    connector: &TlsConnector,
    options: &Options,
    tasks: &TaskTracker,
) -> std::result::Result<Enrolled, Failure> {
    let invite = &joining.invite;
    let stream = dial::tls(invite.addresses(), connector, options.connect_timeout)
        .await
        .map_err(|error| Failure::NotThere(error.into_call_error()))?;
    let presented = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let joined = tls::joined(presented, invite.ca())
        .ok_or_else(|| Failure::Final(CallError::protocol("no certificate of an authority")))?;
    let channel = Channel::over(Box::new(stream), options.heartbeat, tasks)
        .await
        .map_err(Failure::NotThere)?;
    let request = wire::JoinRequest {
        secret: Bytes::copy_from_slice(invite.secret().as_bytes()),
        certificate_request: joining.certificate_request.clone().into(),
    };
    let answer = EnrollServiceClient::with_origin(channel, contact::origin())
        .join(request)
        .await;
    match answer {
        Ok(answer) => enrolled(answer.into_inner(), joined).map_err(Failure::Final),
        Err(status) if is_lost(&status) => Err(Failure::Lost(status.into())),
        Err(status) => Err(Failure::Final(status.into())),
    }
}

fn enrolled(answer: wire::JoinResponse, joined: Joined) -> Result<Enrolled> {
    if answer.ca_certificate.as_ref() != joined.ca.der().as_ref() {
        return Err(CallError::protocol("the certificate of another authority"));
    }
    let identity = answer.identity.unwrap_or_default();
    Ok(Enrolled {
        certificate: answer.certificate.into(),
        ca: joined.ca,
        server: joined.server,
        name: identity.name,
        roles: identity.roles,
        server_time_ms: answer.server_time_ms,
    })
}

impl Client {
    /// Asks for a new certificate, for the key that made the request. Returns it in DER.
    ///
    /// # Errors
    /// What the server or the connection says.
    pub async fn renew(&self, certificate_request: &[u8]) -> Result<Vec<u8>> {
        let call = |channel| {
            let request = wire::RenewRequest {
                certificate_request: Bytes::copy_from_slice(certificate_request),
            };
            async move {
                EnrollServiceClient::with_origin(channel, contact::origin())
                    .renew(request)
                    .await
            }
        };
        Ok(self.contact.repeat(call).await?.certificate.into())
    }
}
