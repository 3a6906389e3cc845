//! Small files that move are made while their names come in, and nothing else is.

use std::fs;

use legwork_sync::digest::Digest;
use legwork_sync::message::{Down, Hello, Put, Up};

use crate::hostile::{hello, last_word, put, puts};
use crate::support::{Bench, Tree};

const FILES: usize = 100;

fn content(number: usize) -> String {
    format!("content {number}")
}

fn bench() -> Bench {
    let bench = Bench::new();
    for number in 0..FILES {
        bench.write(&format!("dir/{number}"), &content(number));
    }
    bench.write("dir/large", &"large ".repeat(60_000));
    bench.mirror();
    bench
}

/// A client that says that all of `dir` but the first file is in `moved` by now, and is cut off before it says that that was all.
fn cut(bench: &Bench, dry_run: bool) {
    let Up::Hello(hello) = hello() else {
        unreachable!("it is one");
    };
    let begun = Up::Hello(Hello {
        base: bench.workspace.root().unwrap(),
        dry_run,
        ..hello
    });
    let unsent = |path: String, content: &str| Put {
        send: false,
        ..put(path.as_bytes(), content.as_bytes())
    };
    let mut moved: Vec<Put> = (1..FILES)
        .map(|number| unsent(format!("moved/{number}"), &content(number)))
        .collect();
    moved.push(unsent("moved/large".to_owned(), &"large ".repeat(60_000)));
    moved.push(unsent("moved/unknown".to_owned(), "nobody has this"));
    moved.push(unsent("dir/0".to_owned(), &content(0)));
    let last = last_word(bench, vec![begun, puts(moved)]);
    assert!(matches!(last, Some(Down::Welcome(_))), "{last:?}");
}

/// What is kept of a session that was cut off.
fn kept(bench: &Bench) -> Vec<Digest> {
    let kept = bench.temp.path().join("workspace/staging/cut");
    let Ok(entries) = fs::read_dir(kept) else {
        return Vec::new();
    };
    let files = entries.map(|entry| fs::read(entry.unwrap().path()).unwrap());
    let mut kept: Vec<Digest> = files.map(|content| Digest::of(&content)).collect();
    kept.sort_unstable_by_key(|digest| digest.0);
    kept
}

fn digests(numbers: impl Iterator<Item = usize>) -> Vec<Digest> {
    let mut all: Vec<Digest> = numbers
        .map(|number| Digest::of(content(number).as_bytes()))
        .collect();
    all.sort_unstable_by_key(|digest| digest.0);
    all
}

#[test]
fn they_are_there_before_the_round_ends() {
    let bench = bench();
    cut(&bench, false);
    // Not the large one, nor the one that stays where it is.
    assert_eq!(kept(&bench), digests(1..FILES));
    fs::rename(bench.source.join("dir"), bench.source.join("moved")).unwrap();
    assert_eq!(bench.mirror().sent_files, 0);
    assert_eq!(bench.tree(), Tree::of(&bench.source));
    assert_eq!(kept(&bench), []);
}

#[test]
fn what_a_job_changed_is_no_source_and_is_asked_for() {
    let bench = bench();
    for number in 0..FILES / 2 {
        bench.job_write(&format!("dir/{number}"), "a job's");
    }
    cut(&bench, false);
    assert_eq!(kept(&bench), digests(FILES / 2..FILES));
    fs::rename(bench.source.join("dir"), bench.source.join("moved")).unwrap();
    let pushed = bench.mirror();
    assert_eq!(pushed.sent_files, (FILES / 2) as u64);
    for number in 0..FILES {
        let path = format!("moved/{number}");
        assert_eq!(bench.tree().get(&path), Tree::of(&bench.source).get(&path));
    }
}

#[test]
fn a_dry_run_makes_none() {
    let bench = bench();
    cut(&bench, true);
    assert_eq!(bench.staging(), Vec::<String>::new());
    assert_eq!(bench.tree(), Tree::of(&bench.source));
}
