//! What is written is read, and what is damaged is not.

use proptest::prelude::*;

use super::{CRC_LEN, Extra, Head, Kind, Line, Stamps, is_name};
use crate::timestamp::Timestamp;

fn written(extra: Extra, body: (Kind, &[u8])) -> Vec<u8> {
    let stamps = Stamps {
        client: "web-1",
        host: "web-1.example",
        stream: "process",
        origin: Some(("k3v9", 12)),
        lines: 2,
    };
    let mut head = Head::default();
    head.begin(Timestamp::from_micros(1_795_350_095_123_456), &stamps);
    let mut out = Vec::new();
    head.line(&mut out, 7, 1, &extra, body);
    assert_eq!(out.pop(), Some(b'\n'));
    out
}

#[test]
fn a_line_is_written_as_it_is_documented() {
    let extra = Extra {
        observed: Some(Timestamp::from_micros(5)),
        synced: Some(6),
        clock_back: true,
    };
    let line = written(extra, (Kind::Record, br#"{"a":1}"#));
    let expected = concat!(
        r#"{"seq":7,"received_at":"2026-11-22T12:21:35.123456Z","observed_at":"1970-01-01T00:00:00.000005Z","#,
        r#""client":"web-1","host":"web-1.example","stream":"process","batch":{"p":"k3v9","s":12,"i":1,"n":2},"#,
        r#""synced":6,"clock_back":true,"data":{"a":1},"crc":"#
    );
    let text = String::from_utf8(line.clone()).unwrap();
    assert!(text.starts_with(expected), "{text}");
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    let crc = crc32fast::hash(&line[..line.len() - CRC_LEN]);
    assert_eq!(value["crc"], format!("{crc:08x}"));
    let read = Line::parse(&line).unwrap();
    assert_eq!((read.seq, read.place, read.lines), (7, 1, 2));
    assert_eq!(read.origin, Some(("k3v9", 12)));
    assert_eq!(
        (read.client, read.host, read.stream),
        ("web-1", "web-1.example", "process")
    );
    assert_eq!((read.synced, read.clock_back), (Some(6), true));
    assert_eq!(
        (read.kind, read.body),
        (Some(Kind::Record), &br#"{"a":1}"#[..])
    );
    assert_eq!(
        read.received_at(),
        Some(Timestamp::from_micros(1_795_350_095_123_456))
    );
}

#[test]
fn members_of_a_newer_version_are_passed_over() {
    let line = written(Extra::default(), (Kind::Lost, br#"{"from":1}"#));
    let text = String::from_utf8(line[..line.len() - CRC_LEN].to_vec()).unwrap();
    let text = text
        .replace(
            "\"batch\":{",
            "\"new\":{\"x\":[\"}\",{}]},\"batch\":{\"z\":[1,2],",
        )
        .replace(",\"lost\":", ",\"newer\":null,\"lost\":");
    let crc = crc32fast::hash(text.as_bytes());
    let newer = format!("{text},\"crc\":\"{crc:08x}\"}}");
    let (old, new) = (
        Line::parse(&line).unwrap(),
        Line::parse(newer.as_bytes()).unwrap(),
    );
    assert_eq!(old, new);
    let other = text.replace("\"lost\":", "\"unheard\":");
    let crc = crc32fast::hash(other.as_bytes());
    let other = format!("{other},\"crc\":\"{crc:08x}\"}}");
    assert_eq!(Line::parse(other.as_bytes()).unwrap().kind, None);
}

#[test]
fn names_that_would_break_a_line_are_refused() {
    assert!(is_name("web-1") && is_name("Zürich, upstairs"));
    for name in ["", "a\"b", "a\\b", "a\nb", &"x".repeat(129)] {
        assert!(!is_name(name), "{name}");
    }
}

proptest! {
    #[test]
    fn no_changed_byte_goes_unseen(at: prop::sample::Index, byte: u8, cut: prop::sample::Index) {
        let line = written(Extra::default(), (Kind::Record, br#"{"a":[1,2,{"b":"text"}]}"#));
        let mut changed = line.clone();
        let at = at.index(line.len());
        changed[at] = byte;
        prop_assert_eq!(Line::parse(&changed).is_some(), changed == line);
        prop_assert!(Line::parse(&line[..cut.index(line.len())]).is_none());
    }
}
