//! Crashes at any step, with any of what was not synced lost: against a model.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};

use legwork_records::faults::{Faults, Step};
use legwork_records::query::{Item, Query};
use legwork_records::{Config, Log};
use proptest::prelude::*;

use crate::setup::{PATIENCE, batch, config};

/// A disk that stops working after some steps, and knows how much of each file was synced.
#[derive(Debug, Default)]
struct Disk {
    steps_left: Option<u32>,
    synced: HashMap<PathBuf, u64>,
}

impl Disk {
    fn step(&mut self, step: Step, path: &Path) -> io::Result<()> {
        if let Some(left) = &mut self.steps_left {
            *left = left
                .checked_sub(1)
                .ok_or_else(|| io::Error::from_raw_os_error(5))?;
        }
        if step == Step::Sync {
            let length = std::fs::metadata(path)?.len();
            self.synced.insert(path.to_owned(), length);
        }
        Ok(())
    }
}

/// What the power does to bytes that were not synced.
#[derive(Debug, Clone)]
enum Tear {
    /// Only the process ended: they are all there, and still not synced.
    Kept,
    /// They are all there.
    Nothing,
    /// The end is missing.
    Cut(prop::sample::Index),
    /// A page was not written, others were.
    Page(prop::sample::Index),
    /// The length was, the content not.
    Zeros,
}

#[derive(Debug, Clone)]
struct Round {
    /// Each sends one batch of so many records; they wait together.
    sizes: Vec<usize>,
    /// The disk stops after so many steps, if it does.
    crash: Option<(u32, Tear)>,
}

fn tear() -> impl Strategy<Value = Tear> {
    prop_oneof![
        Just(Tear::Kept),
        Just(Tear::Nothing),
        any::<prop::sample::Index>().prop_map(Tear::Cut),
        any::<prop::sample::Index>().prop_map(Tear::Page),
        Just(Tear::Zeros),
    ]
}

fn round() -> impl Strategy<Value = Round> {
    let sizes = prop::collection::vec(0..4_usize, 1..5);
    let crash = prop::option::weighted(0.6, (0..12_u32, tear()));
    (sizes, crash).prop_map(|(sizes, crash)| Round { sizes, crash })
}

/// A producer's batches: how many records each has, and whether it was acknowledged.
type Model = BTreeMap<usize, Vec<(usize, bool)>>;

fn text(producer: usize, sequence: usize, records: usize) -> String {
    let mut text = String::new();
    for n in 0..records {
        // Long enough that a batch is more than a page now and then.
        let pad = "x".repeat(700 * (n % 2));
        text.push_str(&format!(
            "{{\"p\":{producer},\"s\":{sequence},\"n\":{n},\"pad\":\"{pad}\"}}\n"
        ));
    }
    text.push_str("a bad one\n");
    text
}

fn settings(dir: &Path, disk: &Arc<Mutex<Disk>>) -> Config {
    let mut config = config(dir);
    config.segment_bytes = 6000;
    let disk = Arc::clone(disk);
    config.faults = Faults::new(move |step, path| disk.lock().unwrap().step(step, path));
    config
}

/// Sends what each producer has to send next, or again, and notes what was acknowledged.
fn send(log: &Log, model: &mut Model, sizes: &[usize]) {
    let (tell, heard) = mpsc::channel();
    for (producer, &size) in sizes.iter().enumerate() {
        let batches = model.entry(producer).or_default();
        if batches.last().is_none_or(|&(_, acked)| acked) {
            batches.push((size, false));
        }
        let sequence = batches.len();
        let text = text(producer, sequence, batches[sequence - 1].0);
        let tell = tell.clone();
        let batch = batch(&format!("p{producer}"), sequence as u64, &text);
        log.try_append(batch, move |answer| tell.send((producer, answer)).unwrap())
            .unwrap();
    }
    for _ in sizes {
        let (producer, answer) = heard.recv_timeout(PATIENCE).unwrap();
        if let Ok(ack) = answer {
            let last = model.get_mut(&producer).unwrap().last_mut().unwrap();
            last.1 = true;
            assert_eq!(ack.rejections.total, 1);
            let count = ack.accepted.map(|accepted| accepted.count);
            assert!(ack.duplicate && count.is_none() || count == Some(last.0 as u64));
        }
    }
}

/// The power fails: what was not synced of the newest segment may be damaged.
fn lose(dir: &Path, disk: &Disk, tear: &Tear) {
    let mut segments: Vec<PathBuf> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    segments.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == "jsonl")
    });
    segments.sort();
    for path in segments {
        let mut file = File::options().read(true).write(true).open(&path).unwrap();
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).unwrap();
        let synced = usize::try_from(disk.synced.get(&path).copied().unwrap_or(0)).unwrap();
        if synced >= bytes.len() {
            continue;
        }
        let tail = &mut bytes[synced..];
        match tear {
            Tear::Kept | Tear::Nothing => {}
            Tear::Zeros => tail.fill(0),
            Tear::Cut(at) => {
                let at = synced + at.index(tail.len());
                bytes.truncate(at);
            }
            Tear::Page(at) => {
                let at = at.index(tail.len());
                let end = tail.len().min(at + 512);
                tail[at..end].fill(0);
            }
        }
        file.set_len(0).unwrap();
        file.rewind().unwrap();
        file.write_all(&bytes).unwrap();
    }
}

/// Every acknowledged record is there once; of another batch all or nothing; and nothing else.
fn check(log: &Log, model: &Model) {
    let mut found: BTreeMap<(usize, usize), Vec<usize>> = BTreeMap::new();
    let mut reader = log.read(Query::default());
    while let Some(item) = reader.next_item().unwrap() {
        let Item::Entry(entry) = item else {
            continue;
        };
        if entry.origin.is_none() {
            continue;
        }
        let record: serde_json::Value = serde_json::from_slice(entry.body).unwrap();
        let number = |name: &str| usize::try_from(record[name].as_u64().unwrap()).unwrap();
        found
            .entry((number("p"), number("s")))
            .or_default()
            .push(number("n"));
    }
    for (&producer, batches) in model {
        for (n, &(size, acked)) in batches.iter().enumerate() {
            let found = found.remove(&(producer, n + 1)).unwrap_or_default();
            let whole: Vec<usize> = (0..size).collect();
            let fine = found == whole || (!acked && found.is_empty());
            assert!(
                fine,
                "batch {} of {producer}, acknowledged: {acked}, has {found:?}",
                n + 1
            );
        }
    }
    assert!(found.is_empty(), "nobody sent {found:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_was_acknowledged_is_there_once(rounds in prop::collection::vec(round(), 1..8)) {
        let dir = tempfile::tempdir().unwrap();
        let disk = Arc::new(Mutex::new(Disk::default()));
        let mut model = Model::new();
        let mut open = Some(Log::open(settings(dir.path(), &disk)).unwrap().0);
        for round in &rounds {
            let log = open.take().unwrap_or_else(|| Log::open(settings(dir.path(), &disk)).unwrap().0);
            check(&log, &model);
            disk.lock().unwrap().steps_left = round.crash.as_ref().map(|(steps, _)| *steps);
            send(&log, &mut model, &round.sizes);
            let Some((_, tear)) = &round.crash else {
                open = Some(log);
                continue;
            };
            // From here on nothing reaches the disk.
            disk.lock().unwrap().steps_left = Some(0);
            drop(log);
            if matches!(tear, Tear::Kept) {
                disk.lock().unwrap().steps_left = None;
                continue;
            }
            lose(dir.path(), &disk.lock().unwrap(), tear);
            *disk.lock().unwrap() = Disk::default();
            mark_as_synced(dir.path(), &mut disk.lock().unwrap());
        }
        let log = open.take().unwrap_or_else(|| Log::open(settings(dir.path(), &disk)).unwrap().0);
        check(&log, &model);
        // Who was not answered sends again, and then everything is there.
        send(&log, &mut model, &[1, 1, 1, 1]);
        send(&log, &mut model, &[1, 1, 1, 1]);
        prop_assert!(model.values().flatten().all(|&(_, acked)| acked));
        check(&log, &model);
        drop(log);
        let report = legwork_records::fsck::fsck(dir.path()).unwrap();
        let missing = |what: &legwork_records::fsck::Trouble| matches!(what, legwork_records::fsck::Trouble::Missing { .. });
        prop_assert!(report.problems.iter().all(|problem| missing(&problem.what)), "{:?}", report);
    }
}

/// What a crash left is what is on the disk.
fn mark_as_synced(dir: &Path, disk: &mut Disk) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let length = std::fs::metadata(&path).unwrap().len();
        disk.synced.insert(path, length);
    }
}
