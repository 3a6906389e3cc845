//! A new certificate in time: at two thirds of its life, over the connection that a command has open anyway.
//!
//! The key stays, so there is one file to replace, and a command that is killed in between leaves the old one. Of several
//! commands at once only one asks.

use std::fs::File;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use legwork_client::{Client, TlsTarget};
use legwork_identity::tls::{Credentials, PeerCertificate};
use legwork_identity::{PrivateKey, UnixTime};
use rustix::fs::{FlockOperation, flock};

use crate::app::App;
use crate::contexts::{Contexts, Keys};
use crate::error::{CommandError, FAILED};

/// How long a command that is done waits for it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(3);
/// Characters in a line of PEM.
const PEM_LINE: usize = 64;

/// Asks for a new certificate in the background if it is time.
pub(crate) fn begin(app: &App, client: &Client, target: TlsTarget, context: &str, keys: Keys) {
    if is_due(&keys.own, UnixTime::now()) {
        renew_beside(app, client, target, context, keys);
    }
}

/// Apart from who asks whether it is time, so that only who renews has room for it on the stack.
#[inline(never)]
fn renew_beside(app: &App, client: &Client, target: TlsTarget, context: &str, keys: Keys) {
    let (client, context, out) = (client.clone(), context.to_owned(), app.out);
    app.in_background(async move {
        if let Err(failure) = renew(&client, &target, &context, &keys).await {
            out.note(&format!(
                "the certificate of the context {context} could not be renewed: {}",
                failure.message
            ));
        }
    });
}

fn is_due(own: &Credentials, now: UnixTime) -> bool {
    let certificate = own.chain().first();
    let parsed = certificate.and_then(|der| PeerCertificate::parse(der).ok());
    parsed.is_some_and(|parsed| now >= parsed.renew_at())
}

async fn renew(
    client: &Client,
    target: &TlsTarget,
    context: &str,
    keys: &Keys,
) -> Result<(), CommandError> {
    let contexts = Contexts::open()?;
    let turn = File::open(contexts.path(context))?;
    if flock(&turn, FlockOperation::NonBlockingLockExclusive).is_err() {
        return Ok(());
    }
    // Somebody may have been faster, before it was our turn.
    if !is_due(&contexts.keys(context)?.own, UnixTime::now()) {
        return Ok(());
    }
    let unusable = |what: &dyn std::fmt::Display| {
        CommandError::new(FAILED, "BAD_CREDENTIALS", what.to_string())
    };
    let key = PrivateKey::from_pem(&keys.key).map_err(|e| unusable(&e))?;
    let request = key.request().map_err(|e| unusable(&e))?;
    let certificate = pem(&client.renew(&request).await?);
    let own = Credentials::from_pem(&certificate, &keys.key).map_err(|e| unusable(&e))?;
    // Only what works is kept.
    target.renewed(&own)?;
    contexts.renew(context, &certificate)
}

/// A certificate as text.
pub(crate) fn pem(der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    let mut text = String::from("-----BEGIN CERTIFICATE-----\n");
    for line in body.as_bytes().chunks(PEM_LINE) {
        text.extend(line.iter().map(|&byte| char::from(byte)));
        text.push('\n');
    }
    text.push_str("-----END CERTIFICATE-----\n");
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use legwork_identity::ca::{CA_LIFETIME, CLIENT_LIFETIME, Ca, Subject};
    use legwork_identity::tls::Credentials;
    use legwork_identity::{CertificateRequest, PrivateKey, UnixTime};
    use uuid::Uuid;

    use super::{is_due, pem};

    #[test]
    fn due_at_two_thirds_of_its_life() {
        let at = |days: u64| UnixTime::since_unix_epoch(Duration::from_hours(24 * (20_000 + days)));
        let ca = Ca::create(at(0), CA_LIFETIME).unwrap();
        let key = PrivateKey::generate().unwrap();
        let request = CertificateRequest::verify(&key.request().unwrap()).unwrap();
        let subject = Subject {
            id: Uuid::from_u128(1),
            name: "alice",
        };
        let issued = ca.issue_client(&request, &subject, at(0), CLIENT_LIFETIME);
        let der = issued.unwrap().certificate;
        // What we make of the bytes is what the library would have made of them.
        let own = Credentials::from_pem(&pem(&der), &key.to_pem()).unwrap();
        assert_eq!(own.chain(), [der]);
        assert!(!is_due(&own, at(39)));
        assert!(is_due(&own, at(41)));
    }
}
