//! What a directory holds: the client's look at its tree.
//!
//! Files that look as they did when their hash was taken are not read. The others are read once: the
//! same bytes are hashed and handed on, perhaps to be sent. Sockets, pipes and devices are counted
//! and left out; what cannot be read is named, and `rules` say what is not looked at.

mod found;
pub(crate) mod rules;
mod sink;

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::thread;

use ignore::gitignore::gitconfig_excludes_path;
use rustix::fs::FileType;
use rustix::io::Errno;

pub(crate) use self::found::Found;
use self::found::Listing;
use self::rules::Rules;
pub(crate) use self::sink::{Content, Discard, Sink};
use crate::digest::Digest;
use crate::manifest::{Entry, NodeRef};
use crate::message::Node;
use crate::path::{TreePath, to_path_buf};
use crate::push::Unreadable;
use crate::stat::{FileStat, Horizon};
use crate::store::packed::{Child, Packed};
use crate::tree::walk::{Visitor, Walk};
use crate::tree::{Dir, Name, hash, read};

/// How often a small file that changes while it is read is read again.
const TRIES: usize = 3;

/// A tree as it was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scanned {
    /// Its entries, sorted.
    pub entries: Vec<Entry>,
    /// Sockets, pipes and devices left out.
    pub special: u64,
    /// What could not be read.
    pub unreadable: Vec<Unreadable>,
}

/// Scans the directory `root`, without reading files that look as they do in `known`.
///
/// What changed at or after `horizon_ns` (nanoseconds since the epoch) gets no recorded look.
///
/// # Errors
/// If the directory itself cannot be opened.
pub fn scan(root: &Path, known: &[Entry], horizon_ns: i64) -> std::io::Result<Scanned> {
    let dir = Dir::open_root(root)?;
    let known = index(known);
    let guide = Guide {
        known: Known::Index(&known),
        excluded: &[],
        horizon: Horizon::at(horizon_ns),
        keeper: None,
    };
    Ok(scan_with(
        dir,
        Rules::above(root, gitconfig_excludes_path().as_deref()),
        guide,
        vec![Discard::default()],
    ))
}

/// Entries by their path.
pub(crate) type Index<'a> = HashMap<&'a [u8], &'a Entry>;

pub(crate) fn index(entries: &[Entry]) -> Index<'_> {
    entries
        .iter()
        .map(|entry| (entry.path.as_bytes(), entry))
        .collect()
}

/// Who hears of the directories that a scan keeps.
pub(crate) trait Keeper: Sync {
    /// This one, held open, is listed next.
    fn opened(&self, dir: &Dir, path: &[u8]);

    /// The rules in force in it.
    fn rules(&self, path: &[u8], rules: &Arc<Rules>);
}

/// The tree as it was.
#[derive(Clone, Copy)]
pub(crate) enum Known<'a> {
    Index(&'a Index<'a>),
    /// As it is on disk. Of a directory in which all is as it was there, nothing is noted.
    Packed(&'a Packed),
}

impl Known<'_> {
    /// The directory that the walk begins in.
    fn root(self) -> Option<usize> {
        matches!(self, Self::Packed(_)).then_some(0)
    }
}

/// What a scan goes by.
#[derive(Clone, Copy)]
pub(crate) struct Guide<'a> {
    /// Files that look as they do here are not read.
    pub(crate) known: Known<'a>,
    /// What lies at these paths is left out.
    pub(crate) excluded: &'a [TreePath],
    /// What changed after this gets no recorded look.
    pub(crate) horizon: Horizon,
    /// Hears of the directories.
    pub(crate) keeper: Option<&'a dyn Keeper>,
}

/// As [`scan`], with one worker for each of `sinks`.
pub(crate) fn scan_with<S: Sink>(
    root: Dir,
    rules: Arc<Rules>,
    guide: Guide<'_>,
    sinks: Vec<S>,
) -> Scanned {
    look_with(root, rules, guide, sinks).whole(&[])
}

/// As [`scan_with`]; what is found is put together when it is asked for.
pub(crate) fn look_with<S: Sink>(
    root: Dir,
    rules: Arc<Rules>,
    guide: Guide<'_>,
    sinks: Vec<S>,
) -> Found {
    let was = guide.known.root();
    look(Walk::new(root, Way { rules, was }), guide, sinks)
}

/// What is in the directory `path`, which is in `parent`, where `rules` are in force.
pub(crate) fn scan_below<S: Sink>(
    parent: Dir,
    path: &[u8],
    rules: Arc<Rules>,
    guide: Guide<'_>,
    sink: S,
) -> Scanned {
    let way = Way { rules, was: None };
    look(Walk::at(parent, path, way), guide, vec![sink]).whole(path)
}

fn look<S: Sink>(walk: Walk<Way>, guide: Guide<'_>, sinks: Vec<S>) -> Found {
    let walk = &walk;
    let workers: Vec<Worker<'_, S>> = thread::scope(|scope| {
        let start = |sink| {
            scope.spawn(move || {
                let mut worker = Worker::guided(guide, sink);
                walk.work(&mut worker);
                worker
            })
        };
        let running: Vec<_> = sinks.into_iter().map(start).collect();
        running
            .into_iter()
            .map(|worker| worker.join().expect("a scan does not panic"))
            .collect()
    });
    let mut found = Found::default();
    for worker in workers {
        found.special += worker.special;
        found.unreadable.extend(worker.unreadable);
        found.listings.extend(worker.listings);
    }
    found.unreadable.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

/// What a directory hands down to those in it.
#[derive(Debug, Clone)]
pub(crate) struct Way {
    rules: Arc<Rules>,
    /// Where it was in the tree as it is on disk.
    was: Option<usize>,
}

/// One worker of a scan.
pub(crate) struct Worker<'a, S> {
    guide: Guide<'a>,
    sink: S,
    listings: Vec<(Vec<u8>, Vec<Entry>)>,
    special: u64,
    unreadable: Vec<Unreadable>,
}

impl<S: Sink> Visitor for Worker<'_, S> {
    type Down = Way;

    fn opened(&mut self, dir: &Dir, path: &[u8]) {
        if let Some(keeper) = self.guide.keeper {
            keeper.opened(dir, path);
        }
    }

    fn visit(&mut self, dir: &Dir, path: &[u8], names: &[Name], above: Way) -> Vec<(usize, Way)> {
        let rules = Rules::enter(&above.rules, dir, path, names);
        if let Some(keeper) = self.guide.keeper {
            keeper.rules(path, &rules);
        }
        let list = match self.guide.known {
            Known::Packed(list) => above.was.map(|dir| (list, dir)),
            Known::Index(_) => None,
        };
        let mut listing = Listing::new(list, names.len());
        let mut wanted = Vec::new();
        for (index, name) in names.iter().enumerate() {
            let was = listing.was(&name.name);
            let below = was.and_then(|was| was.dir);
            let way = |was| {
                (
                    index,
                    Way {
                        rules: Arc::clone(&rules),
                        was,
                    },
                )
            };
            match self.seen(dir, path, name, (&rules, was)) {
                Ok(Seen::Same) => {
                    wanted.extend(below.map(|below| way(Some(below))));
                    listing.same();
                }
                Ok(Seen::Entry(entry)) => {
                    if entry.node == Node::Dir {
                        wanted.push(way(below));
                    }
                    listing.push(entry);
                }
                Ok(Seen::Nothing) | Err(Errno::NOENT) => {}
                Err(error) => self.cannot(&[path, &name.name].join(&b'/'), &error.to_string()),
            }
        }
        self.listings
            .extend(listing.done().map(|listing| (path.to_vec(), listing)));
        wanted
    }

    fn unreadable(&mut self, path: &[u8], error: Errno) {
        self.listings.push((path.to_vec(), Vec::new()));
        self.cannot(path, &error.to_string());
    }

    fn stop(&self) -> bool {
        self.sink.stop()
    }
}

/// What a scan makes of a name.
enum Seen {
    /// It is what it was.
    Same,
    Entry(Entry),
    /// It is left out.
    Nothing,
}

impl<'a, S: Sink> Worker<'a, S> {
    pub(crate) fn new(known: &'a Index<'a>, horizon: Horizon, sink: S) -> Self {
        let guide = Guide {
            known: Known::Index(known),
            excluded: &[],
            horizon,
            keeper: None,
        };
        Self::guided(guide, sink)
    }

    pub(crate) fn guided(guide: Guide<'a>, sink: S) -> Self {
        Self {
            guide,
            sink,
            listings: Vec::new(),
            special: 0,
            unreadable: Vec::new(),
        }
    }

    fn cannot(&mut self, path: &[u8], why: &str) {
        let path = path.strip_prefix(b"/").unwrap_or(path);
        self.unreadable.push(Unreadable {
            path: to_path_buf(path),
            why: why.to_owned(),
        });
    }

    /// What `name` in `dir` is to the mirror; `None` if it is left out.
    pub(crate) fn entry(
        &mut self,
        dir: &Dir,
        parent: &[u8],
        name: &Name,
        rules: &Rules,
    ) -> rustix::io::Result<Option<Entry>> {
        Ok(match self.seen(dir, parent, name, (rules, None))? {
            Seen::Entry(entry) => Some(entry),
            Seen::Same | Seen::Nothing => None,
        })
    }

    fn seen(
        &mut self,
        dir: &Dir,
        parent: &[u8],
        name: &Name,
        (rules, was): (&Rules, Option<Child<'_>>),
    ) -> rustix::io::Result<Seen> {
        let file_type = match name.file_type {
            FileType::Unknown => dir.look(&name.name)?.ok_or(Errno::NOENT)?.file_type(),
            known => known,
        };
        let is_dir = file_type == FileType::Directory;
        if rules.excludes(parent, &name.name, is_dir)
            || name.name.starts_with(crate::path::RESERVED)
        {
            return Ok(Seen::Nothing);
        }
        if self.excludes(parent, &name.name) {
            return Ok(Seen::Nothing);
        }
        if is_dir && rules.excludes_cache(dir, parent, &name.name) {
            return Ok(Seen::Nothing);
        }
        let target = match file_type {
            FileType::Symlink => dir.read_link(&name.name)?,
            _ => Vec::new(),
        };
        if let Some(was) = was
            && is_same(dir, &name.name, (file_type, &target), &was)?
        {
            return Ok(Seen::Same);
        }
        let path = match TreePath::join(parent, &name.name) {
            Ok(path) => path,
            Err(bad) => {
                self.cannot(&[parent, &name.name].join(&b'/'), &bad.to_string());
                return Ok(Seen::Nothing);
            }
        };
        Ok(Seen::Entry(match file_type {
            FileType::RegularFile => self.file(dir, path)?,
            FileType::Directory => self.fresh(path, Node::Dir),
            FileType::Symlink => self.fresh(path, Node::Symlink { target }),
            _ => {
                self.special += 1;
                return Ok(Seen::Nothing);
            }
        }))
    }

    /// Whether the caller leaves out what is called so.
    fn excludes(&self, parent: &[u8], name: &[u8]) -> bool {
        let excluded = self.guide.excluded.iter();
        excluded
            .map(TreePath::split)
            .any(|excluded| excluded == (parent, name))
    }

    /// What is known of a path, where that is known by paths.
    fn known(&self, path: &TreePath) -> Option<&'a Entry> {
        match self.guide.known {
            Known::Index(index) => index.get(path.as_bytes()).copied(),
            Known::Packed(_) => None,
        }
    }

    /// A directory or link: cheaper to read than to remember.
    fn fresh(&mut self, path: TreePath, node: Node) -> Entry {
        if self.known(&path).is_none_or(|known| known.node != node) {
            self.sink.offer(&path, &node, 0, Content::None);
        }
        Entry {
            path,
            node,
            stat: None,
        }
    }

    /// Offers a directory or link once more.
    pub(crate) fn again(&mut self, entry: &Entry) {
        self.sink.offer(&entry.path, &entry.node, 0, Content::None);
    }

    /// Looks at one file in `dir`, reading it unless it looks as known.
    pub(crate) fn file(&mut self, dir: &Dir, path: TreePath) -> rustix::io::Result<Entry> {
        if let Some(known) = self.known(&path)
            && known.stat.is_some()
            && known.stat == dir.look(path.name())?
        {
            return Ok(known.clone());
        }
        let mut tries = 0;
        loop {
            tries += 1;
            let (file, before) = read::open(dir, path.name())?;
            let start = self.sink.buffer().len();
            let (node, buffered) = self.read(&file, &before)?;
            let after = read::look(&file)?;
            if after != before && tries < TRIES {
                self.sink.buffer().truncate(start);
                continue;
            }
            let content = if buffered {
                Content::Buffered(start)
            } else {
                Content::File(&file)
            };
            self.sink.offer(&path, &node, after.mtime_ns, content);
            let stat = (before == after && self.guide.horizon.proves(&after)).then_some(after);
            return Ok(Entry { path, node, stat });
        }
    }

    /// Hashes an open file; says whether its content was appended to the sink's buffer.
    fn read(&mut self, file: &OwnedFd, stat: &FileStat) -> rustix::io::Result<(Node, bool)> {
        let exec = stat.exec();
        if let Some(len) = self.read_whole(file, stat.size)? {
            let buffer = self.sink.buffer();
            let content = &buffer[buffer.len() - len..];
            let node = Node::File {
                exec,
                size: len as u64,
                hash: Digest::of(content),
            };
            return Ok((node, true));
        }
        let (hash, size) = match hash::large(file, stat.size)? {
            Some(hash) => (hash, stat.size),
            None => read::hash(file, u64::MAX)?,
        };
        Ok((Node::File { exec, size, hash }, false))
    }

    /// Appends a small file to the sink's buffer; `None`, and back at its start, if it is not small.
    fn read_whole(&mut self, file: &OwnedFd, expected: u64) -> rustix::io::Result<Option<usize>> {
        let whole = self.sink.whole();
        let Some(expected) = usize::try_from(expected).ok().filter(|&size| size <= whole) else {
            return Ok(None);
        };
        let buffer = self.sink.buffer();
        let start = buffer.len();
        buffer.reserve(expected + 1);
        loop {
            let read = read::append(file, buffer).inspect_err(|_| buffer.truncate(start))?;
            let len = buffer.len() - start;
            if len > whole {
                buffer.truncate(start);
                rustix::fs::seek(file, rustix::fs::SeekFrom::Start(0))?;
                return Ok(None);
            }
            // A read of a regular file that leaves room has reached its end.
            if read == 0 || buffer.len() < buffer.capacity() {
                return Ok(Some(len));
            }
            buffer.reserve(len.max(4096));
        }
    }
}

/// Whether what is called `name`, of this kind, is what it was.
fn is_same(
    dir: &Dir,
    name: &[u8],
    (file_type, target): (FileType, &[u8]),
    was: &Child<'_>,
) -> rustix::io::Result<bool> {
    Ok(match (file_type, was.node) {
        (FileType::RegularFile, NodeRef::File { .. }) => {
            was.stat.is_some() && was.stat == dir.look(name)?
        }
        (FileType::Directory, NodeRef::Dir) => true,
        (FileType::Symlink, NodeRef::Symlink { target: was }) => was == target,
        _ => false,
    })
}
