//! The client's end towards servers of others, which are known by names and by authorities of the world or of one's own.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
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
    /// They cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

/// A client that trusts the authorities in a PEM text; without one, those of the system. The name of the server is verified.
///
/// # Errors
/// There is no authority to trust.
pub fn elsewhere(
    authorities: Option<&str>,
    clock: Arc<dyn TimeProvider>,
) -> Result<ClientConfig, ElsewhereError> {
    let roots = match authorities {
        Some(text) => given(text)?,
        None => of_system()?,
    };
    let mut config = ClientConfig::builder_with_details(provider(), clock)
        .with_protocol_versions(&[&TLS13])
        .map_err(ConfigError::Credentials)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(config)
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

    use super::{ElsewhereError, elsewhere};

    #[test]
    fn authorities_that_are_none_are_told() {
        let made = rcgen::generate_simple_self_signed(vec!["a.example".to_owned()]).unwrap();
        let clock = Arc::new(DefaultTimeProvider);
        let good = made.cert.pem();
        assert!(elsewhere(Some(&good), clock.clone()).is_ok());
        for bad in ["", "hello", &made.signing_key.serialize_pem()] {
            let told = elsewhere(Some(bad), clock.clone()).unwrap_err();
            assert!(matches!(told, ElsewhereError::NoAuthority), "{bad}");
        }
    }
}
