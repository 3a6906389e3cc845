//! Certificates: issued to an identity, remembered until they expire.

use rusqlite::{Connection, OptionalExtension, Transaction, params};
use rustls::pki_types::{CertificateDer, UnixTime};
use uuid::Uuid;

use super::{Identity, RenewError, StoreError, identities};
use crate::ca::{Ca, CaError, Issued, Subject};
use crate::key::CertificateRequest;
use crate::timestamp::seconds;

/// How many valid certificates an identity may have. Each renewal leaves the one before it, for a third of its life.
pub(super) const CERTIFICATES_MAX: usize = 16;

/// Issues one, without asking whether it should.
pub(super) fn issue<E: From<CaError> + From<rusqlite::Error>>(
    db: &Transaction<'_>,
    ca: &Ca,
    to: &Identity,
    request: &CertificateRequest,
    now: UnixTime,
) -> Result<Issued, E> {
    let subject = Subject {
        id: to.id,
        name: &to.name,
    };
    let issued = ca.issue_client(request, &subject, now, to.certificate_lifetime)?;
    db.execute(
        "INSERT INTO certificate (serial, identity, key_hash, not_before, not_after, der)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![
            issued.serial.as_bytes(),
            to.id.as_bytes(),
            request.fingerprint().as_bytes(),
            seconds(issued.not_before),
            seconds(issued.not_after),
            issued.certificate.as_ref(),
        ],
    )?;
    Ok(issued)
}

pub(super) fn renew(
    db: &Transaction<'_>,
    ca: &Ca,
    id: Uuid,
    request: &CertificateRequest,
    now: UnixTime,
) -> Result<Issued, RenewError> {
    let identity = identities::by_id(db, id)?.ok_or(RenewError::Unknown)?;
    if identity.revoked_at.is_some() {
        return Err(RenewError::Revoked);
    }
    db.execute(
        "DELETE FROM certificate WHERE identity = ?1 AND not_after < ?2",
        params![id.as_bytes(), seconds(now)],
    )?;
    if let Some(issued) = newest_for_key(db, id, request)?
        && now < issued.renew_at()
    {
        return Ok(issued);
    }
    let count = count(db, id)?;
    if count >= CERTIFICATES_MAX {
        return Err(RenewError::TooMany { count });
    }
    issue(db, ca, &identity, request, now)
}

/// The certificate with this number.
pub(super) fn by_serial(db: &Connection, serial: [u8; 16]) -> Result<Option<Issued>, StoreError> {
    let sql = "SELECT der FROM certificate WHERE serial = ?1";
    let der: Option<Vec<u8>> = db
        .prepare_cached(sql)?
        .query_row([serial], |row| row.get(0))
        .optional()?;
    der.map(read).transpose()
}

fn newest_for_key(
    db: &Connection,
    id: Uuid,
    request: &CertificateRequest,
) -> Result<Option<Issued>, StoreError> {
    let sql = "SELECT der FROM certificate WHERE identity = ?1 AND key_hash = ?2
               ORDER BY not_before DESC LIMIT 1";
    let hash = request.fingerprint();
    let der: Option<Vec<u8>> = db
        .prepare_cached(sql)?
        .query_row(params![id.as_bytes(), hash.as_bytes()], |row| row.get(0))
        .optional()?;
    der.map(read).transpose()
}

fn count(db: &Connection, id: Uuid) -> Result<usize, StoreError> {
    let sql = "SELECT count(*) FROM certificate WHERE identity = ?1";
    let count: i64 = db
        .prepare_cached(sql)?
        .query_row([id.as_bytes()], |row| row.get(0))?;
    Ok(usize::try_from(count).unwrap_or(usize::MAX))
}

fn read(der: Vec<u8>) -> Result<Issued, StoreError> {
    let damaged = |_| StoreError::Damaged {
        what: "a certificate that cannot be read",
    };
    Issued::from_der(CertificateDer::from(der)).map_err(damaged)
}
