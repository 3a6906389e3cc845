//! Errors of certificates, invites and identities, and refusals of the policy.

use legwork_identity::KeyError;
use legwork_identity::ca::CaError;
use legwork_identity::invite::InviteError;
use legwork_identity::policy::Denied;
use legwork_identity::store::{InviteRefused, RedeemError, RenewError, RevokeError, StoreError};
use tonic::Code;

use super::Problem;
use crate::authority;

impl From<Denied> for Problem {
    fn from(denied: Denied) -> Self {
        let message = denied.to_string();
        match denied {
            // Whoever has a certificate that one of the two clocks makes invalid finds out here which it is.
            Denied::Stranger => Self::new(Code::Unauthenticated, "NOT_ENROLLED", message)
                .with("serverTimeS", authority::now().as_secs()),
            Denied::Role { needs } => {
                let needs: Vec<&str> = needs.iter().map(|role| role.name()).collect();
                Self::new(Code::PermissionDenied, "ROLE", message).with("needs", needs.join(","))
            }
            Denied::Unlisted => Self::new(Code::Unimplemented, "NO_SUCH_METHOD", message),
        }
    }
}

impl From<CaError> for Problem {
    fn from(error: CaError) -> Self {
        let message = error.to_string();
        match error {
            CaError::Io { path, source } => Self::io(&path, &source),
            CaError::Damaged { path, .. } => {
                Self::new(Code::DataLoss, "CA_DAMAGED", message).with_path(&path)
            }
            CaError::Exposed { path, .. } => {
                Self::new(Code::FailedPrecondition, "CA_EXPOSED", message).with_path(&path)
            }
            CaError::Expired { .. } => Self::new(Code::FailedPrecondition, "CA_EXPIRED", message),
            CaError::NotYetValid { .. } => {
                Self::new(Code::FailedPrecondition, "CA_NOT_YET_VALID", message)
            }
            CaError::Key(error) => error.into(),
            CaError::NotACa(_) | CaError::OtherKey | CaError::Sign(_) | CaError::Unreadable => {
                Self::new(Code::Internal, "CA_BROKEN", message)
            }
        }
    }
}

impl From<KeyError> for Problem {
    fn from(error: KeyError) -> Self {
        let code = match error {
            KeyError::Generate | KeyError::NotAKey => Code::Internal,
            KeyError::NotARequest
            | KeyError::TooLong { .. }
            | KeyError::KeyKind
            | KeyError::NotProven => Code::InvalidArgument,
        };
        Self::new(code, "BAD_CERTIFICATE_REQUEST", error.to_string())
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let message = error.to_string();
        match error {
            StoreError::Newer { path, .. } => {
                Self::new(Code::FailedPrecondition, "STATE_NEWER", message).with_path(&path)
            }
            StoreError::Busy => Self::new(Code::Unavailable, "IDENTITIES_BUSY", message),
            StoreError::DiskFull => Self::new(Code::ResourceExhausted, "NO_SPACE", message),
            StoreError::Io { path, source } => Self::io(&path, &source),
            StoreError::Damaged { .. } => Self::new(Code::DataLoss, "STATE_DAMAGED", message),
            StoreError::Database(_) => Self::new(Code::Internal, "IDENTITIES_BROKEN", message),
        }
    }
}

impl From<InviteRefused> for Problem {
    fn from(error: InviteRefused) -> Self {
        let message = error.to_string();
        match error {
            InviteRefused::Name { .. } => Self::new(Code::InvalidArgument, "BAD_NAME", message),
            InviteRefused::NameTaken { name } => {
                Self::new(Code::AlreadyExists, "NAME_TAKEN", message).with("name", name)
            }
            InviteRefused::NoRoles => Self::new(Code::InvalidArgument, "NO_ROLES", message),
            InviteRefused::Lifetime | InviteRefused::CertificateLifetime => {
                Self::new(Code::InvalidArgument, "BAD_LIFETIME", message)
            }
            InviteRefused::Store(error) => error.into(),
        }
    }
}

impl From<InviteError> for Problem {
    fn from(error: InviteError) -> Self {
        let message = error.to_string();
        match error {
            InviteError::Addresses { .. } => {
                let message = "the server has told no address at which it can be reached: \
                               start it with --listen, or name one with --advertise";
                Self::new(Code::FailedPrecondition, "NO_ADDRESS", message)
            }
            InviteError::Prefix
            | InviteError::Newer { .. }
            | InviteError::Truncated
            | InviteError::Damaged
            | InviteError::TooLong => Self::new(Code::InvalidArgument, "BAD_INVITE", message),
        }
    }
}

impl From<RedeemError> for Problem {
    fn from(error: RedeemError) -> Self {
        let message = error.to_string();
        match error {
            RedeemError::Unknown => Self::new(Code::PermissionDenied, "INVITE_UNKNOWN", message),
            RedeemError::Expired { expires_at, .. } => {
                Self::new(Code::PermissionDenied, "INVITE_EXPIRED", message)
                    .with("expiresAtS", expires_at.as_secs())
                    .with("serverTimeS", authority::now().as_secs())
            }
            RedeemError::Used { used_at } => {
                Self::new(Code::PermissionDenied, "INVITE_USED", message)
                    .with("usedAtS", used_at.as_secs())
            }
            RedeemError::Ca(error) => error.into(),
            RedeemError::Store(error) => error.into(),
        }
    }
}

impl From<RenewError> for Problem {
    fn from(error: RenewError) -> Self {
        let message = error.to_string();
        match error {
            RenewError::Unknown | RenewError::Revoked => {
                Self::new(Code::Unauthenticated, "NOT_ENROLLED", message)
            }
            RenewError::TooMany { .. } => {
                Self::new(Code::ResourceExhausted, "TOO_MANY_CERTIFICATES", message)
            }
            RenewError::Ca(error) => error.into(),
            RenewError::Store(error) => error.into(),
        }
    }
}

impl From<RevokeError> for Problem {
    fn from(error: RevokeError) -> Self {
        let message = error.to_string();
        match error {
            RevokeError::Unknown { who } => {
                Self::new(Code::NotFound, "IDENTITY_NOT_FOUND", message).with("who", who)
            }
            RevokeError::Store(error) => error.into(),
        }
    }
}
