//! What the server has, as far as the client knows: the tree of the last commit, and the contents of its files.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::OnceLock;

use crate::digest::Digest;
use crate::manifest::{self, Entry};
use crate::message::Node;
use crate::path::TreePath;
use crate::push::fine::{Chunks, Fine};
use crate::push::library::Library;
use crate::store::packed::Packed;

/// The tree that was committed last. What is remembered of it is decoded when something differs.
#[derive(Debug)]
pub(crate) struct Ground {
    list: Option<Packed>,
    entries: OnceLock<Vec<Entry>>,
}

impl Ground {
    pub(crate) fn stored(list: Packed) -> Self {
        Self {
            list: Some(list),
            entries: OnceLock::new(),
        }
    }

    pub(crate) fn told(entries: Vec<Entry>) -> Self {
        Self {
            list: None,
            entries: OnceLock::from(entries),
        }
    }

    /// As it is on disk, if that is where it is from.
    pub(crate) fn list(&self) -> Option<&Packed> {
        self.list.as_ref()
    }

    /// Its entries, sorted.
    pub(crate) fn entries(&self) -> &[Entry] {
        let decode = || self.list.as_ref().map(Packed::entries).unwrap_or_default();
        self.entries.get_or_init(decode)
    }
}

/// The tree that differences are told against.
#[derive(Debug, Default)]
pub(crate) struct Base<'a> {
    tree: Option<&'a Ground>,
    /// Of its files. Made when the first content is offered that is not at its path: mostly never.
    contents: OnceLock<Contents>,
    /// Where the chunks of its large files are remembered.
    memory: Option<&'a Path>,
    chunks: OnceLock<Library>,
    /// Those of its small files.
    fine: OnceLock<Fine>,
    fine_memory: Option<&'a Path>,
}

impl<'a> Base<'a> {
    pub(crate) fn of(tree: &'a Ground, memory: &'a Path, fine: &'a Path) -> Self {
        Self {
            tree: Some(tree),
            memory: Some(memory),
            fine_memory: Some(fine),
            ..Self::default()
        }
    }

    /// A tree that was committed but for a few paths, of which the first says what was there. `tree` is how it is now.
    pub(crate) fn under(
        (ground, changed): (&'a Ground, &BTreeMap<TreePath, Option<Entry>>),
        tree: &[Entry],
        (memory, fine): (&'a Path, &'a Path),
    ) -> Self {
        let base = Self::of(ground, memory, fine);
        let committed = ground.entries();
        // One pass, and none of that is remembered but what may be asked for: a save is no reason to hash all names.
        let content = |entry: &Entry| match &entry.node {
            Node::File { hash, .. } => Some(key(hash)),
            Node::Dir | Node::Symlink { .. } => None,
        };
        let now = |path| manifest::find(tree, TreePath::as_bytes(path)).and_then(content);
        let mut offered: Vec<u64> = changed.keys().filter_map(now).collect();
        offered.sort_unstable();
        let unchanged = |entry: &&Entry| {
            content(entry).is_some_and(|key| offered.binary_search(&key).is_ok())
                && !changed.contains_key(&entry.path)
        };
        let others = tree.iter().filter(unchanged).filter_map(content);
        let contents: Contents = committed.iter().filter_map(content).chain(others).collect();
        Self {
            contents: OnceLock::from(contents),
            ..base
        }
    }

    fn entries(&self) -> &'a [Entry] {
        self.tree.map(Ground::entries).unwrap_or_default()
    }

    /// The chunks of its large files, as far as they are remembered.
    pub(crate) fn chunks(&self) -> &Library {
        let load = |path| Library::load(path, |hash| self.holds(hash));
        self.chunks
            .get_or_init(|| self.memory.map(load).unwrap_or_default())
    }

    /// What was at a path, if that was a small file whose chunks are remembered.
    pub(crate) fn fine(&self, path: &TreePath) -> Option<(Digest, &Chunks)> {
        let Node::File { hash, .. } = self.get(path)? else {
            return None;
        };
        let load = |path| Fine::load(path);
        let fine = self
            .fine
            .get_or_init(|| self.fine_memory.map(load).unwrap_or_default());
        Some((*hash, fine.get(hash)?))
    }

    pub(crate) fn get(&self, path: &TreePath) -> Option<&'a Node> {
        manifest::find(self.entries(), path.as_bytes()).map(|entry| &entry.node)
    }

    /// Whether a file has this content, at any path.
    pub(crate) fn holds(&self, hash: &Digest) -> bool {
        let contents = self.contents.get_or_init(|| {
            let mut contents = Contents::default();
            for entry in self.entries() {
                if let Node::File { hash, .. } = &entry.node {
                    contents.insert(hash);
                }
            }
            contents
        });
        contents.contains(hash)
    }
}

/// A set of contents, by the first eight bytes of their hashes. Two that are taken for one cost a round trip, since the server
/// then asks: so a set for all files is a tenth of what their hashes are.
#[derive(Debug, Default)]
pub(crate) struct Contents(HashSet<u64>);

impl FromIterator<u64> for Contents {
    fn from_iter<I: IntoIterator<Item = u64>>(keys: I) -> Self {
        Self(keys.into_iter().collect())
    }
}

impl Contents {
    /// Whether it was not in there.
    pub(crate) fn insert(&mut self, hash: &Digest) -> bool {
        self.0.insert(key(hash))
    }

    pub(crate) fn contains(&self, hash: &Digest) -> bool {
        self.0.contains(&key(hash))
    }
}

pub(crate) fn key(hash: &Digest) -> u64 {
    let (first, _) = hash
        .as_bytes()
        .split_first_chunk()
        .expect("a hash has 32 bytes");
    u64::from_le_bytes(*first)
}
