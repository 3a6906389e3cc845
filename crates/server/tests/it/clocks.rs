//! Goal: where a certificate is not valid by one of two clocks, the client says which clock differs, and by how much.
//! Method: a server by the right clock, and clients whose clocks stand somewhere else.

use std::sync::Arc;
use std::time::Duration;

use legwork_client::{CallError, Client, Enrolled, Joining, Options, Target, TlsTarget, join};
use legwork_identity::ca::{CLIENT_LIFETIME, SERVER_LIFETIME};
use legwork_identity::invite::Invite;
use legwork_identity::store::{INVITE_LIFETIME, NewInvite};
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

/// The token of an invite that was made then.
fn invited(net: &Net, made: UnixTime) -> String {
    let offer = net.store.invite(&NewInvite::new("bob", Role::Run), made);
    let offer = offer.unwrap();
    let invite = Invite::new(
        vec![net.address.to_string().parse().unwrap()],
        net.store.server(),
        net.ca.certificate().fingerprint(),
        offer.secret,
        offer.expires_at,
    );
    invite.unwrap().token()
}

/// Joins by a token and a clock.
async fn joined(net: &Net, token: &str, clock: UnixTime) -> Result<Enrolled, CallError> {
    let joining = Joining {
        invite: Invite::parse(token).unwrap(),
        certificate_request: PrivateKey::generate().unwrap().request().unwrap(),
    };
    let clock = Arc::new(Stopped(clock));
    join(&joining, clock, &Options::default(), &net.tasks).await
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
    for (clock, reason, word) in [
        (off(ago(2 * HOUR)), "SERVER_NOT_YET_VALID", "behind"),
        (late, "SERVER_EXPIRED", "ahead"),
    ] {
        assert_told(&refusal(&net, &own, clock).await, reason, word);
        let joined = joined(&net, &invited(&net, off(0)), clock).await;
        assert_told(&joined.unwrap_err(), reason, word);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invite_that_is_over_by_the_clients_clock_alone_is_good() {
    let net = Net::start(Limits::default()).await;
    let clock = off(hence(2 * HOUR));
    let token = invited(&net, off(0));
    assert!(clock > Invite::parse(&token).unwrap().expires_at());
    let joined = joined(&net, &token, clock).await.unwrap();
    assert_eq!(joined.name, "bob");
    let server = UnixTime::since_unix_epoch(Duration::from_millis(joined.server_time_ms));
    let told = legwork_client::skew(clock, server).unwrap();
    assert!(told.ends_with("ahead"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invite_that_is_over_by_the_servers_clock_is_refused_with_its_time() {
    let net = Net::start(Limits::default()).await;
    // It is over for two minutes, and is not by a clock that is slow.
    let token = invited(&net, off(ago(INVITE_LIFETIME.as_secs() + 2 * MINUTE)));
    let slow = off(ago(4 * MINUTE));
    assert!(slow < Invite::parse(&token).unwrap().expires_at());
    for (clock, differs) in [(slow, true), (off(0), false), (off(hence(2 * HOUR)), true)] {
        let refused = joined(&net, &token, clock).await.unwrap_err();
        assert_eq!(refused.reason, "INVITE_EXPIRED", "{refused:?}");
        let server: u64 = refused.metadata["serverTimeS"].parse().unwrap();
        assert!(
            server.abs_diff(UnixTime::now().as_secs()) < MINUTE,
            "{refused:?}"
        );
        assert!(
            refused.message.contains("the server's clock says"),
            "{refused:?}"
        );
        let skew = refused.skew(clock);
        assert_eq!(skew.is_some(), differs, "{skew:?}");
    }
}
