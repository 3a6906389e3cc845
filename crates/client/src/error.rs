//! What a call can fail with.

use std::collections::BTreeMap;

use legwork_proto::v1 as wire;
use tonic::{Code, Status};
use tonic_types::StatusExt;

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

    pub(crate) fn unreachable(cause: &dyn std::error::Error) -> Self {
        Self::new(
            Code::Unavailable,
            "UNREACHABLE",
            format!("cannot talk to the server: {cause}"),
        )
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
    fn from(status: Status) -> Self {
        let (reason, metadata) = match status.get_details_error_info() {
            Some(info) => (info.reason, info.metadata.into_iter().collect()),
            None if status.code() == Code::Unavailable => ("UNREACHABLE".into(), BTreeMap::new()),
            None => (
                format!("{:?}", status.code()).to_uppercase(),
                BTreeMap::new(),
            ),
        };
        Self {
            code: status.code(),
            reason,
            message: status.message().to_owned(),
            metadata,
        }
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
