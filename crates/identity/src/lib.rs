//! Who may do what in legwork: certificates, TLS, invites, identities and the policy table.
//!
//! # How it works
//!
//! Every server has an authority of its own ([`ca`]), made when the server is first set up. It signs the server's
//! certificate, which names the server by a uuid, and one for each client, which names an *identity*. Nothing else is
//! trusted: no DNS name, no address, no public authority.
//!
//! A client gets in by an invite ([`invite`]): a line of text with the server's addresses and uuid, the hash of the
//! authority's certificate, and a secret. The client opens a TLS connection on which it trusts that hash alone
//! ([`tls::join`]), so it knows that it talks to the right server before it says the secret. It makes its key itself
//! and sends a request for a certificate. The server redeems the invite in one durable transaction ([`store`]). From
//! then on both ends prove themselves in each handshake ([`tls::server`], [`tls::client`]).
//!
//! What a handshake proves is a uuid. For each call the server looks up whether that identity is still good
//! ([`store::Store::identity`]), which makes a [`Principal`]; so revoking works at once, without lists of revoked
//! certificates. What the principal may do is one pure table ([`policy`]). Users of the host itself come over a local
//! socket or work in-process; they are principals as well ([`Principal::local`]).
//!
//! **Nobody becomes a stranger by accident.** A client without a certificate is let in by the handshake, since joining
//! needs it, and may call next to nothing. A client whose certificate is expired or of another authority is refused by
//! the handshake, with the cause ([`tls::HandshakeError`]).
//!
//! **Nothing here tells the time.** Every function that needs the time takes it, as a [`UnixTime`] or as a clock for
//! the handshakes ([`TimeProvider`]). Errors about time name both times that disagree, since a wrong clock is the usual
//! cause.
//!
//! **Secrets stay out of sight.** Private keys and the secrets of invites never appear in debug output, and the server
//! keeps hashes of the latter only.
//!
//! Nothing here knows gRPC, and nothing is asynchronous: [`tls`] makes configurations for whatever drives the
//! connection.
//!
//! # Example: an enrolment
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::sync::Arc;
//!
//! use legwork_identity::ca::{CA_LIFETIME, Ca, SERVER_LIFETIME};
//! use legwork_identity::invite::Invite;
//! use legwork_identity::store::{NewInvite, Store};
//! use legwork_identity::tls::{self, Credentials, PeerCertificate};
//! use legwork_identity::{CertificateRequest, PrivateKey, Role, SystemClock, UnixTime, policy};
//!
//! # let dir = tempfile::tempdir()?;
//! # let state = dir.path();
//! # let now = UnixTime::now();
//! // The server, at its start.
//! let store = Store::open(state, now)?;
//! let ca = Ca::load_or_create(state, now, CA_LIFETIME)?;
//! let own = ca.issue_server(store.server(), now, SERVER_LIFETIME)?;
//! let accepting = tls::server(ca.certificate(), &own, Arc::new(SystemClock))?;
//!
//! // The administrator invites Alice, and sends her the token.
//! let offer = store.invite(&NewInvite::new("alice", Role::Run), now)?;
//! let hash = ca.certificate().fingerprint();
//! let addresses = vec!["box.example:7005".parse()?];
//! let token = Invite::new(addresses, store.server(), hash, offer.secret, offer.expires_at)?.token();
//!
//! // Alice makes a key, and connects. The handshake verifies the hash, and shows the authority's certificate.
//! let invite = Invite::parse(&token)?;
//! let joining = tls::join(invite.ca(), invite.server(), Arc::new(SystemClock))?;
//! let key = PrivateKey::generate()?;
//! let request = key.request()?;
//! # let presented = own.chain();
//! let joined = tls::joined(presented, invite.ca()).ok_or("not seen in a handshake with this")?;
//!
//! // The server gets the secret and the request.
//! let request = CertificateRequest::verify(&request)?;
//! let redeemed = store.redeem(&ca, invite.secret(), &request, now)?;
//!
//! // Alice keeps three texts: her key, her certificate, and the authority's. With them she connects from now on.
//! let kept = (key.to_pem(), redeemed.certificate.to_pem(), joined.ca.to_pem());
//! let alice = Credentials::from_pem(&kept.1, &kept.0)?;
//! let connecting = tls::client(&joined.ca, joined.server, Some(&alice), Arc::new(SystemClock))?;
//!
//! // The server sees who it is, and asks for each call whether that is still somebody, and may do it.
//! let peer = PeerCertificate::parse(&alice.chain()[0])?;
//! let identity = store.identity(peer.id)?.ok_or("no such identity")?;
//! let principal = identity.principal().ok_or("revoked")?;
//! policy::check(Some(&principal), "legwork.v1.JobService", "Start")?;
//! assert!(policy::check(Some(&principal), "legwork.v1.EnrollService", "Invite").is_err());
//! # drop((accepting, joining, connecting));
//! # Ok(())
//! # }
//! ```

pub mod ca;
mod fingerprint;
pub mod invite;
mod key;
pub mod policy;
mod principal;
mod random;
pub mod store;
mod timestamp;
pub mod tls;

pub use self::fingerprint::Fingerprint;
pub use self::key::{CertificateRequest, KeyError, PrivateKey};
pub use self::principal::{Principal, PrincipalId, Role, Roles, UnknownRole, Via};
pub use rustls::pki_types::UnixTime;
pub use rustls::time_provider::{DefaultTimeProvider as SystemClock, TimeProvider};
