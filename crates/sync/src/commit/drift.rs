//! What jobs did to the files that the mirror wrote.
//!
//! Every tracked entry is looked at again, in the order of the manifest, each directory opened once
//! and held while its entries are looked at. What looks as recorded is as it was; otherwise the
//! content is compared, if it can be equal at all. Where looks can be trusted, the record is compared where it is, and nothing is
//! decoded of what is the same.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use rustix::fs::FileType;
use rustix::io::{Errno, Result};

use crate::manifest::Entry;
use crate::message::Node;
use crate::path::{TreePath, is_below, order};
use crate::reconcile::Disk;
use crate::stat::FileStat;
use crate::store::packed::Packed;
use crate::tree::read;
use crate::tree::{Dir, Use};

/// Tracked entries per thread that are worth a thread.
const SHARE: usize = 2000;
/// Directories that a thread takes at a time.
const BLOCK: usize = 16;

/// Where the disk differs from what the mirror wrote.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Drift {
    /// By position in the manifest: what is there now, `None` for nothing.
    pub(crate) changed: HashMap<usize, Option<Disk>>,
    /// By position in the manifest: the same content in a file that looks different.
    pub(crate) touched: HashMap<usize, FileStat>,
}

/// A failed look, and at what.
pub(crate) type Failed = (TreePath, Errno);

/// Compares `tracked` with the tree below `tree`. Without `trust`, by content only.
pub(crate) fn find(
    tree: &Dir,
    tracked: &[Entry],
    trust: bool,
    threads: usize,
) -> std::result::Result<Drift, Failed> {
    let threads = threads.clamp(1, tracked.len().div_ceil(SHARE).max(1));
    let share = tracked.len().div_ceil(threads).max(1);
    let found = thread::scope(|scope| {
        let start =
            |(index, entries)| scope.spawn(move || part(tree, entries, index * share, trust));
        let running: Vec<_> = tracked.chunks(share).enumerate().map(start).collect();
        running
            .into_iter()
            .map(|part| part.join().expect("a look does not panic"))
            .collect::<Vec<_>>()
    });
    joined(found)
}

fn joined(parts: Vec<std::result::Result<Drift, Failed>>) -> std::result::Result<Drift, Failed> {
    let mut drift = Drift::default();
    for part in parts {
        let part = part?;
        drift.changed.extend(part.changed);
        drift.touched.extend(part.touched);
    }
    Ok(drift)
}

/// As [`find`], with trust, of entries that are not decoded.
pub(crate) fn find_packed(
    tree: &Dir,
    tracked: &Packed,
    threads: usize,
) -> std::result::Result<Drift, Failed> {
    let threads = threads.clamp(1, tracked.len().div_ceil(SHARE).max(1));
    let next = AtomicUsize::new(0);
    let work = || {
        let mut drift = Drift::default();
        loop {
            let first = next.fetch_add(BLOCK, Ordering::Relaxed);
            if first >= tracked.dirs() {
                return Ok(drift);
            }
            for dir in first..tracked.dirs().min(first + BLOCK) {
                directory(tree, tracked, dir, &mut drift)?;
            }
        }
    };
    joined(thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        running
            .into_iter()
            .map(|part| part.join().expect("a look does not panic"))
            .collect()
    }))
}

/// Looks at a directory of the tracked, and at the files and links in it.
fn directory(
    tree: &Dir,
    tracked: &Packed,
    dir: usize,
    drift: &mut Drift,
) -> std::result::Result<(), Failed> {
    let path = tracked.path(dir);
    let at = |path: &[u8]| TreePath::new(path).expect("paths were checked");
    let number = tracked.number(dir);
    let there = match number {
        None => None,
        Some(_) => opened(tree.beneath_any(path)).map_err(|errno| (at(path), errno))?,
    };
    let held = if number.is_some() {
        there.as_ref()
    } else {
        Some(tree)
    };
    if let (Some(number), None) = (number, held) {
        let now = instead(tree, path).map_err(|errno| (at(path), errno))?;
        drift.changed.insert(number, now);
    }
    let mut children = tracked.children(dir);
    while let Some(child) = children.next() {
        // A directory is looked at for itself.
        if child.dir.is_some() {
            continue;
        }
        let Some(held) = held else {
            drift.changed.insert(child.at, None);
            continue;
        };
        let failed = |errno| (at(children.path()), errno);
        let look = held.look(children.name()).map_err(failed)?;
        if look.is_some() && look == child.stat {
            continue;
        }
        let Some(entry) = children.entry(&child) else {
            continue;
        };
        match compare_look(held, children.name(), &entry, look).map_err(failed)? {
            Look::Same => {}
            Look::Touched(stat) => {
                drift.touched.insert(child.at, stat);
            }
            Look::Other(disk) => {
                drift.changed.insert(child.at, disk);
            }
        }
    }
    Ok(())
}

/// What is where a directory was.
fn instead(tree: &Dir, path: &[u8]) -> Result<Option<Disk>> {
    let end = path.iter().rposition(|&byte| byte == b'/');
    let (parent, name) = end.map_or((&path[..0], path), |end| (&path[..end], &path[end + 1..]));
    let look = match opened(tree.beneath_any(parent))? {
        Some(parent) => parent.look(name)?,
        None => None,
    };
    Ok(look.map(|look| Disk {
        node: None,
        look: Some(look),
    }))
}

/// As [`find`], of the entries at `paths` and the directories that they are in.
pub(crate) fn find_at(
    tree: &Dir,
    tracked: &[Entry],
    paths: &[&TreePath],
    trust: bool,
) -> std::result::Result<Drift, Failed> {
    let mut places = BTreeSet::new();
    for path in paths {
        let mut way = path.as_bytes();
        while !way.is_empty() {
            let at = tracked.binary_search_by(|entry| order(entry.path.as_bytes(), way));
            if at.is_ok_and(|at| !places.insert(at)) {
                break;
            }
            let parent = way.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
            way = &way[..parent];
        }
    }
    let places: Vec<usize> = places.into_iter().collect();
    let entries: Vec<Entry> = places.iter().map(|&at| tracked[at].clone()).collect();
    let Drift { changed, touched } = part(tree, &entries, 0, trust)?;
    Ok(Drift {
        changed: changed
            .into_iter()
            .map(|(at, disk)| (places[at], disk))
            .collect(),
        touched: touched
            .into_iter()
            .map(|(at, stat)| (places[at], stat))
            .collect(),
    })
}

fn part(
    tree: &Dir,
    entries: &[Entry],
    first: usize,
    trust: bool,
) -> std::result::Result<Drift, Failed> {
    let mut drift = Drift::default();
    let mut dirs = Held::new(tree);
    for (at, entry) in (first..).zip(entries) {
        let failed = |errno| (entry.path.clone(), errno);
        let (parent, name) = entry.path.split();
        let now = match dirs.get(parent).map_err(failed)? {
            None => None,
            Some(dir) if entry.node == Node::Dir => {
                let opened = opened(dir.child(name, Use::Names)).map_err(failed)?;
                let there = if opened.is_some() {
                    None
                } else {
                    dir.look(name).map_err(failed)?
                };
                dirs.push(entry.path.as_bytes(), opened);
                if there.is_none() && dirs.holds_last() {
                    continue;
                }
                there.map(|look| Disk {
                    node: None,
                    look: Some(look),
                })
            }
            Some(dir) => match compare(dir, name, entry, trust).map_err(failed)? {
                Look::Same => continue,
                Look::Touched(stat) => {
                    drift.touched.insert(at, stat);
                    continue;
                }
                Look::Other(disk) => disk,
            },
        };
        drift.changed.insert(at, now);
    }
    Ok(drift)
}

enum Look {
    Same,
    Touched(FileStat),
    Other(Option<Disk>),
}

fn compare(dir: &Dir, name: &[u8], entry: &Entry, trust: bool) -> Result<Look> {
    let look = dir.look(name)?;
    if trust && look.is_some() && entry.stat == look {
        return Ok(Look::Same);
    }
    compare_look(dir, name, entry, look)
}

/// Compares by content what does not look as recorded.
fn compare_look(dir: &Dir, name: &[u8], entry: &Entry, look: Option<FileStat>) -> Result<Look> {
    let Some(look) = look else {
        return Ok(Look::Other(None));
    };
    let possible = match &entry.node {
        Node::File { size, .. } => look.file_type() == FileType::RegularFile && look.size == *size,
        Node::Symlink { .. } => look.file_type() == FileType::Symlink,
        Node::Dir => false,
    };
    if !possible {
        return Ok(Look::Other(Some(Disk {
            node: coarse(&look),
            look: Some(look),
        })));
    }
    let (node, stat) = content(dir, name, &look)?;
    if node.as_ref() != Some(&entry.node) {
        return Ok(Look::Other(Some(Disk {
            node,
            look: Some(look),
        })));
    }
    match (&entry.node, stat) {
        (Node::File { .. }, Some(stat)) => Ok(Look::Touched(stat)),
        _ => Ok(Look::Same),
    }
}

/// As [`read::node`]. A file that a job closed is a job's: what it holds does not matter.
pub(crate) fn content(
    dir: &Dir,
    name: &[u8],
    look: &FileStat,
) -> Result<(Option<Node>, Option<FileStat>)> {
    match read::node(dir, name, look) {
        Err(Errno::ACCESS) => Ok((None, None)),
        done => done,
    }
}

/// What can be said without reading.
pub(crate) fn coarse(look: &FileStat) -> Option<Node> {
    (look.file_type() == FileType::Directory).then_some(Node::Dir)
}

/// `None` for a directory that is not there, or is something else.
pub(crate) fn opened(dir: Result<Dir>) -> Result<Option<Dir>> {
    match dir {
        Ok(dir) => Ok(Some(dir)),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The directories on the way to where a walk over sorted paths is.
pub(crate) struct Held<'tree, 'a> {
    tree: &'tree Dir,
    stack: Vec<(&'a [u8], Option<Dir>)>,
}

impl<'tree, 'a> Held<'tree, 'a> {
    pub(crate) fn new(tree: &'tree Dir) -> Self {
        Self {
            tree,
            stack: Vec::new(),
        }
    }

    /// The directory at `path`; `None` if there is none.
    pub(crate) fn get(&mut self, path: &'a [u8]) -> Result<Option<&Dir>> {
        while self
            .stack
            .last()
            .is_some_and(|(top, _)| *top != path && !is_below(path, top))
        {
            self.stack.pop();
        }
        if path.is_empty() {
            return Ok(Some(self.tree));
        }
        if self.stack.last().is_none_or(|(top, _)| *top != path) {
            let missing = self.stack.last().is_some_and(|(_, dir)| dir.is_none());
            let dir = if missing {
                None
            } else {
                opened(self.tree.beneath(path, Use::Names))?
            };
            self.stack.push((path, dir));
        }
        Ok(self.stack.last().and_then(|(_, dir)| dir.as_ref()))
    }

    /// Holds the directory at `path`, whose parent was asked for last.
    pub(crate) fn push(&mut self, path: &'a [u8], dir: Option<Dir>) {
        self.stack.push((path, dir));
    }

    fn holds_last(&self) -> bool {
        self.stack.last().is_some_and(|(_, dir)| dir.is_some())
    }
}
