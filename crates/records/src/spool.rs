//! What a sender has not got rid of yet: a log on its own disk, and how far the server has acknowledged it.
//!
//! Each batch that is pushed is durable before `push` returns, and has a number. [`Outgoing`] hands batches out in their order, after a
//! restart again from the first one that was not acknowledged; the server knows them by producer and number, so nothing is
//! written twice. How far that is, is in the file `cursor`, which is durable before anything that it makes superfluous is removed.
//!
//! When the spool is full, the oldest segment goes, or the new batch is refused. What goes is first written to `cursor` as a gap with the
//! numbers that it stands for, and is sent in their place: no hole is silent.

mod cursor;
mod outgoing;

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use self::cursor::{Dropped, State};
pub use self::outgoing::{Outgoing, Parcel};
use crate::ack::{Batch, Content, Origin};
use crate::batch::Prepared;
use crate::config::{Clock, Config, Durability, SystemClock};
use crate::error::{AppendError, During, OpenError};
use crate::faults::Faults;
use crate::log::{Log, Recovery};
use crate::missing::GapWhy;
use crate::query::{From, Item, Query};

/// What happens when a spool is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Overflow {
    /// The oldest batches go, and a gap stands for them.
    #[default]
    DropOldest,
    /// New ones are refused.
    Refuse,
}

/// How a spool is kept.
#[derive(Debug, Clone)]
pub struct SpoolConfig {
    /// Its directory.
    pub dir: PathBuf,
    /// Bytes on disk. An eighth of it goes at once.
    pub bytes: u64,
    /// What happens when they are used up.
    pub overflow: Overflow,
    /// Bytes that stay free on the disk.
    pub free_bytes_min: u64,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Faults, for tests.
    pub faults: Faults,
}

impl SpoolConfig {
    /// A spool of 256 MiB.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            bytes: 256 << 20,
            overflow: Overflow::DropOldest,
            free_bytes_min: 64 << 20,
            clock: Arc::new(SystemClock),
            faults: Faults::default(),
        }
    }
}

/// Batches that wait for the server.
#[derive(Debug)]
pub struct Spool {
    log: Log,
    config: SpoolConfig,
    /// The number of the next batch; held while one is pushed.
    next: Mutex<u64>,
    state: Mutex<State>,
}

/// A batch that was not taken.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// The spool is full, and may not drop anything.
    #[error("the spool is full: {bytes} bytes")]
    Full {
        /// Bytes that it may have.
        bytes: u64,
    },
    /// The disk.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// The cursor cannot be written, or the spool not be read.
    #[error("the spool cannot be used: {0}")]
    Io(#[from] io::Error),
}

impl Spool {
    /// Opens a spool, and makes it if it is not there. Tells also what damage was found.
    ///
    /// # Errors
    /// The directory cannot be used, is in use, or was written by a newer version.
    pub fn open(config: SpoolConfig) -> Result<(Self, Recovery), OpenError> {
        let log = Config {
            durability: Durability::Durable,
            segment_bytes: (config.bytes / 8).max(1),
            packing: None,
            check_numbers: false,
            free_bytes_min: config.free_bytes_min,
            clock: Arc::clone(&config.clock),
            faults: config.faults.clone(),
            ..Config::new(&config.dir, "spool")
        };
        let (log, recovery) = Log::open(log)?;
        let path = config.dir.join(cursor::NAME);
        let first = log.stats().first;
        let last = last_sequence(&log).during("cannot read", &config.dir)?;
        let found = State::read(&path).map_err(|found| OpenError::Newer {
            path: config.dir.clone(),
            found,
            known: cursor::VERSION,
        })?;
        let state = match found {
            Some(state) => state,
            None => {
                let sequence = first_sequence(&log).during("cannot read", &config.dir)?;
                let state = State::new(first, sequence);
                let state = state.during("cannot draw an id for", &config.dir)?;
                // Before anything is sent under the producer, it is the one for good.
                let written = state.write(&path, &config.faults);
                written
                    .and_then(|()| config.faults.sync_dir(&config.dir))
                    .during("cannot write", &path)?;
                state
            }
        };
        let next = last
            .max(state.acked)
            .max(state.gaps.last().map_or(0, |gap| gap.last))
            + 1;
        let spool = Self {
            log,
            config,
            next: Mutex::new(next),
            state: Mutex::new(state),
        };
        Ok((spool, recovery))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the good records of a batch. Durable when it returns; a batch without any is passed over.
    ///
    /// # Errors
    /// It was not taken: the spool is full, or the disk failed.
    pub fn push(&self, mut records: Prepared) -> Result<(), SpoolError> {
        records.forget_rejections();
        if records.is_empty() {
            return Ok(());
        }
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let sequence = *next;
        let batch = Batch {
            client: "spool".to_owned(),
            host: "spool".to_owned(),
            origin: Some(Origin {
                producer: "spool".to_owned(),
                sequence,
                session: 0,
            }),
            content: Content::Records(records),
        };
        self.make_room(batch.bytes() as u64)?;
        self.log.append(batch)?;
        *next += 1;
        Ok(())
    }

    fn make_room(&self, wanted: u64) -> Result<(), SpoolError> {
        let bytes = self.config.bytes;
        while self.log.disk_bytes() + wanted > bytes {
            let mut state = self.lock();
            if self.forget(&state)? {
                continue;
            }
            let oldest = self.log.oldest_closed();
            let Some((_, end)) = oldest.filter(|_| self.config.overflow == Overflow::DropOldest)
            else {
                return Err(SpoolError::Full { bytes });
            };
            let dropped = self.count(&state, end)?;
            let mut changed = state.clone();
            changed.drop_until(end, dropped);
            self.write(&changed)?;
            *state = changed;
            if self.log.remove_before(end) == 0 {
                return Err(SpoolError::Full { bytes });
            }
        }
        Ok(())
    }

    /// What goes with the lines from the cursor up to this one.
    fn count(&self, state: &State, end: u64) -> io::Result<Option<Dropped>> {
        let mut reader = self.log.read(Query {
            from: From::Seq(state.line),
            ..Query::default()
        });
        let mut dropped: Option<Dropped> = None;
        while let Some(item) = reader.next_item().map_err(io::Error::other)? {
            let Item::Entry(entry) = item else {
                continue;
            };
            if entry.seq >= end {
                break;
            }
            let at = entry.observed().or_else(|| entry.received());
            let (Some((_, sequence)), Some(at)) = (entry.origin, at) else {
                continue;
            };
            let dropped = dropped.get_or_insert(Dropped {
                first: state.expected(),
                last: sequence,
                records: 0,
                from: at,
                to: at,
                why: GapWhy::SpoolFull,
                offered: false,
            });
            dropped.last = sequence;
            dropped.to = at;
            dropped.records += 1;
        }
        Ok(dropped)
    }

    /// Batches from the first one that was not acknowledged, and then those that come.
    pub fn outgoing(&self) -> Outgoing<'_> {
        Outgoing::new(self)
    }

    /// The producer under which batches are to be sent now.
    pub fn producer(&self) -> String {
        self.lock().producer.clone()
    }

    /// Batches that the server has not acknowledged, those included that were dropped and for which a gap stands.
    pub fn waiting(&self) -> u64 {
        let next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        *next - 1 - self.lock().acked.min(*next - 1)
    }

    /// The server has everything up to this number. What is behind a whole segment is removed.
    ///
    /// # Errors
    /// The cursor cannot be written. It is tried again with the next acknowledgement.
    pub fn acknowledged(&self, sequence: u64) -> io::Result<()> {
        let mut state = self.lock();
        state.acknowledge(sequence);
        self.forget(&state).map(drop)
    }

    /// Removes segments that the server has the whole of, once the cursor says so durably. Whether there were any.
    fn forget(&self, state: &State) -> io::Result<bool> {
        let due = self
            .log
            .oldest_closed()
            .is_some_and(|(_, end)| end <= state.line);
        if due {
            self.write(state)?;
        }
        Ok(due && self.log.remove_before(state.line) > 0)
    }

    fn write(&self, state: &State) -> io::Result<()> {
        state.write(&self.config.dir.join(cursor::NAME), &self.config.faults)?;
        self.config.faults.sync_dir(&self.config.dir)
    }

    /// The server expects this number. If it has forgotten what it acknowledged, or knows the producer by what somebody else sent,
    /// a new producer is begun, and a gap says so. True if that was done; batches are then to be taken from a new [`Outgoing`].
    ///
    /// # Errors
    /// The cursor cannot be written.
    pub fn expected_by_server(&self, expected: u64) -> io::Result<bool> {
        let plausible = self.lock().is_plausible(expected);
        if !plausible {
            self.renumber()?;
        }
        Ok(!plausible)
    }

    /// Begins a new producer for all that has not been acknowledged. Needed when the server says that somebody else uses the one there was.
    ///
    /// # Errors
    /// The cursor cannot be written.
    pub fn renumber(&self) -> io::Result<()> {
        let mut state = self.lock();
        let mut changed = state.clone();
        changed.renumber(self.config.clock.now())?;
        self.write(&changed)?;
        *state = changed;
        Ok(())
    }

    /// The log in which batches wait: its figures, and news of it.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Writes down how far the server has acknowledged. Without it, some batches are sent again after a restart, which
    /// does no harm.
    ///
    /// # Errors
    /// The cursor cannot be written.
    pub fn close(&self) -> io::Result<()> {
        let written = self.write(&self.lock());
        self.log.close();
        written
    }
}

fn first_sequence(log: &Log) -> io::Result<u64> {
    sequences(log, From::Start).map(|(first, _)| first)
}

fn last_sequence(log: &Log) -> io::Result<u64> {
    let stats = log.stats();
    // The last lines are of the last batches, but for what the log says of itself.
    let near_the_end = stats.next.saturating_sub(64).max(stats.first);
    match sequences(log, From::Seq(near_the_end))? {
        (_, 0) => sequences(log, From::Start).map(|(_, last)| last),
        (_, last) => Ok(last),
    }
}

/// The first and the last number of a batch.
fn sequences(log: &Log, from: From) -> io::Result<(u64, u64)> {
    let mut reader = log.read(Query {
        from,
        ..Query::default()
    });
    let (mut first, mut last) = (0, 0);
    while let Some(item) = reader.next_item().map_err(io::Error::other)? {
        if let Item::Entry(entry) = item {
            let sequence = entry.origin.map_or(0, |(_, sequence)| sequence);
            last = last.max(sequence);
            first = if first == 0 { sequence } else { first };
        }
    }
    Ok((first, last))
}

/// Batches that were handed out, with the line behind each.
type UnderWay = VecDeque<(u64, u64)>;
