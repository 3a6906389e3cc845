//! What one end proves itself with: certificates and the private key of the first.

use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::key::PrivateKey;

/// What was given as a certificate and its key is not that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotCredentials {
    /// The text is not exactly one certificate in PEM.
    #[error("this is not a certificate in PEM")]
    Certificate,
    /// The text is not a private key in PEM.
    #[error("this is not a private key in PEM")]
    Key,
}

/// A certificate with its private key. The key never appears in debug output.
#[derive(Debug)]
pub struct Credentials {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKey,
}

impl Credentials {
    /// From the own certificate, followed by those of the authorities that vouch for it, if the peer needs them.
    #[must_use]
    pub const fn new(chain: Vec<CertificateDer<'static>>, key: PrivateKey) -> Self {
        Self { chain, key }
    }

    /// From the texts that a client keeps: its certificate and its key.
    ///
    /// # Errors
    /// When one of them is something else.
    pub fn from_pem(certificate: &str, key: &str) -> Result<Self, NotCredentials> {
        let der = crate::ca::from_pem(certificate).ok_or(NotCredentials::Certificate)?;
        let key = PrivateKey::from_pem(key).map_err(|_| NotCredentials::Key)?;
        Ok(Self::new(vec![CertificateDer::from(der)], key))
    }

    /// The certificates, the own one first.
    #[must_use]
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    pub(super) fn key_der(&self) -> PrivateKeyDer<'static> {
        self.key.der()
    }
}
