//! From an invite to a verified client: what is trusted before anything is known.

use std::time::Duration;

use legwork_identity::ca::{CA_LIFETIME, Ca, SERVER_LIFETIME};
use legwork_identity::invite::{Address, Invite};
use legwork_identity::store::{NewInvite, Store};
use legwork_identity::tls::{self, Credentials, HandshakeError};
use legwork_identity::{CertificateRequest, Fingerprint, PrivateKey, Role, policy};
use rustls::version::TLS13;
use uuid::Uuid;

use crate::world::{NOW, SERVER, authority, client, clock, impostor, meet, server};

/// A client that joins, as its invite says.
fn joining(ca: Fingerprint, server: Uuid) -> rustls::ClientConfig {
    tls::join(ca, server, clock(Duration::ZERO)).unwrap()
}

#[tokio::test]
async fn the_right_hash_tells_the_authority() {
    let ca = authority();
    let hash = ca.certificate().fingerprint();
    let met = meet(server(&ca), joining(hash, SERVER)).await;
    assert_eq!(met.server.unwrap(), None);
    let joined = tls::joined(&met.client.unwrap(), hash).unwrap();
    assert_eq!(joined.ca, *ca.certificate());
    assert_eq!(joined.server, SERVER);
}

#[tokio::test]
async fn the_wrong_hash_is_refused() {
    let (ca, other) = (authority(), authority());
    let hash = other.certificate().fingerprint();
    let met = meet(server(&ca), joining(hash, SERVER)).await;
    assert!(
        matches!(met.client, Err(HandshakeError::WrongCa)),
        "{met:?}"
    );
    assert!(met.server.is_err());
}

#[tokio::test]
async fn an_impostor_that_shows_the_right_authority_is_refused() {
    let ca = authority();
    let hash = ca.certificate().fingerprint();
    let met = meet(impostor(ca.certificate(), &TLS13), joining(hash, SERVER)).await;
    assert!(
        matches!(met.client, Err(HandshakeError::WrongCa)),
        "{met:?}"
    );
    let met = meet(impostor(ca.certificate(), &TLS13), client(&ca, None)).await;
    assert!(
        matches!(met.client, Err(HandshakeError::WrongCa)),
        "{met:?}"
    );
}

#[test]
fn only_what_was_shown_can_be_learned() {
    let ca = authority();
    let hash = ca.certificate().fingerprint();
    let shown = [ca.certificate().der().clone()];
    assert_eq!(tls::joined(&shown, hash), None);
    assert_eq!(tls::joined(&[], hash), None);
}

#[tokio::test]
async fn another_server_of_the_authority_is_refused() {
    let ca = authority();
    let expected = Uuid::from_u128(42);
    let met = meet(
        server(&ca),
        joining(ca.certificate().fingerprint(), expected),
    )
    .await;
    let refused = matches!(met.client, Err(HandshakeError::WrongServer { .. }));
    assert!(refused, "{met:?}");
}

#[tokio::test]
async fn from_an_invite_to_a_principal() {
    let state = tempfile::tempdir().unwrap();
    let store = Store::open(state.path(), NOW).unwrap();
    let ca = Ca::load_or_create(state.path(), NOW, CA_LIFETIME).unwrap();
    let own = ca
        .issue_server(store.server(), NOW, SERVER_LIFETIME)
        .unwrap();
    let serving = || tls::server(ca.certificate(), &own, clock(Duration::ZERO)).unwrap();
    let offer = store
        .invite(&NewInvite::new("alice", Role::Run), NOW)
        .unwrap();
    let address: Address = "box.example:7005".parse().unwrap();
    let hash = ca.certificate().fingerprint();
    let (secret, until) = (offer.secret, offer.expires_at);
    let invite = Invite::new(vec![address], store.server(), hash, secret, until).unwrap();
    let token = invite.token();

    let invite = Invite::parse(&token).unwrap();
    let met = meet(serving(), joining(invite.ca(), invite.server())).await;
    let joined = tls::joined(&met.client.unwrap(), invite.ca()).unwrap();
    let key = PrivateKey::generate().unwrap();
    let request = key.request().unwrap();

    // This is what the two say to each other over the connection that the handshake has made.
    let request = CertificateRequest::verify(&request).unwrap();
    let redeemed = store.redeem(&ca, invite.secret(), &request, NOW).unwrap();

    let own = Credentials::from_pem(&redeemed.certificate.to_pem(), &key.to_pem()).unwrap();
    let clock = clock(Duration::ZERO);
    let config = tls::client(&joined.ca, joined.server, Some(&own), clock).unwrap();
    let met = meet(serving(), config).await;
    let peer = met.server.unwrap().unwrap();
    let identity = store.identity(peer.id).unwrap().unwrap();
    let alice = identity.principal().unwrap();
    policy::check(Some(&alice), "legwork.v1.JobService", "Start").unwrap();
    policy::check(Some(&alice), "legwork.v1.EnrollService", "Invite").unwrap_err();

    // A certificate stays good for the handshake; the next call is what a revoked identity does not get.
    store.revoke("alice", NOW).unwrap();
    let identity = store.identity(peer.id).unwrap().unwrap();
    assert_eq!(identity.principal(), None);
}
