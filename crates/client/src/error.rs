//! What a call can fail with.

use std::collections::BTreeMap;
use std::error::Error;

use legwork_identity::UnixTime;
use legwork_identity::tls::{HandshakeError, PeerRefusal};
use legwork_proto::v1 as wire;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::clocks;
use crate::lost;

/// How messages begin that are about the way to the server.
const UNREACHABLE: &str = "cannot talk to the server: ";

/// Shorthand for results of this crate.
pub type Result<T> = std::result::Result<T, CallError>;

/// A failed call: a class, a reason to match on, and words for people.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct CallError {
    /// The class of failure, as in gRPC.
    pub code: Code,
    /// Names the cause, in capitals: `JOB_NOT_FOUND`, `DISK_FULL`. Stable; match on this.
    pub reason: String,
    /// The cause and, where there is one, the next step.
    pub message: String,
    /// Particulars of the cause by name, such as `path` or `id`.
    pub metadata: BTreeMap<String, String>,
}

impl CallError {
    /// Makes an error of this side.
    #[must_use]
    pub fn new(code: Code, reason: &str, message: impl Into<String>) -> Self {
        Self {
            code,
            reason: reason.into(),
            message: message.into(),
            metadata: BTreeMap::new(),
        }
    }

    /// The same with one particular more.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<String>) -> Self {
        self.metadata.insert(key.into(), value.into());
        self
    }

    /// Whether the same call may succeed later without anything being changed by the caller.
    #[must_use]
    pub fn retryable(&self) -> bool {
        matches!(
            self.code,
            Code::Unavailable | Code::Aborted | Code::ResourceExhausted
        )
    }

    /// There is no way to the server; nothing was sent.
    #[must_use]
    pub fn unreachable(why: &str) -> Self {
        Self::new(
            Code::Unavailable,
            "UNREACHABLE",
            format!("{UNREACHABLE}{why}"),
        )
    }

    /// The message where it is clear that it is about contact with the server.
    pub(crate) fn why(&self) -> &str {
        self.message
            .strip_prefix(UNREACHABLE)
            .unwrap_or(&self.message)
    }

    /// Contact was lost for good. What was asked for may or may not have been done.
    pub(crate) fn contact_lost(why: &str) -> Self {
        Self::new(
            Code::Unavailable,
            Self::CONTACT_LOST,
            format!("contact lost, outcome unknown: {why}"),
        )
    }

    /// Reason of an error after which nobody knows whether what was asked for has been done.
    pub const CONTACT_LOST: &'static str = "CONTACT_LOST";
    /// Reason of an error that says that the connection was one too many.
    pub(crate) const TOO_MANY_CONNECTIONS: &'static str = "TOO_MANY_CONNECTIONS";
    /// Reasons of errors that say that the server's certificate is over, or has not begun, by our clock.
    pub(crate) const SERVER_EXPIRED: &'static str = "SERVER_EXPIRED";
    pub(crate) const SERVER_NOT_YET_VALID: &'static str = "SERVER_NOT_YET_VALID";
    /// Particulars of those errors: the last second and the first one of the certificate.
    pub(crate) const NOT_AFTER: &'static str = "notAfterS";
    pub(crate) const NOT_BEFORE: &'static str = "notBeforeS";
    /// Reason of an error that says that our certificate is over, or has not begun, by the server's clock.
    pub(crate) const REFUSED_NOW: &'static str = "CERTIFICATE_NOT_VALID_NOW";

    pub(crate) fn bad_credentials(cause: &dyn Error) -> Self {
        Self::new(
            Code::FailedPrecondition,
            "BAD_CREDENTIALS",
            cause.to_string(),
        )
    }

    /// Why there is no secure connection.
    pub(crate) fn handshake(error: &HandshakeError) -> Self {
        let (code, reason) = match error {
            HandshakeError::WrongCa => (Code::FailedPrecondition, "WRONG_CA"),
            HandshakeError::WrongServer { .. } => (Code::FailedPrecondition, "WRONG_SERVER"),
            HandshakeError::Expired { .. } => (Code::FailedPrecondition, Self::SERVER_EXPIRED),
            HandshakeError::NotYetValid { .. } => {
                (Code::FailedPrecondition, Self::SERVER_NOT_YET_VALID)
            }
            HandshakeError::WrongPurpose | HandshakeError::BadCertificate(_) => {
                (Code::FailedPrecondition, "NOT_A_SERVER_OF_LEGWORK")
            }
            HandshakeError::Refused(PeerRefusal::NotValidNow) => {
                (Code::Unauthenticated, Self::REFUSED_NOW)
            }
            HandshakeError::Refused(_) => (Code::Unauthenticated, "CERTIFICATE_REFUSED"),
            HandshakeError::NotTls => (Code::FailedPrecondition, "NOT_TLS"),
            HandshakeError::TlsTooOld => (Code::FailedPrecondition, "TLS_TOO_OLD"),
            HandshakeError::NotLegwork => (Code::FailedPrecondition, "NOT_LEGWORK"),
            HandshakeError::Closed | HandshakeError::Io(_) => (Code::Unavailable, "UNREACHABLE"),
            HandshakeError::Tls(_) => (Code::FailedPrecondition, "TLS"),
        };
        let told = Self::new(code, reason, error.to_string());
        match error {
            HandshakeError::Expired { not_after, .. } => {
                told.with(Self::NOT_AFTER, not_after.as_secs().to_string())
            }
            HandshakeError::NotYetValid { not_before, .. } => {
                told.with(Self::NOT_BEFORE, not_before.as_secs().to_string())
            }
            _ => told,
        }
    }

    /// How far the server's clock and this machine's are apart, if the server told its time and that is much.
    #[must_use]
    pub fn skew(&self, here: UnixTime) -> Option<String> {
        clocks::skew(here, clocks::server_time(self)?)
    }

    /// Whether a server that is there does not want us, so that asking again is of no use.
    pub(crate) fn is_refusal(&self) -> bool {
        matches!(self.code, Code::Unauthenticated | Code::PermissionDenied)
    }

    /// An answer that this client cannot make sense of.
    pub(crate) fn protocol(what: &str) -> Self {
        Self::new(
            Code::Internal,
            "PROTOCOL",
            format!("the server's answer makes no sense ({what}); is its version compatible?"),
        )
    }
}

impl From<Status> for CallError {
    /// A call that was lost says nothing of the server's: its code is ours, whatever the layers below have made of it.
    fn from(status: Status) -> Self {
        if let Some(info) = status.get_details_error_info() {
            return Self {
                code: status.code(),
                reason: info.reason,
                message: status.message().to_owned(),
                metadata: info.metadata.into_iter().collect(),
            };
        }
        if lost::is_lost(&status) {
            return Self::new(Code::Unavailable, "UNREACHABLE", lost::in_words(&status));
        }
        let reason = format!("{:?}", status.code()).to_uppercase();
        Self::new(status.code(), &reason, status.message())
    }
}

impl From<wire::Refusal> for CallError {
    fn from(refusal: wire::Refusal) -> Self {
        Self {
            code: Code::from_i32(refusal.code),
            reason: refusal.reason,
            message: refusal.message,
            metadata: refusal.metadata.into_iter().collect(),
        }
    }
}
