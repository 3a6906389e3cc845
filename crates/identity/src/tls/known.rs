//! Certificates of clients that were verified before.
//!
//! Whether the authority has signed a certificate does not change, and finding out takes a third of what a handshake costs the server. A
//! client that comes again, as one does with each of its commands, shows the same bytes. So their hash is kept once they were good, with
//! the time for which they are; that the client has the key is proved in each handshake. Whether the identity may still do anything is
//! asked elsewhere, at each call.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};

use super::PeerCertificate;
use crate::fingerprint::Fingerprint;

/// Certificates that are kept at once.
const KEPT: usize = 1024;

/// First and last second.
type Validity = (UnixTime, UnixTime);

/// Verifies certificates of clients, each once.
#[derive(Debug)]
pub(super) struct KnownClients {
    verifier: Arc<dyn ClientCertVerifier>,
    known: Mutex<HashMap<Fingerprint, Validity>>,
}

impl KnownClients {
    /// Whom this one finds good.
    pub(super) fn new(verifier: Arc<dyn ClientCertVerifier>) -> Self {
        Self {
            verifier,
            known: Mutex::default(),
        }
    }

    fn is_known(&self, hash: Fingerprint, now: UnixTime) -> bool {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known
            .get(&hash)
            .is_some_and(|(first, last)| (first..=last).contains(&&now))
    }

    fn keep(&self, hash: Fingerprint, certificate: &CertificateDer<'_>) {
        let Ok(peer) = PeerCertificate::parse(certificate) else {
            return;
        };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= KEPT {
            known.clear();
        }
        known.insert(hash, (peer.not_before, peer.not_after));
    }
}

impl ClientCertVerifier for KnownClients {
    fn offer_client_auth(&self) -> bool {
        self.verifier.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.verifier.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.verifier.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let hash = Fingerprint::of(end_entity);
        if self.is_known(hash, now) {
            return Ok(ClientCertVerified::assertion());
        }
        let verified = self
            .verifier
            .verify_client_cert(end_entity, intermediates, now)?;
        self.keep(hash, end_entity);
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use rustls::pki_types::{CertificateDer, UnixTime};
    use rustls::server::WebPkiClientVerifier;
    use rustls::server::danger::ClientCertVerifier;
    use uuid::Uuid;

    use super::{KEPT, KnownClients};
    use crate::ca::{Ca, Subject};
    use crate::key::{CertificateRequest, PrivateKey};
    use crate::tls::{provider, roots};

    const LIFE: Duration = Duration::from_hours(1);

    fn at(seconds: u64) -> UnixTime {
        UnixTime::since_unix_epoch(Duration::from_secs(1_000_000_000 + seconds))
    }

    fn certified(ca: &Ca) -> CertificateDer<'static> {
        let request = PrivateKey::generate().unwrap().request().unwrap();
        let request = CertificateRequest::verify(&request).unwrap();
        let subject = Subject {
            id: Uuid::from_u128(1),
            name: "alice",
        };
        let issued = ca.issue_client(&request, &subject, at(0), LIFE);
        issued.unwrap().certificate
    }

    fn verifier(ca: &Ca) -> KnownClients {
        let roots = Arc::new(roots(ca.certificate()).unwrap());
        let made = WebPkiClientVerifier::builder_with_provider(roots, provider());
        KnownClients::new(made.build().unwrap())
    }

    fn authority() -> Ca {
        Ca::create(at(0), 100 * LIFE).unwrap()
    }

    #[test]
    fn who_was_good_is_good_until_the_certificate_ends() {
        let ca = authority();
        let (clients, alice) = (verifier(&ca), certified(&ca));
        let verify = |seconds| clients.verify_client_cert(&alice, &[], at(seconds));
        let last = LIFE.as_secs();
        verify(last + 2).unwrap_err();
        assert!(clients.known.lock().unwrap().is_empty());
        verify(1).unwrap();
        verify(last).unwrap();
        assert_eq!(clients.known.lock().unwrap().len(), 1);
        verify(last + 2).unwrap_err();
        // By a clock that is far behind it is not valid yet.
        let early = UnixTime::since_unix_epoch(Duration::from_secs(1));
        clients.verify_client_cert(&alice, &[], early).unwrap_err();
    }

    #[test]
    fn nobody_else_is_good_for_that() {
        let (ca, other) = (authority(), authority());
        let clients = verifier(&ca);
        let alice = certified(&ca);
        clients.verify_client_cert(&alice, &[], at(1)).unwrap();
        for stranger in [certified(&other), changed(&alice)] {
            clients
                .verify_client_cert(&stranger, &[], at(1))
                .unwrap_err();
        }
    }

    /// With another last byte, which is one of the signature.
    fn changed(certificate: &CertificateDer<'_>) -> CertificateDer<'static> {
        let mut bytes = certificate.to_vec();
        *bytes.last_mut().unwrap() ^= 1;
        bytes.into()
    }

    #[test]
    fn no_more_are_kept_than_there_is_room_for() {
        let ca = authority();
        let (clients, alice) = (verifier(&ca), certified(&ca));
        for number in 0..KEPT + 10 {
            clients.keep(
                crate::fingerprint::Fingerprint::of(&number.to_le_bytes()),
                &alice,
            );
            assert!(clients.known.lock().unwrap().len() <= KEPT);
        }
    }
}
