//! Which streams there are, and their logs, opened when somebody wants them and closed when nobody does.
//!
//! A stream has a directory below `records/` in the state directory. Its name there is a hash of the stream's: what clients say never
//! becomes a path. In it, `stream` says the name and who made it, and is on the disk before there is a log; the log is in `log/`.
//!
//! A server keeps logs open that were used lately. A command that works on the state directory by itself does not: it lets go of a log as
//! soon as it has nothing to do with it, so that others get their turn.

use std::collections::HashMap;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use legwork_records::{Config, Log, OpenError};
use serde_json::json;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use tonic::Code;

use super::figures::Alarms;
use super::rules::RecordRules;
use super::stream::Stream;
use crate::problem::Problem;
use crate::workspaces::blocking;

/// The directory of all streams, in the state directory.
const DIR: &str = "records";
/// The file in a stream's directory that says which it is.
const NAME: &str = "stream";
/// The directory of the log in it.
const LOG: &str = "log";
/// Streams whose logs a server has open at a time; each has two threads.
const OPEN_MAX: usize = 256;
/// How long nobody has used a log that is closed.
const IDLE: Duration = Duration::from_secs(60);
/// How long somebody else may have a log that is wanted.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two looks whether they still have.
const PAUSE: Duration = Duration::from_millis(20);
/// Names of the server's own streams begin so.
const OWN: &str = "legwork.";
/// Who made them.
const OWNER: &str = "legwork";

/// The streams of a state directory.
#[derive(Debug)]
pub(crate) struct Streams {
    dir: PathBuf,
    pub(crate) rules: RecordRules,
    slots: Mutex<HashMap<String, Arc<tokio::sync::Mutex<Slot>>>>,
    resident: AtomicBool,
    /// Logs that are being closed.
    closing: TaskTracker,
    pub(crate) alarms: Arc<Alarms>,
}

/// The place of one stream.
#[derive(Debug, Default)]
struct Slot {
    open: Weak<Stream>,
    /// Kept open though nobody uses it.
    held: Option<Arc<Stream>>,
}

/// A stream that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) name: String,
    /// Who made it.
    pub(super) owner: String,
}

impl Streams {
    pub(crate) fn new(state: &Path, rules: RecordRules) -> Self {
        Self {
            dir: state.join(DIR),
            rules,
            slots: Mutex::default(),
            resident: AtomicBool::new(false),
            closing: TaskTracker::new(),
            alarms: Arc::default(),
        }
    }

    /// From now on this process has the state directory for itself.
    pub(crate) fn stay(&self) {
        self.resident.store(true, Ordering::Relaxed);
    }

    /// Whether it has.
    pub(crate) fn is_resident(&self) -> bool {
        self.resident.load(Ordering::Relaxed)
    }

    fn dir_of(&self, name: &str) -> PathBuf {
        let hash = blake3::hash(name.as_bytes()).to_hex();
        self.dir.join(&hash[..32])
    }

    /// Where the log of a stream is.
    pub(super) fn log_dir(&self, name: &str) -> PathBuf {
        self.dir_of(name).join(LOG)
    }

    /// All of them, by name. Blocks.
    pub(super) fn list(&self) -> Result<Vec<Known>, Problem> {
        let entries = match fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Problem::io(&self.dir, &error)),
        };
        let mut found: Vec<Known> = entries
            .filter_map(|entry| read_name(&entry.ok()?.path().join(NAME)))
            .collect();
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    /// A stream that is there.
    pub(crate) async fn existing(self: &Arc<Self>, name: &str) -> Result<Arc<Stream>, Problem> {
        check_name(name)?;
        let path = self.dir_of(name).join(NAME);
        let there = blocking(move || read_name(&path)).await?;
        match there {
            Some(known) if known.name == name => self.open(name, None).await,
            _ => Err(not_found(name)),
        }
    }

    /// A stream for somebody who sends to it; it is made if it is not there. `limited`: they may only have made so many.
    pub(crate) async fn for_sender(
        self: &Arc<Self>,
        name: &str,
        owner: &str,
        limited: bool,
    ) -> Result<Arc<Stream>, Problem> {
        check_stream(name)?;
        let maker = Maker {
            owner: owner.to_owned(),
            limit: limited.then_some(self.rules.streams_each),
        };
        self.open(name, Some(maker)).await
    }

    /// A stream of the server's own, for the server to write to.
    pub(crate) async fn own(self: &Arc<Self>, name: &str) -> Result<Arc<Stream>, Problem> {
        let maker = Maker {
            owner: OWNER.to_owned(),
            limit: None,
        };
        self.open(name, Some(maker)).await
    }

    fn slot(&self, name: &str) -> Arc<tokio::sync::Mutex<Slot>> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(slots.entry(name.to_owned()).or_default())
    }

    async fn open(
        self: &Arc<Self>,
        name: &str,
        maker: Option<Maker>,
    ) -> Result<Arc<Stream>, Problem> {
        let slot = self.slot(name);
        let mut slot = slot.lock().await;
        if let Some(stream) = slot.open.upgrade() {
            stream.used();
            return Ok(stream);
        }
        if self.is_resident() {
            self.make_room()?;
        }
        let deadline = Instant::now() + PATIENCE;
        let stream = loop {
            let (streams, stream, maker) = (Arc::clone(self), name.to_owned(), maker.clone());
            let opened = blocking(move || streams.open_now(&stream, maker.as_ref())).await?;
            match opened {
                Err(Opening::Busy) if Instant::now() < deadline => tokio::time::sleep(PAUSE).await,
                Err(Opening::Busy) => return Err(busy(name)),
                Err(Opening::Failed(problem)) => return Err(problem),
                Ok(stream) => break Arc::new(stream),
            }
        };
        slot.open = Arc::downgrade(&stream);
        slot.held = self.is_resident().then(|| Arc::clone(&stream));
        Ok(stream)
    }

    /// Opens a log. Blocks.
    fn open_now(&self, name: &str, maker: Option<&Maker>) -> Result<Stream, Opening> {
        let dir = self.dir_of(name);
        if let Some(maker) = maker {
            self.make(&dir, name, maker)?;
        }
        let rule = self.rules.of(name).clone();
        let alarms = Arc::clone(&self.alarms);
        let stream = name.to_owned();
        let config = Config {
            durability: rule.durability,
            segment_bytes: rule.segment_bytes,
            segment_age: rule.segment_age,
            retention: rule.retention,
            free_bytes_min: self.rules.free_bytes_min(name),
            on_alarm: Some(Arc::new(move |alarm| alarms.raise(&stream, alarm))),
            ..Config::new(dir.join(LOG), name)
        };
        let queue = config.queue_bytes;
        match Log::open(config) {
            Ok((log, recovery)) => {
                if recovery.cut_bytes > 0 {
                    let bytes = recovery.cut_bytes;
                    tracing::info!(stream = %name, bytes, "a torn end was cut off");
                }
                let alarms = Arc::clone(&self.alarms);
                let closing = self.closing.clone();
                Ok(Stream::new(
                    name.to_owned(),
                    log,
                    rule,
                    queue,
                    alarms,
                    closing,
                ))
            }
            Err(OpenError::Busy { .. }) => Err(Opening::Busy),
            Err(error) => Err(Opening::Failed(error.into())),
        }
    }

    /// Makes the directory of a stream, unless it is there.
    fn make(&self, dir: &Path, name: &str, maker: &Maker) -> Result<(), Problem> {
        if read_name(&dir.join(NAME)).is_some_and(|known| known.name == name) {
            return Ok(());
        }
        if let Some(limit) = maker.limit {
            let made = self.list()?;
            let made = made.iter().filter(|known| known.owner == maker.owner);
            if made.count() >= limit {
                return Err(too_many(limit));
            }
        }
        write_name(&self.dir, dir, name, &maker.owner).map_err(|error| Problem::io(dir, &error))
    }

    /// Closes the log that was not used for the longest time, if there are as many as there may be.
    fn make_room(&self) -> Result<(), Problem> {
        let (open, idle) = self.held();
        if open < OPEN_MAX {
            return Ok(());
        }
        let oldest = idle.into_iter().min_by_key(|stream| stream.last_used());
        match oldest {
            Some(stream) => {
                let name = stream.name.clone();
                drop(stream);
                self.let_go(&name);
                Ok(())
            }
            None => {
                let message = format!("{OPEN_MAX} streams are in use, which is as many as can be");
                let problem = Problem::new(Code::ResourceExhausted, "TOO_MANY_LOGS", message);
                Err(problem.with("limit", OPEN_MAX))
            }
        }
    }

    /// How many logs are open, and those that nobody uses.
    fn held(&self) -> (usize, Vec<Arc<Stream>>) {
        let open = self.all();
        let count = open.len();
        // One in the slot, and the one here.
        let idle = open
            .into_iter()
            .filter(|stream| Arc::strong_count(stream) <= 2);
        (count, idle.collect())
    }

    /// The streams whose logs are open.
    pub(crate) fn all(&self) -> Vec<Arc<Stream>> {
        let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        // One that is being opened has nothing to show.
        let open = slots
            .values()
            .filter_map(|slot| slot.try_lock().ok()?.open.upgrade());
        open.collect()
    }

    fn let_go(&self, name: &str) {
        let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = slots.get(name)
            && let Ok(mut slot) = slot.try_lock()
        {
            slot.held = None;
        }
    }

    /// Closes the logs that nobody has used for a while.
    pub(crate) fn close_idle(&self) {
        let now = Instant::now();
        for stream in self.held().1 {
            if now.duration_since(stream.last_used()) >= IDLE {
                let name = stream.name.clone();
                drop(stream);
                self.let_go(&name);
            }
        }
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.retain(|_, slot| {
            Arc::strong_count(slot) > 1
                || slot
                    .try_lock()
                    .map_or(true, |slot| slot.open.strong_count() > 0)
        });
    }

    /// Opens each log once and lets it tidy up: what a crash left is mended, and what is too old goes.
    pub(crate) async fn tour(self: &Arc<Self>) {
        let streams = Arc::clone(self);
        let known = match blocking(move || streams.list()).await {
            Ok(Ok(known)) => known,
            Ok(Err(problem)) | Err(problem) => {
                return tracing::warn!(%problem, "streams of records cannot be listed");
            }
        };
        for known in known {
            match self.open(&known.name, None).await {
                Ok(stream) => drop(blocking(move || stream.log().keep_up()).await),
                Err(problem) => {
                    tracing::warn!(stream = %known.name, %problem, "a log cannot be opened");
                }
            }
        }
    }

    /// Writes what waits and closes all logs.
    pub(crate) async fn close(&self) {
        let open = self.all();
        self.slots
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
        let closing = move || open.iter().for_each(|stream| stream.log().close());
        if let Err(problem) = blocking(closing).await {
            tracing::error!(%problem, "logs of records were not closed in order");
        }
        self.closing.close();
        self.closing.wait().await;
    }
}

/// Who makes a stream, and how many they may have made.
#[derive(Debug, Clone)]
struct Maker {
    owner: String,
    limit: Option<usize>,
}

/// Why a log was not opened.
#[derive(Debug)]
enum Opening {
    /// Somebody else has it just now.
    Busy,
    Failed(Problem),
}

impl From<Problem> for Opening {
    fn from(problem: Problem) -> Self {
        Self::Failed(problem)
    }
}

impl fmt::Display for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// Whether clients may send to a stream of this name.
///
/// # Errors
/// It is no name, or that of a stream of the server's own.
pub fn check_stream(name: &str) -> Result<(), Problem> {
    check_name(name)?;
    if is_own(name) {
        let message = format!("{name} is a stream of the server's own: nobody sends to it");
        let problem = Problem::new(Code::PermissionDenied, "OWN_STREAM", message);
        return Err(problem.with("stream", name));
    }
    Ok(())
}

/// Whether a stream is one of the server's own.
pub(super) fn is_own(name: &str) -> bool {
    name.starts_with(OWN)
}

/// Whether a text can be the name of a stream.
pub(super) fn check_name(name: &str) -> Result<(), Problem> {
    if is_name(name) {
        return Ok(());
    }
    let message = "a stream is named by 1 to 128 bytes without control characters, quotation marks and backslashes";
    Err(Problem::new(Code::InvalidArgument, "BAD_NAME", message))
}

/// Whether a text can stand in a line as it is.
pub(super) fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte >= 0x20 && byte != 0x7f && byte != b'"' && byte != b'\\';
    (1..=128).contains(&name.len()) && name.bytes().all(plain)
}

fn read_name(path: &Path) -> Option<Known> {
    let text = fs::read(path).ok()?;
    let told: serde_json::Value = serde_json::from_slice(&text).ok()?;
    let word = |key: &str| told.get(key)?.as_str().map(str::to_owned);
    Some(Known {
        name: word("stream")?,
        owner: word("owner").unwrap_or_default(),
    })
}

/// Durable when it returns, under its name or not at all.
fn write_name(all: &Path, dir: &Path, name: &str, owner: &str) -> io::Result<()> {
    private_dir(all)?;
    private_dir(dir)?;
    let fresh = dir.join("stream.new");
    let mut file = OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o600)
        .open(&fresh)?;
    let line = json!({ "version": 1, "stream": name, "owner": owner });
    file.write_all(format!("{line}\n").as_bytes())?;
    file.sync_all()?;
    fs::rename(&fresh, dir.join(NAME))?;
    for path in [Some(dir), Some(all), all.parent()].into_iter().flatten() {
        File::open(path)?.sync_all()?;
    }
    Ok(())
}

fn private_dir(path: &Path) -> io::Result<()> {
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

pub(super) fn not_found(name: &str) -> Problem {
    let message = format!("there is no stream {name}, or nothing of yours in it");
    Problem::new(Code::NotFound, "STREAM_NOT_FOUND", message).with("stream", name)
}

fn busy(name: &str) -> Problem {
    let message = format!(
        "another command has stream {name} open: wait for it, or let `legwork serve` share it between commands"
    );
    Problem::new(Code::Unavailable, "STREAM_BUSY", message).with("stream", name)
}

fn too_many(limit: usize) -> Problem {
    let message = format!(
        "you have made {limit} streams, which is as many as you may make here: send to one of them"
    );
    Problem::new(Code::ResourceExhausted, "TOO_MANY_LOGS", message).with("limit", limit)
}

#[cfg(test)]
mod tests;
