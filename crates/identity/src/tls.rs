//! TLS as legwork speaks it: version 1.3 only, both ends known by the authority of one server.
//!
//! A server presents its certificate and the authority's. It asks for a client's certificate and does without one, since
//! joining has to work before there is any; whoever is let in without one is told by [`peer`] as `None`, and what that may do is
//! for [`crate::policy`]. A certificate that is presented must be good, else the handshake fails.
//!
//! A client knows its server by the authority's certificate and the server's uuid, never by address or DNS name: so tunnels and
//! changing addresses work, and the certificate of one server is no use to another. A client that joins knows
//! only the hash of the authority's certificate, from its invite, and finds the certificate in what the server presents.
//!
//! Sessions are not resumed. A resumed session would skip the check whether the certificate is still valid, and a full handshake
//! costs well under a millisecond of work.

mod credentials;
mod elsewhere;
mod error;
mod known;
mod peer_certificate;
mod verifier;

pub use self::credentials::{Credentials, NotCredentials};
pub use self::elsewhere::{ElsewhereError, Own, elsewhere};
pub use self::error::{HandshakeError, PeerRefusal};
pub use self::peer_certificate::{NotAPeer, PeerCertificate, Serial};

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::time_provider::TimeProvider;
use rustls::version::TLS13;
use rustls::{CipherSuite, ClientConfig, RootCertStore, ServerConfig};
use uuid::Uuid;

use self::known::KnownClients;
use self::verifier::{ServerVerifier, Trust};
use crate::ca::CaCertificate;
use crate::fingerprint::Fingerprint;

/// The only protocol that is spoken over these connections.
pub const ALPN: &[u8] = b"h2";

/// The DNS name in the certificate of every server, for clients that verify names.
pub const DNS_NAME: &str = "legwork";

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The authority's certificate cannot be trusted for anything.
    #[error("the certificate of the authority cannot be used: {0}")]
    Authority(#[source] rustls::Error),
    /// The own certificate and key do not go together.
    #[error("the certificate and its private key cannot be used: {0}")]
    Credentials(#[source] rustls::Error),
}

/// The server's end.
///
/// # Errors
/// When the authority's certificate or the credentials cannot be used.
pub fn server(
    ca: &CaCertificate,
    credentials: &Credentials,
    clock: Arc<dyn TimeProvider>,
) -> Result<ServerConfig, ConfigError> {
    let provider = provider();
    let clients =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots(ca)?), Arc::clone(&provider))
            .allow_unauthenticated()
            .build()
            .map_err(|error| ConfigError::Authority(rustls::Error::General(error.to_string())))?;
    let mut config = ServerConfig::builder_with_details(provider, clock)
        .with_protocol_versions(&[&TLS13])
        .map_err(ConfigError::Credentials)?
        .with_client_cert_verifier(Arc::new(KnownClients::new(clients)))
        .with_single_cert(credentials.chain().to_vec(), credentials.key_der())
        .map_err(ConfigError::Credentials)?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// A client's end, for a server that it knows. Without credentials it can do what strangers may.
///
/// # Errors
/// When the authority's certificate or the credentials cannot be used.
pub fn client(
    ca: &CaCertificate,
    server: Uuid,
    credentials: Option<&Credentials>,
    clock: Arc<dyn TimeProvider>,
) -> Result<ClientConfig, ConfigError> {
    let trust = Trust::Authority(roots(ca)?);
    client_config(trust, server, credentials, clock)
}

/// The end of a client that joins: it trusts the one authority whose certificate has this hash, and
/// the server that its invite names. After the handshake, [`joined`] tells the authority's certificate.
///
/// # Errors
/// None that can be caused from outside.
pub fn join(
    ca: Fingerprint,
    server: Uuid,
    clock: Arc<dyn TimeProvider>,
) -> Result<ClientConfig, ConfigError> {
    client_config(Trust::Hash(ca), server, None, clock)
}

fn client_config(
    trust: Trust,
    server: Uuid,
    credentials: Option<&Credentials>,
    clock: Arc<dyn TimeProvider>,
) -> Result<ClientConfig, ConfigError> {
    let provider = provider();
    let algorithms = provider.signature_verification_algorithms;
    let verifier = ServerVerifier::new(trust, server, algorithms);
    let builder = ClientConfig::builder_with_details(provider, clock)
        .with_protocol_versions(&[&TLS13])
        .map_err(ConfigError::Credentials)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match credentials {
        Some(own) => builder
            .with_client_auth_cert(own.chain().to_vec(), own.key_der())
            .map_err(ConfigError::Credentials)?,
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// The name to open a connection with. It is sent, and not verified.
#[must_use]
pub fn server_name() -> ServerName<'static> {
    ServerName::try_from(DNS_NAME).expect("a plain DNS name")
}

/// What a client has learned by joining.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    /// The certificate of the authority, to be kept.
    pub ca: CaCertificate,
    /// Which server it is.
    pub server: Uuid,
}

/// Tells what was learned, from the certificates that the server has presented in a handshake with [`join`].
#[must_use]
pub fn joined(presented: &[CertificateDer<'_>], ca: Fingerprint) -> Option<Joined> {
    let (server, others) = presented.split_first()?;
    Some(Joined {
        ca: verifier::authority_in(others, ca)?,
        server: PeerCertificate::parse(server).ok()?.id,
    })
}

/// Who is at the other end of a server's connection, by the certificates that were verified in the handshake;
/// `None` if none was presented.
///
/// # Errors
/// When the certificate was made by the authority, but not by this library.
pub fn peer(presented: Option<&[CertificateDer<'_>]>) -> Result<Option<PeerCertificate>, NotAPeer> {
    presented
        .and_then(<[_]>::first)
        .map(|certificate| PeerCertificate::parse(certificate))
        .transpose()
}

/// AES-128 with SHA-256 first: it is as strong as the curves. Where processors have instructions for a hash it is this one, and a short
/// command is mostly its handshake: with SHA-384 it takes a client an eighth more processor time.
fn provider() -> Arc<CryptoProvider> {
    let mut provider = ring::default_provider();
    let first = CipherSuite::TLS13_AES_128_GCM_SHA256;
    provider
        .cipher_suites
        .sort_by_key(|suite| suite.suite() != first);
    Arc::new(provider)
}

fn roots(ca: &CaCertificate) -> Result<RootCertStore, ConfigError> {
    let mut roots = RootCertStore::empty();
    roots
        .add(ca.der().clone())
        .map_err(ConfigError::Authority)?;
    Ok(roots)
}
