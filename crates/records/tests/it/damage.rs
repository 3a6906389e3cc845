//! Bits that change by themselves, and pages that become zeros, in a log that was closed in order.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use legwork_records::fsck::{Trouble, fsck};
use legwork_records::query::{Item, Query};
use legwork_records::{Kind, Log, Packing};
use proptest::prelude::*;

use crate::setup::{append, config, everything, open};

/// Batch `n`.
fn text(n: u64) -> String {
    (0..3)
        .map(|i| format!("{{\"n\":{n},\"i\":{i}}}\n"))
        .collect()
}

/// Writes batches of three records to several segments. The path and the lines of each segment.
fn write(dir: &Path) -> Vec<(PathBuf, Vec<String>)> {
    let mut config = config(dir);
    config.segment_bytes = 2500;
    let (log, _) = Log::open(config).unwrap();
    for n in 1..=12 {
        append(&log, "p", n, &text(n)).unwrap();
    }
    drop(log);
    let mut paths: Vec<PathBuf> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == "jsonl")
    });
    paths.sort();
    assert!(paths.len() > 2);
    let lines = |path: &PathBuf| {
        std::fs::read_to_string(path)
            .unwrap()
            .lines()
            .map(str::to_owned)
            .collect()
    };
    paths
        .iter()
        .map(|path| (path.clone(), lines(path)))
        .collect()
}

/// The numbers of the records that can be read, and of those that are told to be missing.
fn read(log: &Log) -> (BTreeSet<u64>, BTreeSet<u64>) {
    let (mut found, mut missing) = (BTreeSet::new(), BTreeSet::new());
    let mut reader = log.read(Query::default());
    while let Some(item) = reader.next_item().unwrap() {
        match item {
            Item::Entry(entry) if entry.kind == Some(Kind::Record) => {
                let record: serde_json::Value = serde_json::from_slice(entry.body).unwrap();
                let n = record["n"].as_u64().unwrap();
                assert_eq!(
                    entry.seq,
                    (n - 1) * 3 + record["i"].as_u64().unwrap() + 1,
                    "no line says what it did not"
                );
                assert!(found.insert(entry.seq), "no line is there twice");
            }
            Item::Entry(entry) => {
                let lost: legwork_records::Lost = serde_json::from_slice(entry.body).unwrap();
                missing.extend(lost.from..=lost.to);
            }
            Item::Missing { from, to, damaged } => {
                assert!(damaged);
                missing.extend(from..=to);
            }
        }
    }
    (found, missing)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn a_changed_bit_costs_its_line_and_is_told(segment: prop::sample::Index, at: prop::sample::Index, bit in 0..8_u8) {
        let dir = tempfile::tempdir().unwrap();
        let segments = write(dir.path());
        let place = segment.index(segments.len());
        let (path, lines) = &segments[place];
        let mut bytes = std::fs::read(path).unwrap();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        std::fs::write(path, &bytes).unwrap();
        // The line that was hit, and the one behind it if it was the line feed between them.
        let mut allowed = BTreeSet::new();
        let (mut from, mut seq) = (0, first_seq(path));
        for line in lines {
            let end = from + line.len();
            if (from..=end).contains(&at) {
                allowed.insert(seq);
                if at == end {
                    allowed.insert(seq + 1);
                }
            }
            from = end + 1;
            seq += 1;
        }
        if place + 1 == segments.len() && seq - allowed.first().unwrap() <= 3 {
            // Without the line feed at the very end, or with a zero in it, the last batch looks torn.
            allowed.extend(seq - 3..seq);
        }
        let log = open(dir.path());
        let (found, missing) = read(&log);
        let gone: BTreeSet<u64> = (1..=36).filter(|seq| !found.contains(seq)).collect();
        prop_assert!(gone.is_subset(&allowed), "{:?} is gone, {:?} was hit", gone, allowed);
        let torn = gone.contains(&36);
        prop_assert!(torn || gone.is_subset(&missing), "{:?} is gone, {:?} was told", gone, missing);
        // It goes on, and numbers are never given out twice.
        let next = append(&log, "q", 1, "{\"n\":99,\"i\":0}").unwrap().accepted.unwrap();
        prop_assert!(!found.contains(&next.first));
        let again = append(&log, "p", 11, &text(11)).unwrap();
        prop_assert!(again.duplicate);
    }

    #[test]
    fn zeros_cost_only_what_they_hit(segment: prop::sample::Index, at: prop::sample::Index, length in 1..1500_usize) {
        let dir = tempfile::tempdir().unwrap();
        let segments = write(dir.path());
        let place = segment.index(segments.len());
        let (path, lines) = &segments[place];
        let mut bytes = std::fs::read(path).unwrap();
        let from = at.index(bytes.len());
        let to = bytes.len().min(from + length);
        bytes[from..to].fill(0);
        std::fs::write(path, &bytes).unwrap();
        let (mut start, mut seq) = (0, first_seq(path));
        let mut allowed = BTreeSet::new();
        for line in lines {
            let end = start + line.len();
            if start < to && from <= end {
                allowed.insert(seq);
                allowed.extend((to > end).then_some(seq + 1));
            }
            start = end + 1;
            seq += 1;
        }
        let newest = place + 1 == segments.len();
        if newest {
            allowed.extend(seq - 3..seq);
            // Without the last batch's first line nothing says that the one before was synced.
            if let Some(&first) = allowed.first().filter(|&&first| first < seq - 3) {
                allowed.extend((first - 1) / 3 * 3 + 1..first);
            }
        }
        let log = open(dir.path());
        let (found, missing) = read(&log);
        let gone: BTreeSet<u64> = (1..=36).filter(|seq| !found.contains(seq)).collect();
        prop_assert!(gone.is_subset(&allowed), "{:?} is gone, {:?} was hit", gone, allowed);
        prop_assert!(newest || gone.is_subset(&missing), "{:?} is gone, {:?} was told", gone, missing);
    }
}

fn first_seq(path: &Path) -> u64 {
    path.file_stem().unwrap().to_str().unwrap().parse().unwrap()
}

#[test]
fn damage_is_copied_aside_mended_and_told_once() {
    let dir = tempfile::tempdir().unwrap();
    let segments = write(dir.path());
    let (path, lines) = segments.last().unwrap();
    let mut bytes = std::fs::read(path).unwrap();
    bytes[lines[0].len() + 20] ^= 1;
    std::fs::write(path, &bytes).unwrap();
    let report = fsck(dir.path()).unwrap();
    let damaged = |what: &Trouble| matches!(what, Trouble::Damaged { .. });
    assert!(
        report.problems.iter().any(|problem| damaged(&problem.what)),
        "{report:?}"
    );
    let (log, recovery) = Log::open(config(dir.path())).unwrap();
    let lost = &recovery.lost[0];
    assert_eq!(
        (lost.from, lost.to),
        (first_seq(path) + 1, first_seq(path) + 1)
    );
    let copy = std::fs::read(dir.path().join(&lost.file)).unwrap();
    assert_eq!(copy.len(), lines[1].len() + 1);
    let last = everything(&log).pop().unwrap();
    assert!(
        last.starts_with(&format!("37 {{\"from\":{}", lost.from)),
        "{last}"
    );
    drop(log);
    let (_, recovery) = Log::open(config(dir.path())).unwrap();
    assert!(recovery.lost.is_empty());
    let report = fsck(dir.path()).unwrap();
    let (from, to) = (lost.from, lost.to);
    assert!(
        report
            .problems
            .iter()
            .any(|problem| problem.what == Trouble::Missing { from, to }),
        "{report:?}"
    );
}

#[test]
fn caches_that_are_gone_or_wrong_are_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let segments = write(dir.path());
    let log = open(dir.path());
    let before = everything(&log);
    drop(log);
    for (n, (path, _)) in segments.iter().enumerate() {
        let index = path.with_extension("idx");
        if n == 0 {
            std::fs::write(&index, "rubbish").unwrap();
        } else if index.exists() {
            std::fs::remove_file(&index).unwrap();
        }
    }
    std::fs::write(dir.path().join("producers"), "rubbish").unwrap();
    let (log, recovery) = Log::open(config(dir.path())).unwrap();
    assert_eq!(recovery.indexed, segments.len() - 1);
    assert_eq!(everything(&log), before);
    assert!(
        append(
            &log,
            "p",
            12,
            "{\"n\":12,\"i\":0}\n{\"n\":12,\"i\":1}\n{\"n\":12,\"i\":2}\n"
        )
        .unwrap()
        .duplicate
    );
}

#[test]
fn a_damaged_frame_costs_only_itself() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    config.segment_bytes = 900_000;
    let after = std::time::Duration::ZERO;
    config.packing = Some(Packing { level: 1, after });
    let (log, _) = Log::open(config.clone()).unwrap();
    let pad = "0123456789".repeat(200);
    for n in 1..=500 {
        append(&log, "p", n, &format!("{{\"n\":{n},\"i\":\"{pad}\"}}")).unwrap();
    }
    log.keep_up();
    drop(log);
    let path = dir.path().join(format!("{:020}.jsonl.zst", 1));
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x55;
    std::fs::write(&path, &bytes).unwrap();
    let (log, _) = Log::open(config).unwrap();
    let told = everything(&log);
    let damaged: Vec<&String> = told
        .iter()
        .filter(|told| told.ends_with("damaged"))
        .collect();
    assert_eq!(damaged.len(), 1, "{damaged:?}");
    assert!((300..500).contains(&told.len()), "{}", told.len());
    assert!(told.last().unwrap().starts_with("500 "));
}
