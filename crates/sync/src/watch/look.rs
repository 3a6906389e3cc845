//! A look at what may have changed, and at nothing else.
//!
//! Takes the tree as it was seen last and corrects it in place. What comes out besides is where it differs from before,
//! with what was there: the part of the tree that is to be sent.

use std::collections::BTreeMap;
use std::sync::Arc;

use rustix::fs::FileType;
use rustix::io::Errno;

use crate::manifest::{self, Entry};
use crate::message::Node;
use crate::path::TreePath;
use crate::push::{Unreadable, protect};
use crate::scan::rules::Rules;
use crate::scan::{self, Discard, Guide, Index, Keeper, Known, Scanned, Worker};
use crate::stat::Horizon;
use crate::tree::{Dir, Name, Use};
use crate::watch::kept::Kept;

/// What was there before, by path; `None` for nothing.
pub(crate) type Before = BTreeMap<TreePath, Option<Entry>>;

/// A change of these files changes what is kept.
pub(super) const RULES: [&[u8]; 2] = [b".gitignore", b".legworkignore"];
/// A change of this one may make its directory a cache, which is not kept.
pub(super) const CACHE_TAG: &[u8] = b"CACHEDIR.TAG";

/// Everything has to be looked at: what is kept at the root may have changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LookAtAll;

/// A look under way.
pub(crate) struct Look<'a> {
    pub(crate) root: &'a Dir,
    pub(crate) tree: &'a mut Scanned,
    pub(crate) kept: &'a Kept,
    pub(crate) excluded: &'a [TreePath],
    pub(crate) horizon: Horizon,
    pub(crate) before: Before,
    /// The directory below which all was looked at last.
    done: Option<TreePath>,
}

impl<'a> Look<'a> {
    pub(crate) fn new(
        root: &'a Dir,
        tree: &'a mut Scanned,
        kept: &'a Kept,
        excluded: &'a [TreePath],
        horizon: Horizon,
    ) -> Self {
        Self {
            root,
            tree,
            kept,
            excluded,
            horizon,
            before: Before::new(),
            done: None,
        }
    }

    /// Looks at `paths`, in their order, and with `true` at all below.
    ///
    /// # Errors
    /// [`LookAtAll`]; what was found until then is noted.
    pub(crate) fn all(&mut self, paths: &BTreeMap<TreePath, bool>) -> Result<(), LookAtAll> {
        for (path, below) in paths {
            let done = self.done.as_ref();
            if done.is_some_and(|done| path == done || path.is_below(done.as_bytes())) {
                continue;
            }
            let (parent, name) = path.split();
            if RULES.contains(&name) || name == CACHE_TAG && !parent.is_empty() {
                self.dir(parent)?;
            }
            self.at(path, *below)?;
        }
        Ok(())
    }

    /// Looks at the directory `path` and all below.
    fn dir(&mut self, path: &[u8]) -> Result<(), LookAtAll> {
        match TreePath::new(path) {
            Ok(path) => self.at(&path, true),
            Err(_root) => Err(LookAtAll),
        }
    }

    fn at(&mut self, path: &TreePath, below: bool) -> Result<(), LookAtAll> {
        let (parent, name) = path.split();
        let Some(rules) = self.kept.rules_at(parent) else {
            // Not kept, or not known yet: then the look at the directory that came finds it.
            return Ok(());
        };
        let known = manifest::find(&self.tree.entries, parent);
        if !parent.is_empty() && known.is_none_or(|known| known.node != Node::Dir) {
            // It came, or comes back: with all that is in it, or not at all.
            return self.dir(parent);
        }
        let dir = match self.root.beneath_mounts(parent, Use::Names) {
            Ok(dir) => dir,
            // It was moved away or replaced.
            Err(_gone) => return self.dir(parent),
        };
        let stat = match dir.look(name) {
            Ok(Some(stat)) => stat,
            Ok(None) => {
                self.replace(path, Vec::new());
                return Ok(());
            }
            Err(errno) => {
                self.cannot(path, errno);
                return Ok(());
            }
        };
        let known: Vec<Entry> = manifest::find(&self.tree.entries, path.as_bytes())
            .cloned()
            .into_iter()
            .collect();
        let index = scan::index(&known);
        let (name, file_type) = (name.into(), stat.file_type());
        let mut worker = Worker::guided(self.guide(&index), Discard::default());
        let entry = worker.entry(&dir, parent, &Name { name, file_type }, &rules);
        match entry {
            Ok(Some(entry)) if entry.node == Node::Dir => {
                let was_dir = known.first().is_some_and(|known| known.node == Node::Dir);
                if below || !was_dir || file_type != FileType::Directory {
                    self.below(dir, entry, &rules);
                }
            }
            Ok(Some(entry)) => self.replace(path, vec![entry]),
            Ok(None) | Err(Errno::NOENT) => self.replace(path, Vec::new()),
            Err(errno) => self.cannot(path, errno),
        }
        Ok(())
    }

    fn guide<'i>(&self, known: &'i Index<'i>) -> Guide<'i>
    where
        'a: 'i,
    {
        Guide {
            known: Known::Index(known),
            excluded: self.excluded,
            horizon: self.horizon,
            keeper: Some(self.kept as &dyn Keeper),
        }
    }

    /// Looks at all that is in the directory `entry`, which is in `parent`.
    fn below(&mut self, parent: Dir, entry: Entry, rules: &Arc<Rules>) {
        let path = entry.path.clone();
        let itself = manifest::find(&self.tree.entries, path.as_bytes());
        let below = manifest::below(&self.tree.entries, path.as_bytes());
        let known: Vec<Entry> = itself.into_iter().chain(below).cloned().collect();
        let index = scan::index(&known);
        let guide = self.guide(&index);
        let sink = Discard::default();
        let rules = Arc::clone(rules);
        let mut found = scan::scan_below(parent, path.as_bytes(), rules, guide, sink);
        protect(&mut found, &known);
        found.entries.retain(|found| found.path != path);
        self.readable_again(path.as_bytes());
        self.tree.unreadable.append(&mut found.unreadable);
        let mut entries = vec![entry];
        entries.append(&mut found.entries);
        self.replace(&path, entries);
        self.done = Some(path);
    }

    /// Puts `entries` in the place of what is known at and below `path`.
    fn replace(&mut self, path: &TreePath, entries: Vec<Entry>) {
        self.readable_again(path.as_bytes());
        let known = &mut self.tree.entries;
        let start = known.partition_point(|entry| entry.path < *path);
        let is_in = |entry: &Entry| entry.path == *path || entry.path.is_below(path.as_bytes());
        let len = known[start..].partition_point(is_in);
        let mut now = entries.iter().peekable();
        for was in &known[start..start + len] {
            while let Some(new) = now.next_if(|new| new.path < was.path) {
                self.before.entry(new.path.clone()).or_insert(None);
            }
            let same = now.next_if(|new| new.path == was.path);
            if same.is_none_or(|new| new.node != was.node) {
                let before = self.before.entry(was.path.clone());
                before.or_insert_with(|| Some(was.clone()));
            }
        }
        for new in now {
            self.before.entry(new.path.clone()).or_insert(None);
        }
        known.splice(start..start + len, entries);
    }

    /// What could not be read at and below `path` is looked at anew.
    fn readable_again(&mut self, path: &[u8]) {
        let at = TreePath::new(path).map(|path| path.to_path_buf());
        if let Ok(at) = at {
            self.tree
                .unreadable
                .retain(|one| !one.path.starts_with(&at));
        }
    }

    /// Notes what cannot be read; the mirror keeps what it has there.
    fn cannot(&mut self, path: &TreePath, errno: Errno) {
        self.readable_again(path.as_bytes());
        self.tree.unreadable.push(Unreadable {
            path: path.to_path_buf(),
            why: errno.to_string(),
        });
    }
}

/// Where two trees differ, and what is in the first; both sorted.
pub(crate) fn differences(before: &[Entry], now: &[Entry]) -> Before {
    let mut differences = Before::new();
    let mut now = now.iter().peekable();
    for was in before {
        while let Some(new) = now.next_if(|new| new.path < was.path) {
            differences.insert(new.path.clone(), None);
        }
        let same = now.next_if(|new| new.path == was.path);
        if same.is_none_or(|new| new.node != was.node) {
            differences.insert(was.path.clone(), Some(was.clone()));
        }
    }
    differences.extend(now.map(|new| (new.path.clone(), None)));
    differences
}
