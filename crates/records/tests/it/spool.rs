//! A sender's spool against a server's log: everything once, and every hole told.

use std::path::Path;

use legwork_records::spool::{Overflow, Parcel, Spool, SpoolConfig, SpoolError};
use legwork_records::{Ack, AppendError, Batch, Content, Log, Observed, Origin, Validator};

use crate::setup::{Hand, everything, open};

fn settings(dir: &Path) -> SpoolConfig {
    SpoolConfig {
        free_bytes_min: 0,
        clock: Hand::at_noon(),
        ..SpoolConfig::new(dir)
    }
}

fn opened(dir: &Path) -> Spool {
    Spool::open(settings(dir)).unwrap().0
}

fn push(spool: &Spool, n: u64) -> Result<(), SpoolError> {
    let text = format!("{{\"n\":{n}}}\n{{\"n\":{n},\"again\":true}}\nbad\n");
    spool.push(
        Validator::default()
            .batch(text.as_bytes(), Observed::Unsaid, None)
            .unwrap(),
    )
}

/// What a connection does with a parcel.
fn send(log: &Log, producer: &str, parcel: Parcel) -> Result<Ack, AppendError> {
    let sequence = parcel.sequence();
    let content = match parcel {
        Parcel::Records {
            lines, observed, ..
        } => {
            let prepared = Validator::default().batch(&lines, Observed::Each(&observed), None);
            Content::Records(prepared.unwrap())
        }
        Parcel::Gap { gap, .. } => Content::Gap(gap),
    };
    log.append(Batch {
        client: "c".to_owned(),
        host: "h".to_owned(),
        origin: Some(Origin {
            producer: producer.to_owned(),
            sequence,
            session: 0,
        }),
        content,
    })
}

/// Sends everything there is. Only every so many acknowledgements arrive.
fn drain(spool: &Spool, log: &Log, arrive: u64) -> u64 {
    let producer = spool.producer();
    let (mut outgoing, mut sent) = (spool.outgoing(), 0);
    while let Some(parcel) = outgoing.next_parcel().unwrap() {
        let sequence = parcel.sequence();
        send(log, &producer, parcel).unwrap();
        sent += 1;
        if sequence % arrive == 0 {
            spool.acknowledged(sequence).unwrap();
        }
    }
    sent
}

#[test]
fn what_was_pushed_arrives_once_over_restarts_of_both() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let spool = opened(here.path());
    let log = open(there.path());
    (1..=10).for_each(|n| push(&spool, n).unwrap());
    assert_eq!(drain(&spool, &log, 4), 10);
    drop((spool, log));
    let (spool, log) = (opened(here.path()), open(there.path()));
    push(&spool, 11).unwrap();
    assert!(
        drain(&spool, &log, 1) >= 3,
        "what was not acknowledged goes again"
    );
    spool.close().unwrap();
    drop(spool);
    let spool = opened(here.path());
    assert_eq!(drain(&spool, &log, 1), 0, "the cursor is durable");
    let told = everything(&log);
    assert_eq!(told.len(), 22);
    assert_eq!(told[21], "22 {\"n\":11,\"again\":true}");
}

#[test]
fn what_was_acknowledged_makes_room() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let config = SpoolConfig {
        bytes: 40_000,
        overflow: Overflow::Refuse,
        ..settings(here.path())
    };
    let (spool, _) = Spool::open(config).unwrap();
    let log = open(there.path());
    for round in 0..20 {
        for n in 1..=20 {
            push(&spool, round * 20 + n).unwrap();
        }
        drain(&spool, &log, 1);
    }
    assert_eq!(everything(&log).len(), 800);
    let mut n = 400;
    let refused = loop {
        n += 1;
        if let Err(error) = push(&spool, n) {
            break error;
        }
        assert!(n < 1000);
    };
    assert!(
        matches!(refused, SpoolError::Full { bytes: 40_000 }),
        "{refused}"
    );
    assert!(spool.log().disk_bytes() <= 40_000);
    // Nothing of what it took is gone.
    drain(&spool, &log, 1);
    assert_eq!(everything(&log).len() as u64, (n - 1) * 2);
}

#[test]
fn an_overflow_is_told_by_a_gap_that_stands_in_its_place() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let config = SpoolConfig {
        bytes: 20_000,
        ..settings(here.path())
    };
    let (spool, _) = Spool::open(config.clone()).unwrap();
    let log = open(there.path());
    push(&spool, 1).unwrap();
    drain(&spool, &log, 1);
    (2..=60).for_each(|n| push(&spool, n).unwrap());
    // The server has seen some of what goes next, and its answers were lost.
    let producer = spool.producer();
    let mut outgoing = spool.outgoing();
    for _ in 0..3 {
        send(&log, &producer, outgoing.next_parcel().unwrap().unwrap()).unwrap();
    }
    drop(outgoing);
    (61..=120).for_each(|n| push(&spool, n).unwrap());
    assert!(spool.log().disk_bytes() <= 20_000);
    drop(spool);
    let (spool, _) = Spool::open(config).unwrap();
    drain(&spool, &log, 1);
    let told = everything(&log);
    let gaps: Vec<legwork_records::Gap> = told
        .iter()
        .filter_map(|told| serde_json::from_str(told.split_once(' ').unwrap().1).ok())
        .collect();
    let records = told.len() - gaps.len();
    let dropped: u64 = gaps.iter().map(|gap| gap.records).sum();
    assert!(!gaps.is_empty() && dropped > 100, "{gaps:?}");
    // Those that the server had, though the sender did not know, are in the gap as well.
    let twice = records as u64 + dropped - 240;
    assert!(twice <= 4, "{records} records, {dropped} dropped");
    assert!(told.last().unwrap().contains("\"n\":120"));
    drain(&spool, &log, 1);
    assert_eq!(everything(&log).len(), told.len());
}

#[test]
fn a_server_that_forgot_is_noticed_and_told() {
    let (here, there, other) = (
        tempfile::tempdir().unwrap(),
        tempfile::tempdir().unwrap(),
        tempfile::tempdir().unwrap(),
    );
    let spool = opened(here.path());
    (1..=3).for_each(|n| push(&spool, n).unwrap());
    drain(&spool, &open(there.path()), 1);
    push(&spool, 4).unwrap();
    let empty = open(other.path());
    let before = spool.producer();
    let parcel = spool.outgoing().next_parcel().unwrap().unwrap();
    let Err(AppendError::OutOfOrder { expected, .. }) = send(&empty, &before, parcel) else {
        unreachable!("an empty log expects the first batch");
    };
    let mut outdated = spool.outgoing();
    assert!(spool.expected_by_server(expected).unwrap());
    assert_ne!(spool.producer(), before);
    assert!(
        outdated.next_parcel().is_err(),
        "it numbers for the producer that was"
    );
    // Twice says no more than once.
    spool.renumber().unwrap();
    drain(&spool, &empty, 1);
    let told = everything(&empty);
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(told[0].contains("SERVER_FORGOT"));
    drop(spool);
    let spool = opened(here.path());
    push(&spool, 5).unwrap();
    drain(&spool, &empty, 1);
    assert_eq!(everything(&empty).len(), 5);
}

#[test]
fn a_damaged_spool_goes_on_and_tells_what_is_missing() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let spool = opened(here.path());
    (1..=5).for_each(|n| push(&spool, n).unwrap());
    drop(spool);
    let path = here.path().join(format!("{:020}.jsonl", 1));
    let mut lines: Vec<String> = std::fs::read_to_string(&path)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect();
    // The second batch, and the last line of the third.
    for n in [2, 3, 5] {
        lines[n] = lines[n].replace("\"seq\"", "\"sEq\"");
    }
    std::fs::write(&path, lines.join("\n") + "\n").unwrap();
    let (spool, recovery) = Spool::open(settings(here.path())).unwrap();
    assert_eq!(recovery.lost.len(), 2, "{recovery:?}");
    let log = open(there.path());
    drain(&spool, &log, 1);
    let told = everything(&log);
    assert_eq!(told.len(), 8, "{told:?}");
    assert!(told[2].contains("\"first\":2") && told[2].contains("SPOOL_DAMAGED"));
    assert_eq!(told[3], "4 {\"n\":3}");
    push(&spool, 6).unwrap();
    drain(&spool, &log, 1);
    assert_eq!(everything(&log).len(), 10);
}
