//! The database, by what comes out of it, also after it was closed and opened.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Barrier;
use std::time::Duration;

use rustls::pki_types::UnixTime;

use super::certificates::CERTIFICATES_MAX;
use super::{INVITE_LIFETIME, INVITE_LIFETIME_MAX, Offer};
use super::{InviteRefused, NewInvite, RedeemError, RenewError, RevokeError, Store, StoreError};
use crate::ca::{CA_LIFETIME, CLIENT_LIFETIME, Ca};
use crate::invite::Secret;
use crate::key::{CertificateRequest, PrivateKey};
use crate::principal::{Role, Roles};
use crate::timestamp::after;
use crate::tls::PeerCertificate;

const NOW: UnixTime = UnixTime::since_unix_epoch(Duration::from_secs(1_800_000_000));

struct Fixture {
    state: tempfile::TempDir,
    store: Store,
    ca: Ca,
}

impl Fixture {
    fn new() -> Self {
        let state = tempfile::tempdir().unwrap();
        Self {
            store: open(state.path()),
            state,
            ca: Ca::create(NOW, CA_LIFETIME).unwrap(),
        }
    }

    fn invite(&self, name: &str) -> Offer {
        let new = NewInvite::new(name, Role::Run);
        self.store.invite(&new, NOW).unwrap()
    }

    fn reopen(self) -> Self {
        drop(self.store);
        let store = open(self.state.path());
        Self { store, ..self }
    }
}

fn open(state: &Path) -> Store {
    Store::open(state, NOW).unwrap()
}

fn request() -> CertificateRequest {
    let key = PrivateKey::generate().unwrap();
    CertificateRequest::verify(&key.request().unwrap()).unwrap()
}

#[test]
fn the_file_is_private_and_the_server_stays_the_same() {
    let fixture = Fixture::new();
    let server = fixture.store.server();
    let path = fixture.state.path().join("identity.db");
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
    let fixture = fixture.reopen();
    assert_eq!(fixture.store.server(), server);
    assert_eq!(open(fixture.state.path()).server(), server);
    for entry in std::fs::read_dir(fixture.state.path()).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode, 0o600, "{:?}", entry.file_name());
    }
    let db = super::lock(&fixture.store.writer);
    let pragma = |name| db.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    assert_eq!(pragma("synchronous").unwrap(), 2);
    let journal: String = db
        .pragma_query_value(None, "journal_mode", |row| row.get(0))
        .unwrap();
    assert_eq!(journal, "wal");
}

#[test]
fn a_second_store_costs_the_first_no_lock() {
    use std::os::unix::fs::MetadataExt;
    let fixture = Fixture::new();
    drop(open(fixture.state.path()));
    let _second = open(fixture.state.path());
    let path = fixture.state.path().join("identity.db");
    let inode = std::fs::metadata(path).unwrap().ino();
    // Without one, whoever else closes the database takes its log away from under this process.
    let locks = std::fs::read_to_string("/proc/locks").unwrap();
    let ours = format!(" {} ", std::process::id());
    let held = |line: &str| line.contains(&ours) && line.contains(&format!(":{inode} "));
    assert!(locks.lines().any(held), "{locks}");
}

#[test]
fn looking_up_does_not_wait_for_a_change() {
    let fixture = Fixture::new();
    let offer = fixture.invite("alice");
    let mut writer = super::lock(&fixture.store.writer);
    let change = writer.transaction().unwrap();
    change.execute("DELETE FROM invite", []).unwrap();
    let found = fixture.store.identity(offer.identity.id).unwrap();
    assert_eq!(found, Some(offer.identity));
}

#[test]
fn a_newer_file_is_refused_and_left_alone() {
    let fixture = Fixture::new();
    super::lock(&fixture.store.writer)
        .pragma_update(None, "user_version", 2)
        .unwrap();
    let error = Store::open(fixture.state.path(), NOW).unwrap_err();
    assert!(matches!(
        error,
        StoreError::Newer {
            found: 2,
            known: 1,
            ..
        }
    ));
    assert!(error.to_string().contains("upgrade"), "{error}");
}

#[test]
fn what_is_no_database_is_damaged() {
    let state = tempfile::tempdir().unwrap();
    std::fs::write(state.path().join("identity.db"), [7; 8192]).unwrap();
    let error = Store::open(state.path(), NOW).unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
    let error = Store::open(&state.path().join("gone"), NOW).unwrap_err();
    assert!(matches!(error, StoreError::Io { .. }), "{error}");
}

#[test]
fn an_invite_gives_one_certificate() {
    let fixture = Fixture::new();
    let offer = fixture.invite("alice");
    assert_eq!(offer.expires_at, after(NOW, INVITE_LIFETIME));
    assert_eq!(offer.identity.certificate_until, None);
    let fixture = fixture.reopen();
    let (store, ca) = (&fixture.store, &fixture.ca);
    let request = request();
    let joined = store.redeem(ca, &offer.secret, &request, NOW).unwrap();
    let peer = PeerCertificate::parse(&joined.certificate.certificate).unwrap();
    assert_eq!((peer.id, peer.name.as_str()), (offer.identity.id, "alice"));
    assert_eq!(peer.not_after, after(NOW, CLIENT_LIFETIME));
    assert_eq!(joined.ca, *ca.certificate());
    assert_eq!(joined.identity.certificate_until, Some(peer.not_after));
    assert_eq!(joined.identity.invite_until, None);
    let principal = joined.identity.principal().unwrap();
    assert_eq!(principal.roles, Role::Run.into());
}

#[test]
fn a_used_invite_stays_used_but_repeats_for_its_key() {
    let fixture = Fixture::new();
    let secret = fixture.invite("alice").secret;
    let (mine, other) = (request(), request());
    let redeem =
        |fixture: &Fixture, request, now| fixture.store.redeem(&fixture.ca, &secret, request, now);
    let first = redeem(&fixture, &mine, NOW).unwrap();
    let fixture = fixture.reopen();
    let soon = after(NOW, Duration::from_mins(29));
    let again = redeem(&fixture, &mine, soon).unwrap();
    assert_eq!(again.certificate, first.certificate);
    let others = redeem(&fixture, &other, soon).unwrap_err();
    assert!(matches!(others, RedeemError::Used { used_at: NOW }));
    let late = redeem(&fixture, &mine, after(NOW, INVITE_LIFETIME)).unwrap_err();
    assert!(matches!(late, RedeemError::Used { used_at: NOW }));
}

#[test]
fn an_expired_and_an_unknown_one_are_told_apart() {
    let fixture = Fixture::new();
    let offer = fixture.invite("alice");
    let redeem = |secret| {
        let late = after(NOW, INVITE_LIFETIME);
        fixture.store.redeem(&fixture.ca, secret, &request(), late)
    };
    let expired = redeem(&offer.secret).unwrap_err();
    assert!(matches!(expired, RedeemError::Expired { expires_at, now }
        if expires_at == offer.expires_at && now == expires_at));
    let unknown = redeem(&Secret::generate()).unwrap_err();
    assert!(matches!(unknown, RedeemError::Unknown));
}

#[test]
fn when_nothing_is_issued_nothing_is_used() {
    let fixture = Fixture::new();
    let secret = fixture.invite("alice").secret;
    let over = Ca::create(UnixTime::since_unix_epoch(Duration::ZERO), CA_LIFETIME).unwrap();
    let error = fixture.store.redeem(&over, &secret, &request(), NOW);
    assert!(matches!(error, Err(RedeemError::Ca(_))));
    fixture
        .store
        .redeem(&fixture.ca, &secret, &request(), NOW)
        .unwrap();
}

#[test]
fn two_at_once_make_one_use() {
    let fixture = Fixture::new();
    let other = open(fixture.state.path());
    for round in 0..20 {
        let secret = fixture.invite(&format!("client{round}")).secret;
        let start = Barrier::new(2);
        let redeem = |store: &Store| {
            let request = request();
            start.wait();
            store.redeem(&fixture.ca, &secret, &request, NOW)
        };
        let results = std::thread::scope(|scope| {
            let threads = [&fixture.store, &other].map(|store| scope.spawn(move || redeem(store)));
            threads.map(|thread| thread.join().unwrap())
        });
        // The other one is told what happened, not that the database was busy.
        match results {
            [Ok(_), Err(RedeemError::Used { .. })] | [Err(RedeemError::Used { .. }), Ok(_)] => {}
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_name_is_taken_once_it_has_joined() {
    let fixture = Fixture::new();
    let lost = fixture.invite("alice");
    let mut again = NewInvite::new("alice", Role::Read);
    let offer = fixture.store.invite(&again, NOW).unwrap();
    assert_eq!(offer.identity.id, lost.identity.id);
    assert_eq!(offer.identity.roles, Role::Read.into());
    let redeem = |offer: &Offer| {
        fixture
            .store
            .redeem(&fixture.ca, &offer.secret, &request(), NOW)
    };
    assert!(matches!(redeem(&lost), Err(RedeemError::Unknown)));
    redeem(&offer).unwrap();
    let taken = fixture.store.invite(&again, NOW).unwrap_err();
    assert!(matches!(taken, InviteRefused::NameTaken { .. }));
    "alice2".clone_into(&mut again.name);
    fixture.store.invite(&again, NOW).unwrap();
}

#[test]
fn who_was_away_for_too_long_is_invited_again() {
    let fixture = Fixture::new();
    let (store, ca) = (&fixture.store, &fixture.ca);
    let offer = fixture.invite("alice");
    let until = store
        .redeem(ca, &offer.secret, &request(), NOW)
        .unwrap()
        .certificate
        .not_after;
    let new = NewInvite::new("alice", Role::Run);
    let early = store.invite(&new, until).unwrap_err();
    assert!(matches!(early, InviteRefused::NameTaken { .. }));
    let late = after(until, Duration::from_secs(1));
    let again = store.invite(&new, late).unwrap();
    assert_eq!(again.identity.id, offer.identity.id);
    let joined = store.redeem(ca, &again.secret, &request(), late).unwrap();
    assert_eq!(
        joined.identity.certificate_until,
        Some(after(late, CLIENT_LIFETIME))
    );
}

#[test]
fn bad_invites_are_refused() {
    let fixture = Fixture::new();
    let refused = |new: &NewInvite| fixture.store.invite(new, NOW).unwrap_err();
    let long = "a".repeat(64);
    let uuid = fixture.store.server().to_string();
    for name in [
        "",
        "-a",
        "a b",
        "a\n",
        "b\u{f6}b",
        "\u{1b}[31m",
        &long,
        &uuid,
    ] {
        let error = refused(&NewInvite::new(name, Role::Run));
        assert!(matches!(error, InviteRefused::Name { .. }), "{name:?}");
    }
    let good = NewInvite::new("a", Role::Run);
    let error = refused(&NewInvite::new("a", Roles::NONE));
    assert!(matches!(error, InviteRefused::NoRoles));
    for lifetime in [Duration::ZERO, INVITE_LIFETIME_MAX + Duration::from_secs(1)] {
        let error = refused(&NewInvite {
            lifetime,
            ..good.clone()
        });
        assert!(matches!(error, InviteRefused::Lifetime));
    }
    for certificate_lifetime in [Duration::from_mins(59), Duration::MAX] {
        let error = refused(&NewInvite {
            certificate_lifetime,
            ..good.clone()
        });
        assert!(matches!(error, InviteRefused::CertificateLifetime));
    }
}

#[test]
fn who_is_revoked_is_nobody_and_leaves_the_name() {
    let fixture = Fixture::new();
    let store = &fixture.store;
    let offer = fixture.invite("alice");
    store
        .redeem(&fixture.ca, &offer.secret, &request(), NOW)
        .unwrap();
    let revoked = store.revoke("alice", NOW).unwrap();
    assert_eq!(
        (revoked.id, revoked.revoked_at),
        (offer.identity.id, Some(NOW))
    );
    assert!(revoked.principal().is_none());
    let gone = store.revoke("alice", NOW).unwrap_err();
    assert!(matches!(gone, RevokeError::Unknown { .. }));
    let id = revoked.id.to_string();
    let twice = store.revoke(&id, after(NOW, INVITE_LIFETIME)).unwrap();
    assert_eq!(twice, revoked);
    let renewed = store.renew(&fixture.ca, revoked.id, &request(), NOW);
    assert!(matches!(renewed, Err(RenewError::Revoked)));
    let second = fixture.invite("alice");
    assert_ne!(second.identity.id, revoked.id);
    store.revoke(&second.identity.id.to_string(), NOW).unwrap();
    let void = store.redeem(&fixture.ca, &second.secret, &request(), NOW);
    assert!(matches!(void, Err(RedeemError::Unknown)));
    let fixture = fixture.reopen();
    let all = fixture.store.identities().unwrap();
    assert_eq!(all.len(), 2);
    assert!(all.iter().all(|identity| identity.revoked_at == Some(NOW)));
    assert_eq!(fixture.store.identity(revoked.id).unwrap(), Some(revoked));
    assert_eq!(
        fixture.store.identity(fixture.store.server()).unwrap(),
        None
    );
}

#[test]
fn renewed_at_two_thirds_and_the_same_before() {
    let fixture = Fixture::new();
    let offer = fixture.invite("alice");
    let key = request();
    let joined = fixture
        .store
        .redeem(&fixture.ca, &offer.secret, &key, NOW)
        .unwrap();
    let renew = |request: &CertificateRequest, now| {
        fixture
            .store
            .renew(&fixture.ca, offer.identity.id, request, now)
    };
    assert_eq!(renew(&key, NOW).unwrap(), joined.certificate);
    let due = joined.certificate.renew_at();
    let renewed = renew(&key, due).unwrap();
    assert_ne!(renewed.serial, joined.certificate.serial);
    assert_eq!(renewed.not_after, after(due, CLIENT_LIFETIME));
    // The client that lost the answer asks again.
    assert_eq!(renew(&key, after(due, INVITE_LIFETIME)).unwrap(), renewed);
    let unknown = fixture
        .store
        .renew(&fixture.ca, fixture.store.server(), &key, NOW);
    assert!(matches!(unknown, Err(RenewError::Unknown)));
}

#[test]
fn certificates_are_bounded_and_forgotten_when_over() {
    let fixture = Fixture::new();
    let offer = fixture.invite("alice");
    let renew = |now| {
        fixture
            .store
            .renew(&fixture.ca, offer.identity.id, &request(), now)
    };
    for _ in 0..CERTIFICATES_MAX {
        renew(NOW).unwrap();
    }
    let error = renew(NOW).unwrap_err();
    assert!(matches!(
        error,
        RenewError::TooMany {
            count: CERTIFICATES_MAX
        }
    ));
    renew(after(NOW, CLIENT_LIFETIME + INVITE_LIFETIME)).unwrap();
}

#[test]
fn the_secret_is_not_in_the_files() {
    let fixture = Fixture::new();
    let offer = fixture.invite("alice");
    for entry in std::fs::read_dir(fixture.state.path()).unwrap() {
        let content = std::fs::read(entry.unwrap().path()).unwrap();
        let mut windows = content.windows(32);
        assert!(!windows.any(|window| window == offer.secret.as_bytes()));
    }
}
