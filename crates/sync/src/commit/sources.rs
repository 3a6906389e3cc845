//! Files that parts of others are taken from, by the content that they should have.
//!
//! Nobody checks that they have it: what is made of such parts is verified as a whole.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::OnceLock;

use crate::digest::Digest;
use crate::manifest::Entry;
use crate::message::Node;
use crate::path::TreePath;
use crate::tree::{Dir, Use, read};

/// The files that the mirror wrote.
pub(crate) struct Sources<'a> {
    tree: &'a Dir,
    tracked: &'a [Entry],
    /// Made when the first is asked for.
    places: OnceLock<HashMap<Digest, usize>>,
}

impl<'a> Sources<'a> {
    pub(crate) fn of(tree: &'a Dir, tracked: &'a [Entry]) -> Self {
        Self {
            tree,
            tracked,
            places: OnceLock::new(),
        }
    }

    /// Where they are.
    pub(crate) fn tree(&self) -> &'a Dir {
        self.tree
    }

    /// Where the file with this content should be; `None` if there is none.
    pub(crate) fn place(&self, content: &Digest) -> Option<&'a TreePath> {
        let places = self.places.get_or_init(|| {
            let files =
                self.tracked
                    .iter()
                    .enumerate()
                    .filter_map(|(at, entry)| match entry.node {
                        Node::File { hash, .. } => Some((hash, at)),
                        Node::Dir | Node::Symlink { .. } => None,
                    });
            files.collect()
        });
        Some(&self.tracked[*places.get(content)?].path)
    }

    /// The file with this content, as far as anybody knows; `None` if there is none, or it cannot be read.
    pub(crate) fn open(&self, content: &Digest) -> Option<OwnedFd> {
        let (parent, name) = self.place(content)?.split();
        let dir = self.tree.beneath(parent, Use::Names).ok()?;
        read::open(&dir, name).ok().map(|(file, _)| file)
    }
}
