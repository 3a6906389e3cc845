//! Repeats, gaps, holes and rivals.

use std::time::Duration;

use super::{Answer, Numbered, Producers, RECENT_MAX, Verdict};
use crate::faults::Faults;
use crate::rejection::{Reason, Rejection};
use crate::timestamp::Timestamp;

const AGE: Duration = Duration::from_secs(100);

fn batch(sequence: u64) -> Numbered<'static> {
    Numbered {
        client: "c",
        producer: "p",
        sequence,
        from: sequence,
        digest: u32::try_from(sequence).unwrap(),
        session: 0,
    }
}

fn answer(n: u64) -> Answer {
    let mut answer = Answer {
        accepted: Some((n * 10, 3)),
        ..Answer::default()
    };
    let rejection = Rejection::new(1, Reason::Syntax, String::new(), format!("in {n}"));
    answer.rejections.push(|| rejection);
    answer
}

fn record(producers: &mut Producers, n: u64) -> super::Undo {
    producers.record(&batch(n), Timestamp::from_micros(1_000), &answer(n))
}

#[test]
fn repeats_get_their_first_answer_and_gaps_are_refused() {
    let mut producers = Producers::new(10, AGE);
    assert_eq!(producers.judge(&batch(2)), Verdict::Gap { expected: 1 });
    for n in 1..=12 {
        assert_eq!(producers.judge(&batch(n)), Verdict::New);
        drop(record(&mut producers, n));
    }
    assert_eq!(producers.judge(&batch(12)), Verdict::Repeat(answer(12)));
    let oldest = 12 - RECENT_MAX as u64;
    assert_eq!(
        producers.judge(&batch(oldest + 1)),
        Verdict::Repeat(answer(oldest + 1))
    );
    assert_eq!(
        producers.judge(&batch(oldest)),
        Verdict::Repeat(Answer::default())
    );
    assert_eq!(producers.judge(&batch(14)), Verdict::Gap { expected: 13 });
    let other = Numbered {
        digest: 0,
        ..batch(12)
    };
    assert_eq!(producers.judge(&other), Verdict::Conflict);
    let elsewhere = Numbered {
        client: "d",
        ..batch(2)
    };
    assert_eq!(producers.judge(&elsewhere), Verdict::Gap { expected: 1 });
}

#[test]
fn a_gap_stands_for_many() {
    let mut producers = Producers::new(10, AGE);
    drop(record(&mut producers, 1));
    let gap = Numbered {
        from: 2,
        ..batch(20)
    };
    assert_eq!(producers.judge(&gap), Verdict::New);
    drop(producers.record(&gap, Timestamp::MIN, &answer(20)));
    assert_eq!(producers.judge(&gap), Verdict::Repeat(answer(20)));
    let overlapping = Numbered {
        from: 15,
        ..batch(30)
    };
    assert_eq!(producers.judge(&overlapping), Verdict::New);
    let beyond = Numbered {
        from: 22,
        ..batch(30)
    };
    assert_eq!(producers.judge(&beyond), Verdict::Gap { expected: 21 });
}

#[test]
fn what_was_not_written_is_undone() {
    let mut producers = Producers::new(10, AGE);
    for n in 1..=9 {
        drop(record(&mut producers, n));
    }
    let before = format!("{:?}", producers.known["c"]["p"].recent);
    let undo = [record(&mut producers, 10), record(&mut producers, 11)];
    undo.into_iter().rev().for_each(|undo| producers.undo(undo));
    assert_eq!(format!("{:?}", producers.known["c"]["p"].recent), before);
    assert_eq!(producers.judge(&batch(10)), Verdict::New);
    let mut empty = Producers::new(10, AGE);
    let undo = record(&mut empty, 1);
    empty.undo(undo);
    assert_eq!(empty.len(), 0);
}

#[test]
fn two_senders_that_take_turns_are_rivals() {
    let mut producers = Producers::new(10, AGE);
    let from = |session| Numbered {
        session,
        ..batch(1)
    };
    drop(producers.record(&from(1), Timestamp::MIN, &answer(1)));
    let mut rivals = |session| producers.rivals(&from(session));
    assert_eq!([1, 2, 2, 3, 3].map(&mut rivals), [false; 5]);
    assert!(rivals(2), "it had been replaced by 3");
    assert!(rivals(3));
    assert!(!rivals(0), "an unknown sender is nobody's rival");
}

#[test]
fn the_table_is_bounded_and_survives_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("producers");
    let mut producers = Producers::new(100, AGE);
    for n in 0..150_i64 {
        let client = n.to_string();
        let batch = Numbered {
            client: &client,
            ..batch(1)
        };
        drop(producers.record(&batch, Timestamp::from_micros(n), &answer(1)));
    }
    producers.forget(Timestamp::from_micros(150));
    assert_eq!(producers.len(), 90);
    assert!(!producers.known.contains_key("59") && producers.known.contains_key("60"));
    producers.write(&path, 77, &Faults::default()).unwrap();
    let mut read = Producers::new(100, AGE);
    assert_eq!(read.read(&path), Some(77));
    assert_eq!(read.known, producers.known);
    let mut bad = std::fs::read(&path).unwrap();
    bad[40] ^= 1;
    std::fs::write(&path, bad).unwrap();
    assert_eq!(Producers::new(100, AGE).read(&path), None);
    producers.forget(Timestamp::from_micros(100_000_075));
    assert_eq!(producers.len(), 75, "those of the last hundred seconds");
}

#[test]
fn nobody_pushes_out_the_producers_of_others() {
    let mut producers = Producers::new(1000, AGE);
    drop(record(&mut producers, 1));
    for n in 0..500_i64 {
        let producer = n.to_string();
        let batch = Numbered {
            client: "hostile",
            producer: &producer,
            ..batch(1)
        };
        drop(producers.record(&batch, Timestamp::from_micros(n), &answer(1)));
    }
    assert_eq!(producers.len(), 1 + super::EACH_MAX);
    assert_eq!(producers.judge(&batch(2)), Verdict::New);
}
