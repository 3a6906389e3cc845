//! Authorities, servers and clients with clocks that stand where a test puts them.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use legwork_identity::ca::{
    CA_LIFETIME, CLIENT_LIFETIME, Ca, CaCertificate, SERVER_LIFETIME, Subject,
};
use legwork_identity::tls::{self, Credentials, HandshakeError, PeerCertificate};
use legwork_identity::{CertificateRequest, PrivateKey, UnixTime};
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair, SanType,
};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, ServerConfig, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use uuid::Uuid;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

pub(crate) const NOW: UnixTime = UnixTime::since_unix_epoch(Duration::from_secs(1_800_000_000));
pub(crate) const SERVER: Uuid = Uuid::from_u128(1);
pub(crate) const ALICE: Uuid = Uuid::from_u128(2);

const PIPE_BYTES: usize = 64 << 10;
/// No handshake in memory takes this long.
const DEADLINE: Duration = Duration::from_secs(60);

#[derive(Debug)]
struct Stopped(UnixTime);

impl TimeProvider for Stopped {
    fn current_time(&self) -> Option<UnixTime> {
        Some(self.0)
    }
}

/// A clock that stands this long after [`NOW`].
pub(crate) fn clock(later: Duration) -> Arc<dyn TimeProvider> {
    Arc::new(Stopped(at(later)))
}

pub(crate) fn at(later: Duration) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(NOW.as_secs()) + later)
}

pub(crate) fn authority() -> Ca {
    Ca::create(NOW, CA_LIFETIME).unwrap()
}

/// The server of an authority, with its clock at [`NOW`].
pub(crate) fn server(ca: &Ca) -> ServerConfig {
    server_at(ca, Duration::ZERO)
}

pub(crate) fn server_at(ca: &Ca, later: Duration) -> ServerConfig {
    let own = ca.issue_server(SERVER, NOW, SERVER_LIFETIME).unwrap();
    tls::server(ca.certificate(), &own, clock(later)).unwrap()
}

/// A server whose certificate was signed by a key of somebody else, under the name of this authority. It
/// shows the authority's own certificate as well.
pub(crate) fn impostor(
    of: &CaCertificate,
    version: &'static SupportedProtocolVersion,
) -> ServerConfig {
    let (_, genuine) = X509Certificate::from_der(of.der()).unwrap();
    let name = genuine.subject().iter_common_name().next().unwrap();
    let mut authority = CertificateParams::default();
    authority.distinguished_name = DistinguishedName::new();
    authority
        .distinguished_name
        .push(DnType::CommonName, name.as_str().unwrap());
    let issuer = Issuer::new(authority, KeyPair::generate().unwrap());
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![tls::DNS_NAME.to_owned()]).unwrap();
    let uri = SERVER.urn().to_string().try_into().unwrap();
    params.subject_alt_names.push(SanType::URI(uri));
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let own = params.signed_by(&key, &issuer).unwrap();
    let chain = vec![own.der().clone(), of.der().clone()];
    let key = PrivatePkcs8KeyDer::from(key.serialize_der());
    ServerConfig::builder_with_details(provider(), clock(Duration::ZERO))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key.into())
        .unwrap()
}

pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// What `ca` gives to Alice.
pub(crate) fn alice(ca: &Ca) -> Credentials {
    alice_at(ca, Duration::ZERO)
}

/// The same, made this long after [`NOW`].
pub(crate) fn alice_at(ca: &Ca, later: Duration) -> Credentials {
    let key = PrivateKey::generate().unwrap();
    let request = CertificateRequest::verify(&key.request().unwrap()).unwrap();
    let subject = Subject {
        id: ALICE,
        name: "alice",
    };
    let issued = ca.issue_client(&request, &subject, at(later), CLIENT_LIFETIME);
    Credentials::new(vec![issued.unwrap().certificate], &key)
}

/// A client of an authority, with its clock at [`NOW`].
pub(crate) fn client(ca: &Ca, own: Option<&Credentials>) -> ClientConfig {
    tls::client(ca.certificate(), SERVER, own, clock(Duration::ZERO)).unwrap()
}

/// What each end knows in the end.
#[derive(Debug)]
pub(crate) struct Met {
    /// Whom the server sees.
    pub(crate) server: Result<Option<PeerCertificate>, HandshakeError>,
    /// What the client was shown.
    pub(crate) client: Result<Vec<CertificateDer<'static>>, HandshakeError>,
}

/// Has the two shake hands, and the server say one byte.
pub(crate) async fn meet(server: ServerConfig, client: ClientConfig) -> Met {
    let (near, far) = tokio::io::duplex(PIPE_BYTES);
    let both = async { tokio::join!(serve(server, far), connect(client, near)) };
    let (server, client) = tokio::time::timeout(DEADLINE, both).await.unwrap();
    Met {
        server: server.map_err(HandshakeError::from),
        client: client.map_err(HandshakeError::from),
    }
}

pub(crate) async fn serve(
    config: ServerConfig,
    pipe: DuplexStream,
) -> io::Result<Option<PeerCertificate>> {
    let mut stream = TlsAcceptor::from(Arc::new(config)).accept(pipe).await?;
    stream.write_all(b"!").await?;
    stream.flush().await?;
    let (_, connection) = stream.get_ref();
    let peer = tls::peer(connection.peer_certificates()).map_err(io::Error::other)?;
    Ok(peer)
}

pub(crate) async fn connect(
    config: ClientConfig,
    pipe: DuplexStream,
) -> io::Result<Vec<CertificateDer<'static>>> {
    let connector = TlsConnector::from(Arc::new(config));
    let mut stream = connector.connect(tls::server_name(), pipe).await?;
    // What the server thinks of our certificate comes with the first read.
    stream.read_u8().await?;
    let (_, connection) = stream.get_ref();
    assert_eq!(connection.alpn_protocol(), Some(tls::ALPN));
    let shown = connection.peer_certificates().unwrap_or_default();
    Ok(shown.iter().map(|der| der.clone().into_owned()).collect())
}
