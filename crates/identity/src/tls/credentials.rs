//! What one end proves itself with: certificates and the private key of the first.

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

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
    /// Not read yet: whoever makes a configuration does that.
    key: PrivatePkcs8KeyDer<'static>,
}

impl Credentials {
    /// From the own certificate, followed by those of the authorities that vouch for it, if the peer needs them.
    #[must_use]
    pub fn new(chain: Vec<CertificateDer<'static>>, key: &PrivateKey) -> Self {
        let key = key.der();
        Self { chain, key }
    }

    /// From the texts that a client keeps: its certificate and its key. Whether the key is one that can be used, and the certificate's, turns
    /// out when a configuration is made with them.
    ///
    /// # Errors
    /// When one of them is something else.
    pub fn from_pem(certificate: &str, key: &str) -> Result<Self, NotCredentials> {
        let der = crate::ca::from_pem(certificate).ok_or(NotCredentials::Certificate)?;
        let key = PrivatePkcs8KeyDer::from_pem_slice(key.as_bytes());
        Ok(Self {
            chain: vec![CertificateDer::from(der)],
            key: key.map_err(|_| NotCredentials::Key)?,
        })
    }

    /// The certificates, the own one first.
    #[must_use]
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    pub(super) fn key_der(&self) -> PrivateKeyDer<'static> {
        self.key.clone_key().into()
    }
}
