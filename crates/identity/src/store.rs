//! The database of a server's identities, invites and certificates: `identity.db` in its state directory.
//!
//! It cannot be rebuilt from anything, so every transaction is on the disk when it returns (`synchronous=FULL`): an invite
//! that was used stays used, and who was revoked stays revoked, after any crash. It has a handful of rows and is written
//! rarely; what is asked for every call is one look-up by key.
//!
//! An identity begins with its invite, which reserves its name and says what its roles will be. Redeeming the invite gives it
//! a certificate. While it has none that is valid, because it never joined or was away for too long, it can be invited again
//! and stays the same identity. Revoking ends it for good and frees the name; the same name later is another identity with
//! another uuid, to which nothing of the first belongs.
//!
//! All calls block for file operations, those that change something for a sync of the disk.

mod certificates;
mod connection;
mod error;
mod identities;
mod invites;

pub use self::error::{InviteRefused, RedeemError, RenewError, RevokeError, StoreError};
pub use self::identities::Identity;
pub use self::invites::{INVITE_LIFETIME, INVITE_LIFETIME_MAX, NewInvite, Offer, Redeemed};

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, Transaction, TransactionBehavior};
use rustls::pki_types::UnixTime;
use uuid::Uuid;

use crate::ca::{Ca, Issued};
use crate::invite::Secret;
use crate::key::CertificateRequest;

/// The identities of one server.
#[derive(Debug)]
pub struct Store {
    server: Uuid,
    /// Look-ups do not wait while something else is made durable.
    reader: Mutex<Connection>,
    writer: Mutex<Connection>,
}

impl Store {
    /// Opens the database of a state directory, which must exist, and makes it and the server's uuid if there is none.
    ///
    /// # Errors
    /// When the file cannot be used, or a newer legwork wrote it.
    pub fn open(state: &Path, now: UnixTime) -> Result<Self, StoreError> {
        let path = state.join("identity.db");
        let (writer, server) = connection::open(&path, now)?;
        Ok(Self {
            server,
            reader: Mutex::new(connection::open_reader(&path)?),
            writer: Mutex::new(writer),
        })
    }

    /// Which server this is. It never changes.
    #[must_use]
    pub const fn server(&self) -> Uuid {
        self.server
    }

    /// Makes an identity and an invite for it. An identity of that name without a valid certificate is invited
    /// again: it gets the new roles, and its earlier invite is void.
    ///
    /// # Errors
    /// When the name, the roles or the life times are no good, or the name is taken.
    pub fn invite(&self, new: &NewInvite, now: UnixTime) -> Result<Offer, InviteRefused> {
        new.check()?;
        self.change(|db| invites::create(db, new, now))
    }

    /// Uses an invite: issues its identity's certificate for the key in the request. Repeating it with the same key gives the same
    /// certificate for as long as the invite would have lasted, for those who lost the answer.
    ///
    /// # Errors
    /// When the invite is unknown, expired or used, or no certificate can be issued.
    pub fn redeem(
        &self,
        ca: &Ca,
        secret: &Secret,
        request: &CertificateRequest,
        now: UnixTime,
    ) -> Result<Redeemed, RedeemError> {
        self.change(|db| invites::redeem(db, ca, secret, request, now))
    }

    /// Issues another certificate to an identity that shows a valid one; meant for the last third of its life
    /// ([`Issued::renew_at`]). A key whose certificate is not due yet gets that one again, so repeating is harmless.
    ///
    /// # Errors
    /// When the identity is unknown or revoked, has too many certificates, or none can be issued.
    pub fn renew(
        &self,
        ca: &Ca,
        id: Uuid,
        request: &CertificateRequest,
        now: UnixTime,
    ) -> Result<Issued, RenewError> {
        self.change(|db| certificates::renew(db, ca, id, request, now))
    }

    /// Ends an identity, by its name or uuid, and voids its invite. One that is revoked already stays as it is.
    ///
    /// # Errors
    /// When there is no such identity.
    pub fn revoke(&self, who: &str, now: UnixTime) -> Result<Identity, RevokeError> {
        self.change(|db| identities::revoke(db, who, now))
    }

    /// One identity, revoked or not. This is asked for every call.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn identity(&self, id: Uuid) -> Result<Option<Identity>, StoreError> {
        self.read(|db| identities::by_id(db, id))
    }

    /// Every identity, those that are revoked too, the oldest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn identities(&self) -> Result<Vec<Identity>, StoreError> {
        self.read(identities::all)
    }

    fn read<T>(
        &self,
        query: impl FnOnce(&Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        query(&lock(&self.reader))
    }

    /// One transaction, with no other writer beside it. It is kept only if all went well.
    fn change<T, E: From<rusqlite::Error>>(
        &self,
        act: impl FnOnce(&Transaction<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut connection = lock(&self.writer);
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let done = act(&transaction)?;
        transaction.commit()?;
        Ok(done)
    }
}

/// A thread that panicked has left no transaction open.
fn lock(connection: &Mutex<Connection>) -> MutexGuard<'_, Connection> {
    connection.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
