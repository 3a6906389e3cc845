//! The intent of a commit, written before the tree is touched and removed after the index is.
//!
//! Encoded as `generation, deletes, base root, target root, entries, gone`, and if there is any `unread`: the entries that
//! differ from the base, the paths that are gone, and those where nothing is to be taken away. It names no steps. Whoever finds a journal compares base,
//! target and disk again and makes a new plan: what was done already is found done, so completing a
//! commit twice is completing it once.

use std::path::Path;

use crate::digest::Digest;
use crate::error::StoreError;
use crate::manifest::Entry;
use crate::message::Delete;
use crate::path::TreePath;
use crate::store::codec::{Format, Reader, Writer};
use crate::store::{self, Replacement};
use crate::unread::Unread;

pub(crate) const FORMAT: Format = Format {
    magic: *b"lwjourn\0",
    version: 1,
};

/// What is about to happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Journal {
    /// Number of the commit.
    pub(crate) generation: u64,
    /// What is done with what is gone.
    pub(crate) delete: Delete,
    pub(crate) base: Digest,
    pub(crate) target: Digest,
    /// New or different entries, sorted.
    pub(crate) puts: Vec<Entry>,
    /// Paths of the base that are gone, sorted.
    pub(crate) gone: Vec<TreePath>,
    /// Where the client could not read.
    pub(crate) unread: Unread,
}

/// The journal at `path`, if a commit was begun and not completed.
pub(crate) fn load(path: &Path) -> Result<Option<Journal>, StoreError> {
    store::read(path)?
        .map(|bytes| decode(&bytes, path))
        .transpose()
}

/// As [`load`]; a torn journal, which only an unclean boot leaves, is none that could be completed.
pub(crate) fn load_undamaged(path: &Path) -> Result<Option<Journal>, StoreError> {
    match load(path) {
        Err(StoreError::Damaged { .. }) => Ok(None),
        other => other,
    }
}

pub(crate) fn decode(bytes: &[u8], path: &Path) -> Result<Journal, StoreError> {
    let mut reader = Reader::new(FORMAT, bytes, path)?;
    let generation = reader.u64()?;
    let delete = match reader.u64()? {
        0 => Delete::Owned,
        2 => Delete::Exact,
        _ => Delete::Nothing,
    };
    let (base, target) = (reader.digest()?, reader.digest()?);
    let puts = reader.entries()?;
    let mut gone = Vec::new();
    for _ in 0..reader.u64()? {
        let path = TreePath::new(reader.bytes()?).map_err(|_| reader.damaged("a bad path"))?;
        gone.push(path);
    }
    let mut unread = Vec::new();
    if !reader.is_at_end() {
        for _ in 0..reader.u64()? {
            unread.push(reader.bytes()?);
        }
    }
    Ok(Journal {
        generation,
        delete,
        base,
        target,
        puts,
        gone,
        unread: Unread::of(unread),
    })
}

/// Writes the journal at `path`.
pub(crate) fn save(path: &Path, journal: &Journal) -> Result<(), StoreError> {
    Replacement::of(path)?.finish(&encode(journal))
}

fn encode(journal: &Journal) -> Vec<u8> {
    let mut writer = Writer::new(FORMAT, 128 + journal.puts.len() * 80);
    writer.u64(journal.generation);
    writer.u64(match journal.delete {
        Delete::Owned => 0,
        Delete::Nothing => 1,
        Delete::Exact => 2,
    });
    writer.digest(&journal.base);
    writer.digest(&journal.target);
    writer.entries(&journal.puts);
    writer.u64(journal.gone.len() as u64);
    for path in &journal.gone {
        writer.bytes(path.as_bytes());
    }
    // Who does not know of these reads what is before.
    if !journal.unread.is_empty() {
        writer.u64(journal.unread.paths().count() as u64);
        for path in journal.unread.paths() {
            writer.bytes(path);
        }
    }
    writer.finish()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Journal, decode, encode};
    use crate::digest::Digest;
    use crate::message::Delete;
    use crate::path::TreePath;
    use crate::unread::Unread;

    #[test]
    fn the_encoding_is_pinned_and_comes_back() {
        let journal = Journal {
            generation: 2,
            delete: Delete::Nothing,
            base: Digest([1; 32]),
            target: Digest([2; 32]),
            puts: Vec::new(),
            gone: vec![TreePath::new(*b"a").unwrap()],
            unread: Unread::nothing(),
        };
        let bytes = encode(&journal);
        let mut golden = b"lwjourn\0\x01\0\0\0\x02\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0".to_vec();
        golden.extend_from_slice(&[1; 32]);
        golden.extend_from_slice(&[2; 32]);
        golden.extend_from_slice(&[0; 8]);
        golden.extend_from_slice(b"\x01\0\0\0\0\0\0\0\x01\0a");
        assert_eq!(&bytes[..bytes.len() - 32], golden);
        assert_eq!(decode(&bytes, Path::new("j")).unwrap(), journal);
        let exact = Journal {
            delete: Delete::Exact,
            unread: Unread::of([&b"u"[..]]),
            ..journal
        };
        golden[20] = 2;
        golden.extend_from_slice(b"\x01\0\0\0\0\0\0\0\x01\0u");
        let bytes = encode(&exact);
        assert_eq!(&bytes[..bytes.len() - 32], golden);
        assert_eq!(decode(&bytes, Path::new("j")).unwrap(), exact);
    }
}
