//! Private keys, and the requests by which a public key gets its certificate.

use std::fmt;

use rcgen::{
    CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384,
    PKCS_ED25519, PublicKeyData, SignatureAlgorithm, SubjectPublicKeyInfo,
};
use rustls::pki_types::PrivatePkcs8KeyDer;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;

use crate::fingerprint::Fingerprint;

/// Longest request that is looked at, in bytes. One that openssl makes with many names is under 2 KiB.
const REQUEST_BYTES_MAX: usize = 8 << 10;

/// What the key of a client may be. Whatever is slow or weak to verify is not among them.
const KEY_KINDS: [&SignatureAlgorithm; 3] = [
    &PKCS_ECDSA_P256_SHA256,
    &PKCS_ECDSA_P384_SHA384,
    &PKCS_ED25519,
];

/// Why a key or a request cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// No key could be made.
    #[error("the cryptographic library made no key")]
    Generate,
    /// The text is not the PEM of a PKCS#8 key of a supported kind.
    #[error("this is not a private key in PEM (PKCS#8, ECDSA P-256 or P-384, or Ed25519)")]
    NotAKey,
    /// The bytes are no certificate request.
    #[error("this is not a certificate request (PKCS#10)")]
    NotARequest,
    /// The request is longer than any sensible one.
    #[error("the certificate request has {bytes} bytes, more than {REQUEST_BYTES_MAX}")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// The key is of a kind that this CA does not certify.
    #[error("the key in the certificate request is none of ECDSA P-256, ECDSA P-384 and Ed25519")]
    KeyKind,
    /// Whoever made the request does not have the private key.
    #[error("the certificate request is not signed by its own key")]
    NotProven,
}

/// A private key. It never leaves the machine where it was made, and never appears in debug output.
pub struct PrivateKey(KeyPair);

impl PrivateKey {
    /// Makes a key for ECDSA P-256.
    ///
    /// # Errors
    /// [`KeyError::Generate`], which does not happen on a sound system.
    pub fn generate() -> Result<Self, KeyError> {
        KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)
            .map(Self)
            .map_err(|_| KeyError::Generate)
    }

    /// Reads what [`PrivateKey::to_pem`] wrote.
    ///
    /// # Errors
    /// [`KeyError::NotAKey`].
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        let pair = KeyPair::from_pem(pem).map_err(|_| KeyError::NotAKey)?;
        if !KEY_KINDS.contains(&pair.algorithm()) {
            return Err(KeyError::NotAKey);
        }
        Ok(Self(pair))
    }

    /// The key itself in PEM, for a file that only its owner can read.
    #[must_use]
    pub fn to_pem(&self) -> String {
        self.0.serialize_pem()
    }

    /// Asks for a certificate: the public key, signed by this one. It carries no name, since the CA gives the names.
    ///
    /// # Errors
    /// [`KeyError::Generate`], which does not happen on a sound system.
    pub fn request(&self) -> Result<Vec<u8>, KeyError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        let request = params.serialize_request(&self.0);
        Ok(request.map_err(|_| KeyError::Generate)?.der().to_vec())
    }

    /// The hash of the public key.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.0.subject_public_key_info())
    }

    pub(crate) fn pair(&self) -> &KeyPair {
        &self.0
    }

    pub(crate) fn der(&self) -> PrivatePkcs8KeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.0.serialize_der())
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey(of public key {})", self.fingerprint())
    }
}

/// A request whose maker has shown to have the private key. Names and extensions in it are ignored.
#[derive(Debug)]
pub struct CertificateRequest {
    pub(crate) key: SubjectPublicKeyInfo,
    fingerprint: Fingerprint,
}

impl CertificateRequest {
    /// Reads a request in DER (PKCS#10) and checks the proof of possession.
    ///
    /// # Errors
    /// Any [`KeyError`] about requests.
    pub fn verify(der: &[u8]) -> Result<Self, KeyError> {
        if der.len() > REQUEST_BYTES_MAX {
            return Err(KeyError::TooLong { bytes: der.len() });
        }
        let (rest, request) =
            X509CertificationRequest::from_der(der).map_err(|_| KeyError::NotARequest)?;
        if !rest.is_empty() {
            return Err(KeyError::NotARequest);
        }
        let public = request.certification_request_info.subject_pki.raw;
        let key = SubjectPublicKeyInfo::from_der(public).map_err(|_| KeyError::KeyKind)?;
        if !KEY_KINDS.contains(&key.algorithm()) {
            return Err(KeyError::KeyKind);
        }
        request
            .verify_signature()
            .map_err(|_| KeyError::NotProven)?;
        // The hash of what the certificate will contain, not of the encoding that the request chose.
        let fingerprint = Fingerprint::of(&key.subject_public_key_info());
        Ok(Self { key, fingerprint })
    }

    /// The hash of the public key: the same as [`PrivateKey::fingerprint`] of the key that asks.
    #[must_use]
    pub const fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }
}

#[cfg(test)]
mod tests {
    use super::{CertificateRequest, KeyError, PrivateKey, REQUEST_BYTES_MAX};

    #[test]
    fn a_key_survives_its_file_and_stays_out_of_debug_output() {
        let key = PrivateKey::generate().unwrap();
        let pem = key.to_pem();
        let again = PrivateKey::from_pem(&pem).unwrap();
        assert_eq!(again.fingerprint(), key.fingerprint());
        let secret = pem.lines().nth(1).unwrap();
        assert!(!format!("{key:?}").contains(secret));
        assert_eq!(PrivateKey::from_pem("x").unwrap_err(), KeyError::NotAKey);
    }

    #[test]
    fn a_request_proves_possession() {
        let key = PrivateKey::generate().unwrap();
        let request = CertificateRequest::verify(&key.request().unwrap()).unwrap();
        assert_eq!(request.fingerprint(), key.fingerprint());
    }

    #[test]
    fn the_signature_and_the_key_must_match() {
        let key = PrivateKey::generate().unwrap();
        let der = key.request().unwrap();
        let mut forged = der.clone();
        *forged.last_mut().unwrap() ^= 1;
        let error = CertificateRequest::verify(&forged).unwrap_err();
        assert!(matches!(error, KeyError::NotProven | KeyError::NotARequest));
        // Somebody else's public key under one's own signature.
        let other = PrivateKey::generate().unwrap();
        let (mine, theirs) = (key.pair().public_key_raw(), other.pair().public_key_raw());
        let at = der
            .windows(mine.len())
            .position(|window| window == mine)
            .unwrap();
        let mut stolen = der;
        stolen[at..at + theirs.len()].copy_from_slice(theirs);
        assert_eq!(
            CertificateRequest::verify(&stolen).unwrap_err(),
            KeyError::NotProven
        );
    }

    #[test]
    fn what_is_no_request_is_refused() {
        let verify = |bytes: &[u8]| CertificateRequest::verify(bytes).unwrap_err();
        assert_eq!(verify(b""), KeyError::NotARequest);
        assert_eq!(verify(b"GET / HTTP/1.1"), KeyError::NotARequest);
        let mut longer = PrivateKey::generate().unwrap().request().unwrap();
        longer.push(0);
        assert_eq!(verify(&longer), KeyError::NotARequest);
        let bytes = REQUEST_BYTES_MAX + 1;
        assert_eq!(verify(&vec![0; bytes]), KeyError::TooLong { bytes });
    }

    #[test]
    fn other_kinds_of_keys_are_told() {
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        let ed25519 = PrivateKey(pair);
        let request = CertificateRequest::verify(&ed25519.request().unwrap()).unwrap();
        assert_eq!(request.fingerprint(), ed25519.fingerprint());
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, flips in proptest::collection::vec((0..400_usize, 1_u8..), 1..8)) {
            drop(CertificateRequest::verify(&bytes));
            let mut request = PrivateKey::generate().unwrap().request().unwrap();
            for (at, flip) in flips {
                let at = at % request.len();
                request[at] ^= flip;
            }
            drop(CertificateRequest::verify(&request));
        }
    }
}
