//! The validator against `serde_json`, and what that one lets pass.

use std::collections::HashSet;

use proptest::prelude::*;
use serde::de::IgnoredAny;

use super::{Limits, Validator};
use crate::rejection::{Flaw, Reason};

fn compact(input: impl AsRef<[u8]>) -> Result<Vec<u8>, Flaw> {
    let mut out = b"before".to_vec();
    let told = Validator::default().record(input.as_ref(), &mut out);
    assert!(out.starts_with(b"before"));
    assert!(
        told.is_ok() || out.len() == 6,
        "a refused record leaves nothing"
    );
    told.map(|()| out.split_off(6))
}

fn reason(input: impl AsRef<[u8]>) -> Option<Reason> {
    compact(input).err().map(|flaw| flaw.reason)
}

#[test]
fn white_space_goes_and_numbers_stay() {
    let input = " { \"a b\" : [ 1.50 , -0 , 1E+400, 123456789012345678901234567890 ] ,\r\n\t\"\u{e4}\":\" x \"} \n";
    let expected = "{\"a b\":[1.50,-0,1E+400,123456789012345678901234567890],\"\u{e4}\":\" x \"}";
    assert_eq!(compact(input).unwrap(), expected.as_bytes());
}

#[test]
fn each_flaw_has_its_reason() {
    for (input, expected) in [
        (&b"{\"a\":\"\xc3\"}"[..], Reason::NotUtf8),
        (b"{\"a\":\"12345678\xed\xa0\x80\"}", Reason::NotUtf8),
        (b"{a:1}", Reason::Syntax),
        (b"{\"a\":1,}", Reason::Syntax),
        (b"{\"a\":[1,]}", Reason::Syntax),
        (b"{\"a\":1]", Reason::Syntax),
        (b"{\"a\" 1}", Reason::Syntax),
        (b"{} {}", Reason::Syntax),
        (b"{\"a\":\x0b1}", Reason::Syntax),
        (b"", Reason::UnexpectedEnd),
        (b"{\"a\":\"", Reason::UnexpectedEnd),
        (b"{\"a\":[{}", Reason::UnexpectedEnd),
        (b"{\"a\":NaN}", Reason::BadNumber),
        (b"{\"a\":-Infinity}", Reason::BadNumber),
        (b"{\"a\":01}", Reason::BadNumber),
        (b"{\"a\":1.}", Reason::BadNumber),
        (b"{\"a\":1e}", Reason::BadNumber),
        (b"{\"a\":0x1}", Reason::BadNumber),
        (b"{\"a\":\"\\x\"}", Reason::BadEscape),
        (b"{\"a\":\"\\ud800\"}", Reason::BadEscape),
        (b"{\"a\":\"\\udc00\"}", Reason::BadEscape),
        (b"{\"a\":\"\\ud800\\u0041\"}", Reason::BadEscape),
        (b"{\"a\":\"line\nline\"}", Reason::ControlCharacter),
        (b"{\"a\":\"\0\"}", Reason::ControlCharacter),
        (b"{\"a\":1,\"b\":2,\"a\":3}", Reason::DuplicateKey),
        (b"{\"x\":{\"\":1,\"\":2}}", Reason::DuplicateKey),
        (b"{\"\\u0061\":1,\"a\":3}", Reason::DuplicateKey),
        (
            b"{\"\\ud83d\\ude00\":1,\"\xf0\x9f\x98\x80\":3}",
            Reason::DuplicateKey,
        ),
        (b"7", Reason::NotAnObject),
        (b"[{}]", Reason::NotAnObject),
        (b"\"text\"", Reason::NotAnObject),
        (b"null", Reason::NotAnObject),
    ] {
        assert_eq!(reason(input), Some(expected), "{}", input.escape_ascii());
    }
}

#[test]
fn equal_keys_in_different_objects_are_fine() {
    assert_eq!(reason(r#"{"a":{"a":{"a":1}},"b":[{"a":1},{"a":2}]}"#), None);
}

#[test]
fn one_of_many_keys_twice_is_found() {
    let keys = |n: usize| {
        (0..n)
            .map(|n| format!("\"key {n}\":{n}"))
            .collect::<Vec<_>>()
    };
    for n in [2, 24, 25, 500] {
        let mut keys = keys(n);
        assert_eq!(reason(format!("{{{}}}", keys.join(","))), None);
        keys.push("\"key 1\":0".to_owned());
        let input = format!("{{{}}}", keys.join(","));
        let flaw = compact(&input).unwrap_err();
        assert_eq!(flaw.reason, Reason::DuplicateKey, "{n}");
        assert_eq!(&input[flaw.at - 5..flaw.at], "key 1");
        assert!(flaw.at > input.len() - 12, "the second one is told");
    }
}

#[test]
fn limits_hold_at_their_edge() {
    let limits = Limits {
        record_bytes: 10,
        depth: 3,
        ..Limits::default()
    };
    let mut validator = Validator::new(limits);
    let mut reason = |input: &str| {
        let told = validator.record(input.as_bytes(), &mut Vec::new());
        told.err().map(|flaw| flaw.reason)
    };
    assert_eq!(reason(r#"{ "a" : 1234 }"#), None);
    assert_eq!(reason(r#"{"a":12345}"#), Some(Reason::TooLarge));
    assert_eq!(reason(r#"{"":[[]]}"#), None);
    assert_eq!(reason(r#"{"":[[[]]]}"#), Some(Reason::TooDeep));
}

/// Whether an object has a key twice, by a parser of somebody else.
struct Twice(bool);

impl<'de> serde::Deserialize<'de> for Twice {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Look)
    }
}

struct Look;

impl<'de> serde::de::Visitor<'de> for Look {
    type Value = Twice;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Twice, A::Error> {
        let (mut keys, mut twice) = (HashSet::new(), false);
        while let Some((key, Twice(inner))) = map.next_entry::<String, Twice>()? {
            twice |= inner | !keys.insert(key);
        }
        Ok(Twice(twice))
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Twice, A::Error> {
        let mut twice = false;
        while let Some(Twice(inner)) = seq.next_element()? {
            twice |= inner;
        }
        Ok(Twice(twice))
    }

    fn visit_str<E>(self, _: &str) -> Result<Twice, E> {
        Ok(Twice(false))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Twice, E> {
        Ok(Twice(false))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Twice, E> {
        Ok(Twice(false))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Twice, E> {
        Ok(Twice(false))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Twice, E> {
        Ok(Twice(false))
    }

    fn visit_unit<E>(self) -> Result<Twice, E> {
        Ok(Twice(false))
    }
}

/// What a good parser of somebody else says: accepted or not. `None` where a number is beyond those of `f64`, which only it minds.
fn expected(input: &[u8]) -> Option<bool> {
    let text = std::str::from_utf8(input);
    let object = text.is_ok_and(|text| text.trim_start().starts_with('{'));
    match serde_json::from_slice::<Twice>(input) {
        Ok(Twice(twice)) => Some(object && !twice),
        Err(error) if error.to_string().contains("out of range") => None,
        Err(_) => Some(false),
    }
}

/// Pieces of which JSON is made, and of which bad JSON is made.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let fixed = [
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"",
        "\"a\"",
        "\"b\"",
        "\"a\":",
        "\"b\":1",
        "\"c\":{}",
        "1",
        "-0.5e3",
        "01",
        "1.",
        "true",
        "null",
        "nul",
        " ",
        "\n",
        "\\",
        "\\u0061",
        "\\ud83d\\ude00",
        "\\ud83d",
        "\"long enough for words\"",
        "ä",
        "\u{1}",
        "{\"a\":1}",
        "[1,2]",
        "\"\\n\"",
    ];
    prop_oneof![
        9 => prop::sample::select(fixed.to_vec()).prop_map(|text| text.as_bytes().to_vec()),
        1 => any::<u8>().prop_map(|byte| vec![byte]),
    ]
}

/// Values as people send them, printed prettily or not.
fn value() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        any::<String>().prop_map(Into::into),
    ];
    leaf.prop_recursive(6, 64, 12, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Into::into),
            prop::collection::hash_map("\\PC{0,12}", inner, 0..30)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn pieces_are_judged_as_others_do(pieces in prop::collection::vec(piece(), 0..24)) {
        let mut input = b"{".to_vec();
        input.extend(pieces.concat());
        let ours = compact(&input);
        prop_assert!(expected(&input).is_none_or(|theirs| theirs == ours.is_ok()), "{} {:?}", input.escape_ascii(), ours);
    }

    #[test]
    fn values_come_out_as_others_print_them(value in value(), pretty: bool) {
        let value = serde_json::json!({ "value": value });
        let printed = if pretty { serde_json::to_vec_pretty(&value) } else { serde_json::to_vec(&value) };
        let compacted = compact(printed.unwrap()).unwrap();
        prop_assert_eq!(compacted, serde_json::to_vec(&value).unwrap());
    }

    #[test]
    fn one_changed_byte_is_judged_as_others_do(value in value(), at: prop::sample::Index, byte: u8) {
        let mut input = serde_json::to_vec(&serde_json::json!({ "value": value })).unwrap();
        let at = at.index(input.len());
        input[at] = byte;
        let ours = compact(&input);
        prop_assert!(expected(&input).is_none_or(|theirs| theirs == ours.is_ok()), "{} {:?}", input.escape_ascii(), ours);
        if ours.is_ok() {
            prop_assert!(serde_json::from_slice::<IgnoredAny>(&input).is_ok());
        }
    }

    #[test]
    fn what_was_compacted_stays(value in value()) {
        let input = serde_json::to_vec_pretty(&serde_json::json!({ "value": value })).unwrap();
        let once = compact(input).unwrap();
        prop_assert_eq!(compact(&once).unwrap(), once);
    }
}
