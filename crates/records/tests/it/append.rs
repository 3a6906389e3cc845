//! Appending, repeating, and reading what was appended.

use std::sync::mpsc;

use legwork_records::query::{From, Query};
use legwork_records::{
    Accepted, AppendError, Content, Durability, Gap, GapWhy, Log, OpenError, Reason, Timestamp,
};

use crate::setup::{NOON, PATIENCE, append, batch, config, everything, of, open, told};

#[test]
fn lines_are_json_with_the_servers_stamps_around() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let ack = append(&log, "p", 1, r#"[{"seq":99,"client":"me"},{"n":1.50}]"#).unwrap();
    assert_eq!(ack.accepted, Some(Accepted { first: 1, count: 2 }));
    assert_eq!(
        (ack.duplicate, ack.durability),
        (false, Durability::Durable)
    );
    let text = std::fs::read_to_string(dir.path().join(format!("{:020}.jsonl", 1))).unwrap();
    let lines: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0]["seq"], 1);
    assert_eq!(lines[0]["received_at"], "2026-11-22T12:00:00.000000Z");
    assert_eq!(lines[0]["client"], "c");
    assert_eq!(lines[0]["stream"], "test");
    assert_eq!(lines[0]["data"]["client"], "me");
    assert_eq!(
        lines[1]["batch"],
        serde_json::json!({"p": "p", "s": 1, "i": 1, "n": 2})
    );
    assert!(text.contains("1.50"), "numbers are as they were sent");
    assert_eq!(
        everything(&log),
        [r#"1 {"seq":99,"client":"me"}"#, r#"2 {"n":1.50}"#]
    );
}

#[test]
fn a_repeat_gets_its_first_answer_after_a_restart_too() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let input = "{\"a\":1}\nnonsense\n{\"b\":NaN}\n";
    let first = append(&log, "p", 1, input).unwrap();
    assert_eq!(first.rejections.total, 2);
    assert_eq!(first.rejections.records[1].index, 2);
    assert_eq!(first.rejections.records[1].reason, Reason::BadNumber);
    assert_eq!(first.rejections.records[1].field, "/b");
    let nothing = append(&log, "p", 2, "bad").unwrap();
    assert_eq!(nothing.accepted, Some(Accepted { first: 3, count: 0 }));
    let check = |log: &Log| {
        let again = append(log, "p", 1, input).unwrap();
        assert!(again.duplicate);
        assert_eq!(
            (again.accepted, &again.rejections),
            (first.accepted, &first.rejections)
        );
        let again = append(log, "p", 2, "bad").unwrap();
        assert_eq!(
            (again.duplicate, &again.rejections),
            (true, &nothing.rejections)
        );
    };
    check(&log);
    drop(log);
    check(&open(dir.path()));
    // Without the checkpoint, the lines tell the same.
    std::fs::remove_file(dir.path().join("producers")).unwrap();
    let log = open(dir.path());
    check(&log);
    assert_eq!(everything(&log), [r#"1 {"a":1}"#]);
    let all = Query {
        rejected: true,
        ..Query::default()
    };
    assert_eq!(told(&log, all).len(), 3);
}

#[test]
fn many_senders_of_one_client_are_all_known() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    // As many calls that send as one identity may have at a time, and as many again that have ended.
    let senders: Vec<String> = (0..128).map(|n| format!("p{n}")).collect();
    for sequence in 1..=2 {
        for sender in &senders {
            append(&log, sender, sequence, "{}").unwrap();
        }
    }
    assert_eq!(everything(&log).len(), 256);
}

#[test]
fn what_is_out_of_order_is_refused_with_what_is_expected() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let expected = |answer: Result<_, AppendError>| match answer {
        Err(AppendError::OutOfOrder { expected, .. }) => expected,
        other => unreachable!("{other:?}"),
    };
    assert_eq!(expected(append(&log, "p", 2, "{}")), 1);
    assert_eq!(expected(append(&log, "p", 0, "{}")), 1);
    append(&log, "p", 1, "{}").unwrap();
    assert_eq!(expected(append(&log, "p", 3, "{}")), 2);
    let conflict = append(&log, "p", 1, "{\"other\":1}").unwrap_err();
    assert!(matches!(
        conflict,
        AppendError::Conflict { sequence: 1, .. }
    ));
    assert!(!conflict.is_transient());
    drop(log);
    let log = open(dir.path());
    assert_eq!(expected(append(&log, "p", 3, "{}")), 2);
    assert!(matches!(
        append(&log, "p", 1, "{\"other\":1}"),
        Err(AppendError::Conflict { .. })
    ));
    assert_eq!(everything(&log), ["1 {}"]);
}

#[test]
fn a_gap_is_a_line_and_stands_for_its_batches() {
    let dir = tempfile::tempdir().unwrap();
    let gap = |first, sequence| {
        let at = Timestamp::from_micros(NOON);
        let gap = Gap {
            first,
            records: 7,
            from: at,
            to: at,
            why: GapWhy::SpoolFull,
        };
        let content = Content::Gap(gap);
        legwork_records::Batch {
            content,
            ..batch("p", sequence, "")
        }
    };
    let log = open(dir.path());
    append(&log, "p", 1, "{}").unwrap();
    assert!(log.append(gap(3, 5)).is_err(), "2 is expected");
    assert!(!log.append(gap(2, 5)).unwrap().duplicate);
    append(&log, "p", 6, "{}").unwrap();
    drop(log);
    let log = open(dir.path());
    assert!(log.append(gap(2, 5)).unwrap().duplicate);
    assert!(append(&log, "p", 6, "{}").unwrap().duplicate);
    let told = everything(&log);
    assert_eq!(told.len(), 3);
    assert!(
        told[1].starts_with(r#"2 {"first":2,"records":7,"from":"2026-11-22T12:00:00.000000Z""#),
        "{}",
        told[1]
    );
}

#[test]
fn many_at_once_share_syncs_and_keep_their_order() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let (tell, heard) = mpsc::channel();
    for n in 1..=500 {
        let tell = tell.clone();
        let batch = batch("p", n, &format!("{{\"n\":{n}}}"));
        log.try_append(batch, move |answer| {
            tell.send(answer.unwrap().accepted).unwrap();
        })
        .unwrap();
    }
    for n in 1..=500 {
        let accepted = heard.recv_timeout(PATIENCE).unwrap();
        assert_eq!(accepted, Some(Accepted { first: n, count: 1 }));
    }
    let stats = log.stats();
    assert!(stats.syncs < 500, "{} syncs", stats.syncs);
    assert_eq!((stats.batches, stats.accepted, stats.next), (500, 500, 501));
    assert_eq!(stats.sync_times.iter().sum::<u64>(), stats.syncs);
    let all = everything(&log);
    assert_eq!((all.len(), all[499].as_str()), (500, "500 {\"n\":500}"));
}

#[test]
fn a_full_queue_says_so_and_gives_the_batch_back() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    config.queue_bytes = 4096;
    let (hold, held) = mpsc::channel::<()>();
    let held = std::sync::Mutex::new(held);
    config.faults = legwork_records::faults::Faults::new(move |step, path| {
        if step == legwork_records::faults::Step::Write
            && path.extension().is_some_and(|e| e == "jsonl")
        {
            held.lock().unwrap().recv().unwrap_or_default();
        }
        Ok(())
    });
    let (log, _) = Log::open(config).unwrap();
    let refused = (0..1000).find_map(|_| log.try_append(of("c", "{}"), |_| {}).err());
    let refused = refused.expect("the queue is bounded");
    assert!(matches!(refused.error, AppendError::Congested { .. }) && refused.error.is_transient());
    drop(hold);
    log.append(refused.batch).unwrap();
}

#[test]
fn a_log_is_opened_once_and_by_who_knows_its_format() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    assert!(matches!(
        Log::open(config(dir.path())),
        Err(OpenError::Busy { .. })
    ));
    drop(log);
    std::fs::write(dir.path().join("format"), r#"{"version":2,"id":"00"}"#).unwrap();
    let newer = Log::open(config(dir.path()));
    assert!(matches!(
        newer,
        Err(OpenError::Newer {
            found: 2,
            known: 1,
            ..
        })
    ));
    std::fs::write(dir.path().join("format"), "rubbish").unwrap();
    open(dir.path());
    let name = Log::open(legwork_records::Config::new(dir.path(), "a\"b"));
    assert!(matches!(name, Err(OpenError::BadName { .. })));
}

#[test]
fn names_that_would_break_a_line_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let refused = log.append(of("a\nb", "{}"));
    assert!(matches!(
        refused,
        Err(AppendError::BadName { what: "client", .. })
    ));
    let refused = append(&log, "a\"b", 1, "{}");
    assert!(matches!(
        refused,
        Err(AppendError::BadName {
            what: "producer",
            ..
        })
    ));
}

#[test]
fn weaker_promises_are_named() {
    for durability in [
        Durability::Os,
        Durability::Interval(std::time::Duration::from_millis(5)),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let mut config = config(dir.path());
        config.durability = durability;
        let (log, _) = Log::open(config).unwrap();
        assert_eq!(append(&log, "p", 1, "{}").unwrap().durability, durability);
        assert_eq!(everything(&log), ["1 {}"]);
        drop(log);
        assert_eq!(everything(&open(dir.path())), ["1 {}"]);
    }
}

#[test]
fn a_closed_log_takes_nothing_and_has_answered_everything() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let (tell, heard) = mpsc::channel();
    for n in 1..=20 {
        let tell = tell.clone();
        log.try_append(batch("p", n, "{}"), move |answer| {
            tell.send(answer.is_ok()).unwrap();
        })
        .unwrap();
    }
    log.close();
    drop(tell);
    assert_eq!(heard.iter().filter(|&good| good).count(), 20);
    assert!(matches!(
        append(&log, "p", 21, "{}"),
        Err(AppendError::Closed)
    ));
    let mut reader = log.read(Query {
        from: From::End,
        ..Query::default()
    });
    assert!(reader.wait(PATIENCE) && reader.ended() && reader.next_item().unwrap().is_none());
}

#[test]
fn who_hears_an_answer_may_have_the_last_of_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let log = std::sync::Arc::new(open(dir.path()));
    let (tell, heard) = mpsc::channel();
    let (held, hold) = (std::sync::Arc::clone(&log), mpsc::channel::<()>());
    let (go, wait) = hold;
    log.try_append(of("c", "{}"), move |answer| {
        // The other owner is gone by then.
        wait.recv().unwrap();
        drop(held);
        tell.send(answer.is_ok()).unwrap();
    })
    .unwrap();
    drop(log);
    go.send(()).unwrap();
    assert!(heard.recv_timeout(PATIENCE).unwrap());
}

#[test]
fn nobody_waits_for_a_writer_that_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let (go, wait) = mpsc::channel::<()>();
    log.try_append(of("c", "{}"), move |_| {
        wait.recv().unwrap();
        unreachable!("who hears an answer must not panic, but may");
    })
    .unwrap();
    let (tell, heard) = mpsc::channel();
    log.try_append(of("c", "{}"), move |answer| tell.send(answer).unwrap())
        .unwrap();
    go.send(()).unwrap();
    // Answered or, in the same group, dropped; not left waiting.
    let answer = heard.recv_timeout(PATIENCE);
    let over = matches!(
        answer,
        Ok(Ok(_) | Err(AppendError::Closed)) | Err(mpsc::RecvTimeoutError::Disconnected)
    );
    assert!(over, "{answer:?}");
    let closed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        assert!(log.append(of("c", "{}")).is_err());
        log.close();
    }));
    assert!(closed.is_err(), "the panic goes on where the log is closed");
}

#[test]
fn a_repeat_is_known_though_limits_have_changed() {
    let dir = tempfile::tempdir().unwrap();
    let input = "{\"a\":1}\n{\"b\":{\"c\":{}}}\n";
    let log = open(dir.path());
    let first = append(&log, "p", 1, input).unwrap();
    drop(log);
    let limits = legwork_records::Limits {
        depth: 1,
        ..legwork_records::Limits::default()
    };
    let mut validator = legwork_records::Validator::new(limits);
    let prepared = validator
        .batch(input.as_bytes(), legwork_records::Observed::Unsaid, None)
        .unwrap();
    assert_eq!(prepared.len(), 1, "the second is too deep now");
    let content = Content::Records(prepared);
    let again = open(dir.path())
        .append(legwork_records::Batch {
            content,
            ..batch("p", 1, "")
        })
        .unwrap();
    assert!(again.duplicate);
    assert_eq!(
        (again.accepted, again.rejections),
        (first.accepted, first.rejections)
    );
}
