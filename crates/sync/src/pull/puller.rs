//! The client's part in a pull: what to ask for, and where it may go.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::time::Duration;

use blake3::Hasher;
use rustix::fs::FileType;
use rustix::io::Errno;

use crate::error::PullError;
use crate::link::Receiving;
use crate::manifest::Entry;
use crate::message::{Data, Node, PullDown};
use crate::observer::{Observer, Progress};
use crate::pack::unpack::Unpacker;
use crate::path::{TreePath, to_path_buf};
use crate::pull::Pulled;
use crate::pull::globs::Globs;
use crate::pull::record::Known;
use crate::push::Unreadable;
use crate::tree::{Dir, Parents, Use};
use crate::tree::{read, write};

const TICK: Duration = Duration::from_millis(50);
/// Files that one pull may bring.
const MAX_FILES: usize = 2_000_000;

/// A file that is being written, under a temporary name beside its place.
struct Arriving {
    file: OwnedFd,
    temporary: Vec<u8>,
    hasher: Hasher,
    received: u64,
}

/// One pull under way.
pub(crate) struct Puller<'a> {
    dir: &'a Dir,
    parents: Parents<'a>,
    pub(crate) known: Known,
    receiver: &'a mut dyn Receiving<PullDown>,
    observer: &'a dyn Observer,
    unpacker: Unpacker,
    pub(crate) pulled: Pulled,
    /// Files that have begun to come; `None` for those that were given up.
    arriving: HashMap<u32, Option<Arriving>>,
}

/// What is here where something is to be brought.
enum Here {
    Nothing,
    Same,
    /// Nothing is lost with it, or it may be replaced by force.
    Replaceable,
    Foreign,
}

impl<'a> Puller<'a> {
    pub(crate) fn new(
        dir: &'a Dir,
        known: Known,
        receiver: &'a mut dyn Receiving<PullDown>,
        observer: &'a dyn Observer,
    ) -> Self {
        let parents = Parents::making(dir);
        let (pulled, arriving) = (Pulled::default(), HashMap::new());
        Self {
            dir,
            parents,
            known,
            receiver,
            observer,
            unpacker: Unpacker::default(),
            pulled,
            arriving,
        }
    }

    fn next(&mut self) -> Result<PullDown, PullError> {
        loop {
            if self.observer.cancelled() {
                return Err(PullError::Cancelled);
            }
            match self.receiver.receive(TICK)? {
                Some(PullDown::Refused(refusal)) => return Err(PullError::Refused(refusal)),
                Some(message) => return Ok(message),
                None => {}
            }
        }
    }

    /// All that is offered: only what was asked for, each once.
    pub(crate) fn offered(&mut self, globs: &Globs) -> Result<Vec<Entry>, PullError> {
        let mut entries: Vec<Entry> = Vec::new();
        loop {
            let PullDown::Offer(offer) = self.next()? else {
                return Err(PullError::Protocol("no offer".to_owned()));
            };
            for put in offer.entries {
                let path =
                    TreePath::new(put.path).map_err(|bad| PullError::Protocol(bad.to_string()))?;
                let sorted = entries.last().is_none_or(|last| last.path < path);
                let below_a_leaf = entries
                    .last()
                    .is_some_and(|last| path.is_below(last.path.as_bytes()));
                if !globs.cover(path.as_bytes()) || !sorted || below_a_leaf || put.node == Node::Dir
                {
                    return Err(PullError::Protocol(
                        "offered what was not asked for".to_owned(),
                    ));
                }
                entries.push(Entry {
                    path,
                    node: put.node,
                    stat: None,
                });
            }
            for path in offer.unreadable {
                let why = "not readable on the server".to_owned();
                self.pulled.failed.push(Unreadable {
                    path: to_path_buf(&path),
                    why,
                });
            }
            if entries.len() > MAX_FILES || self.pulled.failed.len() > MAX_FILES {
                return Err(PullError::Protocol("too many files".to_owned()));
            }
            if offer.last {
                return Ok(entries);
            }
        }
    }

    /// Makes links, and says which files to ask for.
    pub(crate) fn compare(&mut self, offered: &[Entry]) -> Vec<u32> {
        let mut wanted = Vec::new();
        for (number, entry) in (0..).zip(offered) {
            let here = self.here(entry);
            let done = match (here, &entry.node) {
                (Ok(Here::Same), _) => {
                    self.pulled.same += 1;
                    Ok(())
                }
                (Ok(Here::Foreign), _) => {
                    self.pulled.refused.push(entry.path.to_path_buf());
                    Ok(())
                }
                (Ok(_), Node::Symlink { target }) => self.link(entry, target),
                (Ok(_), _) => {
                    wanted.push(number);
                    Ok(())
                }
                (Err(errno), _) => Err(errno),
            };
            if let Err(errno) = done {
                self.failed(&entry.path, &errno.to_string());
            }
        }
        wanted
    }

    fn here(&mut self, entry: &Entry) -> rustix::io::Result<Here> {
        let (parent, name) = entry.path.split();
        let dir = match self.dir.beneath_mounts(parent, Use::Names) {
            Ok(dir) => dir,
            Err(Errno::NOENT) => return Ok(Here::Nothing),
            Err(errno) => return Err(errno),
        };
        let Some(look) = dir.look(name)? else {
            return Ok(Here::Nothing);
        };
        if look.file_type() == FileType::Directory {
            return Ok(Here::Foreign);
        }
        let (node, _) = read::node(&dir, name, &look)?;
        if node.as_ref() == Some(&entry.node) {
            return Ok(Here::Same);
        }
        Ok(if self.known.may_replace(&entry.path, node.as_ref()) {
            Here::Replaceable
        } else {
            Here::Foreign
        })
    }

    fn link(&mut self, entry: &Entry, target: &[u8]) -> rustix::io::Result<()> {
        let temporary = temporary(entry.path.as_bytes());
        let dir = self.parents.get(entry.path.split().0)?;
        dir.remove_all(&temporary)?;
        dir.make_link(&temporary, target)?;
        self.place(entry, &temporary)
    }

    /// Moves a complete temporary file to its place, where things may have changed meanwhile.
    fn place(&mut self, entry: &Entry, temporary: &[u8]) -> rustix::io::Result<()> {
        let (parent, name) = entry.path.split();
        let here = self.here(entry);
        let dir = self.parents.get(parent)?;
        let placed = match here? {
            Here::Nothing => dir.move_new(temporary, dir, name),
            Here::Same | Here::Replaceable => dir.move_over(temporary, dir, name),
            Here::Foreign => Err(Errno::EXIST),
        };
        match placed {
            Ok(()) => {
                self.known
                    .record
                    .insert(entry.path.clone(), entry.node.clone());
                self.pulled.written.push(entry.path.to_path_buf());
                Ok(())
            }
            Err(Errno::EXIST) => {
                dir.remove_file(temporary)?;
                self.pulled.refused.push(entry.path.to_path_buf());
                Ok(())
            }
            Err(errno) => Err(errno),
        }
    }

    /// Receives the content of the files that were asked for.
    pub(crate) fn take(&mut self, offered: &[Entry], wanted: &[u32]) -> Result<(), PullError> {
        for &number in wanted {
            let entry = offered_file(offered, number)?;
            if matches!(entry.node, Node::File { size: 0, .. }) {
                self.piece(number, entry, 0, &[]);
            }
        }
        loop {
            match self.next()? {
                PullDown::Data(data) => {
                    self.pulled.wire_bytes += data.bytes.len() as u64;
                    let plain = self.unpacker.plain(data);
                    let plain = plain.map_err(|bad| PullError::Protocol(bad.to_string()))?;
                    self.data(offered, wanted, &plain)?;
                }
                PullDown::Gone { files } => {
                    for number in files {
                        self.gone(offered, wanted, number)?;
                    }
                }
                PullDown::Done => {
                    let is_over = |number| matches!(self.arriving.get(number), Some(None));
                    if !wanted.iter().all(is_over) {
                        let early = "it says that it has sent what it has not".to_owned();
                        return Err(PullError::Protocol(early));
                    }
                    return Ok(());
                }
                PullDown::Offer(_) | PullDown::Refused(_) => {
                    return Err(PullError::Protocol("a message out of place".to_owned()));
                }
            }
        }
    }

    /// A file that was wanted does not come. Of one that is over there is nothing more to tell.
    fn gone(&mut self, offered: &[Entry], wanted: &[u32], number: u32) -> Result<(), PullError> {
        let entry = offered_file(offered, number)?;
        if wanted.binary_search(&number).is_err() {
            let what = "gone is what was not wanted".to_owned();
            return Err(PullError::Protocol(what));
        }
        if !matches!(self.arriving.get(&number), Some(None)) {
            self.forget(number, entry);
            self.pulled.gone.push(entry.path.to_path_buf());
        }
        Ok(())
    }

    fn data(&mut self, offered: &[Entry], wanted: &[u32], data: &Data) -> Result<(), PullError> {
        let bad = |what: &str| PullError::Protocol(what.to_owned());
        let mut at = 0;
        for piece in &data.pieces {
            let entry = offered_file(offered, piece.file)?;
            let Node::File { size, .. } = entry.node else {
                return Err(bad("data for a link"));
            };
            let known = self.arriving.get(&piece.file);
            let received = match known {
                Some(Some(arriving)) => arriving.received,
                Some(None) => piece.offset,
                None => 0,
            };
            let end = piece
                .offset
                .checked_add(piece.len.into())
                .filter(|&end| end <= size);
            if wanted.binary_search(&piece.file).is_err()
                || end.is_none()
                || piece.offset != received
            {
                return Err(bad("data that was not wanted"));
            }
            let to = at + usize::try_from(piece.len).unwrap_or(usize::MAX);
            let bytes = data
                .bytes
                .get(at..to)
                .ok_or_else(|| bad("more pieces than bytes"))?;
            at = to;
            self.piece(piece.file, entry, piece.offset, bytes);
        }
        if at != data.bytes.len() {
            return Err(bad("more bytes than pieces"));
        }
        Ok(())
    }

    /// Takes a run of bytes. A file that cannot be written is given up, and what else comes of it
    /// is dropped.
    fn piece(&mut self, number: u32, entry: &Entry, offset: u64, bytes: &[u8]) {
        if let Err(errno) = self.write(number, entry, offset, bytes) {
            self.forget(number, entry);
            self.failed(&entry.path, &errno.to_string());
        }
    }

    fn write(
        &mut self,
        number: u32,
        entry: &Entry,
        offset: u64,
        bytes: &[u8],
    ) -> rustix::io::Result<()> {
        let Node::File { exec, size, hash } = entry.node else {
            return Err(Errno::INVAL);
        };
        if offset == 0 && !self.arriving.contains_key(&number) {
            let temporary = temporary(entry.path.as_bytes());
            let dir = self.parents.get(entry.path.split().0)?;
            dir.remove_all(&temporary)?;
            let file = dir.create_file(&temporary, exec)?;
            let arriving = Arriving {
                file,
                temporary,
                hasher: Hasher::new(),
                received: 0,
            };
            self.arriving.insert(number, Some(arriving));
        }
        let Some(Some(arriving)) = self.arriving.get_mut(&number) else {
            return Ok(());
        };
        write::append(&arriving.file, bytes)?;
        arriving.hasher.update(bytes);
        arriving.received += bytes.len() as u64;
        self.observer.transferred(Progress {
            files: 0,
            bytes: bytes.len() as u64,
        });
        if arriving.received < size {
            return Ok(());
        }
        if arriving.hasher.finalize().as_bytes() != hash.as_bytes() {
            self.forget(number, entry);
            self.pulled.gone.push(entry.path.to_path_buf());
            return Ok(());
        }
        let temporary = arriving.temporary.clone();
        self.place(entry, &temporary)?;
        self.arriving.insert(number, None);
        self.pulled.written_bytes += size;
        self.observer.transferred(Progress { files: 1, bytes: 0 });
        Ok(())
    }

    fn failed(&mut self, path: &TreePath, why: &str) {
        self.pulled.failed.push(Unreadable {
            path: path.to_path_buf(),
            why: why.to_owned(),
        });
    }

    /// Gives up a file, and removes what has arrived of it.
    fn forget(&mut self, number: u32, entry: &Entry) {
        if let Some(Some(arriving)) = self.arriving.insert(number, None)
            && let Ok(dir) = self.parents.get(entry.path.split().0)
        {
            // A temporary file that stays is never mirrored, and replaced by the next pull.
            let _left = dir.remove_file(&arriving.temporary);
        }
    }

    /// Removes what has arrived of files that will not be completed.
    pub(crate) fn drop_unfinished(&mut self, offered: &[Entry]) {
        let begun: Vec<u32> = self.arriving.keys().copied().collect();
        for number in begun {
            if let Ok(entry) = offered_file(offered, number) {
                self.forget(number, entry);
            }
        }
    }
}

fn offered_file(offered: &[Entry], number: u32) -> Result<&Entry, PullError> {
    let entry = usize::try_from(number)
        .ok()
        .and_then(|number| offered.get(number));
    entry.ok_or_else(|| PullError::Protocol("a file that was not offered".to_owned()))
}

/// The temporary name of a path's file, in its directory.
fn temporary(path: &[u8]) -> Vec<u8> {
    let digest = crate::Digest::of(path).to_string();
    [crate::path::RESERVED, &digest.as_bytes()[..16]].concat()
}
