//! What a scan found, directory by directory, and how that becomes a tree.
//!
//! Where the tree as it was is known from disk, a directory in which all is as it was is left out here: most are, and then there is nothing to
//! put together.

use std::collections::HashMap;

use crate::manifest::{self, Entry};
use crate::message::Node;
use crate::push::Unreadable;
use crate::scan::Scanned;
use crate::store::packed::{Child, Children, Packed};

/// What all workers of a scan found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// The directories that are not as they were, by their paths.
    pub(super) listings: HashMap<Vec<u8>, Vec<Entry>>,
    pub(crate) special: u64,
    pub(crate) unreadable: Vec<Unreadable>,
}

impl Found {
    /// Whether it is the tree as it was on disk.
    pub(crate) fn is_same(&self) -> bool {
        self.listings.is_empty() && self.unreadable.is_empty()
    }

    /// Puts the directories together in the order of a walk that began at `top`, where all were noted.
    pub(crate) fn whole(mut self, top: &[u8]) -> Scanned {
        let count = self.listings.values().map(Vec::len).sum();
        let mut entries = Vec::with_capacity(count);
        let mut open = vec![self.listings.remove(top).unwrap_or_default().into_iter()];
        while let Some(listing) = open.last_mut() {
            let Some(entry) = listing.next() else {
                open.pop();
                continue;
            };
            let below = if entry.node == Node::Dir {
                self.listings.remove(entry.path.as_bytes())
            } else {
                None
            };
            entries.push(entry);
            open.extend(below.map(Vec::into_iter));
        }
        self.scanned(entries)
    }

    /// The tree: what was found in the place of what is in `was`, the tree as it was on disk.
    pub(crate) fn onto(mut self, was: &[Entry]) -> Scanned {
        let mut entries = Vec::with_capacity(was.len());
        self.place(&[], was, &mut entries);
        self.scanned(entries)
    }

    /// Places what is in the directory `dir`, which had this in it, with all below.
    fn place(&mut self, dir: &[u8], was: &[Entry], entries: &mut Vec<Entry>) {
        if self.listings.is_empty() {
            entries.extend_from_slice(was);
            return;
        }
        match self.listings.remove(dir) {
            Some(listing) => {
                for entry in listing {
                    let path = entry.path.clone();
                    let is_dir = entry.node == Node::Dir;
                    entries.push(entry);
                    if is_dir {
                        self.place(
                            path.as_bytes(),
                            manifest::below(was, path.as_bytes()),
                            entries,
                        );
                    }
                }
            }
            None => {
                let mut left = was;
                while let Some((first, rest)) = left.split_first() {
                    entries.push(first.clone());
                    let below = if first.node == Node::Dir {
                        let path = first.path.as_bytes();
                        rest.partition_point(|entry| entry.path.is_below(path))
                    } else {
                        0
                    };
                    let (below, after) = rest.split_at(below);
                    if first.node == Node::Dir {
                        self.place(first.path.as_bytes(), below, entries);
                    }
                    left = after;
                }
            }
        }
    }

    fn scanned(self, entries: Vec<Entry>) -> Scanned {
        Scanned {
            entries,
            special: self.special,
            unreadable: self.unreadable,
        }
    }
}

/// What is found in one directory, in order. As long as that is what was there, nothing is noted.
pub(super) struct Listing<'a> {
    /// The directory as it was, what is in it, and which of that is compared now.
    was: Option<(&'a Packed, usize)>,
    children: Option<Children<'a>>,
    now: Option<Child<'a>>,
    /// Whether that was found.
    taken: bool,
    /// How much was the same before anything was not.
    same: usize,
    /// Since something was not, all.
    entries: Option<Vec<Entry>>,
}

impl<'a> Listing<'a> {
    /// Of a directory with so many names in it.
    pub(super) fn new(was: Option<(&'a Packed, usize)>, names: usize) -> Self {
        let mut children = was.map(|(list, dir)| list.children(dir));
        let now = children.as_mut().and_then(Children::next);
        Self {
            was,
            children,
            now,
            taken: false,
            same: 0,
            entries: was.is_none().then(|| Vec::with_capacity(names)),
        }
    }

    /// What was called so. Names are asked for in order.
    pub(super) fn was(&mut self, name: &[u8]) -> Option<Child<'a>> {
        while self.now.is_some() && self.name() < name {
            self.advance();
        }
        self.now.filter(|_| self.name() == name)
    }

    fn name(&self) -> &[u8] {
        self.children.as_ref().map_or(&[], Children::name)
    }

    /// What was asked for last is what it was.
    pub(super) fn same(&mut self) {
        self.taken = true;
        match (&mut self.entries, &self.children, &self.now) {
            (Some(entries), Some(children), Some(child)) => entries.extend(children.entry(child)),
            _ => self.same += 1,
        }
    }

    /// What was asked for last is this.
    pub(super) fn push(&mut self, entry: Entry) {
        self.taken = self.now.is_some() && self.name() == entry.path.name();
        self.differ().push(entry);
    }

    /// Goes on to what was next; what was not found is gone.
    fn advance(&mut self) {
        if !std::mem::take(&mut self.taken) {
            self.differ();
        }
        self.now = self.children.as_mut().and_then(Children::next);
    }

    /// All until now.
    fn differ(&mut self) -> &mut Vec<Entry> {
        let (was, same) = (self.was, self.same);
        self.entries.get_or_insert_with(|| {
            let mut children = was.map(|(list, dir)| list.children(dir));
            let mut next = || {
                let children = children.as_mut()?;
                let child = children.next()?;
                children.entry(&child)
            };
            (0..same).map_while(|_| next()).collect()
        })
    }

    /// All of it; `None` if it is what was there.
    pub(super) fn done(mut self) -> Option<Vec<Entry>> {
        while self.now.is_some() {
            self.advance();
        }
        self.entries
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    use proptest::prelude::*;

    use crate::manifest::Entry;
    use crate::push::cache;
    use crate::push::past::Past;
    use crate::scan::rules::Rules;
    use crate::scan::{Discard, Guide, Known, Scanned, index, look_with, scan};
    use crate::stat::Horizon;
    use crate::tree::Dir;

    /// Looks at `root` against what was there: whether that is the same, and all of it.
    fn look(root: &Path, was: &[Entry]) -> (bool, Scanned) {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("cache");
        let digest = crate::manifest::empty_root();
        cache::save(&path, (&digest, was), 2, &Past::default()).unwrap();
        let list = cache::open(&path).unwrap().unwrap().list;
        let guide = Guide {
            known: Known::Packed(&list),
            excluded: &[],
            horizon: Horizon::at(i64::MAX),
            keeper: None,
        };
        let sinks = vec![Discard::default(), Discard::default()];
        let dir = Dir::open_root(root).unwrap();
        let found = look_with(dir, Rules::none(), guide, sinks);
        (found.is_same(), found.onto(was))
    }

    fn whole(root: &Path, was: &[Entry]) -> Scanned {
        let known = index(was);
        let guide = Guide {
            known: Known::Index(&known),
            excluded: &[],
            horizon: Horizon::at(i64::MAX),
            keeper: None,
        };
        let dir = Dir::open_root(root).unwrap();
        look_with(dir, Rules::none(), guide, vec![Discard::default()]).whole(&[])
    }

    const PATHS: [&str; 9] = ["a", "a/b", "a/b/c", "a/d", "a.b", "e", "e/f", "e/f/g", "h"];

    /// Does something to a tree: makes files, directories and links, and removes what is there.
    fn act(root: &Path, what: u8, at: usize) {
        let path = root.join(PATHS[at]);
        let _gone = fs::remove_file(&path);
        match what {
            0 => drop(fs::remove_dir_all(&path)),
            1 => drop(symlink(PATHS[at], &path)),
            2 => drop(fs::create_dir_all(&path)),
            _ => drop(fs::write(&path, vec![what; usize::from(what)])),
        }
    }

    #[test]
    fn what_is_the_same_is_not_put_together() {
        let temp = tempfile::tempdir().unwrap();
        for (what, at) in [(2, 1), (3, 3), (1, 4), (2, 6), (5, 8)] {
            act(temp.path(), what, at);
        }
        let first = scan(temp.path(), &[], i64::MAX).unwrap();
        assert_eq!(look(temp.path(), &first.entries), (true, first.clone()));
        assert!(!look(temp.path(), &first.entries[1..1]).0);
        // It looks otherwise, and is the same: worth to be remembered.
        let same = fs::read(temp.path().join("h")).unwrap();
        fs::write(temp.path().join("new"), same).unwrap();
        fs::rename(temp.path().join("new"), temp.path().join("h")).unwrap();
        let (is_same, found) = look(temp.path(), &first.entries);
        assert!(!is_same && found != first);
        assert_eq!(found, scan(temp.path(), &[], i64::MAX).unwrap());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn it_is_the_tree_that_is_found_without_knowing_any(
            before in prop::collection::vec((0_u8..6, 0..PATHS.len()), 0..12),
            after in prop::collection::vec((0_u8..6, 0..PATHS.len()), 0..4),
        ) {
            let temp = tempfile::tempdir().unwrap();
            for (what, at) in before {
                act(temp.path(), what, at);
            }
            let was = whole(temp.path(), &[]);
            for (what, at) in after {
                act(temp.path(), what, at);
            }
            let (is_same, found) = look(temp.path(), &was.entries);
            prop_assert_eq!(&found, &whole(temp.path(), &was.entries));
            prop_assert_eq!(&found.entries, &whole(temp.path(), &[]).entries);
            prop_assert_eq!(is_same, found == was);
        }
    }
}
