//! What can go wrong with an authority.

use std::io;
use std::path::PathBuf;

use rustls::pki_types::UnixTime;

use super::NotACa;
use crate::key::KeyError;
use crate::timestamp::text;

/// Why an authority cannot be made, read or used.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// The files are not what this library would have written.
    #[error("{} is damaged ({what}): restore it from a backup, \
             or move it away and invite every client again", path.display())]
    Damaged {
        /// The directory of the authority.
        path: PathBuf,
        /// What is wrong.
        what: Box<Self>,
    },
    /// Others may read the private key.
    #[error("{} can be read by others (mode {mode:04o}): whoever did can pretend to be anybody; \
             if nobody did, set the mode to 0600", path.display())]
    Exposed {
        /// The file with the key.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The system refused a file.
    #[error("{}: {source}", path.display())]
    Io {
        /// What was touched.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// The certificate is not an authority's.
    #[error(transparent)]
    NotACa(#[from] NotACa),
    /// The private key does not belong to the certificate.
    #[error("the private key does not belong to the certificate")]
    OtherKey,
    /// A key or a request cannot be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The authority's time is over.
    #[error("the certificate authority expired at {} (this machine's clock says {})",
            text(*not_after), text(*now))]
    Expired {
        /// Its last second.
        not_after: UnixTime,
        /// What the clock says.
        now: UnixTime,
    },
    /// The clock stands before the authority was made.
    #[error("the certificate authority is valid from {}, and this machine's clock says {}: \
             set the clock", text(*not_before), text(*now))]
    NotYetValid {
        /// Its first second.
        not_before: UnixTime,
        /// What the clock says.
        now: UnixTime,
    },
    /// The certificate could not be made.
    #[error("the certificate could not be made: {0}")]
    Sign(#[source] rcgen::Error),
    /// A certificate cannot be read back, which means that this library has a fault.
    #[error("the certificate that was made cannot be read")]
    Unreadable,
}

impl From<NotACa> for Box<CaError> {
    fn from(error: NotACa) -> Self {
        Self::new(error.into())
    }
}
