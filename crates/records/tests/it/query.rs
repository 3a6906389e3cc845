//! What readers find, and at what cost.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use legwork_records::query::{Cursor, From, Item, Query};
use legwork_records::{Log, Packing, Timestamp};

use crate::setup::{Hand, NOON, PATIENCE, append, config, everything, of, open, told};

/// A log with a batch a second, of ten clients in turn, over several segments, the older ones packed.
fn ten_clients(dir: &std::path::Path) -> Log {
    let clock = Hand::at_noon();
    let mut config = config(dir);
    config.clock = clock.clone();
    config.segment_bytes = 500_000;
    let after = Duration::ZERO;
    config.packing = Some(Packing { level: 1, after });
    let (log, _) = Log::open(config).unwrap();
    let pad = "x".repeat(3000);
    for n in 0..600 {
        log.append(of(
            &format!("client-{}", n % 10),
            &format!("{{\"n\":{n},\"pad\":\"{pad}\"}}"),
        ))
        .unwrap();
        clock.turn(1);
    }
    log.keep_up();
    log
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_micros(NOON + second * 1_000_000)
}

fn numbers(told: &[String]) -> Vec<u64> {
    told.iter()
        .map(|told| told.split(' ').next().unwrap().parse().unwrap())
        .collect()
}

#[test]
fn by_client_time_number_and_condition() {
    let dir = tempfile::tempdir().unwrap();
    let log = ten_clients(dir.path());
    let stats = log.stats();
    assert!(stats.segments > 3);
    assert_eq!(stats.times, Some((at(0), at(599))));
    assert_eq!(numbers(&everything(&log)), (1..=600).collect::<Vec<_>>());
    let query = Query {
        since: Some(at(100)),
        until: Some(at(103)),
        ..Query::default()
    };
    assert_eq!(numbers(&told(&log, query)), [101, 102, 103]);
    let query = Query {
        clients: vec!["client-3".to_owned()],
        since: Some(at(570)),
        ..Query::default()
    };
    assert_eq!(numbers(&told(&log, query)), [574, 584, 594]);
    let query = Query {
        from: From::Seq(599),
        ..Query::default()
    };
    assert_eq!(numbers(&told(&log, query)), [599, 600]);
    let seen = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&seen);
    let filter = move |entry: &legwork_records::query::Entry<'_>| {
        count.fetch_add(1, Ordering::Relaxed);
        entry.seq.is_multiple_of(100)
    };
    let query = Query {
        filter: Some(Box::new(filter)),
        since: Some(at(290)),
        until: Some(at(310)),
        ..Query::default()
    };
    assert_eq!(numbers(&told(&log, query)), [300]);
    assert_eq!(
        seen.load(Ordering::Relaxed),
        20,
        "the condition is only asked about the rest"
    );
    drop(log);
    let log = open(dir.path());
    assert_eq!(numbers(&everything(&log)), (1..=600).collect::<Vec<_>>());
}

#[test]
fn a_query_reads_what_it_returns_and_little_more() {
    let dir = tempfile::tempdir().unwrap();
    let log = ten_clients(dir.path());
    // Everything but the segment with what is wanted becomes unreadable, which nobody notices.
    let wanted = 300;
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        let (Some(first), true) = (
            name.get(..20).and_then(|digits| digits.parse::<u64>().ok()),
            name.contains("jsonl"),
        ) else {
            continue;
        };
        if !(wanted - 160..=wanted).contains(&first) {
            std::fs::write(&path, "rubbish").unwrap();
        }
    }
    let second = i64::try_from(wanted).unwrap();
    let query = Query {
        since: Some(at(second)),
        until: Some(at(second + 1)),
        ..Query::default()
    };
    assert_eq!(numbers(&told(&log, query)), [wanted + 1]);
}

#[test]
fn a_reader_goes_from_the_past_to_what_comes() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    config.segment_bytes = 3000;
    let (log, _) = Log::open(config).unwrap();
    let reader_of = |from| {
        log.read(Query {
            from,
            ..Query::default()
        })
    };
    let mut reader = reader_of(From::Start);
    assert!(reader.next_item().unwrap().is_none() && !reader.wait(Duration::ZERO));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in 1..=200 {
                append(&log, "p", n, &format!("{{\"n\":{n}}}")).unwrap();
            }
        });
        let mut seen = 0;
        while seen < 200 {
            match reader.next_item().unwrap() {
                Some(Item::Entry(entry)) => {
                    seen += 1;
                    assert_eq!(entry.seq, seen);
                }
                Some(missing) => unreachable!("{missing:?}"),
                None => assert!(reader.wait(PATIENCE)),
            }
        }
    });
    let cursor: Cursor = reader.cursor().to_string().parse().unwrap();
    let mut end = reader_of(From::End);
    append(&log, "p", 201, "{\"n\":201}").unwrap();
    for reader in [&mut reader, &mut end, &mut reader_of(From::Cursor(cursor))] {
        assert!(
            matches!(reader.next_item().unwrap(), Some(Item::Entry(entry)) if entry.seq == 201)
        );
        assert!(reader.next_item().unwrap().is_none());
    }
    let other = Cursor {
        log: cursor.log ^ 1,
        ..cursor
    };
    let mut reader = reader_of(From::Cursor(other));
    assert!(matches!(reader.next_item().unwrap(), Some(Item::Entry(entry)) if entry.seq == 1));
}

#[test]
fn who_watches_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let told = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&told);
    let watch = log.watch(move || {
        count.fetch_add(1, Ordering::SeqCst);
    });
    append(&log, "p", 1, "{}").unwrap();
    let before = told.load(Ordering::SeqCst);
    assert!(before > 0);
    drop(watch);
    append(&log, "p", 2, "{}").unwrap();
    assert_eq!(told.load(Ordering::SeqCst), before);
}

#[test]
fn an_export_is_what_was_sent_or_what_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    append(&log, "p", 1, "{\"a\": 1}\nbad\n{\"b\": 2.0}").unwrap();
    let mut out = Vec::new();
    assert_eq!(
        log.read(Query::default()).export(&mut out, false).unwrap(),
        2
    );
    assert_eq!(out, b"{\"a\":1}\n{\"b\":2.0}\n");
    let mut whole = Vec::new();
    log.read(Query {
        rejected: true,
        ..Query::default()
    })
    .export(&mut whole, true)
    .unwrap();
    let file = std::fs::read(dir.path().join(format!("{:020}.jsonl", 1))).unwrap();
    assert_eq!(whole, file);
}
