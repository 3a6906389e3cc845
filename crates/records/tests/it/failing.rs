//! Disks that fail, disks that are full, and clocks that go backwards.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use legwork_records::faults::{Faults, Step};
use legwork_records::{Alarm, AppendError, Config, Durability, Log};

use crate::setup::{Hand, append, batch, config, everything, open};

const EIO: i32 = 5;
const ENOSPC: i32 = 28;

/// A log whose disk fails at this step on segments, with this errno, as long as it is not 0.
struct Failing {
    errno: Arc<AtomicI32>,
    alarms: Arc<Mutex<Vec<Alarm>>>,
    config: Config,
}

fn failing(dir: &Path, at: Step) -> Failing {
    let errno = Arc::new(AtomicI32::new(0));
    let alarms = Arc::new(Mutex::new(Vec::new()));
    let mut config = config(dir);
    let (hook, hear) = (Arc::clone(&errno), Arc::clone(&alarms));
    config.faults = Faults::new(move |step, path| {
        let errno = hook.load(Ordering::SeqCst);
        let hit = step == at
            && errno != 0
            && path
                .extension()
                .is_some_and(|extension| extension == "jsonl");
        if hit {
            Err(io::Error::from_raw_os_error(errno))
        } else {
            Ok(())
        }
    });
    config.on_alarm = Some(Arc::new(move |alarm| {
        hear.lock().unwrap().push(alarm.clone());
    }));
    Failing {
        errno,
        alarms,
        config,
    }
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == "jsonl")
    });
    paths.sort();
    paths
}

#[test]
fn a_failed_sync_is_not_tried_again_on_the_same_file() {
    let dir = tempfile::tempdir().unwrap();
    let failing = failing(dir.path(), Step::Sync);
    let (log, _) = Log::open(failing.config.clone()).unwrap();
    append(&log, "p", 1, "{\"n\":1}").unwrap();
    failing.errno.store(EIO, Ordering::SeqCst);
    let refused = append(&log, "p", 2, "{\"n\":2}").unwrap_err();
    assert!(
        matches!(refused, AppendError::Disk { .. }) && refused.is_transient(),
        "{refused}"
    );
    for _ in 0..20 {
        let again = append(&log, "p", 2, "{\"n\":2}");
        assert!(again.is_err(), "still broken");
    }
    let left = std::fs::read_dir(dir.path()).unwrap().count();
    assert!(left < 10, "failures do not pile up: {left} files");
    failing.errno.store(0, Ordering::SeqCst);
    let ack = append(&log, "p", 2, "{\"n\":2}").unwrap();
    assert!(!ack.duplicate);
    assert_eq!(ack.accepted.unwrap().first, 2);
    assert_eq!(everything(&log), ["1 {\"n\":1}", "2 {\"n\":2}"]);
    assert_eq!(segments(dir.path()).len(), 2, "a new segment was begun");
    let alarms = failing.alarms.lock().unwrap().clone();
    assert!(
        matches!(alarms[0], Alarm::SyncFailed { .. }) && alarms.last() == Some(&Alarm::Recovered),
        "{alarms:?}"
    );
    drop(log);
    assert_eq!(
        everything(&open(dir.path())),
        ["1 {\"n\":1}", "2 {\"n\":2}"]
    );
}

#[test]
fn lines_behind_a_failed_sync_are_cut_off_by_the_next_segment() {
    let dir = tempfile::tempdir().unwrap();
    let mut failing = failing(dir.path(), Step::Sync);
    let (errno, stuck) = (Arc::clone(&failing.errno), Arc::new(AtomicBool::new(false)));
    // The failed segment cannot be shortened either, so its lines stay on the disk.
    failing.config.faults = Faults::new(move |step, _| {
        let broken = errno.load(Ordering::SeqCst);
        let hit = broken != 0 && (step == Step::Sync || step == Step::Truncate);
        stuck.fetch_or(hit, Ordering::SeqCst);
        if hit {
            Err(io::Error::from_raw_os_error(broken))
        } else {
            Ok(())
        }
    });
    let (log, _) = Log::open(failing.config.clone()).unwrap();
    append(&log, "p", 1, "{\"n\":1}").unwrap();
    failing.errno.store(EIO, Ordering::SeqCst);
    assert!(append(&log, "p", 2, "{\"old\":2}").is_err());
    failing.errno.store(0, Ordering::SeqCst);
    append(&log, "q", 1, "{\"n\":2}").unwrap();
    let first = std::fs::read_to_string(&segments(dir.path())[0]).unwrap();
    assert!(first.contains("\"old\":2"), "it is still in the file");
    let expected = ["1 {\"n\":1}", "2 {\"n\":2}"];
    assert_eq!(everything(&log), expected);
    drop(log);
    for index in ["idx", "none"] {
        drop(std::fs::remove_file(
            dir.path().join(format!("{:020}.{index}", 1)),
        ));
        let log = open(dir.path());
        assert_eq!(everything(&log), expected);
        assert!(append(&log, "p", 3, "{}").is_err(), "2 was never taken");
    }
}

#[test]
fn what_was_acknowledged_with_less_is_carried_over_a_failed_sync() {
    let dir = tempfile::tempdir().unwrap();
    let mut failing = failing(dir.path(), Step::Sync);
    failing.config.durability = Durability::Interval(Duration::from_secs(3600));
    let (log, _) = Log::open(failing.config.clone()).unwrap();
    for n in 1..=3 {
        append(&log, "p", n, &format!("{{\"n\":{n}}}")).unwrap();
    }
    let all = ["1 {\"n\":1}", "2 {\"n\":2}", "3 {\"n\":3}"];
    failing.errno.store(EIO, Ordering::SeqCst);
    // Closing a segment syncs it, which fails; the segment to which everything is carried cannot be synced either.
    log.rotate();
    while append(&log, "q", 1, "{\"n\":4}").is_ok() {
        log.rotate();
    }
    failing.errno.store(0, Ordering::SeqCst);
    append(&log, "r", 1, "{\"n\":5}").unwrap();
    let told = everything(&log);
    assert_eq!(told[..3], all);
    assert!(told.last().unwrap().ends_with("{\"n\":5}"), "{told:?}");
    drop(log);
    let log = open(dir.path());
    assert_eq!(everything(&log), told);
    assert!(append(&log, "p", 3, "{\"n\":3}").unwrap().duplicate);
}

#[test]
fn what_cannot_be_synced_at_the_opening_is_written_anew() {
    use std::os::unix::fs::MetadataExt;
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    append(&log, "p", 1, "{\"n\":1}").unwrap();
    drop(log);
    let inode = |dir: &Path| std::fs::metadata(&segments(dir)[0]).unwrap().ino();
    let before = inode(dir.path());
    let failing = failing(dir.path(), Step::Sync);
    failing.errno.store(EIO, Ordering::SeqCst);
    let (log, recovery) = Log::open(failing.config.clone()).unwrap();
    assert!(recovery.lost.is_empty());
    failing.errno.store(0, Ordering::SeqCst);
    assert_ne!(inode(dir.path()), before);
    assert!(append(&log, "p", 1, "{\"n\":1}").unwrap().duplicate);
    append(&log, "p", 2, "{\"n\":2}").unwrap();
    assert_eq!(everything(&log), ["1 {\"n\":1}", "2 {\"n\":2}"]);
}

#[test]
fn a_full_disk_refuses_and_then_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let failing = failing(dir.path(), Step::Write);
    let (log, _) = Log::open(failing.config.clone()).unwrap();
    append(&log, "p", 1, "{}").unwrap();
    failing.errno.store(ENOSPC, Ordering::SeqCst);
    let refused = append(&log, "p", 2, "{}").unwrap_err();
    assert!(
        matches!(refused, AppendError::DiskFull { .. }) && refused.is_transient(),
        "{refused}"
    );
    failing.errno.store(0, Ordering::SeqCst);
    append(&log, "p", 2, "{}").unwrap();
    assert_eq!(everything(&log), ["1 {}", "2 {}"]);
    assert_eq!(segments(dir.path()).len(), 1);
    let alarms = failing.alarms.lock().unwrap().clone();
    assert!(
        matches!(alarms[..], [Alarm::DiskFull { .. }, Alarm::Recovered]),
        "{alarms:?}"
    );
}

#[test]
fn it_refuses_before_the_disk_is_full() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    config.free_bytes_min = u64::MAX;
    let (log, _) = Log::open(config).unwrap();
    assert!(matches!(
        append(&log, "p", 1, "{}"),
        Err(AppendError::DiskFull { .. })
    ));
}

#[test]
fn a_clock_that_goes_back_is_told_and_changes_no_order() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Hand::at_noon();
    let alarms = Arc::new(Mutex::new(Vec::new()));
    let hear = Arc::clone(&alarms);
    let mut config = config(dir.path());
    config.clock = clock.clone();
    config.on_alarm = Some(Arc::new(move |alarm| {
        hear.lock().unwrap().push(alarm.clone());
    }));
    let (log, _) = Log::open(config).unwrap();
    append(&log, "p", 1, "{\"n\":1}").unwrap();
    clock.turn(-3600);
    append(&log, "p", 2, "{\"n\":2}").unwrap();
    append(&log, "p", 3, "{\"n\":3}").unwrap();
    assert_eq!(
        everything(&log),
        ["1 {\"n\":1}", "2 {\"n\":2}", "3 {\"n\":3}"]
    );
    let text = std::fs::read_to_string(&segments(dir.path())[0]).unwrap();
    let flagged: Vec<bool> = text
        .lines()
        .map(|line| line.contains("\"clock_back\":true"))
        .collect();
    assert_eq!(flagged, [false, true, false]);
    let by = Duration::from_secs(3600);
    assert_eq!(*alarms.lock().unwrap(), [Alarm::ClockBack { by }]);
}

#[test]
fn a_clock_that_went_back_is_not_told_again_by_who_opens_the_log_anew() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Hand::at_noon();
    let alarms = Arc::new(Mutex::new(0));
    let config = || {
        let hear = Arc::clone(&alarms);
        Config {
            clock: clock.clone(),
            on_alarm: Some(Arc::new(move |alarm| {
                assert!(matches!(alarm, Alarm::ClockBack { .. }), "{alarm:?}");
                *hear.lock().unwrap() += 1;
            })),
            ..config(dir.path())
        }
    };
    let (log, _) = Log::open(config()).unwrap();
    append(&log, "p", 1, "{\"n\":1}").unwrap();
    clock.turn(-3600);
    append(&log, "p", 2, "{\"n\":2}").unwrap();
    drop(log);
    for sequence in 3..5 {
        clock.turn(1);
        let (log, _) = Log::open(config()).unwrap();
        append(&log, "p", sequence, "{}").unwrap();
    }
    assert_eq!(*alarms.lock().unwrap(), 1);
    clock.turn(-60);
    let (log, _) = Log::open(config()).unwrap();
    append(&log, "p", 5, "{}").unwrap();
    assert_eq!(*alarms.lock().unwrap(), 2, "while nobody looked");
}

#[test]
fn a_disk_that_stays_full_is_told_once() {
    for (at, errno) in [(Step::Write, ENOSPC), (Step::Write, EIO)] {
        let dir = tempfile::tempdir().unwrap();
        let mut failing = failing(dir.path(), at);
        // Nothing is kept free: only the write itself finds out.
        failing.config.free_bytes_min = 0;
        let (log, _) = Log::open(failing.config.clone()).unwrap();
        append(&log, "p", 1, "{}").unwrap();
        for sequence in 2..4 {
            failing.errno.store(errno, Ordering::SeqCst);
            for _ in 0..5 {
                assert!(append(&log, "p", sequence, "{}").is_err());
            }
            failing.errno.store(0, Ordering::SeqCst);
            append(&log, "p", sequence, "{}").unwrap();
            let told = std::mem::take(&mut *failing.alarms.lock().unwrap());
            assert_eq!(told.len(), 2, "{told:?}");
            let full = matches!(told[0], Alarm::DiskFull { .. });
            assert_eq!(full, errno == ENOSPC, "{told:?}");
            assert_eq!(told[1], Alarm::Recovered);
        }
    }
}

#[test]
fn two_senders_with_one_producer_raise_an_alarm() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let send = |session, sequence| {
        let mut batch = batch("p", sequence, "{}");
        batch.origin.as_mut().unwrap().session = session;
        log.append(batch).unwrap().rivals
    };
    assert!(!send(1, 1));
    assert!(!send(2, 2), "a sender may connect again");
    assert!(send(1, 3), "the one before is still there");
}
