//! The authority, by what other parsers see in its certificates.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use rustls::pki_types::UnixTime;
use uuid::Uuid;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

use super::{BACKDATED, CA_LIFETIME, CLIENT_LIFETIME, Ca, CaCertificate, CaError, NotACa, Subject};
use crate::key::{CertificateRequest, PrivateKey};
use crate::tls::PeerCertificate;

const NOW: UnixTime = UnixTime::since_unix_epoch(Duration::from_secs(1_800_000_000));

fn later(span: Duration) -> UnixTime {
    crate::timestamp::after(NOW, span)
}

fn authority() -> Ca {
    Ca::create(NOW, CA_LIFETIME).unwrap()
}

fn request() -> CertificateRequest {
    let key = PrivateKey::generate().unwrap();
    CertificateRequest::verify(&key.request().unwrap()).unwrap()
}

fn alice() -> Subject<'static> {
    Subject {
        id: Uuid::from_u128(7),
        name: "alice",
    }
}

#[test]
fn kept_in_two_private_files() {
    let state = tempfile::tempdir().unwrap();
    assert!(Ca::load(state.path()).unwrap().is_none());
    let made = Ca::load_or_create(state.path(), NOW, CA_LIFETIME).unwrap();
    let again = Ca::load_or_create(state.path(), NOW, CA_LIFETIME).unwrap();
    assert_eq!(again.certificate(), made.certificate());
    let mode = |name| {
        let metadata = std::fs::metadata(state.path().join(name)).unwrap();
        metadata.permissions().mode() & 0o7777
    };
    assert_eq!((mode("ca"), mode("ca/ca.key")), (0o700, 0o600));
    assert_eq!(std::fs::read_dir(state.path()).unwrap().count(), 1);
    // What was loaded signs what the first would have.
    again
        .issue_client(&request(), &alice(), NOW, CLIENT_LIFETIME)
        .unwrap();
}

#[test]
fn a_second_maker_gets_the_first_ones() {
    let state = tempfile::tempdir().unwrap();
    let made = Ca::load_or_create(state.path(), NOW, CA_LIFETIME).unwrap();
    let placed = super::files::write(state.path(), "another", "another").unwrap();
    assert!(!placed);
    assert_eq!(std::fs::read_dir(state.path()).unwrap().count(), 1);
    let kept = Ca::load(state.path()).unwrap().unwrap();
    assert_eq!(kept.certificate(), made.certificate());
}

#[test]
fn an_exposed_key_and_damage_are_told() {
    let state = tempfile::tempdir().unwrap();
    Ca::load_or_create(state.path(), NOW, CA_LIFETIME).unwrap();
    let key = state.path().join("ca/ca.key");
    std::fs::set_permissions(&key, PermissionsExt::from_mode(0o640)).unwrap();
    let error = Ca::load(state.path()).unwrap_err();
    assert!(matches!(error, CaError::Exposed { mode: 0o640, .. }));
    std::fs::set_permissions(&key, PermissionsExt::from_mode(0o600)).unwrap();
    std::fs::write(&key, PrivateKey::generate().unwrap().to_pem()).unwrap();
    let Err(CaError::Damaged { what, .. }) = Ca::load(state.path()) else {
        panic!("the key of another");
    };
    assert!(matches!(*what, CaError::OtherKey));
    std::fs::write(state.path().join("ca/ca.pem"), "no certificate").unwrap();
    let error = Ca::load(state.path()).unwrap_err();
    assert!(matches!(error, CaError::Damaged { .. }));
    std::fs::remove_file(&key).unwrap();
    let error = Ca::load(state.path()).unwrap_err();
    assert!(matches!(error, CaError::Io { .. }));
}

#[test]
fn a_client_certificate_says_what_the_server_says() {
    let ca = authority();
    // The names in a request count for nothing.
    let key = PrivateKey::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec!["legwork".to_owned()]).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    let asked = params.serialize_request(key.pair()).unwrap();
    let request = CertificateRequest::verify(asked.der()).unwrap();
    let issued = ca
        .issue_client(&request, &alice(), NOW, CLIENT_LIFETIME)
        .unwrap();

    let (_, seen) = X509Certificate::from_der(&issued.certificate).unwrap();
    assert_eq!(seen.subject().to_string(), "CN=alice");
    let names = &seen.subject_alternative_name().unwrap().unwrap().value;
    let urn = alice().id.urn().to_string();
    assert_eq!(names.general_names, [GeneralName::URI(&urn)]);
    let usage = seen.extended_key_usage().unwrap().unwrap().value;
    assert!(usage.client_auth && !usage.server_auth);
    assert!(!seen.basic_constraints().unwrap().unwrap().value.ca);
    let (_, authority) = X509Certificate::from_der(ca.certificate().der()).unwrap();
    seen.verify_signature(Some(authority.public_key())).unwrap();

    let peer = PeerCertificate::parse(&issued.certificate).unwrap();
    assert_eq!((peer.id, peer.name.as_str()), (alice().id, "alice"));
    assert_eq!(peer.serial, issued.serial);
    assert_eq!(peer.not_before, crate::timestamp::before(NOW, BACKDATED));
    assert_eq!(peer.not_after, later(CLIENT_LIFETIME));
}

#[test]
fn a_server_certificate_carries_uuid_and_dns_name() {
    let ca = authority();
    let server = Uuid::from_u128(9);
    let credentials = ca.issue_server(server, NOW, CLIENT_LIFETIME).unwrap();
    let [own, authority] = credentials.chain() else {
        panic!("two certificates");
    };
    assert_eq!(authority, ca.certificate().der());
    let (_, seen) = X509Certificate::from_der(own).unwrap();
    let names = &seen.subject_alternative_name().unwrap().unwrap().value;
    assert_eq!(names.general_names.len(), 2);
    assert!(
        names
            .general_names
            .contains(&GeneralName::DNSName("legwork"))
    );
    let usage = seen.extended_key_usage().unwrap().unwrap().value;
    assert!(usage.server_auth && !usage.client_auth);
    assert_eq!(PeerCertificate::parse(own).unwrap().id, server);
}

#[test]
fn numbers_differ_and_keep_their_length() {
    let ca = authority();
    let request = request();
    let issue = || ca.issue_client(&request, &alice(), NOW, CLIENT_LIFETIME);
    let (one, two) = (issue().unwrap(), issue().unwrap());
    assert_ne!(one.serial, two.serial);
    assert_eq!(one.serial.as_bytes().len(), 16);
}

#[test]
fn nothing_outlives_its_authority() {
    let hour = Duration::from_hours(1);
    let ca = Ca::create(NOW, hour).unwrap();
    let issue = |now| ca.issue_client(&request(), &alice(), now, CLIENT_LIFETIME);
    assert_eq!(issue(NOW).unwrap().not_after, later(hour));
    let error = issue(later(2 * hour)).unwrap_err();
    assert!(matches!(error, CaError::Expired { .. }));
    let error = issue(crate::timestamp::before(NOW, hour)).unwrap_err();
    assert!(matches!(error, CaError::NotYetValid { .. }), "{error}");
}

#[test]
fn only_an_authority_is_taken_for_one() {
    let ca = authority();
    let pem = ca.certificate().to_pem();
    assert_eq!(CaCertificate::from_pem(&pem).unwrap(), *ca.certificate());
    assert_eq!(CaCertificate::from_pem(&format!("{pem}{pem}")), Err(NotACa));
    let issued = ca
        .issue_client(&request(), &alice(), NOW, CLIENT_LIFETIME)
        .unwrap();
    assert_eq!(CaCertificate::from_pem(&issued.to_pem()), Err(NotACa));
    assert_eq!(CaCertificate::from_der(b""), Err(NotACa));
}

#[test]
fn renewal_is_due_at_two_thirds() {
    let at = |seconds| crate::timestamp::from_seconds(seconds);
    assert_eq!(super::renew_at(at(1_000), at(4_000)), at(3_000));
    assert_eq!(super::renew_at(at(4_000), at(1_000)), at(4_000));
}

#[test]
fn debug_output_has_no_key() {
    let ca = authority();
    let secret = ca.key_pem.lines().nth(1).unwrap();
    assert!(!format!("{ca:?}").contains(secret));
}

proptest::proptest! {
    #[test]
    fn no_certificate_makes_a_parser_panic(flips in proptest::collection::vec((0..600_usize, 1_u8..), 1..8)) {
        let ca = authority();
        let own = ca.issue_server(alice().id, NOW, CLIENT_LIFETIME).unwrap();
        for certificate in own.chain() {
            let mut der = certificate.to_vec();
            for &(at, flip) in &flips {
                let at = at % der.len();
                der[at] ^= flip;
            }
            drop(CaCertificate::from_der(&der));
            drop(PeerCertificate::parse(&der));
        }
    }
}
