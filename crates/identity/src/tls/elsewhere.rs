//! The client's end towards servers of others, which are known by names and by authorities of the world or of one's own.

use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::time_provider::TimeProvider;
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore};

use super::{ALPN, ConfigError, provider};

/// Why a server of others cannot be trusted.
#[derive(Debug, thiserror::Error)]
pub enum ElsewhereError {
    /// There is no certificate of an authority in what was given.
    #[error("there is no certificate of an authority in it")]
    NoAuthority,
    /// The system has no authorities.
    #[error("this system has no certificates of authorities: {why}")]
    NoSystem {
        /// What was found instead.
        why: String,
    },
    /// There is no certificate in what was given as one's own, or no key.
    #[error("there is no {what} in it")]
    NotOwn {
        /// `certificate` or `private key`.
        what: &'static str,
    },
    /// They cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

/// What a client shows to a server that asks who it is, as PEM.
#[derive(Clone, Copy)]
pub struct Own<'a> {
    /// Its certificate, and behind it those between that and the authority.
    pub certificates: &'a str,
    /// Its private key: PKCS #8, PKCS #1 or SEC 1.
    pub key: &'a str,
}

impl std::fmt::Debug for Own<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Own").finish_non_exhaustive()
    }
}

/// A client that trusts the authorities in a PEM text; without one, those of the system. The name of the server is verified.
///
/// # Errors
/// There is no authority to trust, or what it is to show for itself cannot be used.
pub fn elsewhere(
    authorities: Option<&str>,
    own: Option<Own<'_>>,
    clock: Arc<dyn TimeProvider>,
) -> Result<ClientConfig, ElsewhereError> {
    let roots = match authorities {
        Some(text) => given(text)?,
        None => of_system()?,
    };
    let builder = ClientConfig::builder_with_details(provider(), clock)
        .with_protocol_versions(&[&TLS13])
        .map_err(ConfigError::Credentials)?
        .with_root_certificates(roots);
    let mut config = match own {
        None => builder.with_no_client_auth(),
        Some(own) => {
            let (chain, key) = shown(own)?;
            let shown = builder.with_client_auth_cert(chain, key);
            shown.map_err(ConfigError::Credentials)?
        }
    };
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(config)
}

fn shown(
    own: Own<'_>,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), ElsewhereError> {
    let chain: Result<Vec<_>, _> =
        CertificateDer::pem_slice_iter(own.certificates.as_bytes()).collect();
    let chain = chain.ok().filter(|chain| !chain.is_empty());
    let chain = chain.ok_or(ElsewhereError::NotOwn {
        what: "certificate",
    })?;
    let key = PrivateKeyDer::from_pem_slice(own.key.as_bytes());
    let key = key.map_err(|_| ElsewhereError::NotOwn {
        what: "private key",
    })?;
    Ok((chain, key))
}

fn given(text: &str) -> Result<RootCertStore, ElsewhereError> {
    let found = pem::parse_many(text).map_err(|_| ElsewhereError::NoAuthority)?;
    let mut roots = RootCertStore::empty();
    for one in found.into_iter().filter(|one| one.tag() == "CERTIFICATE") {
        let der = CertificateDer::from(one.into_contents());
        roots.add(der).map_err(ConfigError::Authority)?;
    }
    match roots.is_empty() {
        true => Err(ElsewhereError::NoAuthority),
        false => Ok(roots),
    }
}

fn of_system() -> Result<RootCertStore, ElsewhereError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // Systems have some that nobody can use.
    let (good, _) = roots.add_parsable_certificates(found.certs);
    if good > 0 {
        return Ok(roots);
    }
    let why: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
    let why = why.join("; ");
    Err(ElsewhereError::NoSystem { why })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::time_provider::DefaultTimeProvider;

    use super::{ConfigError, ElsewhereError, Own, elsewhere};

    #[test]
    fn authorities_that_are_none_are_told() {
        let made = rcgen::generate_simple_self_signed(vec!["a.example".to_owned()]).unwrap();
        let clock = Arc::new(DefaultTimeProvider);
        let good = made.cert.pem();
        assert!(elsewhere(Some(&good), None, clock.clone()).is_ok());
        for bad in ["", "hello", &made.signing_key.serialize_pem()] {
            let told = elsewhere(Some(bad), None, clock.clone()).unwrap_err();
            assert!(matches!(told, ElsewhereError::NoAuthority), "{bad}");
        }
    }

    #[test]
    fn a_certificate_and_its_key_are_shown_and_nothing_else() {
        let named = |name: &str| rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
        let (made, other) = (named("a.example"), named("b.example"));
        let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        let with = |certificates: &str, key: &str| {
            let clock = Arc::new(DefaultTimeProvider);
            let own = Own { certificates, key };
            elsewhere(Some(&certificate), Some(own), clock).map(drop)
        };
        assert!(with(&certificate, &key).is_ok());
        for (certificates, key) in [("", &key), (&key, &key), (&certificate, &String::new())] {
            let told = with(certificates, key).unwrap_err();
            assert!(matches!(told, ElsewhereError::NotOwn { .. }), "{told}");
        }
        let told = with(&certificate, &other.signing_key.serialize_pem()).unwrap_err();
        let config = matches!(told, ElsewhereError::Config(ConfigError::Credentials(_)));
        assert!(config, "{told}");
    }
}
