//! What a certificate that was verified says about the one who presented it.

use std::fmt;

use rustls::pki_types::UnixTime;
use uuid::Uuid;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

use crate::timestamp;

const URN: &str = "urn:uuid:";

/// The number of a certificate.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Serial(pub(crate) [u8; 16]);

impl Serial {
    /// Its bytes, the most significant first.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Serial({self})")
    }
}

/// A certificate is not one that this library makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the certificate does not say who its owner is in the way of legwork")]
pub struct NotAPeer;

/// Who somebody is, by their certificate. It proves nothing unless the certificate was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerCertificate {
    /// The identity, or the server.
    pub id: Uuid,
    /// The name it had when the certificate was made. For people only.
    pub name: String,
    /// The certificate's number.
    pub serial: Serial,
    /// The certificate's first second.
    pub not_before: UnixTime,
    /// The certificate's last second.
    pub not_after: UnixTime,
}

impl PeerCertificate {
    /// Reads a certificate in DER. Verifies nothing.
    ///
    /// # Errors
    /// When it is not exactly one certificate with one `urn:uuid:` name and a number of 16 bytes.
    pub fn parse(der: &[u8]) -> Result<Self, NotAPeer> {
        let (rest, parsed) = X509Certificate::from_der(der).map_err(|_| NotAPeer)?;
        if !rest.is_empty() {
            return Err(NotAPeer);
        }
        let serial = parsed.raw_serial().try_into().map_err(|_| NotAPeer)?;
        let name = parsed.subject().iter_common_name().next();
        let name = name.and_then(|name| name.as_str().ok()).ok_or(NotAPeer)?;
        let validity = parsed.validity();
        Ok(Self {
            id: uuid_in(&parsed).ok_or(NotAPeer)?,
            name: name.to_owned(),
            serial: Serial(serial),
            not_before: timestamp::from_seconds(validity.not_before.timestamp()),
            not_after: timestamp::from_seconds(validity.not_after.timestamp()),
        })
    }

    /// When its owner should renew it.
    #[must_use]
    pub fn renew_at(&self) -> UnixTime {
        crate::ca::renew_at(self.not_before, self.not_after)
    }
}

/// The one uuid that a certificate names. Two of them would be nobody.
fn uuid_in(certificate: &X509Certificate<'_>) -> Option<Uuid> {
    let names = certificate.subject_alternative_name().ok()??;
    let mut uris = names.value.general_names.iter().filter_map(|name| {
        let GeneralName::URI(uri) = name else {
            return None;
        };
        Some(uri.strip_prefix(URN))
    });
    let only = uris.next()??;
    if uris.next().is_some() {
        return None;
    }
    Uuid::try_parse(only).ok()
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, SanType, SerialNumber};
    use uuid::Uuid;

    use super::{NotAPeer, PeerCertificate};

    fn parse(names: &[&str], serial: &[u8]) -> Result<Uuid, NotAPeer> {
        let mut params = CertificateParams::default();
        let uri = |name: &&str| SanType::URI((*name).try_into().unwrap());
        params.subject_alt_names = names.iter().map(uri).collect();
        params.serial_number = Some(SerialNumber::from_slice(serial));
        let made = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        PeerCertificate::parse(made.der()).map(|peer| peer.id)
    }

    #[test]
    fn exactly_one_uuid_is_somebody() {
        let (one, two) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let (first, second) = (one.urn().to_string(), two.urn().to_string());
        let serial = [0x40; 16];
        assert_eq!(parse(&[&first], &serial), Ok(one));
        let https = "https://box.example";
        for names in [
            &[][..],
            &[https],
            &["urn:uuid:x"],
            &[&first, &second],
            &[&first, &first],
            &[&first, https],
            &[https, &first],
        ] {
            assert_eq!(parse(names, &serial), Err(NotAPeer), "{names:?}");
        }
        assert_eq!(parse(&[&first], &[0x40; 15]), Err(NotAPeer));
        assert_eq!(PeerCertificate::parse(b""), Err(NotAPeer));
    }
}
