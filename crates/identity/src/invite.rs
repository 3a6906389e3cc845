//! Invites: one line of text that lets somebody join a server, once and soon.
//!
//! A token is `lw1.` and the base64url of: the length, the server's uuid, the hash of its authority's certificate, the secret, the
//! expiry and the addresses, and a check sum over all of it. The hash lets a client see that it talks to the right server
//! *before* it sends the secret; the length and the check sum tell a token that was cut or mistyped from one that was refused.
//! White space inside a token is dropped, since terminals and mail programs break long lines.
//!
//! The server keeps only the SHA-256 of the secret. Slow hashes like argon2 are for passwords, which can be guessed; there
//! is nothing to guess in 256 random bits, so whoever reads the hash has gained nothing.

mod address;
mod codec;

pub use self::address::{Address, NotAnAddress};

use std::fmt;

use rustls::pki_types::UnixTime;
use uuid::Uuid;

use crate::fingerprint::Fingerprint;
use crate::random;

/// Most addresses that an invite can carry.
pub const ADDRESSES_MAX: usize = 8;

/// Longest token that is looked at, in characters without white space. The longest valid one is shorter.
pub const TOKEN_CHARS_MAX: usize = 4096;

/// Why a text is not an invite that can be used, or why none can be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InviteError {
    /// It does not look like an invite at all.
    #[error("this is not an invite: one begins with \"lw1.\"")]
    Prefix,
    /// A newer legwork made it.
    #[error(
        "this invite was made by a newer legwork (format {version}, this one knows 1): upgrade"
    )]
    Newer {
        /// Its format.
        version: u32,
    },
    /// The end is missing.
    #[error("the end of the invite is missing: copy all of it, also where a line was wrapped")]
    Truncated,
    /// It is not what was made: mistyped, or with something added.
    #[error("the invite is damaged: copy it again")]
    Damaged,
    /// It is longer than any invite.
    #[error("this is too long for an invite")]
    TooLong,
    /// None, or too many.
    #[error("an invite has 1 to {ADDRESSES_MAX} addresses, not {count}")]
    Addresses {
        /// How many there are.
        count: usize,
    },
}

/// The part of an invite that has to stay secret. It never appears in debug output.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret([u8; 32]);

impl Secret {
    /// Makes a new one.
    #[must_use]
    pub fn generate() -> Self {
        Self(random::bytes())
    }

    /// One that came over the wire.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// For the wire.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// What the server keeps of it.
    #[must_use]
    pub fn hash(&self) -> Fingerprint {
        Fingerprint::of(&self.0)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// All that a client needs to join a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invite {
    addresses: Vec<Address>,
    server: Uuid,
    ca: Fingerprint,
    secret: Secret,
    expires_at: UnixTime,
}

impl Invite {
    /// Puts an invite together.
    ///
    /// # Errors
    /// [`InviteError::Addresses`] when there is none, or more than [`ADDRESSES_MAX`].
    pub fn new(
        addresses: Vec<Address>,
        server: Uuid,
        ca: Fingerprint,
        secret: Secret,
        expires_at: UnixTime,
    ) -> Result<Self, InviteError> {
        let count = addresses.len();
        if !(1..=ADDRESSES_MAX).contains(&count) {
            return Err(InviteError::Addresses { count });
        }
        Ok(Self {
            addresses,
            server,
            ca,
            secret,
            expires_at,
        })
    }

    /// Reads a token. Whether its time is over is for the server to say, by the clock that the time was set by: the one of
    /// this machine may be wrong.
    ///
    /// # Errors
    /// Any [`InviteError`].
    pub fn parse(token: &str) -> Result<Self, InviteError> {
        codec::decode(token)
    }

    /// The line of text. Whoever has it can join.
    #[must_use]
    pub fn token(&self) -> String {
        codec::encode(self)
    }

    /// Where the server may be reached, the best first.
    #[must_use]
    pub fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    /// Which server it is.
    #[must_use]
    pub const fn server(&self) -> Uuid {
        self.server
    }

    /// The hash of the certificate of the server's authority.
    #[must_use]
    pub const fn ca(&self) -> Fingerprint {
        self.ca
    }

    /// What lets its holder join.
    #[must_use]
    pub const fn secret(&self) -> &Secret {
        &self.secret
    }

    /// The first second in which it is of no use, by the server's clock.
    #[must_use]
    pub const fn expires_at(&self) -> UnixTime {
        self.expires_at
    }
}

#[cfg(test)]
mod tests;
