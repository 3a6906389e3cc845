//! What the certificates contain.

use std::time::Duration;

use rcgen::string::Ia5String;
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose,
    SanType, SerialNumber,
};
use rustls::pki_types::{CertificateDer, UnixTime};
use uuid::Uuid;

use super::{CaError, certificate};
use crate::tls::{DNS_NAME, PeerCertificate, Serial};
use crate::{random, timestamp};

/// Whom a client's certificate names.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The identity, which is what counts.
    pub id: Uuid,
    /// Its name, for people.
    pub name: &'a str,
}

/// A certificate as it was issued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issued {
    /// The certificate.
    pub certificate: CertificateDer<'static>,
    /// Its number.
    pub serial: Serial,
    /// Its first second.
    pub not_before: UnixTime,
    /// Its last second.
    pub not_after: UnixTime,
}

impl Issued {
    /// As text, for a file.
    #[must_use]
    pub fn to_pem(&self) -> String {
        certificate::to_pem(&self.certificate)
    }

    /// When to ask for the next one.
    #[must_use]
    pub fn renew_at(&self) -> UnixTime {
        renew_at(self.not_before, self.not_after)
    }

    pub(crate) fn from_der(certificate: CertificateDer<'static>) -> Result<Self, CaError> {
        let parsed = PeerCertificate::parse(&certificate).map_err(|_| CaError::Unreadable)?;
        Ok(Self {
            certificate,
            serial: parsed.serial,
            not_before: parsed.not_before,
            not_after: parsed.not_after,
        })
    }
}

/// When a certificate should be renewed: at two thirds of its life.
#[must_use]
pub fn renew_at(not_before: UnixTime, not_after: UnixTime) -> UnixTime {
    let life = not_after.as_secs().saturating_sub(not_before.as_secs());
    let span = Duration::from_secs(life / 3 * 2);
    timestamp::after(not_before, span)
}

/// Of one length and positive, as the standard wants it, so that it can be kept as 16 bytes.
pub(super) fn new_serial() -> SerialNumber {
    let mut bytes: [u8; 16] = random::bytes();
    bytes[0] = bytes[0] & 0x7f | 0x40;
    SerialNumber::from_slice(&bytes)
}

pub(super) fn server_params(server: Uuid) -> Result<CertificateParams, CaError> {
    let mut params = leaf(
        server,
        "legwork server",
        ExtendedKeyUsagePurpose::ServerAuth,
    )?;
    let name = Ia5String::try_from(DNS_NAME).map_err(CaError::Sign)?;
    params.subject_alt_names.push(SanType::DnsName(name));
    Ok(params)
}

pub(super) fn client_params(subject: &Subject<'_>) -> Result<CertificateParams, CaError> {
    leaf(
        subject.id,
        subject.name,
        ExtendedKeyUsagePurpose::ClientAuth,
    )
}

fn leaf(
    id: Uuid,
    name: &str,
    usage: ExtendedKeyUsagePurpose,
) -> Result<CertificateParams, CaError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    let uri = Ia5String::try_from(id.urn().to_string()).map_err(CaError::Sign)?;
    params.subject_alt_names = vec![SanType::URI(uri)];
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![usage];
    params.use_authority_key_identifier_extension = true;
    params.serial_number = Some(new_serial());
    Ok(params)
}
