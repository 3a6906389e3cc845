//! The root of a tree that changes a little at a time.
//!
//! A directory's node depends on what is below it and on nothing else. So the nodes of all directories are kept, those on the
//! way to what changed are forgotten, and the root is hashed from what is left: of a save in a tree of any size, the
//! directories above it. Whoever changes the tree has to [touch](Branches::touch) each path that came, went or became another; in a
//! debug build it is checked that nobody forgot one.

use std::collections::HashMap;

use blake3::Hasher;

use crate::digest::Digest;
use crate::manifest::{Entry, directory, leaf, put};
use crate::message::Node;
use crate::path::TreePath;

/// The nodes of a tree's directories, as they were when its root was asked for last.
#[derive(Debug, Default)]
pub(crate) struct Branches(HashMap<TreePath, Digest>);

impl Branches {
    /// Forgets what depends on `path`.
    pub(crate) fn touch(&mut self, path: &TreePath) {
        let mut way = path.as_bytes();
        while !way.is_empty() {
            self.0.remove(way);
            let parent = way.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
            way = &way[..parent];
        }
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// The root of `entries`, which are a [tree](super::check).
    pub(crate) fn root(&mut self, entries: &[Entry]) -> Digest {
        let root = self.node(entries);
        debug_assert_eq!(
            root,
            super::root(super::pairs(entries)),
            "a change of the tree was not told"
        );
        root
    }

    /// The node of a directory that has these entries below it.
    fn node(&mut self, below: &[Entry]) -> Digest {
        let (mut hasher, mut buffer) = (directory(), Vec::new());
        let mut rest = below;
        while let Some((first, others)) = rest.split_first() {
            rest = others;
            if first.node == Node::Dir {
                let inside = others.partition_point(|e| e.path.is_below(first.path.as_bytes()));
                rest = &others[inside..];
                self.branch(first, &others[..inside], (&mut hasher, &mut buffer));
            } else {
                leaf(&mut hasher, &mut buffer, first.path.name(), &first.node);
            }
        }
        Digest(*hasher.finalize().as_bytes())
    }

    /// Adds a directory to what its parent is hashed of.
    fn branch(
        &mut self,
        dir: &Entry,
        below: &[Entry],
        (hasher, buffer): (&mut Hasher, &mut Vec<u8>),
    ) {
        let known = self.0.get(dir.path.as_bytes()).copied();
        let node = known.unwrap_or_else(|| {
            let node = self.node(below);
            self.0.insert(dir.path.clone(), node);
            node
        });
        put(hasher, buffer, (b'd', dir.path.name(), &[node.as_bytes()]));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::Branches;
    use crate::digest::Digest;
    use crate::manifest::{Entry, check, pairs, root};
    use crate::message::Node;
    use crate::path::TreePath;

    fn list(tree: &BTreeMap<TreePath, Node>) -> Vec<Entry> {
        let entry = |(path, node): (&TreePath, &Node)| Entry {
            path: path.clone(),
            node: node.clone(),
            stat: None,
        };
        tree.iter().map(entry).collect()
    }

    fn file(byte: u8) -> Node {
        Node::File {
            exec: byte.is_multiple_of(2),
            size: byte.into(),
            hash: Digest([byte; 32]),
        }
    }

    /// Puts a file, or nothing, at a path; what was in the way goes, and directories above it come.
    fn change(
        tree: &mut BTreeMap<TreePath, Node>,
        names: &[u8],
        node: Option<Node>,
    ) -> Vec<TreePath> {
        let names: Vec<String> = names.iter().map(|name| format!("n{name}")).collect();
        let path = TreePath::new(names.join("/").into_bytes()).unwrap();
        let before = tree.clone();
        tree.retain(|at, _| *at != path && !at.is_below(path.as_bytes()));
        if let Some(node) = node {
            for depth in 1..names.len() {
                let above = TreePath::new(names[..depth].join("/").into_bytes()).unwrap();
                tree.insert(above, Node::Dir);
            }
            tree.insert(path, node);
        }
        let all = before.keys().chain(tree.keys());
        let other = all.filter(|path| before.get(*path) != tree.get(*path));
        other.cloned().collect()
    }

    proptest! {
        /// Whatever comes, goes or changes its kind: the root is that of the whole list.
        #[test]
        fn the_root_is_that_of_the_whole_list(
            steps in prop::collection::vec((prop::collection::vec(0..3_u8, 1..5), prop::option::of(0..9_u8)), 1..40)
        ) {
            let (mut tree, mut branches) = (BTreeMap::new(), Branches::default());
            for (names, content) in steps {
                let node = content.map(|byte| if byte == 0 { Node::Dir } else { file(byte) });
                for path in change(&mut tree, &names, node) {
                    branches.touch(&path);
                }
                let entries = list(&tree);
                prop_assert!(check(pairs(&entries)).is_ok());
                prop_assert_eq!(branches.root(&entries), root(pairs(&entries)));
            }
        }
    }

    #[test]
    fn what_is_not_touched_is_not_hashed_again() {
        let mut tree = BTreeMap::new();
        for name in 0..3 {
            change(&mut tree, &[name, 1], Some(file(1)));
        }
        let mut branches = Branches::default();
        branches.root(&list(&tree));
        assert_eq!(branches.0.len(), 3);
        let touched = change(&mut tree, &[1, 1], Some(file(2)));
        touched.iter().for_each(|path| branches.touch(path));
        assert_eq!(branches.0.len(), 2);
        branches.clear();
        assert_eq!(branches.root(&list(&tree)), root(pairs(&list(&tree))));
    }
}
