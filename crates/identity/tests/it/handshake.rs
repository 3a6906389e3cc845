//! Handshakes that work, and those that fail for a certificate.

use std::sync::Arc;
use std::time::Duration;

use legwork_identity::ca::{BACKDATED, CLIENT_LIFETIME, SERVER_LIFETIME};
use legwork_identity::tls::{self, HandshakeError, PeerRefusal};
use rustls::client::Resumption;
use rustls::{CipherSuite, HandshakeKind, ProtocolVersion};
use tokio::io::AsyncReadExt;
use uuid::Uuid;

use crate::world::{
    ALICE, NOW, SERVER, alice, alice_at, at, authority, client, clock, meet, serve, server,
    server_at,
};

const HOUR: Duration = Duration::from_hours(1);

#[tokio::test]
async fn both_know_each_other() {
    let ca = authority();
    let own = alice(&ca);
    let met = meet(server(&ca), client(&ca, Some(&own))).await;
    let peer = met.server.unwrap().unwrap();
    assert_eq!((peer.id, peer.name.as_str()), (ALICE, "alice"));
    assert_eq!(peer.not_after, at(CLIENT_LIFETIME));
    assert_eq!(met.client.unwrap()[1], *ca.certificate().der());
}

#[tokio::test]
async fn without_a_certificate_one_is_a_stranger() {
    let ca = authority();
    let met = meet(server(&ca), client(&ca, None)).await;
    assert_eq!(met.server.unwrap(), None);
    met.client.unwrap();
}

#[tokio::test]
async fn sessions_are_whole_each_time() {
    let ca = authority();
    let own = alice(&ca);
    let serving = server(&ca);
    let mut config = client(&ca, Some(&own));
    // Also when the client would like to.
    config.resumption = Resumption::in_memory_sessions(8);
    let config = Arc::new(config);
    for _ in 0..2 {
        let (near, far) = tokio::io::duplex(64 << 10);
        let connector = tokio_rustls::TlsConnector::from(Arc::clone(&config));
        let connect = connector.connect(tls::server_name(), near);
        let (peer, stream) = tokio::join!(serve(serving.clone(), far), connect);
        assert_eq!(peer.unwrap().unwrap().id, ALICE);
        let mut stream = stream.unwrap();
        // What the server gives for later comes with its first byte.
        stream.read_u8().await.unwrap();
        let (_, connection) = stream.get_ref();
        assert_eq!(
            connection.protocol_version(),
            Some(ProtocolVersion::TLSv1_3)
        );
        let suite = connection
            .negotiated_cipher_suite()
            .map(|suite| suite.suite());
        assert_eq!(suite, Some(CipherSuite::TLS13_AES_128_GCM_SHA256));
        assert_eq!(connection.handshake_kind(), Some(HandshakeKind::Full));
    }
}

#[tokio::test]
async fn a_client_of_another_authority_is_refused() {
    let (ca, other) = (authority(), authority());
    let own = alice(&other);
    let met = meet(server(&ca), client(&ca, Some(&own))).await;
    assert!(
        matches!(met.server, Err(HandshakeError::WrongCa)),
        "{met:?}"
    );
    let refused = HandshakeError::Refused(PeerRefusal::UnknownCa);
    assert_eq!(told(met.client), refused.to_string());
}

#[tokio::test]
async fn a_server_of_another_authority_is_refused() {
    let (ca, other) = (authority(), authority());
    let own = alice(&ca);
    let met = meet(server(&other), client(&ca, Some(&own))).await;
    assert!(
        matches!(met.client, Err(HandshakeError::WrongCa)),
        "{met:?}"
    );
    let refused = HandshakeError::Refused(PeerRefusal::UnknownCa);
    assert_eq!(told(met.server), refused.to_string());
}

#[tokio::test]
async fn an_expired_client_is_told_with_both_times() {
    let ca = authority();
    let own = alice(&ca);
    let now = CLIENT_LIFETIME + HOUR;
    let met = meet(server_at(&ca, now), client(&ca, Some(&own))).await;
    let Err(HandshakeError::Expired {
        not_after,
        now: seen,
    }) = met.server
    else {
        panic!("{met:?}");
    };
    assert_eq!((not_after, seen), (at(CLIENT_LIFETIME), at(now)));
    let refused = HandshakeError::Refused(PeerRefusal::NotValidNow);
    assert_eq!(told(met.client), refused.to_string());
}

#[tokio::test]
async fn an_expired_server_is_told_with_both_times() {
    let ca = authority();
    let now = SERVER_LIFETIME + HOUR;
    let late = tls::client(ca.certificate(), SERVER, None, clock(now)).unwrap();
    let met = meet(server(&ca), late).await;
    let error = met.client.unwrap_err();
    let HandshakeError::Expired {
        not_after,
        now: seen,
    } = error
    else {
        panic!("{error}");
    };
    assert_eq!((not_after, seen), (at(SERVER_LIFETIME), at(now)));
}

#[tokio::test]
async fn a_client_whose_clock_is_slow_is_told_with_both_times() {
    let ca = authority();
    let own = ca.issue_server(SERVER, at(HOUR), SERVER_LIFETIME).unwrap();
    let ahead = tls::server(ca.certificate(), &own, clock(HOUR)).unwrap();
    let met = meet(ahead, client(&ca, None)).await;
    let error = met.client.unwrap_err();
    let HandshakeError::NotYetValid { not_before, now } = error else {
        panic!("{error}");
    };
    assert_eq!((not_before, now), (at(HOUR - BACKDATED), NOW));
    let text = error.to_string();
    assert!(text.contains("valid from 2027-01-15T08:55:00Z"), "{text}");
    assert!(text.contains("clock says 2027-01-15T08:00:00Z"), "{text}");
}

#[tokio::test]
async fn a_server_whose_clock_is_slow_is_told_with_both_times() {
    let ca = authority();
    let own = alice_at(&ca, HOUR);
    let met = meet(server(&ca), client(&ca, Some(&own))).await;
    let Err(HandshakeError::NotYetValid { not_before, now }) = met.server else {
        panic!("{met:?}");
    };
    assert_eq!((not_before, now), (at(HOUR - BACKDATED), NOW));
    let refused = HandshakeError::Refused(PeerRefusal::NotValidNow);
    assert_eq!(told(met.client), refused.to_string());
}

#[tokio::test]
async fn a_little_skew_is_forgiven() {
    let ca = authority();
    let skew = BACKDATED - Duration::from_secs(1);
    let own = ca.issue_server(SERVER, at(skew), SERVER_LIFETIME).unwrap();
    let ahead = tls::server(ca.certificate(), &own, clock(skew)).unwrap();
    let met = meet(ahead, client(&ca, Some(&alice_at(&ca, skew)))).await;
    assert_eq!(met.server.unwrap().unwrap().id, ALICE);
}

#[tokio::test]
async fn another_server_of_the_same_authority_is_refused() {
    let ca = authority();
    let other = Uuid::from_u128(99);
    let expecting = tls::client(ca.certificate(), other, None, clock(Duration::ZERO)).unwrap();
    let met = meet(server(&ca), expecting).await;
    let error = met.client.unwrap_err();
    let HandshakeError::WrongServer { expected, found } = error else {
        panic!("{error}");
    };
    assert_eq!((expected, found), (other, Some(SERVER)));
}

#[tokio::test]
async fn a_certificate_serves_its_purpose_only() {
    let ca = authority();
    // A client that plays the server, and a server that plays a client.
    let played = tls::server(ca.certificate(), &alice(&ca), clock(Duration::ZERO)).unwrap();
    let met = meet(played, client(&ca, None)).await;
    assert!(
        matches!(met.client, Err(HandshakeError::WrongPurpose)),
        "{met:?}"
    );
    let servers = ca.issue_server(SERVER, NOW, SERVER_LIFETIME).unwrap();
    let met = meet(server(&ca), client(&ca, Some(&servers))).await;
    assert!(
        matches!(met.server, Err(HandshakeError::WrongPurpose)),
        "{met:?}"
    );
}

fn told<T>(met: Result<T, HandshakeError>) -> String {
    met.err()
        .map_or_else(String::new, |error| error.to_string())
}
