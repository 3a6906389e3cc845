//! Why a handshake failed, in words that name the cause.
//!
//! The two ends see different things: one finds fault with the other's certificate, the other one gets an alert. With TLS 1.3 a
//! client has finished before the server looks at its certificate, so the alert comes with the first read after the handshake.

use std::io;

use rustls::pki_types::UnixTime;
use rustls::{AlertDescription, CertificateError, Error, InvalidMessage, PeerIncompatible};
use uuid::Uuid;

use super::verifier::OtherServer;
use crate::timestamp::text;

/// Why there is no secure connection.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// The peer's certificate is of another authority: most likely the server was set up anew, or it is another one.
    #[error("the other end's certificate was issued by another authority")]
    WrongCa,
    /// The authority is the right one; the server is not.
    #[error("another server answers: expected {expected}, found {}",
            found.map_or_else(|| "one without an id".to_owned(), |id| id.to_string()))]
    WrongServer {
        /// The server that was meant.
        expected: Uuid,
        /// The one that answered, if it said who it is.
        found: Option<Uuid>,
    },
    /// The peer's certificate is over, or this machine's clock is fast.
    #[error("the other end's certificate expired at {}, and this machine's clock says {}",
            text(*not_after), text(*now))]
    Expired {
        /// Its last second.
        not_after: UnixTime,
        /// What this machine's clock says.
        now: UnixTime,
    },
    /// The peer's certificate has not begun: one of the two clocks is wrong.
    #[error("the other end's certificate is valid from {}, and this machine's clock says {}: \
             one of the two clocks is wrong", text(*not_before), text(*now))]
    NotYetValid {
        /// Its first second.
        not_before: UnixTime,
        /// What this machine's clock says.
        now: UnixTime,
    },
    /// A server showed a client's certificate, or the reverse.
    #[error("the other end's certificate is for another purpose")]
    WrongPurpose,
    /// The peer's certificate is nothing that this library makes, for instance one that signed itself.
    #[error("the other end's certificate is not one of legwork: {0}")]
    BadCertificate(CertificateError),
    /// The other end does not accept our certificate, or something else about us.
    #[error("the other end refused: {0}")]
    Refused(PeerRefusal),
    /// The other end speaks something else, for instance plain HTTP.
    #[error("the other end does not speak TLS: is the address right?")]
    NotTls,
    /// The other end speaks only old versions.
    #[error("the other end does not speak TLS 1.3")]
    TlsTooOld,
    /// The other end speaks TLS, but does not offer HTTP/2.
    #[error("the other end speaks TLS, but not the protocol of legwork: is the address right?")]
    NotLegwork,
    /// The connection ended in the middle of the handshake.
    #[error("the other end closed the connection during the handshake")]
    Closed,
    /// The connection failed.
    #[error("the connection failed: {0}")]
    Io(#[source] io::Error),
    /// Anything else that TLS can say.
    #[error("the handshake failed: {0}")]
    Tls(#[source] Error),
}

/// What the other end has against us, as far as its alert says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PeerRefusal {
    /// Our certificate is over, or has not begun, by the other end's clock.
    #[error("by its clock our certificate is not valid now")]
    NotValidNow,
    /// Our certificate is of another authority.
    #[error("our certificate was issued by another authority")]
    UnknownCa,
    /// Our certificate is damaged or for another purpose.
    #[error("our certificate is not usable there")]
    BadCertificate,
    /// It wants a certificate, and we have shown none.
    #[error("it wants a certificate")]
    CertificateRequired,
    /// Another alert.
    #[error("alert {}", u8::from(*.0))]
    Other(AlertDescription),
}

impl PeerRefusal {
    /// What the other end has said, if that is what a stream failed for. In TLS 1.3 a server's verdict on a client comes after
    /// the handshake, as the client sees it (RFC 8446, section 4.4.2.4).
    #[must_use]
    pub fn told_by(failure: &io::Error) -> Option<Self> {
        let cause = failure.get_ref()?.downcast_ref::<Error>()?;
        match HandshakeError::from(cause.clone()) {
            HandshakeError::Refused(refusal) => Some(refusal),
            _ => None,
        }
    }
}

impl From<Error> for HandshakeError {
    fn from(error: Error) -> Self {
        match error {
            Error::InvalidCertificate(why) => from_certificate(why),
            Error::AlertReceived(alert) => from_alert(alert),
            Error::NoApplicationProtocol => Self::NotLegwork,
            Error::PeerIncompatible(
                PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
                | PeerIncompatible::SupportedVersionsExtensionRequired
                | PeerIncompatible::ServerDoesNotSupportTls12Or13
                | PeerIncompatible::Tls12NotOffered
                | PeerIncompatible::Tls12NotOfferedOrEnabled,
            ) => Self::TlsTooOld,
            // What the first bytes of anything else look like, when they are read as a record.
            Error::InvalidMessage(
                InvalidMessage::InvalidContentType
                | InvalidMessage::UnknownProtocolVersion
                | InvalidMessage::MessageTooLarge
                | InvalidMessage::InvalidEmptyPayload,
            ) => Self::NotTls,
            other => Self::Tls(other),
        }
    }
}

impl From<io::Error> for HandshakeError {
    /// From what an asynchronous stream says, where the cause is wrapped.
    fn from(error: io::Error) -> Self {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
        match error.downcast::<Error>() {
            Ok(cause) => cause.into(),
            Err(error) => match error.kind() {
                UnexpectedEof | ConnectionReset | ConnectionAborted | BrokenPipe => Self::Closed,
                _ => Self::Io(error),
            },
        }
    }
}

fn from_certificate(why: CertificateError) -> HandshakeError {
    match why {
        CertificateError::UnknownIssuer | CertificateError::BadSignature => HandshakeError::WrongCa,
        CertificateError::ExpiredContext { time, not_after } => HandshakeError::Expired {
            not_after,
            now: time,
        },
        CertificateError::NotValidYetContext { time, not_before } => HandshakeError::NotYetValid {
            not_before,
            now: time,
        },
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            HandshakeError::WrongPurpose
        }
        CertificateError::Other(other) => match other.0.downcast_ref::<OtherServer>() {
            Some(&OtherServer { expected, found }) => {
                HandshakeError::WrongServer { expected, found }
            }
            None => HandshakeError::BadCertificate(CertificateError::Other(other)),
        },
        other => HandshakeError::BadCertificate(other),
    }
}

fn from_alert(alert: AlertDescription) -> HandshakeError {
    let refusal = match alert {
        AlertDescription::ProtocolVersion => return HandshakeError::TlsTooOld,
        AlertDescription::NoApplicationProtocol => return HandshakeError::NotLegwork,
        AlertDescription::CertificateExpired => PeerRefusal::NotValidNow,
        AlertDescription::UnknownCA => PeerRefusal::UnknownCa,
        AlertDescription::CertificateRequired => PeerRefusal::CertificateRequired,
        AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateUnknown
        | AlertDescription::DecryptError => PeerRefusal::BadCertificate,
        other => PeerRefusal::Other(other),
    };
    HandshakeError::Refused(refusal)
}
