//! The public half of an authority: its certificate, as clients keep it.

use std::fmt;

use rcgen::{KeyPair, PublicKeyData};
use rustls::pki_types::{CertificateDer, UnixTime};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use super::CaError;
use crate::fingerprint::Fingerprint;
use crate::timestamp;

const PEM_TAG: &str = "CERTIFICATE";

/// Longest certificate that is looked at, in bytes.
const CERTIFICATE_BYTES_MAX: usize = 16 << 10;

/// What was given as an authority's certificate is not one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is not the certificate of a certificate authority")]
pub struct NotACa;

/// The certificate of an authority.
#[derive(Clone, PartialEq, Eq)]
pub struct CaCertificate {
    der: CertificateDer<'static>,
    public_key: Vec<u8>,
    not_before: UnixTime,
    not_after: UnixTime,
}

impl CaCertificate {
    /// Reads DER.
    ///
    /// # Errors
    /// When it is not exactly one certificate, or not an authority's.
    pub fn from_der(der: &[u8]) -> Result<Self, NotACa> {
        if der.len() > CERTIFICATE_BYTES_MAX {
            return Err(NotACa);
        }
        let (rest, parsed) = X509Certificate::from_der(der).map_err(|_| NotACa)?;
        let constraints = parsed.basic_constraints().map_err(|_| NotACa)?;
        if !rest.is_empty() || !constraints.is_some_and(|found| found.value.ca) {
            return Err(NotACa);
        }
        let validity = parsed.validity();
        Ok(Self {
            der: CertificateDer::from(der.to_vec()),
            public_key: parsed.public_key().raw.to_vec(),
            not_before: timestamp::from_seconds(validity.not_before.timestamp()),
            not_after: timestamp::from_seconds(validity.not_after.timestamp()),
        })
    }

    /// Reads PEM.
    ///
    /// # Errors
    /// When it is not exactly one certificate, or not an authority's.
    pub fn from_pem(text: &str) -> Result<Self, NotACa> {
        Self::from_der(&from_pem(text).ok_or(NotACa)?)
    }

    /// As text, for a file.
    #[must_use]
    pub fn to_pem(&self) -> String {
        to_pem(&self.der)
    }

    /// As bytes.
    #[must_use]
    pub const fn der(&self) -> &CertificateDer<'static> {
        &self.der
    }

    /// The SHA-256 of the DER, which is what an invite carries.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.der)
    }

    /// Its first and its last second.
    #[must_use]
    pub const fn validity(&self) -> (UnixTime, UnixTime) {
        (self.not_before, self.not_after)
    }

    pub(super) fn is_of(&self, key: &KeyPair) -> bool {
        self.public_key == key.subject_public_key_info()
    }

    pub(super) fn check_valid(&self, now: UnixTime) -> Result<(), CaError> {
        if now < self.not_before {
            return Err(CaError::NotYetValid {
                not_before: self.not_before,
                now,
            });
        }
        if now > self.not_after {
            return Err(CaError::Expired {
                not_after: self.not_after,
                now,
            });
        }
        Ok(())
    }
}

impl fmt::Debug for CaCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CaCertificate")
            .field("fingerprint", &self.fingerprint())
            .field("not_after", &timestamp::text(self.not_after))
            .finish_non_exhaustive()
    }
}

/// The one certificate in a text.
pub(crate) fn from_pem(text: &str) -> Option<Vec<u8>> {
    let mut found = pem::parse_many(text).ok()?;
    let only = found.pop()?;
    (found.is_empty() && only.tag() == PEM_TAG).then(|| only.into_contents())
}

/// A certificate as text.
pub(crate) fn to_pem(der: &[u8]) -> String {
    let config = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
    pem::encode_config(&pem::Pem::new(PEM_TAG, der), config)
}
