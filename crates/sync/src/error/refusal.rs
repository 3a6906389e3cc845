//! The server's failures, as the client is told.

use rustix::io::Errno;

use crate::error::StoreError;
use crate::message::Refusal;

/// A failed system call as the client is told.
pub(crate) fn refusal(what: &str, path: &[u8], errno: Errno) -> Refusal {
    if matches!(errno, Errno::NOSPC | Errno::DQUOT) {
        return Refusal::NoSpace;
    }
    let (what, path) = (what.to_owned(), path.to_vec());
    Refusal::Io {
        what,
        path,
        errno: errno.raw_os_error(),
        error: errno.to_string(),
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NewerFormat { path, found, known } => {
                let file = path
                    .file_name()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into_owned();
                Self::NewerFormat { file, found, known }
            }
            StoreError::Io { what, path, source } => {
                let errno = Errno::from_io_error(&source).unwrap_or(Errno::IO);
                refusal(
                    what,
                    path.file_name().unwrap_or_default().as_encoded_bytes(),
                    errno,
                )
            }
            StoreError::Damaged { .. }
            | StoreError::Busy { .. }
            | StoreError::Apart { .. }
            | StoreError::NoTrash { .. } => Self::Io {
                what: error.to_string(),
                path: Vec::new(),
                errno: 0,
                error: String::new(),
            },
        }
    }
}

/// The client said what no client says.
pub(crate) fn protocol(what: &str) -> Refusal {
    Refusal::Protocol {
        what: what.to_owned(),
    }
}

/// The client said more than is taken.
pub(crate) fn too_much(what: &str, limit: u64) -> Refusal {
    Refusal::TooMuch {
        what: what.to_owned(),
        limit,
    }
}
