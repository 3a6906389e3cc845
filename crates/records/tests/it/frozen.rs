//! Logs and spools of earlier versions are read as they were then, and what is written now is what was frozen.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use legwork_records::query::{Cursor, Query};
use legwork_records::spool::{Parcel, Spool, SpoolConfig};
use legwork_records::{
    Batch, Config, Content, Gap, GapWhy, Log, Observed, Packing, Timestamp, Validator,
};

use crate::setup::{Hand, NOON, append, batch, config, told};

const VERSION: &str = "v1";
const ID: &str = r#"{"version":1,"id":"00000000c0ffee00"}"#;

fn frozen() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("testdata")
        .join(VERSION)
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

fn all(log: &Log) -> Vec<String> {
    told(
        log,
        Query {
            rejected: true,
            ..Query::default()
        },
    )
}

/// A log with all kinds of lines, in a packed segment, a closed one and the newest.
fn write(dir: &Path) {
    std::fs::create_dir_all(dir).unwrap();
    std::fs::write(dir.join("format"), format!("{ID}\n")).unwrap();
    let clock = Hand::at_noon();
    let config = Config {
        clock: Arc::clone(&clock) as _,
        packing: Some(Packing {
            level: 3,
            after: Duration::from_secs(100),
        }),
        ..config(dir)
    };
    let (log, _) = Log::open(config).unwrap();
    append(
        &log,
        "p",
        1,
        "{\"text\": \"\u{e4}\\u00e4\", \"number\": 1.50}\n{\"n\": [1, {}]}",
    )
    .unwrap();
    append(&log, "p", 2, "{\"good\": true}\n{\"bad\": NaN}\n").unwrap();
    clock.turn(150);
    log.rotate();
    let times = [Timestamp::from_micros(NOON - 1_500_000)];
    let observed = Validator::default()
        .batch(b"{\"seen\":1}", Observed::Each(&times), None)
        .unwrap();
    let content = Content::Records(observed);
    log.append(Batch {
        content,
        ..batch("q", 1, "")
    })
    .unwrap();
    log.keep_up();
    log.rotate();
    clock.turn(-60);
    let gap = Gap {
        first: 3,
        records: 70,
        from: Timestamp::from_micros(NOON),
        to: Timestamp::from_micros(NOON + 9_000_000),
        why: GapWhy::SpoolFull,
    };
    let content = Content::Gap(gap);
    log.append(Batch {
        content,
        ..batch("p", 9, "")
    })
    .unwrap();
    let one = Batch {
        origin: None,
        ..batch("", 0, "{\"alone\":1}")
    };
    log.append(one).unwrap();
}

fn write_spool(dir: &Path) {
    let config = SpoolConfig {
        free_bytes_min: 0,
        clock: Hand::at_noon(),
        ..SpoolConfig::new(dir)
    };
    let (spool, _) = Spool::open(config).unwrap();
    for n in 1..=3 {
        let text = format!("{{\"n\":{n}}}");
        spool
            .push(
                Validator::default()
                    .batch(text.as_bytes(), Observed::Unsaid, None)
                    .unwrap(),
            )
            .unwrap();
    }
    let mut outgoing = spool.outgoing();
    let first = outgoing.next_parcel().unwrap().unwrap().sequence();
    spool.acknowledged(first).unwrap();
    drop(outgoing);
    spool.close().unwrap();
}

#[test]
fn a_frozen_log_is_read_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    copy(&frozen().join("log"), dir.path());
    let (log, recovery) = Log::open(config(dir.path())).unwrap();
    assert_eq!(recovery, legwork_records::Recovery::default());
    let facts = std::fs::read_to_string(frozen().join("log.txt")).unwrap();
    assert_eq!(all(&log), facts.lines().collect::<Vec<_>>());
    let cursor: Cursor = "00000000c0ffee00-6".parse().unwrap();
    assert_eq!(log.read(Query::default()).cursor().log, cursor.log);
    // Who was answered then gets the same answer.
    let again = append(&log, "p", 2, "{\"good\": true}\n{\"bad\": NaN}\n").unwrap();
    assert!(again.duplicate && again.rejections.total == 1);
    assert_eq!(
        again
            .accepted
            .map(|accepted| (accepted.first, accepted.count)),
        Some((3, 1))
    );
    assert!(append(&log, "p", 11, "{}").is_err(), "10 is expected");
    assert!(!append(&log, "p", 10, "{}").unwrap().duplicate);
    drop(log);
    // Without what can be made again.
    std::fs::remove_file(dir.path().join("producers")).unwrap();
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "idx") {
            std::fs::remove_file(path).unwrap();
        }
    }
    let (log, _) = Log::open(config(dir.path())).unwrap();
    assert_eq!(
        all(&log)[..facts.lines().count()],
        facts.lines().collect::<Vec<_>>()
    );
    assert!(append(&log, "q", 1, "{\"seen\":1}").unwrap().duplicate);
}

#[test]
fn a_frozen_spool_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    copy(&frozen().join("spool"), dir.path());
    let config = SpoolConfig {
        free_bytes_min: 0,
        ..SpoolConfig::new(dir.path())
    };
    let (spool, _) = Spool::open(config).unwrap();
    let producer = std::fs::read_to_string(frozen().join("spool.txt")).unwrap();
    assert_eq!(spool.producer(), producer.trim());
    let mut outgoing = spool.outgoing();
    for n in [2, 3] {
        let Some(Parcel::Records {
            sequence, lines, ..
        }) = outgoing.next_parcel().unwrap()
        else {
            unreachable!("it had three batches, and one was acknowledged");
        };
        assert_eq!(
            (sequence, lines),
            (n, format!("{{\"n\":{n}}}\n").into_bytes())
        );
    }
    assert_eq!(outgoing.next_parcel().unwrap(), None);
}

/// The lines are the format: byte for byte. (Caches and packed forms are only read as they were.)
#[test]
fn what_is_written_now_is_what_was_frozen() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path());
    for first in [5, 6] {
        let name = format!("{first:020}.jsonl");
        let (now, then) = (dir.path().join(&name), frozen().join("log").join(&name));
        assert_eq!(
            std::fs::read_to_string(now).unwrap(),
            std::fs::read_to_string(then).unwrap()
        );
    }
}

#[test]
#[ignore = "freezes a version: see testdata/README.md"]
fn make() {
    let to = frozen();
    assert!(!to.exists(), "a frozen version is never made again");
    write(&to.join("log"));
    std::fs::remove_file(to.join("log/lock")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    copy(&to.join("log"), dir.path());
    let (log, _) = Log::open(config(dir.path())).unwrap();
    std::fs::write(to.join("log.txt"), all(&log).join("\n") + "\n").unwrap();
    write_spool(&to.join("spool"));
    std::fs::remove_file(to.join("spool/lock")).unwrap();
    let cursor = std::fs::read_to_string(to.join("spool/cursor")).unwrap();
    let cursor: serde_json::Value = serde_json::from_str(cursor.lines().next().unwrap()).unwrap();
    let producer = cursor["producer"].as_str().unwrap();
    std::fs::write(to.join("spool.txt"), format!("{producer}\n")).unwrap();
}
