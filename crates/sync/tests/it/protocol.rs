//! How many messages, and what happens when they go wrong.

use std::thread;

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender};
use legwork_sync::error::PushError;
use legwork_sync::link::{self, Link};
use legwork_sync::message::{Down, Refusal, Up};
use legwork_sync::push;

use crate::support::{Bench, PATIENCE, Tree, kinds, tapped, tapped_with};

#[test]
fn unchanged_is_hello_and_end_and_an_edit_goes_without_waiting() {
    let bench = Bench::new();
    bench.write("a", "1");
    bench.write("b/c", "2");
    assert_eq!(kinds(&tapped(&bench, |_, _| {}).1), "HRdDE");
    assert_eq!(kinds(&tapped(&bench, |_, _| {}).1), "HE");
    bench.write("a", "changed");
    assert_eq!(kinds(&tapped(&bench, |_, _| {}).1), "HdDE");
}

/// Answers nothing before the end of the round has come.
fn silent_until_end(server: &Link<Sender<Down>, Receiver<Up>>) {
    while let Ok(message) = server.receiver.recv_timeout(PATIENCE) {
        if matches!(message, Up::End(_)) {
            return;
        }
    }
    panic!("the client waits for an answer");
}

#[test]
fn with_a_cached_base_the_client_waits_for_nothing() {
    let bench = Bench::new();
    bench.write("a", "1");
    bench.mirror();
    bench.write("a", "2");
    let (client, server) = link::pair(16);
    thread::scope(|scope| {
        scope.spawn(move || {
            silent_until_end(&server);
            server.sender.send(Down::Refused(Refusal::NoSpace)).unwrap();
        });
        let refused = push::push(&bench.source, &bench.options(), &bench.cache(), client, &());
        assert!(matches!(refused, Err(PushError::Refused(Refusal::NoSpace))));
    });
}

/// Compressed content that is spoiled is no content at all.
fn plain(bench: &Bench) -> push::Options {
    push::Options {
        compress: push::Compress::Nothing,
        ..bench.options()
    }
}

fn spoil(message: &mut Up) {
    if let Up::Data(data) = message {
        let mut bytes = data.bytes.to_vec();
        bytes[0] ^= 1;
        data.bytes = Bytes::from(bytes);
    }
}

#[test]
fn content_that_is_not_what_was_promised_is_asked_for_again_and_then_refused() {
    for content in ["small".to_owned(), "large".repeat(300_000)] {
        let bench = Bench::new();
        bench.write("a", &content);
        bench.write("b", "1");
        let (pushed, seen) = tapped_with(&bench, &plain(&bench), |at, message| {
            if at < 5 {
                spoil(message);
            }
        });
        assert_eq!(pushed.unwrap().summary.written.total, 2);
        assert!(kinds(&seen).matches('E').count() > 1);
        assert_eq!(bench.tree(), Tree::of(&bench.source));

        let bench = Bench::new();
        bench.write("a", &content);
        let (pushed, _) = tapped_with(&bench, &plain(&bench), |_, message| spoil(message));
        assert!(
            matches!(pushed, Err(PushError::KeepsChanging { .. })),
            "{pushed:?}"
        );
        assert!(bench.tree().0.is_empty());
    }
}

#[test]
fn a_newer_workspace_and_a_newer_cache_are_refused_with_their_versions() {
    let bench = Bench::new();
    bench.write("a", "1");
    bench.mirror();
    let newer = |path: &std::path::Path| {
        let mut bytes = std::fs::read(path).unwrap();
        bytes[8] = 9;
        std::fs::write(path, bytes).unwrap();
    };
    newer(&bench.temp.path().join("workspace/index"));
    let refused = bench.push().unwrap_err();
    let PushError::Refused(Refusal::NewerFormat {
        file,
        found: 9,
        known: 1,
    }) = refused
    else {
        panic!("{refused}");
    };
    assert_eq!(file, "index");
    newer(&bench.cache());
    assert!(matches!(bench.push(), Err(PushError::Cache(_))));
}

#[test]
fn content_that_a_job_lost_is_asked_for_once() {
    let bench = Bench::new();
    for file in 0..20 {
        bench.write(&format!("d/{file}"), &file.to_string());
    }
    bench.mirror();
    bench.job_remove("d");
    let (pushed, seen) = tapped(&bench, |_, _| {});
    assert_eq!(pushed.unwrap().summary.written.total, 21);
    assert_eq!(kinds(&seen), "HEdDE");
    assert_eq!(bench.tree(), Tree::of(&bench.source));
}

#[test]
fn many_large_files_at_once_arrive_whole() {
    let bench = Bench::new();
    for file in 0..6 {
        bench.write(
            &format!("large {file}"),
            &format!("{file} and more of it;").repeat(100_000),
        );
        bench.write(&format!("d{file}/small"), "x");
    }
    bench.mirror();
    assert_eq!(bench.tree(), Tree::of(&bench.source));
}

#[test]
fn a_summary_names_no_more_than_was_asked_for_and_counts_all() {
    let bench = Bench::new();
    bench.write("stays", "content");
    for number in 0..30 {
        bench.write(&format!("{number}"), "content");
    }
    for (named, told) in [(7, 7), (0, 30), (u32::MAX, 30)] {
        let options = push::Options {
            named,
            ..bench.options()
        };
        bench.write("29", &format!("{named}"));
        let pushed = bench.push_with(&options).unwrap();
        let written = &pushed.summary.written;
        assert_eq!(written.paths.len() as u64, written.total.min(told));
        (0..30).for_each(|number| bench.remove(&format!("{number}")));
        let pushed = bench.push_with(&options).unwrap();
        let deleted = &pushed.summary.deleted;
        assert_eq!((deleted.total, deleted.paths.len() as u64), (30, told));
        (0..30).for_each(|number| bench.write(&format!("{number}"), "content"));
        assert_eq!(bench.push_with(&options).unwrap().summary.written.total, 30);
    }
}
