//! Segments that are closed, packed and removed.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use legwork_records::query::{From, Query};
use legwork_records::{Config, Log, Packing, Retention};

use crate::setup::{Hand, append, config, everything, told};

fn settings(dir: &Path, clock: &Arc<Hand>) -> Config {
    Config {
        segment_bytes: 4000,
        clock: Arc::clone(clock) as _,
        ..config(dir)
    }
}

fn fill(log: &Log, from: u64, to: u64) {
    for n in from..=to {
        append(log, "p", n, &format!("{{\"n\":{n}}}")).unwrap();
    }
}

fn count(dir: &Path, ending: &str) -> usize {
    let names = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    names
        .filter(|name| name.to_str().unwrap().ends_with(ending))
        .count()
}

#[test]
fn closed_segments_are_packed_when_they_are_due_and_read_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Hand::at_noon();
    let mut config = settings(dir.path(), &clock);
    let after = Duration::from_secs(60);
    config.packing = Some(Packing { level: 3, after });
    let (log, _) = Log::open(config.clone()).unwrap();
    fill(&log, 1, 100);
    let before = everything(&log);
    log.keep_up();
    assert_eq!(count(dir.path(), ".zst"), 0, "not due yet");
    // A reader that is in the middle of a segment goes on in it.
    let mut reader = log.read(Query::default());
    reader.next_item().unwrap().unwrap();
    clock.turn(61);
    log.keep_up();
    assert!(count(dir.path(), ".zst") > 3);
    assert_eq!(count(dir.path(), ".jsonl"), 1, "the one that is written");
    let mut rest = 1;
    while reader.next_item().unwrap().is_some() {
        rest += 1;
    }
    assert_eq!(rest, 100);
    assert_eq!(everything(&log), before);
    drop(log);
    let (log, _) = Log::open(config).unwrap();
    assert_eq!(everything(&log), before);
    assert_eq!(
        legwork_records::fsck::fsck(dir.path()).unwrap().problems,
        []
    );
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "another program has to be able to read it"
)]
fn a_packed_segment_is_read_by_zstd() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Hand::at_noon();
    let mut config = settings(dir.path(), &clock);
    let after = Duration::from_secs(60);
    config.packing = Some(Packing { level: 3, after });
    let (log, _) = Log::open(config).unwrap();
    fill(&log, 1, 15);
    log.rotate();
    fill(&log, 16, 40);
    let plain = std::fs::read(dir.path().join(format!("{:020}.jsonl", 1))).unwrap();
    clock.turn(61);
    log.keep_up();
    let path = dir.path().join(format!("{:020}.jsonl.zst", 1));
    let Ok(unpacked) = Command::new("zstd")
        .args(["-dc", path.to_str().unwrap()])
        .output()
    else {
        // The library reads it as one stream too, whatever its frames.
        assert_eq!(
            zstd::decode_all(std::fs::File::open(path).unwrap()).unwrap(),
            plain
        );
        return;
    };
    assert_eq!(unpacked.stdout, plain);
}

#[test]
fn a_crash_while_packing_leaves_one_form() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Hand::at_noon();
    let mut config = settings(dir.path(), &clock);
    let after = Duration::ZERO;
    let (log, _) = Log::open(config.clone()).unwrap();
    fill(&log, 1, 60);
    let before = everything(&log);
    drop(log);
    let plain = dir.path().join(format!("{:020}.jsonl", 1));
    let lines = std::fs::read(&plain).unwrap();
    config.packing = Some(Packing { level: 3, after });
    let (log, _) = Log::open(config.clone()).unwrap();
    log.keep_up();
    drop(log);
    // Before the plain form went.
    std::fs::write(&plain, &lines).unwrap();
    config.packing = None;
    let (log, _) = Log::open(config.clone()).unwrap();
    assert_eq!(everything(&log), before);
    assert!(!plain.exists());
    drop(log);
    // Before the packed form was whole, as it cannot be; the plain one is taken.
    let packed = plain.with_extension("jsonl.zst");
    std::fs::write(&plain, &lines).unwrap();
    std::fs::write(&packed, "half").unwrap();
    std::fs::write(dir.path().join("x.zst.new"), "half").unwrap();
    let (log, _) = Log::open(config).unwrap();
    assert_eq!(everything(&log), before);
    assert!(!packed.exists() && count(dir.path(), ".new") == 0);
}

#[test]
fn the_oldest_go_by_bytes_and_by_age_and_readers_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Hand::at_noon();
    let mut config = settings(dir.path(), &clock);
    config.retention = Retention {
        bytes: Some(12_000),
        age: Some(Duration::from_secs(1000)),
    };
    let (log, _) = Log::open(config.clone()).unwrap();
    fill(&log, 1, 100);
    log.keep_up();
    let stats = log.stats();
    assert!(stats.disk_bytes <= 12_000 && stats.first > 40, "{stats:?}");
    let from = Query {
        from: From::Seq(1),
        ..Query::default()
    };
    let gone = told(&log, from);
    assert_eq!(gone[0], format!("1-{} removed", stats.first - 1));
    assert_eq!(gone.len() as u64, 100 - stats.first + 2);
    clock.turn(1001);
    log.rotate();
    append(&log, "p", 101, "{}").unwrap();
    append(&log, "p", 102, "{}").unwrap();
    log.keep_up();
    let left = everything(&log);
    assert!(
        left.len() <= 2 && left.last().unwrap() == "102 {}",
        "{left:?}"
    );
    drop(log);
    // Numbers go on, and producers are known though all their lines are gone.
    let (log, _) = Log::open(config).unwrap();
    assert!(append(&log, "p", 100, "{\"n\":100}").unwrap().duplicate);
    assert_eq!(
        append(&log, "p", 103, "{}")
            .unwrap()
            .accepted
            .unwrap()
            .first,
        103
    );
}

#[test]
fn a_segment_is_closed_by_its_age() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Hand::at_noon();
    let (log, _) = Log::open(settings(dir.path(), &clock)).unwrap();
    append(&log, "p", 1, "{}").unwrap();
    clock.turn(24 * 60 * 60 + 1);
    append(&log, "p", 2, "{}").unwrap();
    append(&log, "p", 3, "{}").unwrap();
    assert_eq!(count(dir.path(), ".jsonl"), 2);
    assert_eq!(everything(&log), ["1 {}", "2 {}", "3 {}"]);
}
