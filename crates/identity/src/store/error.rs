//! What can go wrong with the database, and what is refused.

use std::io;
use std::path::PathBuf;

use rusqlite::ffi::ErrorCode;
use rustls::pki_types::UnixTime;

use super::invites::INVITE_LIFETIME_MAX;
use crate::ca::CaError;
use crate::timestamp::text;

/// Why the database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A newer legwork wrote it.
    #[error("{} was written by a newer legwork (version {found}; this one knows up to {known}): upgrade",
            path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The newest version that this build knows.
        known: i64,
    },
    /// Somebody else kept it locked for too long.
    #[error(
        "the database of identities has been locked by another process for too long: try again"
    )]
    Busy,
    /// No space, or over the quota.
    #[error(
        "the disk that holds the database of identities is full: free some space and try again"
    )]
    DiskFull,
    /// The system refused the file.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// It holds something that this library does not write.
    #[error("the database of identities is damaged ({what}): restore it from a backup")]
    Damaged {
        /// What was found.
        what: &'static str,
    },
    /// Anything else that `SQLite` says.
    #[error("the database of identities: {0}")]
    Database(#[source] rusqlite::Error),
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Busy,
            Some(ErrorCode::DiskFull) => Self::DiskFull,
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => Self::Damaged {
                what: "SQLite cannot read it",
            },
            _ => Self::Database(error),
        }
    }
}

/// Why an invite was not made.
#[derive(Debug, thiserror::Error)]
pub enum InviteRefused {
    /// The name cannot be one.
    #[error(
        "{name:?} cannot be a name: use 1 to 63 letters, digits and . _ - @, beginning with a letter or digit, \
             and no uuid"
    )]
    Name {
        /// What was asked for.
        name: String,
    },
    /// An identity of that name has a certificate that is valid, and is not revoked.
    #[error("{name} is enrolled already: choose another name, or revoke that one first")]
    NameTaken {
        /// The name.
        name: String,
    },
    /// There are no roles.
    #[error("an identity needs at least one role")]
    NoRoles,
    /// The invite would last too long, or not at all.
    #[error("an invite lasts between 1 second and {} hours", INVITE_LIFETIME_MAX.as_secs() / 3600)]
    Lifetime,
    /// Certificates would last too long, or too short to be renewed.
    #[error("a certificate lasts between 1 hour and 10 years")]
    CertificateLifetime,
    /// The database cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why an invite gave no certificate.
#[derive(Debug, thiserror::Error)]
pub enum RedeemError {
    /// There is no such invite: it was never made here, or is void.
    #[error(
        "this server does not know the invite: it was replaced or revoked, or made by another server; \
             ask for another one"
    )]
    Unknown,
    /// Its time is over.
    #[error("the invite expired at {}, and the server's clock says {}: ask for another one",
            text(*expires_at), text(*now))]
    Expired {
        /// The first second in which it was of no use.
        expires_at: UnixTime,
        /// What the server's clock says.
        now: UnixTime,
    },
    /// It was used, with another key.
    #[error("the invite was used at {}: ask for another one, and if you did not use it, tell the administrator",
            text(*used_at))]
    Used {
        /// When.
        used_at: UnixTime,
    },
    /// No certificate can be issued.
    #[error(transparent)]
    Ca(#[from] CaError),
    /// The database cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a certificate was not renewed.
#[derive(Debug, thiserror::Error)]
pub enum RenewError {
    /// There is no such identity.
    #[error("this server does not know the identity")]
    Unknown,
    /// The identity is revoked.
    #[error("the identity is revoked")]
    Revoked,
    /// The identity has as many certificates as it may have.
    #[error("the identity has {count} certificates that are valid: wait until one expires")]
    TooMany {
        /// How many there are.
        count: usize,
    },
    /// No certificate can be issued.
    #[error(transparent)]
    Ca(#[from] CaError),
    /// The database cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why nobody was revoked.
#[derive(Debug, thiserror::Error)]
pub enum RevokeError {
    /// There is no such identity.
    #[error("there is no identity {who:?}")]
    Unknown {
        /// The name or uuid.
        who: String,
    },
    /// The database cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<rusqlite::Error> for InviteRefused {
    fn from(error: rusqlite::Error) -> Self {
        StoreError::from(error).into()
    }
}

impl From<rusqlite::Error> for RedeemError {
    fn from(error: rusqlite::Error) -> Self {
        StoreError::from(error).into()
    }
}

impl From<rusqlite::Error> for RenewError {
    fn from(error: rusqlite::Error) -> Self {
        StoreError::from(error).into()
    }
}

impl From<rusqlite::Error> for RevokeError {
    fn from(error: rusqlite::Error) -> Self {
        StoreError::from(error).into()
    }
}
