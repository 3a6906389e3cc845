//! Domain errors as they leave the house: a class, a stable reason, words, particulars.
//!
//! This is the only place where a domain error gets a gRPC code. A reason is a promise to programs;
//! the message is for people and names the next step where there is one.

mod identity;

use std::collections::HashMap;
use std::path::Path;

use legwork_jobs::output::BadPattern;
use legwork_jobs::{
    IndexError, InvalidRequest, JobError, KeeperAway, OpenError, ResolveError, StartError,
};
use legwork_proto::v1 as wire;
use legwork_sync::error::StoreError;
use legwork_sync::message::Refusal;
pub use tonic::Code;
use tonic::Status;
use tonic_types::{ErrorDetails, StatusExt};

use crate::quotas;

/// The domain of every reason.
pub(crate) const DOMAIN: &str = "legwork";

/// An error as it is told to a client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Problem {
    /// Its class.
    pub code: Code,
    /// Names the cause; stable.
    pub reason: &'static str,
    /// The cause in words, and the next step.
    pub message: String,
    /// Particulars by name.
    pub metadata: HashMap<String, String>,
}

impl Problem {
    pub(crate) fn new(code: Code, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            reason,
            message: message.into(),
            metadata: HashMap::new(),
        }
    }

    pub(crate) fn with(mut self, key: &str, value: impl ToString) -> Self {
        self.metadata.insert(key.to_owned(), value.to_string());
        self
    }

    fn with_path(self, path: &Path) -> Self {
        self.with("path", path.display())
    }

    pub(crate) fn io(path: &Path, error: &std::io::Error) -> Self {
        let full = error.kind() == std::io::ErrorKind::StorageFull;
        let (code, reason) = if full {
            (Code::ResourceExhausted, "NO_SPACE")
        } else {
            (Code::Internal, "IO")
        };
        Self::new(code, reason, format!("{}: {error}", path.display())).with_path(path)
    }

    /// A request that no version of a client sends.
    pub(crate) fn malformed(what: &str) -> Self {
        Self::new(
            Code::InvalidArgument,
            "MALFORMED",
            format!("malformed request: {what}"),
        )
    }
}

impl From<Problem> for Status {
    fn from(problem: Problem) -> Self {
        let details = ErrorDetails::with_error_info(problem.reason, DOMAIN, problem.metadata);
        Self::with_error_details(problem.code, problem.message, details)
    }
}

impl From<Problem> for wire::Refusal {
    fn from(problem: Problem) -> Self {
        Self {
            code: problem.code as i32,
            reason: problem.reason.to_owned(),
            message: problem.message,
            metadata: problem.metadata,
        }
    }
}

impl From<OpenError> for Problem {
    fn from(error: OpenError) -> Self {
        let problem =
            |code, reason, path: &Path| Self::new(code, reason, error.to_string()).with_path(path);
        match &error {
            OpenError::OtherOwner { path, .. } => {
                problem(Code::PermissionDenied, "STATE_OTHER_USER", path)
            }
            OpenError::Newer { path, .. } => problem(Code::FailedPrecondition, "STATE_NEWER", path),
            OpenError::NotADirectory { path } => {
                problem(Code::FailedPrecondition, "STATE_NOT_A_DIRECTORY", path)
            }
            OpenError::NotAState { path } => {
                problem(Code::FailedPrecondition, "STATE_NOT_OURS", path)
            }
            OpenError::NotWritable { path, .. } => {
                problem(Code::FailedPrecondition, "STATE_NOT_WRITABLE", path)
            }
            OpenError::DiskFull { path } => problem(Code::ResourceExhausted, "NO_SPACE", path),
            OpenError::Damaged { path, .. } => problem(Code::DataLoss, "STATE_DAMAGED", path),
            OpenError::Io { path, .. } => problem(Code::Internal, "IO", path),
            OpenError::Cgroups(_) => {
                Self::new(Code::FailedPrecondition, "NO_CGROUPS", error.to_string())
            }
            OpenError::Index(_) => match error {
                OpenError::Index(index) => Self::from(index),
                _ => Self::new(Code::Internal, "IO", error.to_string()),
            },
        }
    }
}

impl From<IndexError> for Problem {
    fn from(error: IndexError) -> Self {
        let problem =
            |code, reason, path: &Path| Self::new(code, reason, error.to_string()).with_path(path);
        match &error {
            IndexError::Busy { path } => problem(Code::Unavailable, "INDEX_BUSY", path),
            IndexError::DiskFull { path } => problem(Code::ResourceExhausted, "NO_SPACE", path),
            IndexError::Io { path, .. } => problem(Code::Internal, "IO", path),
            IndexError::Database { path, .. } => problem(Code::Internal, "INDEX_BROKEN", path),
        }
    }
}

impl From<InvalidRequest> for Problem {
    fn from(error: InvalidRequest) -> Self {
        Self::new(Code::InvalidArgument, "INVALID_JOB", error.to_string())
    }
}

impl From<StartError> for Problem {
    fn from(error: StartError) -> Self {
        let message = error.to_string();
        match error {
            StartError::Invalid(invalid) => invalid.into(),
            StartError::Limit(limit) => {
                let refused = Self::new(Code::FailedPrecondition, "LIMIT_UNAVAILABLE", message)
                    .with("limit", limit.limit);
                match limit.instead {
                    Some(instead) => refused.with("instead", instead),
                    None => refused,
                }
            }
            StartError::IdTaken { id } => {
                Self::new(Code::AlreadyExists, "ID_TAKEN", message).with("id", id.uuid())
            }
            StartError::DiskFull { path } => {
                Self::new(Code::ResourceExhausted, "NO_SPACE", message).with_path(&path)
            }
            StartError::Directory { path, .. } => {
                Self::new(Code::Internal, "IO", message).with_path(&path)
            }
            StartError::Launch { source } => {
                let inside = source
                    .get_ref()
                    .and_then(|e| e.downcast_ref::<KeeperAway>());
                let is_away = inside.is_some();
                let reason = if is_away { "KEEPER_AWAY" } else { "NO_SHIM" };
                Self::new(Code::ResourceExhausted, reason, message)
            }
            StartError::Index(index) => index.into(),
            StartError::Unread(error) => (*error).into(),
            StartError::TooManyBatches { limit } => {
                Self::new(Code::ResourceExhausted, "TOO_MANY_BATCHES", message).with("limit", limit)
            }
            StartError::BatchTooLarge { size, limit } => {
                Self::new(Code::InvalidArgument, "BATCH_TOO_LARGE", message)
                    .with("size", size)
                    .with("limit", limit)
            }
            StartError::Closed => Self::new(Code::Unavailable, "SHUTTING_DOWN", message),
        }
    }
}

impl From<ResolveError> for Problem {
    fn from(error: ResolveError) -> Self {
        let message = error.to_string();
        match error {
            ResolveError::NotAnId(_) => Self::new(Code::InvalidArgument, "NOT_AN_ID", message),
            ResolveError::NotFound { typed } => job_not_found(&typed),
            ResolveError::Ambiguous { typed, .. } => {
                Self::new(Code::FailedPrecondition, "JOB_AMBIGUOUS", message).with("id", typed)
            }
            ResolveError::Index(index) => index.into(),
        }
    }
}

fn job_not_found(id: &str) -> Problem {
    Problem::new(
        Code::NotFound,
        "JOB_NOT_FOUND",
        format!("there is no job {id}"),
    )
    .with("id", id)
}

impl From<JobError> for Problem {
    fn from(error: JobError) -> Self {
        let message = error.to_string();
        let about = |code, reason, id: legwork_jobs::JobId| {
            Self::new(code, reason, message.clone()).with("id", id)
        };
        match error {
            JobError::NotFound { id } => job_not_found(&id.to_string()),
            JobError::Ended { id } => about(Code::FailedPrecondition, "JOB_FINISHED", id),
            JobError::Pending { id } => about(Code::FailedPrecondition, "JOB_PENDING", id),
            JobError::NotEnded { id } => about(Code::FailedPrecondition, "JOB_RUNNING", id),
            JobError::StdinClosed { id } => about(Code::FailedPrecondition, "STDIN_CLOSED", id),
            JobError::Unreachable { id } | JobError::NoSocket { id } => {
                about(Code::Unavailable, "JOB_UNREACHABLE", id)
            }
            JobError::StillEnding { id } => about(Code::DeadlineExceeded, "JOB_STILL_ENDING", id),
            JobError::Unsupported { id } => about(Code::Unimplemented, "SHIM_TOO_OLD", id),
            JobError::Newer { id, .. } => {
                let problem = Self::new(Code::FailedPrecondition, "JOB_NEWER", message);
                match id {
                    Some(id) => problem.with("id", id),
                    None => problem,
                }
            }
            JobError::NewerAnswer { id } => about(Code::FailedPrecondition, "JOB_NEWER", id),
            JobError::NoSuchSignal { .. } => {
                Self::new(Code::InvalidArgument, "BAD_SIGNAL", message)
            }
            JobError::Refused { id, .. } => about(Code::Internal, "REFUSED_BY_SYSTEM", id),
            JobError::File { path, .. } => {
                Self::new(Code::Internal, "IO", message).with_path(&path)
            }
            JobError::Damaged { path, .. } => {
                Self::new(Code::DataLoss, "JOB_DAMAGED", message).with_path(&path)
            }
            JobError::Index(index) => index.into(),
            JobError::Closed => Self::new(Code::Unavailable, "SHUTTING_DOWN", message),
        }
    }
}

impl From<BadPattern> for Problem {
    fn from(error: BadPattern) -> Self {
        let problem = Self::new(Code::InvalidArgument, "BAD_PATTERN", error.to_string());
        match error {
            BadPattern::Syntax { column, .. } => problem.with("column", column),
            BadPattern::Newline | BadPattern::TooLong | BadPattern::TooLarge => problem,
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let message = error.to_string();
        match error {
            StoreError::Io { path, source, .. }
                if source.kind() == std::io::ErrorKind::StorageFull =>
            {
                Self::new(Code::ResourceExhausted, "NO_SPACE", message).with_path(&path)
            }
            StoreError::Io { path, .. } => {
                Self::new(Code::Internal, "IO", message).with_path(&path)
            }
            StoreError::NewerFormat { path, .. } => {
                Self::new(Code::FailedPrecondition, "STATE_NEWER", message).with_path(&path)
            }
            StoreError::Damaged { path, .. } => {
                Self::new(Code::DataLoss, "STATE_DAMAGED", message).with_path(&path)
            }
            StoreError::Apart { dir, tree } => Self::new(
                Code::FailedPrecondition,
                "SITE_APART",
                format!(
                    "{message}: ask the server's admin to name a `store` for it on that of {}",
                    tree.display()
                ),
            )
            .with_path(&dir),
            StoreError::NoTrash { name, .. } => Self::new(
                Code::NotFound,
                "TRASH_NOT_FOUND",
                format!("there is no {name} in this trash"),
            )
            .with("id", name),
            StoreError::Busy { path } => {
                Self::new(Code::FailedPrecondition, "WORKSPACE_BUSY", message).with_path(&path)
            }
        }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let (code, reason) = match &refusal {
            Refusal::EmptyRoot { .. } => (Code::FailedPrecondition, "EMPTY_ROOT"),
            Refusal::MassDelete { .. } | Refusal::MassDisplace { .. } => {
                (Code::FailedPrecondition, "MASS_DELETE")
            }
            Refusal::OtherWriter { .. } => (Code::FailedPrecondition, "OTHER_WRITER"),
            Refusal::NoSpace => (Code::ResourceExhausted, "NO_SPACE"),
            Refusal::Full { limit, used } => return quotas::too_many_bytes(*used, *limit),
            Refusal::FullEntries { limit, used } => {
                return quotas::too_many_entries(*used, *limit);
            }
            Refusal::FullStaging { limit } => return quotas::too_much_staged(*limit),
            Refusal::Version { .. } => (Code::FailedPrecondition, "SYNC_VERSION"),
            Refusal::BadPath { .. } => (Code::InvalidArgument, "BAD_PATH"),
            Refusal::RootMismatch => (Code::InvalidArgument, "ROOT_MISMATCH"),
            Refusal::HashMismatch { .. } => (Code::Aborted, "HASH_MISMATCH"),
            Refusal::TooMuch { .. } => (Code::ResourceExhausted, "TOO_MUCH"),
            Refusal::Protocol { .. } => (Code::InvalidArgument, "SYNC_PROTOCOL"),
            Refusal::NewerFormat { .. } => (Code::FailedPrecondition, "STATE_NEWER"),
            Refusal::Io { .. } => (Code::Internal, "IO"),
        };
        let problem = Self::new(code, reason, refusal.to_string());
        match refusal {
            Refusal::OtherWriter { name } => problem.with("writer", name),
            Refusal::EmptyRoot { tracked } => problem.with("tracked", tracked),
            Refusal::MassDelete {
                would_delete,
                tracked,
                limit,
            } => problem
                .with("wouldDelete", would_delete)
                .with("tracked", tracked)
                .with("limit", limit),
            Refusal::MassDisplace { would_move, limit } => {
                problem.with("wouldMove", would_move).with("limit", limit)
            }
            Refusal::BadPath { path, .. }
            | Refusal::HashMismatch { path }
            | Refusal::Io { path, .. } => problem.with("path", String::from_utf8_lossy(&path)),
            _ => problem,
        }
    }
}
