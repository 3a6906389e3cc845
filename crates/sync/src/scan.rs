//! What a directory holds: the client's look at its tree.
//!
//! Files that look as they did when their hash was taken are not read. The others are read once: the
//! same bytes are hashed and handed on, perhaps to be sent. Sockets, pipes and devices are counted
//! and left out; what cannot be read is named, and `rules` say what is not looked at.

pub(crate) mod rules;

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::thread;

use ignore::gitignore::gitconfig_excludes_path;
use rustix::fs::FileType;
use rustix::io::Errno;

use self::rules::Rules;
use crate::digest::Digest;
use crate::manifest::Entry;
use crate::message::Node;
use crate::path::{TreePath, to_path_buf};
use crate::push::Unreadable;
use crate::stat::FileStat;
use crate::tree::walk::{Visitor, Walk};
use crate::tree::{Dir, Name, hash, read};

/// Bytes of the largest file that is read whole, unless the sink says otherwise; a larger one is sent in parts.
const WHOLE: usize = 256 << 10;
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

/// A file's content, at the moment it was hashed.
#[derive(Debug)]
pub(crate) enum Content<'a> {
    /// The end of the sink's buffer, from this offset.
    Buffered(usize),
    /// An open file, already read to its end.
    File(&'a OwnedFd),
    /// A directory or link has none.
    None,
}

/// Where a worker's fresh entries go.
pub(crate) trait Sink: Send {
    /// Where small files are read to. The scan appends; the sink may empty it between files.
    fn buffer(&mut self) -> &mut Vec<u8>;

    /// An entry that was looked at anew. The sink takes the content, or cuts the buffer back.
    fn offer(&mut self, path: &TreePath, node: &Node, mtime_ns: i64, content: Content<'_>);

    /// Bytes of the largest file that is read whole.
    fn whole(&self) -> usize {
        WHOLE
    }

    /// Whether to give up.
    fn stop(&self) -> bool;
}

/// Keeps nothing.
#[derive(Debug, Default)]
pub(crate) struct Discard(Vec<u8>);

impl Sink for Discard {
    fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }

    fn offer(&mut self, _path: &TreePath, _node: &Node, _mtime_ns: i64, _content: Content<'_>) {
        self.0.clear();
    }

    fn stop(&self) -> bool {
        false
    }
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
        known: &known,
        excluded: &[],
        horizon_ns,
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

/// What a scan goes by.
#[derive(Clone, Copy)]
pub(crate) struct Guide<'a> {
    /// Files that look as they do here are not read.
    pub(crate) known: &'a Index<'a>,
    /// What lies at these paths is left out.
    pub(crate) excluded: &'a [TreePath],
    /// What changed at or after this gets no recorded look; nanoseconds since the epoch.
    pub(crate) horizon_ns: i64,
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
    scan_walk(Walk::new(root, rules), &[], guide, sinks)
}

/// What is in the directory `path`, which is in `parent`, where `rules` are in force.
pub(crate) fn scan_below<S: Sink>(
    parent: Dir,
    path: &[u8],
    rules: Arc<Rules>,
    guide: Guide<'_>,
    sink: S,
) -> Scanned {
    scan_walk(Walk::at(parent, path, rules), path, guide, vec![sink])
}

fn scan_walk<S: Sink>(
    walk: Walk<Arc<Rules>>,
    top: &[u8],
    guide: Guide<'_>,
    sinks: Vec<S>,
) -> Scanned {
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
    assemble(workers, top)
}

/// Puts the workers' directories together in the order of a walk that began at `top`.
fn assemble<S>(workers: Vec<Worker<'_, S>>, top: &[u8]) -> Scanned {
    let mut scanned = Scanned::default();
    let mut listings: HashMap<Vec<u8>, Vec<Entry>> = HashMap::new();
    let mut count = 0;
    for worker in workers {
        count += worker.count;
        scanned.special += worker.special;
        scanned.unreadable.extend(worker.unreadable);
        listings.extend(worker.listings);
    }
    scanned.unreadable.sort_by(|a, b| a.path.cmp(&b.path));
    scanned.entries.reserve(count);
    let mut open = vec![listings.remove(top).unwrap_or_default().into_iter()];
    while let Some(listing) = open.last_mut() {
        let Some(entry) = listing.next() else {
            open.pop();
            continue;
        };
        let below = if entry.node == Node::Dir {
            listings.remove(entry.path.as_bytes())
        } else {
            None
        };
        scanned.entries.push(entry);
        open.extend(below.map(Vec::into_iter));
    }
    scanned
}

/// One worker of a scan.
pub(crate) struct Worker<'a, S> {
    guide: Guide<'a>,
    sink: S,
    listings: Vec<(Vec<u8>, Vec<Entry>)>,
    count: usize,
    special: u64,
    unreadable: Vec<Unreadable>,
}

impl<S: Sink> Visitor for Worker<'_, S> {
    type Down = Arc<Rules>;

    fn opened(&mut self, dir: &Dir, path: &[u8]) {
        if let Some(keeper) = self.guide.keeper {
            keeper.opened(dir, path);
        }
    }

    fn visit(
        &mut self,
        dir: &Dir,
        path: &[u8],
        names: &[Name],
        above: Arc<Rules>,
    ) -> Vec<(usize, Arc<Rules>)> {
        let rules = Rules::enter(&above, dir, path, names);
        if let Some(keeper) = self.guide.keeper {
            keeper.rules(path, &rules);
        }
        let mut listing = Vec::with_capacity(names.len());
        let mut wanted = Vec::new();
        for (index, name) in names.iter().enumerate() {
            match self.entry(dir, path, name, &rules) {
                Ok(Some(entry)) => {
                    if entry.node == Node::Dir {
                        wanted.push((index, Arc::clone(&rules)));
                    }
                    listing.push(entry);
                }
                Ok(None) | Err(Errno::NOENT) => {}
                Err(error) => self.cannot(&[path, &name.name].join(&b'/'), &error.to_string()),
            }
        }
        self.count += listing.len();
        self.listings.push((path.to_vec(), listing));
        wanted
    }

    fn unreadable(&mut self, path: &[u8], error: Errno) {
        self.cannot(path, &error.to_string());
    }

    fn stop(&self) -> bool {
        self.sink.stop()
    }
}

impl<'a, S: Sink> Worker<'a, S> {
    pub(crate) fn new(known: &'a Index<'a>, horizon_ns: i64, sink: S) -> Self {
        let guide = Guide {
            known,
            excluded: &[],
            horizon_ns,
            keeper: None,
        };
        Self::guided(guide, sink)
    }

    pub(crate) fn guided(guide: Guide<'a>, sink: S) -> Self {
        Self {
            guide,
            sink,
            listings: Vec::new(),
            count: 0,
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
        let file_type = match name.file_type {
            FileType::Unknown => dir.look(&name.name)?.ok_or(Errno::NOENT)?.file_type(),
            known => known,
        };
        let is_dir = file_type == FileType::Directory;
        if rules.excludes(parent, &name.name, is_dir)
            || name.name.starts_with(crate::path::RESERVED)
        {
            return Ok(None);
        }
        let path = match TreePath::join(parent, &name.name) {
            Ok(path) => path,
            Err(bad) => {
                self.cannot(&[parent, &name.name].join(&b'/'), &bad.to_string());
                return Ok(None);
            }
        };
        if self.guide.excluded.contains(&path) {
            return Ok(None);
        }
        match file_type {
            FileType::RegularFile => self.file(dir, path).map(Some),
            FileType::Directory if rules.excludes_cache(dir, parent, &name.name) => Ok(None),
            FileType::Directory => Ok(Some(self.fresh(path, Node::Dir))),
            FileType::Symlink => {
                let target = dir.read_link(&name.name)?;
                Ok(Some(self.fresh(path, Node::Symlink { target })))
            }
            _ => {
                self.special += 1;
                Ok(None)
            }
        }
    }

    /// A directory or link: cheaper to read than to remember.
    fn fresh(&mut self, path: TreePath, node: Node) -> Entry {
        let known = self.guide.known;
        if known
            .get(path.as_bytes())
            .is_none_or(|known| known.node != node)
        {
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
        if let Some(known) = self.guide.known.get(path.as_bytes())
            && known.stat.is_some()
            && known.stat == dir.look(path.name())?
        {
            return Ok((*known).clone());
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
            let stat = (before == after && after.is_before(self.guide.horizon_ns)).then_some(after);
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
