//! What is recorded.

use super::{FULL_EVERY, PART_BYTES, Recorder};
use crate::process::Process;
use crate::snapshot::{Header, Host, Snapshot};

fn snapshot(boot: &str, count: u32, utime_ms: u64) -> Snapshot {
    let process = |pid| Process {
        pid,
        start: 1,
        comm: "name".into(),
        cmdline: "word ".repeat(60),
        utime_ms: if pid == 1 { utime_ms } else { 0 },
        ..Process::default()
    };
    Snapshot {
        host: Host {
            boot: boot.into(),
            ..Host::default()
        },
        processes: (1..=count).map(process).collect(),
        ..Snapshot::default()
    }
}

fn header(records: &[Vec<u8>]) -> Header {
    Header::of(&records[0]).unwrap()
}

#[test]
fn what_changed_is_little() {
    let mut recorder = Recorder::new("r".into(), 15_000);
    let first = recorder.record(snapshot("b", 50, 0));
    let second = recorder.record(snapshot("b", 50, 10));
    assert!(header(&first).is_full() && !header(&second).is_full());
    assert_eq!(second.len(), 1);
    let text = String::from_utf8(second[0].clone()).unwrap();
    assert!(
        text.ends_with(r#""changed":[{"pid":1,"start":1,"utime_ms":10}]}"#),
        "{text}"
    );
    let nothing = recorder.record(snapshot("b", 50, 10));
    assert!(nothing[0].ends_with(b"}}"), "{nothing:?}");
}

#[test]
fn a_whole_table_comes_when_it_has_to() {
    let mut recorder = Recorder::new("r".into(), 15_000);
    let fulls: Vec<bool> = (0..=2 * FULL_EVERY)
        .map(|_| header(&recorder.record(snapshot("b", 50, 0))).is_full())
        .collect();
    let expected: Vec<bool> = (0..=2 * FULL_EVERY).map(|n| n % FULL_EVERY == 0).collect();
    assert_eq!(fulls, expected);
    assert!(!header(&recorder.record(snapshot("b", 50, 0))).is_full());
    assert!(
        header(&recorder.record(snapshot("c", 50, 0))).is_full(),
        "another boot"
    );
    recorder.begin_anew();
    assert!(
        header(&recorder.record(snapshot("c", 50, 0))).is_full(),
        "asked for"
    );
    assert!(
        header(&recorder.record(snapshot("c", 500, 0))).is_full(),
        "much is new"
    );
}

#[test]
fn a_large_table_is_cut_into_parts() {
    let mut recorder = Recorder::new("r".into(), 0);
    let records = recorder.record(snapshot("b", 5000, 0));
    assert!(records.len() > 10);
    for (place, record) in records.iter().enumerate() {
        let header = Header::of(record).unwrap();
        assert_eq!(usize::try_from(header.part).unwrap(), place);
        assert_eq!(usize::try_from(header.parts).unwrap(), records.len());
        assert!(record.len() < 2 * PART_BYTES);
        let read: serde_json::Value = serde_json::from_slice(record).unwrap();
        assert_eq!(read.get("host").is_some(), place == 0);
        assert!(!read["processes"].as_array().unwrap().is_empty());
    }
}

#[test]
fn being_late_is_told_where_it_matters() {
    let mut recorder = Recorder::new("r".into(), 1000);
    let mut late = |late_ms, skipped| {
        let snapshot = Snapshot {
            late_ms,
            skipped,
            ..snapshot("b", 1, 0)
        };
        let header = header(&recorder.record(snapshot));
        (header.late_ms, header.skipped)
    };
    assert_eq!(late(100, 0), (None, None));
    assert_eq!(late(2500, 2), (Some(2500), Some(2)));
}

#[test]
fn others_records_have_no_header() {
    for data in [
        &b"{}"[..],
        b"",
        b"[1]",
        br#"{"snapshot":{"version":2}}"#,
        br#"{"snapshot":{"#,
    ] {
        assert_eq!(Header::of(data), None);
    }
}
