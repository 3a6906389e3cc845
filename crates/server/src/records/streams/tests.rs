//! Directories of streams: who made them, how many, and what a crash leaves of one.

use std::sync::Arc;

use super::{Maker, NAME, Streams, check_name, write_name};
use crate::records::RecordRules;

fn streams(dir: &std::path::Path, each: usize) -> Arc<Streams> {
    let rules = RecordRules {
        streams_each: each,
        ..RecordRules::default()
    };
    Arc::new(Streams::new(dir, rules))
}

fn names(streams: &Streams) -> Vec<String> {
    let known = streams.list().unwrap();
    known.into_iter().map(|known| known.name).collect()
}

#[tokio::test]
async fn a_stream_is_made_by_who_sends_and_found_by_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let streams = streams(dir.path(), 2);
    assert_eq!(names(&streams), Vec::<String>::new());
    let missing = streams.existing("process").await.unwrap_err();
    assert_eq!(missing.reason, "STREAM_NOT_FOUND");
    for name in ["../../etc", "process"] {
        drop(streams.for_sender(name, "a", true).await.unwrap());
    }
    assert_eq!(names(&streams), ["../../etc", "process"]);
    let inside: Vec<_> = std::fs::read_dir(dir.path().join("records"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(
        inside
            .iter()
            .all(|name| name.len() == 32 && !name.contains('.'))
    );
    let full = streams.for_sender("more", "a", true).await.unwrap_err();
    assert_eq!(full.reason, "TOO_MANY_LOGS");
    drop(streams.for_sender("process", "a", true).await.unwrap());
    drop(streams.for_sender("more", "b", true).await.unwrap());
    drop(streams.for_sender("others", "a", false).await.unwrap());
}

#[tokio::test]
async fn names_that_cannot_stand_in_a_line_and_the_servers_own_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let streams = streams(dir.path(), 9);
    for bad in ["", "a\"b", "a\\b", "a\nb", &"x".repeat(129)] {
        assert_eq!(check_name(bad).unwrap_err().reason, "BAD_NAME", "{bad:?}");
    }
    let own = streams.for_sender("legwork.audit", "a", false).await;
    assert_eq!(own.unwrap_err().reason, "OWN_STREAM");
}

#[tokio::test]
async fn a_directory_whose_making_was_cut_off_is_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let streams = streams(dir.path(), 9);
    let place = streams.dir_of("s");
    write_name(&streams.dir, &place, "s", "a").unwrap();
    for left in ["", "{\"version\":1,\"str"] {
        std::fs::write(place.join(NAME), left).unwrap();
        assert_eq!(names(&streams), Vec::<String>::new());
        drop(streams.for_sender("s", "a", true).await.unwrap());
        assert_eq!(names(&streams), ["s"]);
    }
}

#[tokio::test]
async fn a_server_keeps_logs_and_a_command_lets_go_of_them() {
    let dir = tempfile::tempdir().unwrap();
    let (one, other) = (streams(dir.path(), 9), streams(dir.path(), 9));
    drop(one.for_sender("s", "a", true).await.unwrap());
    // Waits until the first has closed it.
    drop(other.for_sender("s", "a", true).await.unwrap());
    assert!(one.all().is_empty());
    one.stay();
    drop(one.for_sender("s", "a", true).await.unwrap());
    assert_eq!(one.all().len(), 1);
    assert_eq!(one.held().1.len(), 1);
    one.let_go("s");
    assert!(one.all().is_empty());
    one.close().await;
}

#[test]
fn a_limit_counts_only_what_was_made_by_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let streams = streams(dir.path(), 1);
    let maker = |owner: &str| Maker {
        owner: owner.to_owned(),
        limit: Some(1),
    };
    let make = |name: &str, owner: &str| streams.make(&streams.dir_of(name), name, &maker(owner));
    make("one", "a").unwrap();
    make("one", "a").unwrap();
    make("two", "b").unwrap();
    assert_eq!(make("three", "a").unwrap_err().reason, "TOO_MANY_LOGS");
}
