//! Invites: made for an identity, used once.

use std::time::Duration;

use rusqlite::{OptionalExtension, Transaction, params};
use rustls::pki_types::UnixTime;
use uuid::Uuid;

use super::{Identity, InviteRefused, RedeemError, StoreError, certificates, identities};
use crate::ca::{CA_LIFETIME, CLIENT_LIFETIME, Ca, CaCertificate, Issued};
use crate::fingerprint::Fingerprint;
use crate::invite::Secret;
use crate::key::CertificateRequest;
use crate::principal::Roles;
use crate::random;
use crate::timestamp::{after, from_seconds, seconds};

/// How long an invite lasts unless something else is asked for.
pub const INVITE_LIFETIME: Duration = Duration::from_mins(30);

/// How long an invite may last.
pub const INVITE_LIFETIME_MAX: Duration = Duration::from_hours(7 * 24);

const CERTIFICATE_LIFETIME_MIN: Duration = Duration::from_hours(1);

/// Longest name, in bytes. A certificate's common name has at most 64.
const NAME_BYTES_MAX: usize = 63;

/// Whom to invite.
#[derive(Debug, Clone)]
pub struct NewInvite {
    /// The name: letters, digits and `. _ - @`.
    pub name: String,
    /// What the identity will be there for.
    pub roles: Roles,
    /// How long the invite lasts.
    pub lifetime: Duration,
    /// How long each certificate of the identity lasts.
    pub certificate_lifetime: Duration,
}

impl NewInvite {
    /// The usual life times.
    #[must_use]
    pub fn new(name: impl Into<String>, roles: impl Into<Roles>) -> Self {
        Self {
            name: name.into(),
            roles: roles.into(),
            lifetime: INVITE_LIFETIME,
            certificate_lifetime: CLIENT_LIFETIME,
        }
    }

    pub(super) fn check(&self) -> Result<(), InviteRefused> {
        if !is_name(&self.name) {
            let name = self.name.clone();
            return Err(InviteRefused::Name { name });
        }
        if self.roles.is_empty() {
            return Err(InviteRefused::NoRoles);
        }
        if !(Duration::from_secs(1)..=INVITE_LIFETIME_MAX).contains(&self.lifetime) {
            return Err(InviteRefused::Lifetime);
        }
        if !(CERTIFICATE_LIFETIME_MIN..=CA_LIFETIME).contains(&self.certificate_lifetime) {
            return Err(InviteRefused::CertificateLifetime);
        }
        Ok(())
    }
}

/// Printable anywhere, and never mistaken for a uuid.
fn is_name(name: &str) -> bool {
    let allowed =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'@');
    (1..=NAME_BYTES_MAX).contains(&name.len())
        && name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && name.bytes().all(allowed)
        && Uuid::try_parse(name).is_err()
}

/// An invite that was made. The server forgets the secret.
#[derive(Debug, Clone)]
pub struct Offer {
    /// For whom.
    pub identity: Identity,
    /// What lets its holder join.
    pub secret: Secret,
    /// The first second in which it is of no use.
    pub expires_at: UnixTime,
}

/// What a client gets for its invite.
#[derive(Debug, Clone)]
pub struct Redeemed {
    /// Who it is now.
    pub identity: Identity,
    /// Its certificate.
    pub certificate: Issued,
    /// The authority's certificate.
    pub ca: CaCertificate,
}

pub(super) fn create(
    db: &Transaction<'_>,
    new: &NewInvite,
    now: UnixTime,
) -> Result<Offer, InviteRefused> {
    let lifetime_s = i64::try_from(new.certificate_lifetime.as_secs())
        .map_err(|_| InviteRefused::CertificateLifetime)?;
    let id = match identities::by_name(db, &new.name)? {
        Some(known) if known.certificate_until.is_some_and(|until| now <= until) => {
            let name = known.name;
            return Err(InviteRefused::NameTaken { name });
        }
        Some(without_certificate) => without_certificate.id,
        None => random::uuid(now),
    };
    db.execute(
        "INSERT INTO identity (uuid, name, roles, created_at, certificate_lifetime_s)
         VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (uuid) DO UPDATE SET roles = ?3, certificate_lifetime_s = ?5",
        params![
            id.as_bytes(),
            new.name,
            new.roles.to_string(),
            seconds(now),
            lifetime_s
        ],
    )?;
    // One invite an identity; and those that are over need not be told apart from unknown ones for ever.
    let over = seconds(now).saturating_sub_unsigned(INVITE_LIFETIME_MAX.as_secs());
    db.execute(
        "DELETE FROM invite WHERE identity = ?1 OR expires_at < ?2",
        params![id.as_bytes(), over],
    )?;
    let secret = Secret::generate();
    let expires_at = after(now, new.lifetime);
    db.execute(
        "INSERT INTO invite (secret_hash, identity, expires_at) VALUES (?1, ?2, ?3)",
        params![secret.hash().as_bytes(), id.as_bytes(), seconds(expires_at)],
    )?;
    Ok(Offer {
        identity: known(db, id)?,
        secret,
        expires_at,
    })
}

pub(super) fn redeem(
    db: &Transaction<'_>,
    ca: &Ca,
    secret: &Secret,
    request: &CertificateRequest,
    now: UnixTime,
) -> Result<Redeemed, RedeemError> {
    let hash = secret.hash();
    let row = find(db, hash)?.ok_or(RedeemError::Unknown)?;
    let expired = now >= row.expires_at;
    let certificate = match row.used {
        Some(used) if expired || used.key != request.fingerprint() => {
            let used_at = used.at;
            return Err(RedeemError::Used { used_at });
        }
        Some(used) => certificates::by_serial(db, used.serial)?.ok_or(RedeemError::Unknown)?,
        None if expired => {
            let expires_at = row.expires_at;
            return Err(RedeemError::Expired { expires_at, now });
        }
        None => {
            let issued: Issued = certificates::issue::<RedeemError>(
                db,
                ca,
                &known(db, row.identity)?,
                request,
                now,
            )?;
            db.execute(
                "UPDATE invite SET used_at = ?2, certificate = ?3 WHERE secret_hash = ?1",
                params![hash.as_bytes(), seconds(now), issued.serial.as_bytes()],
            )?;
            issued
        }
    };
    Ok(Redeemed {
        identity: known(db, row.identity)?,
        certificate,
        ca: ca.certificate().clone(),
    })
}

struct InviteRow {
    identity: Uuid,
    expires_at: UnixTime,
    used: Option<Use>,
}

struct Use {
    at: UnixTime,
    serial: [u8; 16],
    key: Fingerprint,
}

fn find(db: &Transaction<'_>, hash: Fingerprint) -> Result<Option<InviteRow>, StoreError> {
    let sql = "SELECT invite.identity, expires_at, used_at, serial, key_hash
               FROM invite LEFT JOIN certificate ON serial = invite.certificate
               WHERE secret_hash = ?1";
    let found = db
        .prepare_cached(sql)?
        .query_row([hash.as_bytes()], |row| {
            let used: Option<i64> = row.get(2)?;
            Ok(InviteRow {
                identity: Uuid::from_bytes(row.get(0)?),
                expires_at: from_seconds(row.get(1)?),
                used: used
                    .map(|at| {
                        Ok::<_, rusqlite::Error>(Use {
                            at: from_seconds(at),
                            // A certificate that is gone, because it has expired, is nobody's.
                            serial: row.get::<_, Option<_>>(3)?.unwrap_or([0; 16]),
                            key: Fingerprint::from_bytes(
                                row.get::<_, Option<_>>(4)?.unwrap_or([0; 32]),
                            ),
                        })
                    })
                    .transpose()?,
            })
        })
        .optional()?;
    Ok(found)
}

fn known(db: &Transaction<'_>, id: Uuid) -> Result<Identity, StoreError> {
    identities::by_id(db, id)?.ok_or(StoreError::Damaged {
        what: "an invite of nobody",
    })
}
