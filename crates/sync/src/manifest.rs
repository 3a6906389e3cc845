//! A tree as a sorted list of entries, and its root.
//!
//! The root is a Merkle hash: a directory's node is the hash over its entries in the order of their
//! names (kind, exec bit, size, content or link target, or the subdirectory's node). Modification
//! times are not part of it. Equal roots mean equal trees. `branches` keeps what was hashed for when little of it changes.

pub(crate) mod branches;

use blake3::Hasher;

use crate::digest::Digest;
use crate::message::Node;
use crate::path::TreePath;
use crate::stat::FileStat;

/// One path of a tree, what it is, and what it looked like on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where.
    pub path: TreePath,
    /// What.
    pub node: Node,
    /// What it looked like when it was this; `None` when that would prove nothing.
    pub stat: Option<FileStat>,
}

/// What an entry is, where it is remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NodeRef<'a> {
    Dir,
    File { exec: bool, size: u64, hash: Digest },
    Symlink { target: &'a [u8] },
}

impl NodeRef<'_> {
    pub(crate) fn owned(self) -> Node {
        match self {
            Self::Dir => Node::Dir,
            Self::File { exec, size, hash } => Node::File { exec, size, hash },
            Self::Symlink { target } => Node::Symlink {
                target: target.to_vec(),
            },
        }
    }
}

/// Why entries are not a tree.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotATree {
    /// Not sorted, or twice the same path.
    #[error("out of order, or twice")]
    Order(TreePath),
    /// Its parent is missing, or not a directory.
    #[error("not in a directory of the tree")]
    Orphan(TreePath),
}

/// Checks that `entries` are sorted, without duplicates, each in a directory that is there too.
///
/// # Errors
/// [`NotATree`] names the first entry that is wrong.
pub fn check<'a>(
    entries: impl IntoIterator<Item = (&'a TreePath, &'a Node)>,
) -> Result<(), NotATree> {
    let mut open: Vec<&TreePath> = Vec::new();
    let mut last: Option<&TreePath> = None;
    for (path, node) in entries {
        if last.is_some_and(|last| last >= path) {
            return Err(NotATree::Order(path.clone()));
        }
        last = Some(path);
        while open
            .last()
            .is_some_and(|dir| !path.is_below(dir.as_bytes()))
        {
            open.pop();
        }
        let parent = open.last().map_or(&[][..], |dir| dir.as_bytes());
        if path.split().0 != parent {
            return Err(NotATree::Orphan(path.clone()));
        }
        if *node == Node::Dir {
            open.push(path);
        }
    }
    Ok(())
}

/// Checks the same of a tree that passed it before these changes were made.
///
/// # Errors
/// As [`check`].
pub(crate) fn check_at(
    entries: &[Entry],
    puts: &[Entry],
    gone: &[TreePath],
) -> Result<(), NotATree> {
    let childless = |path: &TreePath| match below(entries, path.as_bytes()).first() {
        Some(first) => Err(NotATree::Orphan(first.path.clone())),
        None => Ok(()),
    };
    for put in puts {
        let (parent, _) = put.path.split();
        let there = find(entries, parent).is_some_and(|dir| dir.node == Node::Dir);
        if !there && !parent.is_empty() {
            return Err(NotATree::Orphan(put.path.clone()));
        }
        if put.node != Node::Dir {
            childless(&put.path)?;
        }
    }
    gone.iter().try_for_each(childless)
}

/// The root of a tree that [`check`] accepts.
#[must_use]
pub fn root<'a>(entries: impl IntoIterator<Item = (&'a TreePath, &'a Node)>) -> Digest {
    let mut open = Open {
        dirs: vec![(&[], directory())],
        entry: Vec::new(),
    };
    for (path, node) in entries {
        while open.dirs.last().is_some_and(|(dir, _)| !path.is_below(dir)) {
            open.close();
        }
        if *node == Node::Dir {
            open.dirs.push((path.as_bytes(), directory()));
        } else {
            open.leaf(path.name(), node);
        }
    }
    while open.dirs.len() > 1 {
        open.close();
    }
    let (_, root) = open.dirs.pop().expect("the root is never closed above");
    Digest(*root.finalize().as_bytes())
}

/// The root of the tree with nothing in it.
#[must_use]
pub fn empty_root() -> Digest {
    root(std::iter::empty())
}

fn directory() -> Hasher {
    let mut hasher = Hasher::new();
    hasher.update(b"legwork tree 1\0");
    hasher
}

/// The directories on the way to an entry, each with what was hashed of it.
struct Open<'a> {
    dirs: Vec<(&'a [u8], Hasher)>,
    /// The entry that is hashed next.
    entry: Vec<u8>,
}

impl Open<'_> {
    /// Ends the innermost directory: its node becomes an entry of its parent.
    fn close(&mut self) {
        if self.dirs.len() < 2 {
            return;
        }
        if let Some((path, hasher)) = self.dirs.pop() {
            let name = path.rsplit(|&byte| byte == b'/').next().unwrap_or(path);
            if let Some((_, parent)) = self.dirs.last_mut() {
                let node = hasher.finalize();
                put(parent, &mut self.entry, (b'd', name, &[node.as_bytes()]));
            }
        }
    }

    fn leaf(&mut self, name: &[u8], node: &Node) {
        if let Some((_, parent)) = self.dirs.last_mut() {
            leaf(parent, &mut self.entry, name, node);
        }
    }
}

/// What is not a directory.
fn leaf(hasher: &mut Hasher, buffer: &mut Vec<u8>, name: &[u8], node: &Node) {
    match node {
        Node::File { exec, size, hash } => {
            let kind = if *exec { b'x' } else { b'f' };
            let payload: [&[u8]; 2] = [&size.to_le_bytes(), hash.as_bytes()];
            put(hasher, buffer, (kind, name, &payload));
        }
        Node::Symlink { target } => put(hasher, buffer, (b'l', name, &[target])),
        Node::Dir => {}
    }
}

/// One entry of a directory: kind, then name and payload, each with its length first.
fn put(hasher: &mut Hasher, buffer: &mut Vec<u8>, (kind, name, payload): (u8, &[u8], &[&[u8]])) {
    buffer.clear();
    buffer.push(kind);
    for parts in [&[name], payload] {
        let len = parts.iter().map(|part| part.len()).sum::<usize>();
        let len = u32::try_from(len).expect("names and targets are below 4 GiB");
        buffer.extend_from_slice(&len.to_le_bytes());
        for part in parts {
            buffer.extend_from_slice(part);
        }
    }
    hasher.update(buffer);
}

/// The pairs that [`check`] and [`root`] take.
pub(crate) fn pairs(entries: &[Entry]) -> impl Iterator<Item = (&TreePath, &Node)> {
    entries.iter().map(|entry| (&entry.path, &entry.node))
}

/// The entry of `path` in a sorted list.
pub(crate) fn find<'a>(entries: &'a [Entry], path: &[u8]) -> Option<&'a Entry> {
    entries
        .binary_search_by(|entry| crate::path::order(entry.path.as_bytes(), path))
        .ok()
        .map(|at| &entries[at])
}

/// The entries strictly below the directory `dir` in a sorted list.
pub(crate) fn below<'a>(entries: &'a [Entry], dir: &[u8]) -> &'a [Entry] {
    let start = entries.partition_point(|entry| {
        crate::path::order(entry.path.as_bytes(), dir) != std::cmp::Ordering::Greater
    });
    let len = entries[start..].partition_point(|entry| entry.path.is_below(dir));
    &entries[start..start + len]
}

/// Files among `entries`.
pub(crate) fn count_files(entries: &[Entry]) -> u64 {
    let files = entries.iter().filter(|entry| entry.node != Node::Dir);
    files.count().try_into().unwrap_or(u64::MAX)
}

/// Bytes of the files among `entries`.
pub(crate) fn bytes(entries: &[Entry]) -> u64 {
    let size = |entry: &Entry| match entry.node {
        Node::File { size, .. } => size,
        Node::Dir | Node::Symlink { .. } => 0,
    };
    // A peer says how large they are: a sum beyond all bounds stays there.
    entries.iter().map(size).fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::{Entry, NotATree, check, check_at, empty_root, find, pairs, root};
    use crate::commit::merge;
    use crate::digest::Digest;
    use crate::message::Node;
    use crate::path::TreePath;

    fn entry(path: &str, node: Node) -> Entry {
        Entry {
            path: TreePath::new(path.as_bytes()).unwrap(),
            node,
            stat: None,
        }
    }

    fn file(path: &str, exec: bool, content: &str) -> Entry {
        let size = content.len() as u64;
        entry(
            path,
            Node::File {
                exec,
                size,
                hash: Digest::of(content.as_bytes()),
            },
        )
    }

    fn tree() -> Vec<Entry> {
        vec![
            entry("a", Node::Dir),
            file("a/x", true, "1"),
            entry(
                "a.link",
                Node::Symlink {
                    target: b"a/x".to_vec(),
                },
            ),
            entry("b", Node::Dir),
            entry("b/c", Node::Dir),
        ]
    }

    #[test]
    fn the_root_is_pinned() {
        let hex = |entries: &[Entry]| root(pairs(entries)).to_string();
        assert_eq!(empty_root().to_string(), hex(&[]));
        pinned(
            &hex(&[]),
            "175a3a9528d8c026c3289114c6b59880ea7790c6f6871d4d3b5ef38eea4f0187",
        );
        pinned(
            &hex(&tree()),
            "f8629fdd11c80ed4f0f893ccd5a55ff5aee9b8b44b541e0bc056b4639ad80a86",
        );
    }

    fn pinned(found: &str, pinned: &str) {
        assert_eq!(found, pinned);
    }

    #[test]
    fn every_part_of_an_entry_changes_the_root() {
        let base = root(pairs(&tree()));
        let variants: [fn(&mut Vec<Entry>); 6] = [
            |t| t[1] = file("a/x", false, "1"),
            |t| t[1] = file("a/x", true, "2"),
            |t| t[1] = file("a/y", true, "1"),
            |t| {
                t[2] = entry(
                    "a.link",
                    Node::Symlink {
                        target: b"b".to_vec(),
                    },
                );
            },
            |t| t.truncate(4),
            |t| t[4] = entry("c", Node::Dir),
        ];
        for variant in variants {
            let mut changed = tree();
            variant(&mut changed);
            assert_ne!(root(pairs(&changed)), base);
        }
    }

    #[test]
    fn what_is_not_a_tree_is_refused() {
        assert_eq!(check(pairs(&tree())), Ok(()));
        let twice = [file("a", false, ""), file("a", false, "")];
        assert!(matches!(check(pairs(&twice)), Err(NotATree::Order(_))));
        let below_a_file = [file("a", false, ""), file("a/b", false, "")];
        assert!(matches!(
            check(pairs(&below_a_file)),
            Err(NotATree::Orphan(_))
        ));
        let nowhere = [file("a/b", false, "")];
        assert!(matches!(check(pairs(&nowhere)), Err(NotATree::Orphan(_))));
    }

    proptest! {
        /// Of changes to a tree: both checks say the same.
        #[test]
        fn what_changed_is_checked_as_the_whole_is(
            steps in prop::collection::vec((prop::collection::vec(0..3_u8, 1..4), prop::option::of(any::<bool>())), 1..12),
            changes in prop::collection::btree_map(prop::collection::vec(0..3_u8, 1..4), prop::option::of(any::<bool>()), 1..6),
        ) {
            let path = |names: &[u8]| names.iter().map(u8::to_string).collect::<Vec<_>>().join("/");
            let made = |names: &[u8], is_dir: bool| match is_dir {
                true => entry(&path(names), Node::Dir),
                false => file(&path(names), false, "x"),
            };
            let mut tree = BTreeMap::new();
            for (names, is_dir) in steps {
                let new = made(&names, is_dir.unwrap_or(true));
                let mut next = tree.clone();
                next.insert(new.path.clone(), new);
                let whole: Vec<Entry> = next.values().cloned().collect();
                if check(pairs(&whole)).is_ok() {
                    tree = next;
                }
            }
            let before: Vec<Entry> = tree.into_values().collect();
            let (mut puts, mut gone) = (Vec::new(), Vec::new());
            for (names, change) in changes {
                match change {
                    Some(is_dir) => puts.push(made(&names, is_dir)),
                    None => gone.extend(find(&before, path(&names).as_bytes()).map(|was| was.path.clone())),
                }
            }
            puts.sort_by(|a, b| a.path.cmp(&b.path));
            gone.sort();
            let after = merge(&before, &puts, &gone);
            prop_assert_eq!(check_at(&after, &puts, &gone).is_ok(), check(pairs(&after)).is_ok());
        }
    }
}
