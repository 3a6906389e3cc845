//! What a workspace remembers of its last commit.
//!
//! Encoded as `boot id, generation, root, entries`, and if there are any `entries` again: those that the
//! client no longer has, but that nobody was to delete. Each file is with what it looked like once it was
//! written. That look proves nothing if the file could change again within the same tick of the
//! file system's clock, so it is dropped for files not older than the index itself.

use std::borrow::Cow;
use std::path::Path;

use crate::commit::merge;
use crate::digest::Digest;
use crate::error::StoreError;
use crate::manifest::{self, Entry, empty_root};
use crate::path::TreePath;
use crate::receive::Held;
use crate::stat::FileStat;
use crate::store::codec::{Format, Reader, Writer};
use crate::store::packed::{self, Packed};
use crate::store::{self, Replacement};

pub(crate) const FORMAT: Format = Format {
    magic: *b"lwindex\0",
    version: 1,
};

/// The last commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Index {
    /// The boot during which it was written.
    pub(crate) boot_id: Vec<u8>,
    /// Number of commits so far.
    pub(crate) generation: u64,
    pub(crate) root: Digest,
    /// The client's tree.
    pub(crate) entries: Vec<Entry>,
    /// What the mirror wrote beside it, and was told not to delete.
    pub(crate) retained: Vec<Entry>,
}

impl Index {
    fn empty(boot_id: &str) -> Self {
        let boot_id = boot_id.as_bytes().to_vec();
        Self {
            boot_id,
            generation: 0,
            root: empty_root(),
            entries: Vec::new(),
            retained: Vec::new(),
        }
    }

    /// All that the mirror wrote, sorted.
    pub(crate) fn tracked(&self) -> Cow<'_, [Entry]> {
        if self.retained.is_empty() {
            Cow::Borrowed(&self.entries)
        } else {
            Cow::Owned(merge(&self.entries, &self.retained, &[]))
        }
    }

    /// What the mirror wrote.
    pub(crate) fn held(&self) -> Held {
        let parts = [&self.entries, &self.retained].map(|entries| manifest::bytes(entries));
        Held {
            bytes: parts.into_iter().fold(0, u64::saturating_add),
            entries: (self.entries.len() + self.retained.len()) as u64,
        }
    }

    /// Remembers what a file looks like now.
    pub(crate) fn note(&mut self, path: &TreePath, stat: FileStat) {
        for entries in [&mut self.entries, &mut self.retained] {
            if let Ok(at) = entries.binary_search_by(|entry| entry.path.cmp(path)) {
                entries[at].stat = Some(stat);
            }
        }
    }
}

/// The index at `path`; an empty one if there is none, or it is damaged: then everything in the
/// tree counts as a job's, which loses nothing.
pub(crate) fn load(path: &Path, boot_id: &str) -> Result<Index, StoreError> {
    let Some(bytes) = store::read(path)? else {
        return Ok(Index::empty(boot_id));
    };
    match decode(&bytes, path) {
        Err(StoreError::Damaged { .. }) => Ok(Index::empty(boot_id)),
        other => other,
    }
}

/// The last commit as it is on disk: of the client's tree only the outline was made.
#[derive(Debug)]
pub(crate) struct Stored {
    /// Without entries.
    pub(crate) head: Index,
    pub(crate) list: Packed,
}

impl Stored {
    /// All of it.
    pub(crate) fn index(&self) -> Index {
        Index {
            entries: self.list.entries(),
            ..self.head.clone()
        }
    }

    /// What the mirror wrote.
    pub(crate) fn held(&self) -> Held {
        let retained = self.head.held();
        Held {
            bytes: retained.bytes.saturating_add(self.list.content()),
            entries: retained.entries + self.list.len() as u64,
        }
    }
}

/// The index at `path` as it is there; `None` if there is none that is whole, and a tree.
pub(crate) fn open(path: &Path) -> Result<Option<Stored>, StoreError> {
    let Some(bytes) = store::read(path)? else {
        return Ok(None);
    };
    match outlined(&bytes, path) {
        Ok(outlined) => Ok(outlined.map(|(head, outline)| Stored {
            head,
            list: Packed::new(bytes, outline),
        })),
        Err(StoreError::Damaged { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

fn outlined(bytes: &[u8], path: &Path) -> Result<Option<(Index, packed::Outline)>, StoreError> {
    let mut reader = Reader::new(FORMAT, bytes, path)?;
    let mut head = begin(&mut reader)?;
    let outline = packed::outline(&mut reader)?;
    if !reader.is_at_end() {
        head.retained = reader.entries()?;
    }
    Ok(outline.map(|outline| (head, outline)))
}

/// What is before the entries.
fn begin(reader: &mut Reader<'_>) -> Result<Index, StoreError> {
    Ok(Index {
        boot_id: reader.bytes()?.to_vec(),
        generation: reader.u64()?,
        root: reader.digest()?,
        entries: Vec::new(),
        retained: Vec::new(),
    })
}

/// The index at `path` without its entries; an empty one as for [`load`].
pub(crate) fn head(path: &Path, boot_id: &str) -> Result<Index, StoreError> {
    let Some(bytes) = store::read(path)? else {
        return Ok(Index::empty(boot_id));
    };
    match Reader::new(FORMAT, &bytes, path).and_then(|mut reader| begin(&mut reader)) {
        Err(StoreError::Damaged { .. }) => Ok(Index::empty(boot_id)),
        other => other,
    }
}

pub(crate) fn decode(bytes: &[u8], path: &Path) -> Result<Index, StoreError> {
    let mut reader = Reader::new(FORMAT, bytes, path)?;
    let head = begin(&mut reader)?;
    Ok(Index {
        entries: reader.entries()?,
        retained: if reader.is_at_end() {
            Vec::new()
        } else {
            reader.entries()?
        },
        ..head
    })
}

/// What is at the beginning of an index, without a look at the rest; `None` if that is not how one begins.
pub(crate) fn glance(head: &[u8]) -> Option<Index> {
    let version = head.strip_prefix(&FORMAT.magic)?.first_chunk()?;
    let begins = u32::from_le_bytes(*version) <= FORMAT.version;
    let mut reader = Reader::again(head, FORMAT.magic.len() + version.len());
    begins.then(|| begin(&mut reader).ok()).flatten()
}

/// Writes the index: this is the moment of the commit.
pub(crate) fn save(path: &Path, index: &mut Index) -> Result<(), StoreError> {
    let replacement = Replacement::of(path)?;
    let horizon_ns = replacement.made_ns()?;
    for entry in index.entries.iter_mut().chain(&mut index.retained) {
        entry.stat = entry.stat.filter(|stat| stat.is_before(horizon_ns));
    }
    replacement.finish(&encode(index))
}

fn encode(index: &Index) -> Vec<u8> {
    let mut writer = Writer::new(FORMAT, 128 + index.entries.len() * 112);
    writer.bytes(&index.boot_id);
    writer.u64(index.generation);
    writer.digest(&index.root);
    writer.entries(&index.entries);
    // Who does not know of these reads what is before.
    if !index.retained.is_empty() {
        writer.entries(&index.retained);
    }
    writer.finish()
}

#[cfg(test)]
mod tests {
    use super::{Index, encode, load, save};
    use crate::manifest::Entry;
    use crate::message::Node;
    use crate::path::TreePath;

    #[test]
    fn the_encoding_is_pinned() {
        let bytes = encode(&Index::empty("boot"));
        let mut golden = b"lwindex\0\x01\0\0\0\x04\0boot\0\0\0\0\0\0\0\0".to_vec();
        golden.extend_from_slice(crate::manifest::empty_root().as_bytes());
        golden.extend_from_slice(&[0; 8]);
        assert_eq!(&bytes[..bytes.len() - 32], golden);
    }

    #[test]
    fn it_comes_back_and_a_damaged_one_owns_nothing() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("index");
        let mut index = Index {
            generation: 7,
            ..Index::empty("a")
        };
        save(&path, &mut index).unwrap();
        assert_eq!(load(&path, "b").unwrap(), index);
        index.retained.push(Entry {
            path: TreePath::new(*b"left").unwrap(),
            node: Node::Dir,
            stat: None,
        });
        save(&path, &mut index).unwrap();
        assert_eq!(load(&path, "b").unwrap(), index);
        std::fs::write(&path, "torn").unwrap();
        assert_eq!(load(&path, "b").unwrap(), Index::empty("b"));
    }
}
