//! The built-in certificate authority: one key that says who is who on one server.
//!
//! A [`Ca`] signs the server's certificate and those of its clients, nothing else: it permits no authority below it. Every
//! authority has a name of its own, so that a certificate of another one is told as such and not as a broken signature.
//! The names in a certificate come from the server's own records; a request brings a public key and nothing more.
//!
//! Certificates begin five minutes before they are made, so that a client whose clock is a little slow can use its own at once.

mod certificate;
mod error;
mod files;
mod issue;

pub(crate) use self::certificate::from_pem;
pub use self::certificate::{CaCertificate, NotACa};
pub use self::error::CaError;
pub use self::issue::{Issued, Subject, renew_at};

use std::fmt;
use std::path::Path;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::pki_types::UnixTime;
use uuid::Uuid;

use crate::key::{CertificateRequest, PrivateKey};
use crate::tls::Credentials;
use crate::{random, timestamp};

const DAY: Duration = Duration::from_hours(24);

/// How long a client's certificate lasts unless its invite says otherwise.
pub const CLIENT_LIFETIME: Duration = DAY.saturating_mul(60);
/// How long a server's certificate lasts. It is made anew whenever the server starts.
pub const SERVER_LIFETIME: Duration = DAY.saturating_mul(365);
/// How long an authority lasts.
pub const CA_LIFETIME: Duration = DAY.saturating_mul(3652);
/// How long before its making a certificate is valid, for clocks that are slow.
pub const BACKDATED: Duration = Duration::from_mins(5);

/// A certificate authority with its private key.
pub struct Ca {
    certificate: CaCertificate,
    issuer: Issuer<'static, KeyPair>,
    key_pem: String,
}

impl Ca {
    /// Makes a new authority, in memory only.
    ///
    /// # Errors
    /// [`CaError::Key`] or [`CaError::Sign`], which do not happen on a sound system.
    pub fn create(now: UnixTime, lifetime: Duration) -> Result<Self, CaError> {
        let key = PrivateKey::generate()?;
        let mut params = CertificateParams::default();
        let mut name = DistinguishedName::new();
        let tag = Uuid::from_bytes(random::bytes()).simple().to_string();
        name.push(DnType::CommonName, format!("legwork CA {}", &tag[..16]));
        params.distinguished_name = name;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.serial_number = Some(issue::new_serial());
        params.not_before = timestamp::calendar(timestamp::before(now, BACKDATED));
        params.not_after = timestamp::calendar(timestamp::after(now, lifetime));
        let made = params.self_signed(key.pair()).map_err(CaError::Sign)?;
        Self::assemble(CaCertificate::from_der(made.der())?, &key.to_pem())
    }

    /// Reads the authority of a state directory; `None` if it has none yet.
    ///
    /// # Errors
    /// When a file cannot be read, is damaged or readable by others, or the key is not the certificate's.
    pub fn load(state: &Path) -> Result<Option<Self>, CaError> {
        let Some(found) = files::read(state)? else {
            return Ok(None);
        };
        let damaged = |what| CaError::Damaged {
            path: files::dir(state),
            what,
        };
        let certificate =
            CaCertificate::from_pem(&found.certificate).map_err(|error| damaged(error.into()))?;
        Self::assemble(certificate, &found.key)
            .map(Some)
            .map_err(|error| damaged(error.into()))
    }

    /// Reads the authority of a state directory, which must exist, and makes one if there is none. Of several that do so at once,
    /// all get the same.
    ///
    /// # Errors
    /// Those of [`Ca::load`] and [`Ca::create`], and when the files cannot be written.
    pub fn load_or_create(
        state: &Path,
        now: UnixTime,
        lifetime: Duration,
    ) -> Result<Self, CaError> {
        if let Some(ca) = Self::load(state)? {
            return Ok(ca);
        }
        let ca = Self::create(now, lifetime)?;
        if files::write(state, &ca.certificate.to_pem(), &ca.key_pem)? {
            return Ok(ca);
        }
        Self::load(state)?.ok_or_else(|| CaError::Io {
            path: files::dir(state),
            source: std::io::ErrorKind::NotFound.into(),
        })
    }

    fn assemble(certificate: CaCertificate, key_pem: &str) -> Result<Self, CaError> {
        let key = PrivateKey::from_pem(key_pem)?;
        if !certificate.is_of(key.pair()) {
            return Err(CaError::OtherKey);
        }
        let pair = KeyPair::from_pem(key_pem).map_err(CaError::Sign)?;
        let issuer = Issuer::from_ca_cert_der(certificate.der(), pair).map_err(CaError::Sign)?;
        Ok(Self {
            certificate,
            issuer,
            key_pem: key_pem.to_owned(),
        })
    }

    /// What others need to know of it.
    #[must_use]
    pub const fn certificate(&self) -> &CaCertificate {
        &self.certificate
    }

    /// Makes a key and a certificate for the server itself, followed by this authority's, which
    /// lets those who join see it. The key need not be kept: a restarted server makes another.
    ///
    /// # Errors
    /// [`CaError::Expired`] or [`CaError::NotYetValid`] if this authority is not valid now.
    pub fn issue_server(
        &self,
        server: Uuid,
        now: UnixTime,
        lifetime: Duration,
    ) -> Result<Credentials, CaError> {
        let key = PrivateKey::generate()?;
        let params = issue::server_params(server)?;
        let issued = self.issue(params, key.pair(), now, lifetime)?;
        let chain = vec![issued.certificate, self.certificate.der().clone()];
        Ok(Credentials::new(chain, &key))
    }

    /// Makes the certificate of a client for the key in its request. It ends with this authority at the latest.
    ///
    /// # Errors
    /// [`CaError::Expired`] or [`CaError::NotYetValid`] if this authority is not valid now.
    pub fn issue_client(
        &self,
        request: &CertificateRequest,
        subject: &Subject<'_>,
        now: UnixTime,
        lifetime: Duration,
    ) -> Result<Issued, CaError> {
        let params = issue::client_params(subject)?;
        self.issue(params, &request.key, now, lifetime)
    }

    fn issue(
        &self,
        mut params: CertificateParams,
        key: &impl rcgen::PublicKeyData,
        now: UnixTime,
        lifetime: Duration,
    ) -> Result<Issued, CaError> {
        self.certificate.check_valid(now)?;
        let (first, last) = self.certificate.validity();
        let not_before = timestamp::before(now, BACKDATED).max(first);
        let not_after = timestamp::after(now, lifetime).min(last);
        params.not_before = timestamp::calendar(not_before);
        params.not_after = timestamp::calendar(not_after);
        let made = params.signed_by(key, &self.issuer).map_err(CaError::Sign)?;
        Issued::from_der(made.der().clone())
    }
}

impl fmt::Debug for Ca {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ca")
            .field("certificate", &self.certificate)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
