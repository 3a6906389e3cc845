//! Peers that speak something else.

use std::io;

use legwork_identity::PrivateKey;
use legwork_identity::tls::{self, Credentials, HandshakeError};
use rustls::version::TLS12;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::world::{alice, authority, client, connect, impostor, meet, provider, serve, server};

#[tokio::test]
async fn an_old_client_is_refused() {
    let ca = authority();
    let mut roots = RootCertStore::empty();
    roots.add(ca.certificate().der().clone()).unwrap();
    let old = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS12])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let met = meet(server(&ca), old).await;
    assert!(
        matches!(met.server, Err(HandshakeError::TlsTooOld)),
        "{met:?}"
    );
    assert!(
        matches!(met.client, Err(HandshakeError::TlsTooOld)),
        "{met:?}"
    );
}

#[tokio::test]
async fn an_old_server_is_refused() {
    let ca = authority();
    let met = meet(impostor(ca.certificate(), &TLS12), client(&ca, None)).await;
    assert!(
        matches!(met.client, Err(HandshakeError::TlsTooOld)),
        "{met:?}"
    );
}

#[tokio::test]
async fn a_certificate_that_signed_itself_is_refused() {
    let ca = authority();
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let key = rcgen::KeyPair::generate().unwrap();
    let der = params.self_signed(&key).unwrap().der().clone();
    let key = PrivateKey::from_pem(&key.serialize_pem()).unwrap();
    let own = Credentials::new(vec![der], &key);
    let met = meet(server(&ca), client(&ca, Some(&own))).await;
    let refused = matches!(met.server, Err(HandshakeError::BadCertificate(_)));
    assert!(refused, "{met:?}");
    assert!(
        matches!(met.client, Err(HandshakeError::Refused(_))),
        "{met:?}"
    );
}

#[tokio::test]
async fn another_protocol_is_refused() {
    let ca = authority();
    let mut other = client(&ca, None);
    other.alpn_protocols = vec![b"http/1.1".to_vec()];
    let met = meet(server(&ca), other).await;
    assert!(
        matches!(met.server, Err(HandshakeError::NotLegwork)),
        "{met:?}"
    );
    assert!(
        matches!(met.client, Err(HandshakeError::NotLegwork)),
        "{met:?}"
    );
}

#[tokio::test]
async fn plain_text_is_refused() {
    let ca = authority();
    for said in [
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "SSH-2.0-x\r\n",
    ] {
        let (mut near, far) = tokio::io::duplex(4096);
        let speak = async move {
            near.write_all(said.as_bytes()).await.unwrap();
            let mut answer = Vec::new();
            near.read_to_end(&mut answer).await.unwrap();
            answer
        };
        let (served, _) = tokio::join!(serve(server(&ca), far), speak);
        let error = HandshakeError::from(served.unwrap_err());
        assert!(
            matches!(error, HandshakeError::NotTls),
            "{said:?}: {error:?}"
        );
    }
}

#[tokio::test]
async fn a_server_that_speaks_plain_text_is_told() {
    let ca = authority();
    let settings: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
    for said in [b"HTTP/1.1 400 Bad Request\r\n\r\n", settings] {
        let error = against(&ca, said).await;
        assert!(
            matches!(error, HandshakeError::NotTls),
            "{said:?}: {error:?}"
        );
    }
    let error = against(&ca, b"").await;
    assert!(matches!(error, HandshakeError::Closed), "{error:?}");
}

/// What a client thinks of a server that says this and leaves.
async fn against(ca: &legwork_identity::ca::Ca, said: &[u8]) -> HandshakeError {
    let (near, mut far) = tokio::io::duplex(4096);
    let speak = async move {
        far.write_all(said).await.unwrap();
        far.shutdown().await.unwrap();
        let mut asked = Vec::new();
        far.read_to_end(&mut asked).await.unwrap();
    };
    let own = alice(ca);
    let (connected, ()) = tokio::join!(connect(client(ca, Some(&own)), near), speak);
    connected.unwrap_err().into()
}

#[test]
fn a_failing_connection_is_told_as_one() {
    let told = |kind| HandshakeError::from(io::Error::from(kind));
    let error = told(io::ErrorKind::TimedOut);
    assert!(matches!(error, HandshakeError::Io(_)), "{error:?}");
    let error = told(io::ErrorKind::ConnectionReset);
    assert!(matches!(error, HandshakeError::Closed), "{error:?}");
    assert_eq!(tls::server_name().to_str(), tls::DNS_NAME);
}
