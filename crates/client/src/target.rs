//! Where a server is, and how it is known to be the right one.

use std::fmt;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use legwork_identity::TimeProvider;
use legwork_identity::ca::CaCertificate;
use legwork_identity::invite::Address;
use legwork_identity::tls::{self, Credentials, HandshakeError, PeerCertificate, PeerRefusal};
use tokio::net::UnixStream;
use tokio_rustls::TlsConnector;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::clocks::{Asking, text};
use crate::dial;
use crate::error::{CallError, Result};
use crate::stream::ByteStream;

type Dialling = Pin<Box<dyn Future<Output = Result<Box<dyn ByteStream>>> + Send>>;

/// Makes a new stream to a server each time that it is asked.
#[derive(Clone)]
pub struct Dialler(Arc<dyn Fn() -> Dialling + Send + Sync>);

impl Dialler {
    /// From what makes a stream.
    pub fn new<F, Made, S>(dial: F) -> Self
    where
        F: Fn() -> Made + Send + Sync + 'static,
        Made: Future<Output = Result<S>> + Send + 'static,
        S: ByteStream + 'static,
    {
        Self(Arc::new(move || {
            let made = dial();
            Box::pin(async move { Ok(Box::new(made.await?) as Box<dyn ByteStream>) })
        }))
    }

    /// Makes a stream.
    ///
    /// # Errors
    /// What keeps it from being made.
    pub async fn dial(&self) -> Result<Box<dyn ByteStream>> {
        (self.0)().await
    }
}

impl fmt::Debug for Dialler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Dialler(..)")
    }
}

/// A server that is known by its authority and its uuid, at any of several addresses.
#[derive(Clone)]
pub struct TlsTarget {
    addresses: Vec<Address>,
    ca: CaCertificate,
    server: Uuid,
    clock: Arc<dyn TimeProvider>,
    own: Arc<Mutex<Own>>,
}

/// How we show who we are; it changes when the certificate is renewed.
struct Own {
    connector: TlsConnector,
    certificate: Option<PeerCertificate>,
}

impl TlsTarget {
    /// Puts one together.
    ///
    /// # Errors
    /// `BAD_CREDENTIALS` when the authority's certificate or the credentials cannot be used.
    pub fn new(
        addresses: Vec<Address>,
        ca: CaCertificate,
        server: Uuid,
        credentials: &Credentials,
        clock: Arc<dyn TimeProvider>,
    ) -> Result<Self> {
        let own = own(&ca, server, credentials, &clock)?;
        Ok(Self {
            addresses,
            ca,
            server,
            clock,
            own: Arc::new(Mutex::new(own)),
        })
    }

    /// Shows another certificate from the next connection on. Clones do so too.
    ///
    /// # Errors
    /// `BAD_CREDENTIALS`.
    pub fn renewed(&self, credentials: &Credentials) -> Result<()> {
        let own = own(&self.ca, self.server, credentials, &self.clock)?;
        *self.own.lock().unwrap_or_else(PoisonError::into_inner) = own;
        Ok(())
    }

    fn shown(&self) -> (TlsConnector, Option<PeerCertificate>) {
        let own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        (own.connector.clone(), own.certificate.clone())
    }
}

fn own(
    ca: &CaCertificate,
    server: Uuid,
    credentials: &Credentials,
    clock: &Arc<dyn TimeProvider>,
) -> Result<Own> {
    let config = tls::client(ca, server, Some(credentials), Arc::clone(clock))
        .map_err(|error| CallError::bad_credentials(&error))?;
    let certificate = credentials.chain().first();
    Ok(Own {
        connector: TlsConnector::from(Arc::new(config)),
        certificate: certificate.and_then(|der| PeerCertificate::parse(der).ok()),
    })
}

impl fmt::Debug for TlsTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsTarget")
            .field("addresses", &self.addresses)
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}

/// Where a server is.
#[derive(Debug, Clone)]
pub enum Target {
    /// Across a network.
    Tls(TlsTarget),
    /// On this machine, at this socket.
    Unix(PathBuf),
    /// Wherever this leads.
    Dialler(Dialler),
}

impl Target {
    /// A new stream to the server.
    pub(crate) async fn dial(&self, limit: Duration) -> Result<Box<dyn ByteStream>> {
        match self {
            Self::Tls(target) => {
                let (connector, own) = target.shown();
                let dialled = dial::tls(&target.addresses, &connector, limit).await;
                let stream =
                    dialled.map_err(|error| self.explain(error.into_call_error(), own.as_ref()))?;
                Ok(Box::new(stream))
            }
            Self::Unix(path) => match UnixStream::connect(path).await {
                Ok(stream) => Ok(Box::new(stream)),
                Err(error) => Err(CallError::unreachable(&format!(
                    "{}: {error}",
                    path.display()
                ))),
            },
            Self::Dialler(dialler) => tokio::time::timeout(limit, dialler.dial())
                .await
                .unwrap_or_else(|_elapsed| Err(CallError::unreachable("it does not answer"))),
        }
    }

    /// What to say of a peer that does not take our certificate, which it says after the handshake.
    pub(crate) fn verdict(&self, refusal: PeerRefusal) -> Option<CallError> {
        let Self::Tls(target) = self else { return None };
        let error = CallError::handshake(&HandshakeError::Refused(refusal));
        Some(self.explain(error, target.shown().1.as_ref()))
    }

    /// Says what the server's clock says, where a certificate was not valid by one of the two.
    pub(crate) async fn with_server_time(
        &self,
        error: CallError,
        limit: Duration,
        tasks: &TaskTracker,
    ) -> CallError {
        let Self::Tls(target) = self else {
            return error;
        };
        let asking = Asking {
            addresses: &target.addresses,
            stranger: |clock| {
                let config = tls::client(&target.ca, target.server, None, clock).ok()?;
                Some(TlsConnector::from(Arc::new(config)))
            },
            clock: &target.clock,
            limit,
            tasks,
        };
        asking.explain(error).await
    }

    /// Says what our own certificate and clock say, where the peer did not take it.
    fn explain(&self, mut error: CallError, own: Option<&PeerCertificate>) -> CallError {
        if let (true, Self::Tls(target), Some(own)) =
            (error.reason == CallError::REFUSED_NOW, self, own)
        {
            let now = target.clock.current_time().map(text).unwrap_or_default();
            error.message.push_str(&format!(
                "; it is valid from {} to {}, and this machine's clock says {now}",
                text(own.not_before),
                text(own.not_after),
            ));
        }
        error
    }
}
