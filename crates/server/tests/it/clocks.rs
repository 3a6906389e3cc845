//! Goal: where a certificate is not valid by one of two clocks, the client says which clock differs, and by how much.
//! Method: a server by the right clock, and clients whose clocks stand somewhere else.

use std::sync::Arc;
use std::time::Duration;

use legwork_client::{CallError, Client, Joining, Options, Target, TlsTarget, join};
use legwork_identity::ca::{CLIENT_LIFETIME, SERVER_LIFETIME};
use legwork_identity::invite::Invite;
use legwork_identity::store::NewInvite;
use legwork_identity::tls::Credentials;
use legwork_identity::{PrivateKey, Role, TimeProvider, UnixTime};
use legwork_server::Limits;

use crate::net::Net;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;

#[derive(Debug)]
struct Stopped(UnixTime);

impl TimeProvider for Stopped {
    fn current_time(&self) -> Option<UnixTime> {
        Some(self.0)
    }
}

/// So many seconds from now.
fn off(seconds: i64) -> UnixTime {
    let now = UnixTime::now().as_secs();
    UnixTime::since_unix_epoch(Duration::from_secs(
        now.checked_add_signed(seconds).unwrap(),
    ))
}

fn hence(seconds: u64) -> i64 {
    i64::try_from(seconds).unwrap()
}

fn ago(seconds: u64) -> i64 {
    -hence(seconds)
}

async fn refusal(net: &Net, own: &Credentials, clock: UnixTime) -> CallError {
    let addresses = vec![net.address.to_string().parse().unwrap()];
    let ca = net.ca.certificate().clone();
    let server = net.store.server();
    let target = TlsTarget::new(addresses, ca, server, own, Arc::new(Stopped(clock))).unwrap();
    let target = Target::Tls(target);
    let connected = Client::connect(target, Options::default(), net.tasks.clone()).await;
    match connected {
        Ok(client) => client.info().await.unwrap_err(),
        Err(error) => error,
    }
}

/// The server told its time, and how far the other clock is from it was told last.
fn assert_told(error: &CallError, reason: &str, word: &str) {
    assert_eq!(error.reason, reason, "{error:?}");
    let server: u64 = error.metadata["serverTimeS"].parse().unwrap();
    assert!(server.abs_diff(UnixTime::now().as_secs()) < 60, "{error:?}");
    assert!(error.message.contains("this machine's says"), "{error:?}");
    assert!(error.message.ends_with(word), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_refused_for_its_dates_is_told_of_the_clocks() {
    let net = Net::start(Limits::default()).await;
    // It ended ten seconds ago, but not by a clock that is slow.
    let hour = Duration::from_secs(HOUR);
    let begun = off(ago(HOUR + 10));
    let over = net.enrolled_at("alice", Role::Run, begun, hour);
    let slow = refusal(&net, &over, off(ago(4 * MINUTE))).await;
    assert_told(&slow, "CERTIFICATE_NOT_VALID_NOW", "behind");
    assert!(slow.message.contains("is 4m"), "{slow:?}");
    // It begins tomorrow.
    let begins = off(hence(24 * HOUR));
    let early = net.enrolled_at("bob", Role::Run, begins, CLIENT_LIFETIME);
    let fast = refusal(&net, &early, off(hence(25 * HOUR))).await;
    assert_told(&fast, "CERTIFICATE_NOT_VALID_NOW", "ahead");
    // Nobody's clock is wrong.
    let ended = refusal(&net, &over, off(0)).await;
    assert_eq!(ended.reason, "CERTIFICATE_NOT_VALID_NOW");
    assert!(ended.metadata.contains_key("serverTimeS"), "{ended:?}");
    assert!(!ended.message.contains("disagree"), "{ended:?}");
    assert!(ended.message.contains("it is valid from"), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_by_whose_clock_the_server_has_no_date_is_told_of_the_clocks() {
    let net = Net::start(Limits::default()).await;
    let own = net.enrolled("alice", Role::Run);
    let late = off(hence(SERVER_LIFETIME.as_secs() + 24 * HOUR));
    let joining = |net: &Net| {
        let key = PrivateKey::generate().unwrap();
        let new = NewInvite::new("bob", Role::Run);
        let offer = net.store.invite(&new, UnixTime::now()).unwrap();
        let invite = Invite::new(
            vec![net.address.to_string().parse().unwrap()],
            net.store.server(),
            net.ca.certificate().fingerprint(),
            offer.secret,
            UnixTime::since_unix_epoch(Duration::from_secs(u64::from(u32::MAX))),
        );
        Joining {
            invite: invite.unwrap(),
            certificate_request: key.request().unwrap(),
        }
    };
    for (clock, reason, word) in [
        (off(ago(2 * HOUR)), "SERVER_NOT_YET_VALID", "behind"),
        (late, "SERVER_EXPIRED", "ahead"),
    ] {
        assert_told(&refusal(&net, &own, clock).await, reason, word);
        let stopped = Arc::new(Stopped(clock));
        let joined = join(&joining(&net), stopped, &Options::default(), &net.tasks).await;
        assert_told(&joined.unwrap_err(), reason, word);
    }
}
