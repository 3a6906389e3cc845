//! Goal: a context is there whole or not at all, and nobody else can read its key.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use uuid::Uuid;

use super::{Context, Contexts, KeyTexts, Place, check_name};

fn keys(mark: &str) -> KeyTexts {
    KeyTexts {
        ca: format!("ca {mark}"),
        certificate: format!("certificate {mark}"),
        key: format!("key {mark}"),
    }
}

fn network(name: &str, address: &str) -> Context {
    Context {
        name: name.into(),
        place: Place::Network {
            server: Uuid::from_u128(7),
            addresses: vec![address.parse().unwrap()],
            identity: "alice".into(),
        },
    }
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn stored_replaced_and_removed() {
    let dir = tempfile::tempdir().unwrap();
    let contexts = Contexts::at(dir.path().join("contexts"));
    assert_eq!(contexts.names().unwrap(), Vec::<String>::new());
    let one = network("box", "box.example:7005");
    contexts.store(&one, Some(&keys("1"))).unwrap();
    assert_eq!(contexts.get("box").unwrap(), one);
    let two = network("box", "[::1]:1");
    contexts.store(&two, Some(&keys("2"))).unwrap();
    assert_eq!(contexts.all().unwrap(), [two]);
    assert_eq!(contexts.key_texts("box").unwrap().key, "key 2");
    contexts.renew("box", "certificate 3").unwrap();
    let texts = contexts.key_texts("box").unwrap();
    assert_eq!(
        (&*texts.key, &*texts.certificate),
        ("key 2", "certificate 3")
    );
    let socket = Context {
        name: "here".into(),
        place: Place::Socket("/run/x".into()),
    };
    contexts.store(&socket, None).unwrap();
    assert_eq!(contexts.names().unwrap(), ["box", "here"]);
    contexts.remove("box").unwrap();
    assert_eq!(contexts.all().unwrap(), [socket]);
    // Nothing else is left: no half of anything.
    let left = std::fs::read_dir(dir.path().join("contexts")).unwrap();
    assert_eq!(left.count(), 1);
}

#[test]
fn nobody_else_reads_it() {
    let dir = tempfile::tempdir().unwrap();
    let contexts = Contexts::at(dir.path().join("a/contexts"));
    contexts
        .store(&network("box", "box:1"), Some(&keys("1")))
        .unwrap();
    contexts.renew("box", "other").unwrap();
    for name in ["", "..", "../.."] {
        assert_eq!(mode(&contexts.path("box").join(name)), 0o700);
    }
    for file in std::fs::read_dir(contexts.path("box")).unwrap() {
        assert_eq!(mode(&file.unwrap().path()), 0o600);
    }
}

#[test]
fn an_unknown_name_is_an_error_with_a_suggestion() {
    let dir = tempfile::tempdir().unwrap();
    let contexts = Contexts::at(dir.path().into());
    contexts
        .store(&network("buildbox", "box:1"), Some(&keys("1")))
        .unwrap();
    let error = contexts.get("bulidbox").unwrap_err();
    assert_eq!(error.reason, "UNKNOWN_CONTEXT");
    assert_eq!(error.hint.as_deref(), Some("did you mean `buildbox`?"));
    assert!(contexts.get("../buildbox").is_err());
}

#[test]
fn names_are_plain() {
    for good in ["box", "box-2.example", "1"] {
        check_name(good).unwrap();
    }
    for bad in ["", ".", "..", ".x", "-x", "a/b", "a b", "local", "\u{e4}"] {
        assert!(check_name(bad).is_err(), "{bad}");
    }
}

#[test]
fn damage_and_newer_formats_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let contexts = Contexts::at(dir.path().into());
    let put = |text: &str| {
        std::fs::create_dir_all(dir.path().join("box")).unwrap();
        std::fs::write(dir.path().join("box/context.json"), text).unwrap();
        contexts.get("box").map_err(|error| error.reason)
    };
    assert_eq!(put("{").unwrap_err(), "CONTEXT_DAMAGED");
    assert_eq!(put("{\"version\": 1}").unwrap_err(), "CONTEXT_DAMAGED");
    assert_eq!(put("{\"version\": 2}").unwrap_err(), "CONTEXT_NEWER");
    assert!(put("{\"version\": 1, \"socket\": \"/x\", \"more\": 1}").is_ok());
}
