//! Identities: who has been invited, who has joined, who is revoked.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};
use rustls::pki_types::UnixTime;
use uuid::Uuid;

use super::{RevokeError, StoreError};
use crate::principal::{Principal, PrincipalId, Roles, Via};
use crate::timestamp;

const COLUMNS: &str = "uuid, name, roles, created_at, revoked_at, certificate_lifetime_s,
    (SELECT max(not_after) FROM certificate WHERE identity = identity.uuid),
    (SELECT max(expires_at) FROM invite WHERE identity = identity.uuid AND used_at IS NULL)";

/// Somebody whom this server knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// What tells it from all others.
    pub id: Uuid,
    /// For people. Among those who are not revoked, nobody else has it.
    pub name: String,
    /// What it is there for.
    pub roles: Roles,
    /// When it was first invited.
    pub created_at: UnixTime,
    /// Since when it is revoked, if it is.
    pub revoked_at: Option<UnixTime>,
    /// How long each of its certificates lasts.
    pub certificate_lifetime: Duration,
    /// Until when its newest certificate is valid; `None` if it has not joined.
    pub certificate_until: Option<UnixTime>,
    /// Until when its unused invite is valid, if there is one.
    pub invite_until: Option<UnixTime>,
}

impl Identity {
    /// Who asks, when it shows its certificate; `None` if it is revoked.
    #[must_use]
    pub fn principal(&self) -> Option<Principal> {
        self.revoked_at.is_none().then(|| Principal {
            id: PrincipalId::Identity(self.id),
            name: self.name.clone(),
            roles: self.roles,
            via: Via::Certificate,
        })
    }
}

pub(super) fn by_id(db: &Connection, id: Uuid) -> Result<Option<Identity>, StoreError> {
    one(db, "uuid = ?1", id.as_bytes())
}

/// The one of this name that is not revoked.
pub(super) fn by_name(db: &Connection, name: &str) -> Result<Option<Identity>, StoreError> {
    one(db, "name = ?1 AND revoked_at IS NULL", name)
}

pub(super) fn all(db: &Connection) -> Result<Vec<Identity>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM identity ORDER BY created_at, uuid");
    let mut select = db.prepare_cached(&sql)?;
    let mut rows = select.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(identity(row)?);
    }
    Ok(found)
}

pub(super) fn revoke(
    db: &Transaction<'_>,
    who: &str,
    now: UnixTime,
) -> Result<Identity, RevokeError> {
    // No name is a uuid, so it cannot be both.
    let found = match Uuid::try_parse(who) {
        Ok(id) => by_id(db, id)?,
        Err(_) => by_name(db, who)?,
    };
    let unknown = || RevokeError::Unknown {
        who: who.to_owned(),
    };
    let mut identity = found.ok_or_else(unknown)?;
    if identity.revoked_at.is_none() {
        db.execute(
            "UPDATE identity SET revoked_at = ?2 WHERE uuid = ?1",
            params![identity.id.as_bytes(), timestamp::seconds(now)],
        )?;
        db.execute(
            "DELETE FROM invite WHERE identity = ?1",
            [identity.id.as_bytes()],
        )?;
        identity.revoked_at = Some(now);
        identity.invite_until = None;
    }
    Ok(identity)
}

fn one(
    db: &Connection,
    condition: &str,
    value: impl rusqlite::ToSql,
) -> Result<Option<Identity>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM identity WHERE {condition}");
    db.prepare_cached(&sql)?
        .query_row([value], |row| Ok(identity(row)))
        .optional()?
        .transpose()
}

fn identity(row: &Row<'_>) -> Result<Identity, StoreError> {
    let time = |seconds: Option<i64>| seconds.map(timestamp::from_seconds);
    let roles: String = row.get(2)?;
    let lifetime: i64 = row.get(5)?;
    let damaged = |what| StoreError::Damaged { what };
    Ok(Identity {
        id: Uuid::from_bytes(row.get(0)?),
        name: row.get(1)?,
        roles: roles
            .parse()
            .map_err(|_| damaged("a role that does not exist"))?,
        created_at: timestamp::from_seconds(row.get(3)?),
        revoked_at: time(row.get(4)?),
        certificate_lifetime: u64::try_from(lifetime)
            .map(Duration::from_secs)
            .map_err(|_| damaged("a negative life time"))?,
        certificate_until: time(row.get(6)?),
        invite_until: time(row.get(7)?),
    })
}
