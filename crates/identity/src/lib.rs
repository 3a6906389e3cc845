//! Who may do what in legwork: certificates, TLS, invites, identities and the policy table.

pub mod ca;
mod fingerprint;
pub mod invite;
mod key;
pub mod policy;
mod principal;
mod random;
mod timestamp;
pub mod tls;

pub use self::fingerprint::Fingerprint;
pub use self::key::{CertificateRequest, KeyError, PrivateKey};
pub use self::principal::{Principal, PrincipalId, Role, Roles, UnknownRole, Via};
pub use rustls::pki_types::UnixTime;
pub use rustls::time_provider::{DefaultTimeProvider as SystemClock, TimeProvider};
