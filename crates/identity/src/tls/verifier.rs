//! How a client decides whether it talks to its server.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, DigitallySignedStruct, Error, OtherError, PeerIncompatible, RootCertStore,
    SignatureScheme,
};
use uuid::Uuid;

use super::PeerCertificate;
use crate::ca::CaCertificate;
use crate::fingerprint::Fingerprint;

/// By what a client knows the authority.
#[derive(Debug)]
pub(super) enum Trust {
    /// By its certificate.
    Authority(RootCertStore),
    /// By the hash of its certificate, which the server presents.
    Hash(Fingerprint),
}

/// The authority is the right one, and the server is another one of it.
#[derive(Debug, thiserror::Error)]
#[error("not the expected server")]
pub(super) struct OtherServer {
    pub(super) expected: Uuid,
    pub(super) found: Option<Uuid>,
}

/// Accepts one server of one authority.
#[derive(Debug)]
pub(super) struct ServerVerifier {
    trust: Trust,
    server: Uuid,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerVerifier {
    pub(super) const fn new(
        trust: Trust,
        server: Uuid,
        algorithms: WebPkiSupportedAlgorithms,
    ) -> Self {
        Self {
            trust,
            server,
            algorithms,
        }
    }

    fn verify_chain(
        &self,
        server: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        let server = ParsedCertificate::try_from(server)?;
        let verify = |roots: &RootCertStore| {
            let algorithms = self.algorithms.all;
            verify_server_cert_signed_by_trust_anchor(&server, roots, others, now, algorithms)
        };
        let verified = match &self.trust {
            Trust::Authority(roots) => verify(roots),
            Trust::Hash(hash) => {
                let ca = authority_in(others, *hash).ok_or(CertificateError::UnknownIssuer)?;
                let mut roots = RootCertStore::empty();
                roots.add(ca.der().clone())?;
                verify(&roots)
            }
        };
        // An authority that gave itself the name of the right one.
        verified.map_err(|error| match error {
            Error::InvalidCertificate(CertificateError::BadSignature) => {
                CertificateError::UnknownIssuer.into()
            }
            other => other,
        })
    }
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.verify_chain(end_entity, intermediates, now)?;
        let expected = self.server;
        let found = PeerCertificate::parse(end_entity).ok().map(|peer| peer.id);
        if found != Some(expected) {
            let other = OtherServer { expected, found };
            return Err(CertificateError::Other(OtherError(Arc::new(other))).into());
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        // Never asked: the configuration has no other version than 1.3.
        Err(PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// The certificate with this hash, if it is among these and is an authority's.
pub(super) fn authority_in(
    others: &[CertificateDer<'_>],
    hash: Fingerprint,
) -> Option<CaCertificate> {
    let found = others.iter().find(|der| Fingerprint::of(der) == hash)?;
    CaCertificate::from_der(found).ok()
}
