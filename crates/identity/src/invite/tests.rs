//! Tokens: what people do to them, and what a fuzzer would.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proptest::prelude::*;
use rustls::pki_types::UnixTime;
use uuid::Uuid;

use super::{ADDRESSES_MAX, Address, Invite, InviteError, Secret, TOKEN_CHARS_MAX};
use crate::fingerprint::Fingerprint;

const NOW: UnixTime = UnixTime::since_unix_epoch(Duration::from_secs(1_800_000_000));

fn invite(addresses: &[&str]) -> Invite {
    Invite::new(
        addresses.iter().map(|text| text.parse().unwrap()).collect(),
        Uuid::from_u128(7),
        Fingerprint::of(b"ca"),
        Secret::generate(),
        crate::timestamp::after(NOW, Duration::from_mins(30)),
    )
    .unwrap()
}

#[test]
fn a_token_survives_a_terminal() {
    let invite = invite(&["box:7005", "[2001:db8::1]:7005"]);
    let token = invite.token();
    assert!(token.starts_with("lw1."));
    assert_eq!(Invite::parse(&token).unwrap(), invite);
    let (front, back) = token.split_at(80);
    let wrapped = format!("  {front}\r\n   {back}\n");
    assert_eq!(Invite::parse(&wrapped).unwrap(), invite);
}

#[test]
fn every_cut_is_told_as_one() {
    let token = invite(&["box:7005"]).token();
    for end in "lw1.".len()..token.len() {
        assert_eq!(
            Invite::parse(&token[..end]),
            Err(InviteError::Truncated),
            "{end}"
        );
    }
}

#[test]
fn every_mistyped_character_is_noticed() {
    let token = invite(&["box:7005"]).token();
    for at in "lw1.".len()..token.len() {
        let mut typed = token.clone().into_bytes();
        typed[at] = if typed[at] == b'A' { b'B' } else { b'A' };
        let typed = String::from_utf8(typed).unwrap();
        let error = Invite::parse(&typed).unwrap_err();
        let told = matches!(error, InviteError::Damaged | InviteError::Truncated);
        assert!(told, "{at}: {error}");
    }
}

#[test]
fn other_texts_are_told_apart() {
    let parse = |text: &str| Invite::parse(text).unwrap_err();
    for text in [
        "",
        "lw",
        "lw1",
        "lw.",
        "lw-1.x",
        "lw0.x",
        "hello.world",
        "lwx.y",
    ] {
        assert_eq!(parse(text), InviteError::Prefix, "{text:?}");
    }
    assert_eq!(parse("lw2.whatever"), InviteError::Newer { version: 2 });
    assert_eq!(parse("lw1."), InviteError::Truncated);
    assert_eq!(parse("lw1.%%%%"), InviteError::Damaged);
    let token = invite(&["box:7005"]).token();
    assert_eq!(parse(&format!("{token}AAAA")), InviteError::Damaged);
    let long = format!("lw1.{}", "A".repeat(TOKEN_CHARS_MAX));
    assert_eq!(parse(&long), InviteError::TooLong);
}

#[test]
fn a_token_that_looks_expired_is_read_as_well() {
    let long_ago = UnixTime::since_unix_epoch(Duration::from_secs(1));
    let invite = Invite {
        expires_at: long_ago,
        ..invite(&["box:7005"])
    };
    assert_eq!(Invite::parse(&invite.token()), Ok(invite));
}

#[test]
fn addresses_are_bounded() {
    let with = |count| {
        let address: Address = "box:1".parse().unwrap();
        let secret = Secret::generate();
        Invite::new(
            vec![address; count],
            Uuid::nil(),
            Fingerprint::of(b""),
            secret,
            NOW,
        )
    };
    for count in [0, ADDRESSES_MAX + 1] {
        assert_eq!(with(count), Err(InviteError::Addresses { count }));
    }
    let longest: Address = format!("{}:65535", "a".repeat(249)).parse().unwrap();
    let invite = Invite {
        addresses: vec![longest; ADDRESSES_MAX],
        ..with(1).unwrap()
    };
    let token = invite.token();
    assert!(token.len() <= TOKEN_CHARS_MAX);
    assert_eq!(super::codec::decode(&token).unwrap(), invite);
}

#[test]
fn debug_output_has_no_secret() {
    let invite = invite(&["box:7005"]);
    let shown = format!("{invite:?} {invite:#?}");
    assert!(shown.contains("Secret(..)"));
    let [first, second, ..] = *invite.secret().as_bytes();
    assert!(!shown.contains(&format!("{first}, {second},")));
    assert!(!shown.contains(&URL_SAFE_NO_PAD.encode(invite.secret().as_bytes())));
}

fn addresses() -> impl Strategy<Value = Vec<Address>> {
    let address = ("[a-z0-9][a-z0-9.-]{0,60}", 1_u16..)
        .prop_map(|(host, port)| format!("{host}:{port}").parse().unwrap());
    proptest::collection::vec(address, 1..=ADDRESSES_MAX)
}

proptest! {
    #[test]
    fn what_was_made_is_read_back(
        addresses in addresses(),
        server: u128,
        ca: [u8; 32],
        secret: [u8; 32],
        expiry: u64,
    ) {
        let server = Uuid::from_u128(server);
        let expires_at = UnixTime::since_unix_epoch(Duration::from_secs(expiry));
        let ca = Fingerprint::from_bytes(ca);
        let invite =
            Invite::new(addresses, server, ca, Secret::from_bytes(secret), expires_at).unwrap();
        prop_assert_eq!(super::codec::decode(&invite.token()).unwrap(), invite);
    }

    #[test]
    fn no_text_makes_it_panic(text in ".{0,300}") {
        drop(Invite::parse(&text));
        drop(Invite::parse(&format!("lw1.{text}")));
    }

    #[test]
    fn no_bytes_make_it_panic(mut body: Vec<u8>) {
        // With length and check sum right, so that the parser behind them is reached.
        let length = u16::try_from(body.len() + 4).unwrap();
        let mut bytes = length.to_be_bytes().to_vec();
        bytes.append(&mut body);
        let sum = Fingerprint::of(&bytes);
        bytes.extend_from_slice(&sum.as_bytes()[..4]);
        let token = format!("lw1.{}", URL_SAFE_NO_PAD.encode(&bytes));
        if let Ok(invite) = super::codec::decode(&token) {
            prop_assert_eq!(invite.token(), token);
        }
    }
}
