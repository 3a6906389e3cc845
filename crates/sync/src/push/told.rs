//! What a server says, as far as a client believes it.
//!
//! A server decides what becomes of its own disk, and nothing else: it is sent what we found and told it of, however it asks;
//! it cannot make us wait for a list without an end; and what it says was done has to be about our tree.

use std::collections::HashSet;
use std::os::unix::ffi::OsStrExt;

use crate::digest::Digest;
use crate::error::PushError;
use crate::manifest::{self, Entry};
use crate::message::{Down, ManifestPage, Node, Summary, VERSION, Welcome};
use crate::path::{MAX_PATH, TreePath};
use crate::scan::Scanned;

/// Entries that a server may tell of, and bytes of their names: more than there is anywhere.
const MAX_ENTRIES: usize = 8_000_000;
const MAX_BYTES: usize = 1 << 30;

/// A server says what no server says.
pub(crate) fn bad(what: &str) -> PushError {
    PushError::Protocol(what.to_owned())
}

/// The answer to our first message, which comes once.
pub(crate) fn welcome(welcome: Welcome, again: bool) -> Result<Down, PushError> {
    if again || !(1..=VERSION).contains(&welcome.version) {
        return Err(bad("a welcome out of place"));
    }
    Ok(Down::Welcome(welcome))
}

/// What a server tracks, page by page.
pub(crate) struct Told {
    entries: Vec<Entry>,
    bytes: usize,
    /// Entries and bytes that may come.
    most: (usize, usize),
}

impl Default for Told {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
            bytes: 0,
            most: (MAX_ENTRIES, MAX_BYTES),
        }
    }
}

impl Told {
    pub(crate) fn add(&mut self, page: ManifestPage) -> Result<(), PushError> {
        for (path, node) in page.entries {
            self.bytes += path.len();
            let path = TreePath::new(path).map_err(|refused| bad(&refused.to_string()))?;
            if let Node::Symlink { target } = &node {
                self.bytes += target.len();
                if target.len() > MAX_PATH {
                    return Err(bad("a bad link target"));
                }
            }
            let stat = None;
            self.entries.push(Entry { path, node, stat });
        }
        if self.entries.len() > self.most.0 || self.bytes > self.most.1 {
            return Err(bad("a tree without an end"));
        }
        Ok(())
    }

    /// All of it.
    pub(crate) fn tree(self) -> Result<Vec<Entry>, PushError> {
        let checked = manifest::check(manifest::pairs(&self.entries));
        checked.map_err(|refused| bad(&refused.to_string()))?;
        Ok(self.entries)
    }
}

/// A path that the server asks for must be a file of the tree that it was told about.
pub(crate) fn offered(entries: &[Entry], path: Vec<u8>) -> Result<TreePath, PushError> {
    match manifest::find(entries, &path) {
        Some(entry) if matches!(entry.node, Node::File { .. }) => Ok(entry.path.clone()),
        _ => Err(bad("asked for a file that was not offered")),
    }
}

/// Of what we could not look at there is in `tree` what was committed, and maybe that by the server's word alone. It is not
/// read for that, and not told of any more.
pub(crate) fn forget_untold(tree: &mut Scanned, needed: &mut Vec<TreePath>) {
    let unread: Vec<&[u8]> = tree
        .unreadable
        .iter()
        .map(|unread| unread.path.as_os_str().as_bytes())
        .collect();
    let is_untold = |path: &mut TreePath| {
        let covers = |dir: &&[u8]| path.as_bytes() == *dir || path.is_below(dir);
        unread.iter().any(covers)
    };
    let untold: HashSet<TreePath> = needed.extract_if(.., is_untold).collect();
    if !untold.is_empty() {
        tree.entries.retain(|entry| !untold.contains(&entry.path));
    }
}

/// What the server did must be about our tree: on its root jobs are started, and the next push is told against it.
pub(crate) fn own(summary: Summary, root: &Digest) -> Result<Summary, PushError> {
    if summary.root == *root {
        Ok(summary)
    } else {
        Err(bad("the server answered for another tree than ours"))
    }
}

/// A message that has no place here.
pub(crate) fn unexpected(message: &Down) -> PushError {
    let mut text = format!("{message:?}");
    text.truncate(text.find(['(', '{']).unwrap_or(text.len()));
    bad(&format!("unexpected {text}"))
}

#[cfg(test)]
mod tests {
    use super::Told;
    use crate::message::{ManifestPage, Node};

    #[test]
    fn a_tree_has_an_end() {
        let page = |path: &[u8], target: &[u8]| {
            let target = target.to_vec();
            ManifestPage {
                entries: vec![(path.to_vec(), Node::Symlink { target })],
                last: false,
            }
        };
        let told = |most| Told {
            most,
            ..Told::default()
        };
        let mut few = told((2, 100));
        few.add(page(b"a", b"x")).unwrap();
        few.add(page(b"b", b"x")).unwrap();
        few.add(page(b"c", b"x")).unwrap_err();
        let mut short = told((100, 10));
        short.add(page(b"a", b"12345678")).unwrap();
        short.add(page(b"b", b"1")).unwrap_err();
    }
}
