//! The opening of a log, after an orderly end or any other.
//!
//! A segment that is closed was synced before the next one was begun, so only the newest can be torn. There, lines up to the last `synced` of
//! any line were on the disk; what lies behind was written by at most one group, and perhaps acknowledged. So:
//!
//! - a bad end is cut off, and with it the lines of a batch that is not whole;
//! - the same for a batch behind `synced` of which a page was never written, though good ones follow;
//! - any other damage costs only the lines that it hit. They are copied to `quarantine`, the segment is put together again without
//!   them, and a `lost` line says which numbers are missing.
//!
//! Damage in closed segments is left as it is: readers step over it and say so, `fsck` tells it.

mod newest;

use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Condvar, Mutex};

use serde::{Deserialize, Serialize};

use self::newest::Newest;
use super::queue::Queue;
use super::view::{Segments, View};
use super::writer::Writer;
use super::{Log, PRODUCERS, Shared};
use crate::alarm::Alarm;
use crate::config::Config;
use crate::error::{During, OpenError};
use crate::line::is_name;
use crate::missing::Lost;
use crate::producers::Producers;
use crate::segment::index::{Index, Summary};
use crate::segment::packed::Packed;
use crate::segment::replay::{self, Found, replay};
use crate::segment::{Content, Files, data_path, index_path, list, packed_path};
use crate::stats::Counters;
use crate::timestamp::Timestamp;

/// The version of what is in the directory.
const VERSION: u32 = 1;

/// What the opening of a log found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Recovery {
    /// Bytes of a torn end that were cut off. They were never acknowledged.
    pub cut_bytes: u64,
    /// What was damaged. Each of these is a line of the log as well.
    pub lost: Vec<Lost>,
    /// Indexes that were made again.
    pub indexed: usize,
}

#[derive(Debug, Serialize, Deserialize)]
struct Format {
    version: u32,
    id: String,
}

pub(super) fn open(config: Config) -> Result<(Log, Recovery), OpenError> {
    if !is_name(&config.stream) {
        let name = config.stream;
        return Err(OpenError::BadName { name });
    }
    let dir = config.dir.clone();
    if super::make_dir(&dir).during("cannot make", &dir)? {
        // What is in a directory that is not on the disk is not on it either.
        let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty());
        let parent = parent.unwrap_or(Path::new("."));
        config
            .faults
            .sync_dir(parent)
            .during("cannot sync", parent)?;
    }
    let lock = take_lock(&dir)?;
    let id = format(&config)?;
    let mut recovery = Recovery::default();
    let (mut view, newest) = find(&config, &mut recovery)?;
    let (producers, known) = learn_all(&config, &view, newest.as_ref())?;
    let mut last = Timestamp::MIN;
    view.next = known.max(1);
    for summary in view.closed.values() {
        view.next = view.next.max(summary.next);
        last = summary.latest;
    }
    let active = newest.map(|newest| {
        view.next = view.next.max(newest.next);
        last = newest.last.unwrap_or(last);
        view.active = Some(newest.index);
        newest.active
    });
    let next = view.next;
    let shared = Arc::new(Shared {
        id,
        view: View::new(view),
        queue: Queue::new(config.queue_bytes),
        counters: Counters::default(),
        rotations: Mutex::default(),
        checkpointed: AtomicU64::new(known),
        upkeep: Mutex::new(false),
        upkeep_due: Condvar::new(),
        config,
    });
    let mut writer = Writer {
        shared: Arc::clone(&shared),
        active,
        producers,
        next,
        synced: next - 1,
        last,
        unsynced: None,
        carried: Vec::new(),
        troubled: false,
    };
    for lost in &recovery.lost {
        shared.config.alarm(&Alarm::Damaged(lost.clone()));
        writer.tell_lost(lost);
    }
    let log = Log::begin(shared, writer, lock).during("cannot start a thread for", &dir)?;
    Ok((log, recovery))
}

/// The segments. The newest is mended, the others are indexed if they are not.
fn find(config: &Config, recovery: &mut Recovery) -> Result<(Segments, Option<Newest>), OpenError> {
    let dir = &config.dir;
    let segments = tidy(config).during("cannot tidy", dir)?;
    let firsts: Vec<u64> = segments.keys().copied().collect();
    let (mut view, mut newest) = (Segments::default(), None);
    for (n, (&first, files)) in segments.iter().enumerate() {
        let next = firsts.get(n + 1).copied();
        let plain = data_path(dir, first);
        if next.is_none() && files.plain {
            let mended = Newest::mend(config, first, recovery);
            newest = Some(mended.during("cannot mend", &plain)?);
            continue;
        }
        let path = if files.plain {
            plain
        } else {
            packed_path(dir, first)
        };
        let summary = closed(config, first, next.unwrap_or(u64::MAX), recovery);
        view.closed
            .insert(first, summary.during("cannot read", &path)?);
    }
    Ok((view, newest))
}

/// The producers, and the first line that the checkpoint does not know.
fn learn_all(
    config: &Config,
    view: &Segments,
    newest: Option<&Newest>,
) -> Result<(Producers, u64), OpenError> {
    let dir = &config.dir;
    let mut producers = Producers::new(config.producers_max, config.producer_age);
    let known = producers.read(&dir.join(PRODUCERS)).unwrap_or(0);
    let newest = newest.map(|newest| &newest.index.summary);
    for summary in view.closed.values().chain(newest) {
        if summary.next > known {
            let learned = learn(dir, summary, known, &mut producers);
            learned.during("cannot read", &data_path(dir, summary.first))?;
        }
    }
    Ok((producers, known))
}

fn take_lock(dir: &Path) -> Result<File, OpenError> {
    let path = dir.join("lock");
    let mut options = File::options();
    options.create(true).truncate(false).write(true).mode(0o600);
    let lock = options.open(&path).during("cannot open", &path)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(OpenError::Busy {
            path: dir.to_owned(),
        }),
        Err(TryLockError::Error(error)) => Err(error).during("cannot lock", &path),
    }
}

/// Reads or writes `format`: what tells this log from others. One that is damaged is written anew.
fn format(config: &Config) -> Result<u64, OpenError> {
    let path = config.dir.join("format");
    let found = match std::fs::read(&path) {
        Ok(found) => serde_json::from_slice::<Format>(&found).ok(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error).during("cannot read", &path),
    };
    if let Some(found) = found
        .as_ref()
        .map(|format| format.version)
        .filter(|&found| found > VERSION)
    {
        let path = config.dir.clone();
        return Err(OpenError::Newer {
            path,
            found,
            known: VERSION,
        });
    }
    let id = found.and_then(|format| u64::from_str_radix(&format.id, 16).ok());
    if let Some(id) = id {
        return Ok(id);
    }
    let mut random = [0; 8];
    let drawn = rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty());
    drawn
        .map_err(io::Error::from)
        .during("cannot draw an id for", &path)?;
    let id = u64::from_le_bytes(random);
    let (version, text) = (VERSION, format!("{id:016x}"));
    let mut bytes = super::group::json(&Format { version, id: text });
    bytes.push(b'\n');
    let faults = &config.faults;
    let write = |mut file: &File| io::Write::write_all(&mut file, &bytes);
    faults.replace(&path, write).during("cannot write", &path)?;
    faults
        .sync_dir(&config.dir)
        .during("cannot sync", &config.dir)?;
    Ok(id)
}

/// Removes what a crash left half done, and lists what there is.
fn tidy(config: &Config) -> io::Result<std::collections::BTreeMap<u64, Files>> {
    let (dir, faults) = (&config.dir, &config.faults);
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "new") {
            faults.unlink(&path)?;
        }
    }
    let mut segments = list(dir)?;
    let newest = segments
        .iter()
        .rev()
        .find(|(_, files)| files.plain || files.packed);
    let newest = newest.map(|(&first, _)| first);
    for (&first, files) in &mut segments {
        if files.plain && files.packed {
            // The packed form is only there once it is whole and synced. If it is not after all, the plain one is.
            let packed = File::open(packed_path(dir, first)).and_then(Packed::open);
            let plain = std::fs::metadata(data_path(dir, first))?.len();
            if packed.is_ok_and(|packed| packed.length() == plain) && Some(first) != newest {
                faults.unlink(&data_path(dir, first))?;
                files.plain = false;
            } else {
                faults.unlink(&packed_path(dir, first))?;
                files.packed = false;
            }
        }
        if files.index && !files.plain && !files.packed {
            faults.unlink(&index_path(dir, first))?;
        }
    }
    segments.retain(|_, files| files.plain || files.packed);
    Ok(segments)
}

/// What a closed segment is as a whole. Its index is made again if it has none.
fn closed(config: &Config, first: u64, next: u64, recovery: &mut Recovery) -> io::Result<Summary> {
    let path = index_path(&config.dir, first);
    // An index of an earlier time, when there was less of the segment, would hide the rest.
    let length = std::fs::metadata(data_path(&config.dir, first)).map(|found| found.len());
    let usable = |summary: &Summary| {
        let all =
            summary.next == next || length.as_ref().is_ok_and(|&length| length == summary.bytes);
        summary.first == first && summary.next <= next && (all || length.is_err())
    };
    if let Some(summary) = Index::summary(&path).filter(usable) {
        return Ok(summary);
    }
    let index = match content(&config.dir, first)? {
        Some(content) => replay::index(&content, first, content.length()?, next)?,
        None => Index::new(first),
    };
    if let Err(error) = index.write(&path, &config.faults) {
        // It is only a cache: a full disk is no reason not to start.
        let why = format!("cannot write {}: {error}", path.display());
        config.alarm(&Alarm::Upkeep { why });
    }
    recovery.indexed += 1;
    Ok(index.summary)
}

/// A segment to read. One whose table of frames is damaged has nothing to read.
fn content(dir: &Path, first: u64) -> io::Result<Option<Content>> {
    match Content::open(dir, first) {
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(None),
        content => content,
    }
}

/// Learns of producers from a segment, as far as the checkpoint does not know them.
fn learn(dir: &Path, summary: &Summary, known: u64, producers: &mut Producers) -> io::Result<()> {
    let Some(content) = content(dir, summary.first)? else {
        return Ok(());
    };
    replay(&content, summary.bytes, summary.next, |found| {
        if let Found::Run(run) = found
            && run.first >= known
        {
            producers.replay(&run);
        }
        Ok(())
    })
}
