//! A process that is killed at each of its writes, syncs, renames and removals, by strace; and a disk that is full.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use legwork_records::query::{Item, Query};
use legwork_records::{Kind, Log};

use crate::setup::{append, config, everything};

const BATCHES: u64 = 14;
/// No run makes more calls of one kind than this.
const CALLS_MAX: u32 = 200;

/// An example, which cargo builds beside the tests.
fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own path");
    let dir = test.ancestors().nth(2).expect("it is in target/*/deps");
    dir.join("examples").join(name)
}

/// Runs a program, killed before the `nth` of these calls. The lines that it wrote, and whether it was killed.
#[expect(
    clippy::disallowed_methods,
    reason = "the process that is killed is the subject of the test"
)]
fn strace(name: &str, dir: &Path, calls: &str, nth: u32) -> (Vec<String>, bool) {
    let output = Command::new("strace")
        .args(["-f", "-qq", "-o", "/dev/null", "-e"])
        .arg(format!("trace={calls}"))
        .arg("-e")
        .arg(format!("inject={calls}:signal=SIGKILL:when={nth}"))
        .arg(program(name))
        .arg(dir)
        .arg(BATCHES.to_string())
        .output()
        .expect("strace runs");
    let text = String::from_utf8(output.stdout).expect("numbers are text");
    // A line without its line feed was not heard.
    let lines = text
        .split_inclusive('\n')
        .filter_map(|line| line.strip_suffix('\n'));
    (lines.map(str::to_owned).collect(), !output.status.success())
}

/// What the log acknowledged, and whether the program was killed.
fn run(dir: &Path, calls: &str, nth: u32) -> (BTreeMap<u64, u64>, bool) {
    let (lines, killed) = strace("acknowledge", dir, calls, nth);
    let number = |text: &str| text.parse().expect("a number");
    let acked = lines
        .iter()
        .map(|line| line.split_once(' ').expect("two numbers"));
    let acked = acked.map(|(sequence, first)| (number(sequence), number(first)));
    (acked.collect(), killed)
}

fn check(dir: &Path, acked: &BTreeMap<u64, u64>, when: &str) {
    let (log, recovery) = Log::open(config(dir)).expect("the log opens");
    assert!(recovery.lost.is_empty(), "{when}: {recovery:?}");
    let mut found: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    let mut reader = log.read(Query::default());
    while let Some(item) = reader.next_item().expect("the log is read") {
        let Item::Entry(entry) = item else {
            unreachable!("{when}: {item:?}");
        };
        assert_eq!(entry.kind, Some(Kind::Record));
        let (_, sequence) = entry.origin.expect("all batches have numbers");
        found.entry(sequence).or_default().push(entry.seq);
    }
    for (sequence, seqs) in &found {
        assert_eq!(seqs.len(), 2, "{when}: batch {sequence} has {seqs:?}");
    }
    // Where an old one is, is not told again.
    for (sequence, first) in acked.iter().filter(|(_, first)| **first > 0) {
        assert_eq!(
            found.get(sequence),
            Some(&vec![*first, first + 1]),
            "{when}: batch {sequence}"
        );
    }
    let sent: Vec<u64> = found.keys().copied().collect();
    assert_eq!(
        sent,
        (1..=sent.len() as u64).collect::<Vec<_>>(),
        "{when}: no batch is missing"
    );
}

/// Kills it at each call of a kind in turn, and lets another run go on each time.
fn kill_at(calls: &str) {
    for nth in 1..CALLS_MAX {
        let dir = tempfile::tempdir().unwrap();
        let when = format!("{calls} {nth}");
        let (acked, killed) = run(dir.path(), calls, nth);
        check(dir.path(), &acked, &when);
        if !killed {
            assert_eq!(acked.len() as u64, BATCHES, "{when}");
            assert!(nth > 3, "it was killed at {} {calls} only", nth - 1);
            return;
        }
        // It is killed again on its way back, and then it is left alone.
        let (again, _) = run(dir.path(), calls, 2);
        check(dir.path(), &again, &format!("{when}, again"));
        let (rest, _) = run(dir.path(), calls, CALLS_MAX);
        assert_eq!(rest.len() as u64, BATCHES, "{when}: it goes on");
        check(dir.path(), &acked, &when);
        check(dir.path(), &rest, &format!("{when}, at last"));
    }
    unreachable!("more than {CALLS_MAX} calls");
}

#[test]
fn at_every_write() {
    kill_at("write");
}

#[test]
fn at_every_sync() {
    kill_at("fdatasync,fsync");
}

#[test]
fn at_every_rename_and_removal() {
    kill_at("rename,unlink");
}

/// Kills a sender and a server in one process at each call of a kind in turn, and lets others go on.
fn forward_killed_at(calls: &str) {
    for nth in 1..CALLS_MAX {
        let dir = tempfile::tempdir().unwrap();
        let when = format!("{calls} {nth}");
        let (mut pushed, killed) = strace("forward", dir.path(), calls, nth);
        if killed {
            // One more that is killed, and one that is not.
            pushed.extend(strace("forward", dir.path(), calls, nth / 2 + 1).0);
            pushed.extend(strace("forward", dir.path(), calls, CALLS_MAX).0);
        }
        let (log, recovery) = Log::open(config(&dir.path().join("log"))).unwrap();
        assert!(recovery.lost.is_empty(), "{when}: {recovery:?}");
        let records: Vec<serde_json::Value> = everything(&log)
            .iter()
            .map(|told| serde_json::from_str(told.split_once(' ').unwrap().1).unwrap())
            .collect();
        let found: Vec<(u64, u64)> = records
            .iter()
            .map(|record| (record["n"].as_u64().unwrap(), record["i"].as_u64().unwrap()))
            .collect();
        // Once each, without a hole, in the order in which they were pushed.
        let last = records.len() as u64 / 2;
        let expected: Vec<(u64, u64)> = (1..=last).flat_map(|n| [(n, 0), (n, 1)]).collect();
        assert_eq!(found, expected, "{when}");
        let heard = pushed.iter().map(|n| n.parse::<u64>().unwrap()).max();
        assert!(
            heard.is_some_and(|heard| heard <= last),
            "{when}: {heard:?} of {last}"
        );
        if !killed {
            assert!(nth > 3, "it was killed at {} {calls} only", nth - 1);
            return;
        }
    }
    unreachable!("more than {CALLS_MAX} calls");
}

#[test]
fn a_sender_at_every_write() {
    forward_killed_at("write");
}

#[test]
fn a_sender_at_every_sync_rename_and_removal() {
    forward_killed_at("fdatasync,fsync,rename,unlink");
}

#[test]
fn a_disk_that_is_full_loses_nothing_that_was_acknowledged() {
    if !rustix::process::geteuid().is_root() {
        // Only root can mount a small disk; the same is tried with injected errors elsewhere.
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let flags = rustix::mount::MountFlags::empty();
    let size = c"size=256k";
    if rustix::mount::mount("tmpfs", dir.path(), "tmpfs", flags, size).is_err() {
        // Root of a container may not.
        return;
    }
    let filled = fill(dir.path());
    rustix::mount::unmount(dir.path(), rustix::mount::UnmountFlags::DETACH).unwrap();
    filled.unwrap();
}

fn fill(dir: &Path) -> Result<(), String> {
    let mut config = config(dir);
    config.segment_bytes = 30_000;
    let (log, _) = Log::open(config.clone()).map_err(|error| error.to_string())?;
    let text = |n: u64| format!("{{\"n\":{n},\"pad\":\"{}\"}}", "x".repeat(900));
    let mut n = 0;
    let refused = loop {
        n += 1;
        if let Err(error) = append(&log, "p", n, &text(n)) {
            break error;
        }
    };
    let full = matches!(refused, legwork_records::AppendError::DiskFull { .. });
    let before = everything(&log);
    drop(log);
    // Opening a log on a full disk is not refused.
    let (log, recovery) = Log::open(config).map_err(|error| error.to_string())?;
    let after = everything(&log);
    let room = log.remove_before(n / 2) > 0;
    let goes_on = append(&log, "p", n, &text(n)).is_ok();
    let told = format!(
        "{n} {refused} {recovery:?} {full} {room} {goes_on} {}",
        before.len()
    );
    let good = full && room && goes_on && before == after && before.len() as u64 == n - 1;
    if good { Ok(()) } else { Err(told) }
}
