//! Content on its way in: written beside the tree, in the shape of the tree, and verified.
//!
//! `staging/new/<path>` is where `<path>` waits for the commit, so that a directory which is new as
//! a whole comes into the tree by one rename. Writers hash what they write: nothing is taken from
//! the peer's word. Whole files are shared out to several writers; pieces of large files go to one
//! that keeps them open, and takes from files of the tree what of these the client did not send. What could not be taken is
//! missing, so that the hash is not what was promised. Until they are complete they are among the parts, by the name of their content,
//! where the next session finds them if this one is cut off.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Scope, ScopedJoinHandle};

use blake3::Hasher;
use bytes::Bytes;
use crossbeam_channel::Sender;
use rustix::io::{Errno, Result};

use crate::commit::early::Early;
use crate::commit::sources::Sources;
use crate::digest::Digest;
use crate::faults::Faults;
use crate::path::TreePath;
use crate::stat::FileStat;
use crate::tree::{Dir, Parents};
use crate::tree::{copy, read, write};
use crate::workspace::kept;

/// Frames that wait for a writer, for each kind of writer.
const QUEUE: usize = 8;
/// Large files that one session may have open at once.
pub(crate) const MAX_OPEN: usize = 64;

/// A file that was offered.
#[derive(Debug, Clone)]
pub(crate) struct Offered {
    pub(crate) path: TreePath,
    pub(crate) exec: bool,
    pub(crate) size: u64,
    pub(crate) hash: Digest,
    /// The modification time it is to have; `None` for that of its writing.
    pub(crate) mtime_ns: Option<i64>,
}

/// A file that is staged and has the promised content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Staged {
    pub(crate) exec: bool,
    pub(crate) hash: Digest,
    pub(crate) stat: FileStat,
}

/// What became of an offered file.
pub(crate) type Outcome = (TreePath, std::result::Result<Staged, Bad>);

/// Why a file is not staged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bad {
    /// Its content is not what was promised, or its path clashes with another's.
    Hash,
    /// It could not be written.
    Io(Errno),
}

impl From<Errno> for Bad {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::NOTDIR => Self::Hash,
            errno => Self::Io(errno),
        }
    }
}

/// Some bytes of a file.
pub(crate) enum Work {
    Whole(Vec<(Offered, Bytes)>),
    /// Of which the content is here, at another path.
    Copies(Vec<Offered>),
    Part {
        number: u32,
        file: Offered,
        offset: u64,
        part: Part,
    },
}

/// Files, and bytes of them, that are written sooner than a thread is started for them.
const LITTLE: (usize, usize) = (8, 64 << 10);

impl Work {
    /// Whether it is over at once.
    pub(crate) fn is_little(&self) -> bool {
        match self {
            Self::Whole(files) => {
                let bytes = files.iter().map(|(_, bytes)| bytes.len());
                files.len() <= LITTLE.0 && bytes.sum::<usize>() <= LITTLE.1
            }
            Self::Copies(files) => {
                let bytes = files.iter().map(|file| file.size);
                files.len() <= LITTLE.0 && bytes.sum::<u64>() <= LITTLE.1 as u64
            }
            Self::Part { .. } => false,
        }
    }
}

/// A run of a large file.
pub(crate) enum Part {
    Bytes(Bytes),
    /// What the file that should have the content `source` has from an offset on.
    Range {
        source: Digest,
        from: u64,
        len: u64,
    },
}

impl Part {
    pub(crate) fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Range { len, .. } => *len,
        }
    }

    /// Whether it is the beginning of the file itself, from a session that was cut off.
    fn is_own(&self, file: &Offered) -> bool {
        matches!(self, Self::Range { source, from: 0, .. } if *source == file.hash)
    }
}

/// Where writers write.
pub(crate) struct Stage<'a> {
    pub(crate) dir: &'a Dir,
    /// Where large files are until they are complete, by their contents.
    pub(crate) parts: &'a Dir,
    pub(crate) sources: Sources<'a>,
    pub(crate) faults: &'a Faults,
    /// A writer failed: what else comes is not worth writing.
    pub(crate) failed: AtomicBool,
}

/// The writers of one round.
pub(crate) struct Writers<'scope> {
    whole: Sender<Work>,
    pieces: Sender<Work>,
    running: Vec<ScopedJoinHandle<'scope, Vec<Outcome>>>,
}

impl<'scope> Writers<'scope> {
    pub(crate) fn start<'env>(
        scope: &'scope Scope<'scope, 'env>,
        stage: &'env Stage<'env>,
        threads: usize,
    ) -> Self {
        let (whole, shared) = crossbeam_channel::bounded(QUEUE);
        let (pieces, large) = crossbeam_channel::bounded(QUEUE);
        let mut running = vec![scope.spawn(move || write(large, stage))];
        for _ in 0..threads.clamp(1, 16) {
            let shared = shared.clone();
            running.push(scope.spawn(move || write(shared, stage)));
        }
        Self {
            whole,
            pieces,
            running,
        }
    }

    /// Hands over work, waiting while the writers are behind.
    pub(crate) fn give(&self, work: Work) {
        let queue = match work {
            Work::Whole(_) | Work::Copies(_) => &self.whole,
            Work::Part { .. } => &self.pieces,
        };
        queue
            .send(work)
            .expect("writers end only after this is dropped");
    }

    /// What became of every file that was completed.
    pub(crate) fn finish(self) -> Vec<Outcome> {
        drop((self.whole, self.pieces));
        let outcome = |writer: ScopedJoinHandle<'_, Vec<Outcome>>| {
            writer.join().expect("a writer does not panic")
        };
        self.running.into_iter().flat_map(outcome).collect()
    }
}

/// Writes what comes, and says what became of every file that was completed.
pub(crate) fn write(queue: impl IntoIterator<Item = Work>, stage: &Stage<'_>) -> Vec<Outcome> {
    let mut writer = Writer {
        stage,
        parents: Parents::making(stage.dir),
        open: HashMap::new(),
        early: None,
    };
    let mut outcomes = Vec::new();
    for work in queue {
        if stage.failed.load(Ordering::Relaxed) {
            continue;
        }
        match work {
            Work::Whole(files) => {
                for (file, bytes) in files {
                    let written = writer.whole(&file, &bytes);
                    outcomes.push((file.path, written));
                }
            }
            Work::Copies(files) => {
                let copies = files.into_iter().filter_map(|file| writer.copy(file));
                outcomes.extend(copies);
            }
            Work::Part {
                number,
                file,
                offset,
                part,
            } => {
                let done = writer.part(number, &file, offset, &part);
                outcomes.extend(done.map(|done| (file.path, done)));
            }
        }
        if matches!(outcomes.last(), Some((_, Err(Bad::Io(_))))) {
            stage.failed.store(true, Ordering::Relaxed);
        }
    }
    outcomes
}

struct Writer<'a> {
    stage: &'a Stage<'a>,
    parents: Parents<'a>,
    open: HashMap<u32, Open>,
    early: Option<Early<'a>>,
}

/// A large file that is not complete.
struct Open {
    file: OwnedFd,
    hasher: Hasher,
    /// The one that a part was taken from last.
    source: Option<(Digest, Option<OwnedFd>)>,
    /// Its name among the parts. Another one with the same content is written where it is to be staged.
    part: Option<Vec<u8>>,
}

impl Writer<'_> {
    fn copy(&mut self, file: Offered) -> Option<Outcome> {
        let Stage {
            dir,
            sources,
            faults,
            ..
        } = self.stage;
        let early = self
            .early
            .get_or_insert_with(|| Early::new(sources, dir, faults));
        let staged = early.copy(&file)?;
        Some((file.path, Ok(staged)))
    }

    fn whole(&mut self, file: &Offered, bytes: &[u8]) -> std::result::Result<Staged, Bad> {
        if Digest::of(bytes) != file.hash {
            return Err(Bad::Hash);
        }
        self.create(file)
            .and_then(|created| {
                write::append(&created, bytes)?;
                complete(&created, file)
            })
            .map_err(Bad::from)
    }

    fn part(
        &mut self,
        number: u32,
        file: &Offered,
        offset: u64,
        part: &Part,
    ) -> Option<std::result::Result<Staged, Bad>> {
        let done = self.add(number, file, offset, part);
        match done {
            Ok(None) => None,
            Ok(Some(staged)) => Some(staged.ok_or(Bad::Hash)),
            Err(errno) => Some(Err(errno.into())),
        }
    }

    /// What the file became with this part, if it is complete; `None` in that if it is not what was promised.
    fn add(
        &mut self,
        number: u32,
        file: &Offered,
        offset: u64,
        part: &Part,
    ) -> Result<Option<Option<Staged>>> {
        if offset == 0 {
            let open = self.begin(file, part)?;
            self.open.insert(number, open);
        }
        let Some(open) = self.open.get_mut(&number) else {
            return Ok(None);
        };
        if offset > 0 || !part.is_own(file) {
            open.add(part, &self.stage.sources)?;
        }
        if offset + part.len() != file.size {
            return Ok(None);
        }
        match self.open.remove(&number) {
            Some(open) => self.finish(open, file).map(Some),
            None => Ok(None),
        }
    }

    /// Opens what is to become a large file, with what is there of it if it goes on from that.
    fn begin(&mut self, file: &Offered, first: &Part) -> Result<Open> {
        let (parts, part) = (self.stage.parts, kept::part(&file.hash));
        // One file is written by one: what was hashed is what is there.
        let twice = |open: &Open| open.part.as_ref() == Some(&part);
        if self.open.values().any(twice) {
            return Ok(Open::new(self.create(file)?, None));
        }
        if first.is_own(file) {
            self.stage.faults.before("stage")?;
            return match read::reopen(parts, &part) {
                Ok(there) => Open::resume(there, part, first.len()),
                // Then it is not what was promised, and is asked for.
                Err(_) => Ok(Open::new(self.create(file)?, None)),
            };
        }
        self.stage.faults.before("stage")?;
        parts.remove_all(&part)?;
        let created = parts.create_file(&part, file.exec)?;
        Ok(Open::new(created, Some(part)))
    }

    /// Puts a complete file where it waits for the commit.
    fn finish(&mut self, open: Open, file: &Offered) -> Result<Option<Staged>> {
        let right = open.hasher.finalize().as_bytes() == file.hash.as_bytes();
        match (open.part, right) {
            (Some(part), false) => {
                self.stage.parts.remove_file(&part)?;
                return Ok(None);
            }
            (None, false) => {
                discard(&mut self.parents, &file.path)?;
                return Ok(None);
            }
            (Some(part), true) => {
                self.stage.faults.before("stage")?;
                let parts = self.stage.parts;
                install(parts, &part, &mut self.parents, &file.path)?;
            }
            (None, true) => {}
        }
        complete(&open.file, file).map(Some)
    }

    fn create(&mut self, file: &Offered) -> Result<OwnedFd> {
        self.stage.faults.before("stage")?;
        create(&mut self.parents, &file.path, file.exec)
    }
}

impl Open {
    fn new(file: OwnedFd, part: Option<Vec<u8>>) -> Self {
        Self {
            file,
            hasher: Hasher::new(),
            source: None,
            part,
        }
    }

    /// Goes on after the first `len` bytes.
    fn resume(file: OwnedFd, part: Vec<u8>, len: u64) -> Result<Self> {
        let mut open = Self::new(file, Some(part));
        rustix::fs::ftruncate(&open.file, len)?;
        write::touch(&open.file)?;
        let hasher = &mut open.hasher;
        read::each(&open.file, |bytes| {
            hasher.update(bytes);
        })?;
        Ok(open)
    }

    fn add(&mut self, part: &Part, sources: &Sources<'_>) -> Result<()> {
        match part {
            Part::Bytes(bytes) => {
                self.hasher.update(bytes);
                write::append(&self.file, bytes)
            }
            Part::Range { source, from, len } => {
                if self.source.as_ref().is_none_or(|(open, _)| open != source) {
                    self.source = Some((*source, sources.open(source)));
                }
                let Some((_, Some(source))) = &self.source else {
                    return Ok(());
                };
                let hasher = &mut self.hasher;
                copy::range(source, *from, *len, &self.file, |bytes| {
                    hasher.update(bytes);
                })
            }
        }
    }
}

/// Moves a file from `parts` to `path` below the staging area, over what may be there.
pub(crate) fn install(
    parts: &Dir,
    part: &[u8],
    parents: &mut Parents<'_>,
    path: &TreePath,
) -> Result<()> {
    let (parent, name) = path.split();
    let dir = parents.get(parent)?;
    match parts.move_new(part, dir, name) {
        Err(Errno::EXIST | Errno::NOTEMPTY) => {
            dir.remove_all(name)?;
            parts.move_new(part, dir, name)
        }
        done => done,
    }
}

/// Makes the file at `path` below the staging area anew.
pub(crate) fn create(parents: &mut Parents<'_>, path: &TreePath, exec: bool) -> Result<OwnedFd> {
    let (parent, name) = path.split();
    let dir = parents.get(parent)?;
    match dir.create_file(name, exec) {
        Err(Errno::EXIST | Errno::ISDIR) => {
            dir.remove_all(name)?;
            dir.create_file(name, exec)
        }
        done => done,
    }
}

/// Removes a file that is not what it should be: it must not come into the tree with its directory.
pub(crate) fn discard(parents: &mut Parents<'_>, path: &TreePath) -> Result<()> {
    let (parent, name) = path.split();
    parents.get(parent)?.remove_file(name)
}

/// Notes what a file looks like that has the promised content.
pub(crate) fn complete(file: &OwnedFd, offered: &Offered) -> Result<Staged> {
    let look = read::look(file)?;
    // It may have been begun as another.
    if look.exec() != offered.exec {
        rustix::fs::fchmod(file, write::executable(look.mode, offered.exec))?;
    }
    if let Some(mtime_ns) = offered.mtime_ns {
        write::set_mtime(file, mtime_ns)?;
    }
    let stat = read::look(file)?;
    Ok(Staged {
        exec: offered.exec,
        hash: offered.hash,
        stat,
    })
}
