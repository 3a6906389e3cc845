//! The server's end of TLS, with a certificate that is made anew before it expires.

use std::sync::{Arc, Mutex, PoisonError};

use legwork_identity::ca::SERVER_LIFETIME;
use legwork_identity::tls::{self, PeerCertificate};
use legwork_identity::{SystemClock, UnixTime};
use tokio_rustls::TlsAcceptor;
use tonic::Code;

use crate::authority::{Opened, now};
use crate::problem::Problem;

/// Makes acceptors.
pub(super) struct Tls {
    opened: Arc<Opened>,
    current: Mutex<Current>,
}

#[derive(Clone)]
struct Current {
    acceptor: TlsAcceptor,
    renew_at: UnixTime,
}

impl Tls {
    pub(super) fn new(opened: Arc<Opened>) -> Result<Self, Problem> {
        let current = Mutex::new(issue(&opened)?);
        Ok(Self { opened, current })
    }

    /// For the next connection.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if now() >= current.renew_at {
            match issue(&self.opened) {
                Ok(next) => *current = next,
                // The old one is good for a while, and then clients say what is wrong with it.
                Err(problem) => tracing::warn!(%problem, "the server's certificate is not renewed"),
            }
        }
        current.acceptor.clone()
    }
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

fn issue(opened: &Opened) -> Result<Current, Problem> {
    let broken = |error: String| Problem::new(Code::Internal, "CA_BROKEN", error);
    let own = opened
        .ca
        .issue_server(opened.store.server(), now(), SERVER_LIFETIME)?;
    let parsed = own.chain().first().map(|own| PeerCertificate::parse(own));
    let renew_at = match parsed {
        Some(Ok(certificate)) => certificate.renew_at(),
        Some(Err(error)) => return Err(broken(error.to_string())),
        None => return Err(broken("no certificate was made".to_owned())),
    };
    let config = tls::server(opened.ca.certificate(), &own, Arc::new(SystemClock))
        .map_err(|error| broken(error.to_string()))?;
    Ok(Current {
        acceptor: TlsAcceptor::from(Arc::new(config)),
        renew_at,
    })
}
