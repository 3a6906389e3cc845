//! What the client remembers of its last commit to one workspace.
//!
//! Encoded as `root, entries`, and if the server speaks more than version 1 of the protocol, that version and what it may have beside
//! the tree: a count, and for each content 8 bytes of its hash and its length. Each entry is with what
//! the file looked like when it was hashed. A damaged cache is as good as none; one of a newer version is refused.

use std::path::Path;

use crate::digest::Digest;
use crate::error::StoreError;
use crate::manifest::Entry;
use crate::push::past::Past;
use crate::store::codec::{Format, Reader, Writer};
use crate::store::packed::{self, Outline, Packed};
use crate::store::{self, Replacement};

pub(crate) const FORMAT: Format = Format {
    magic: *b"lwcache\0",
    version: 1,
};

/// A committed tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cache {
    pub(crate) root: Digest,
    pub(crate) entries: Vec<Entry>,
    /// The version that the server spoke.
    pub(crate) peer: u32,
    pub(crate) past: Past,
}

/// A committed tree as it is on disk: only its outline was made.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) root: Digest,
    pub(crate) list: Packed,
    /// The version that the server spoke.
    pub(crate) peer: u32,
    pub(crate) past: Past,
}

/// What is remembered at `path`, as it is there; `None` also for what is no tree.
pub(crate) fn open(path: &Path) -> Result<Option<Stored>, StoreError> {
    let Some(bytes) = store::read(path)? else {
        return Ok(None);
    };
    let (root, outline, peer, past) = match outlined(&bytes, path) {
        Ok(outlined) => outlined,
        Err(StoreError::Damaged { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    Ok(outline.map(|outline| Stored {
        root,
        list: Packed::new(bytes, outline),
        peer,
        past,
    }))
}

type Outlined = (Digest, Option<Outline>, u32, Past);

fn outlined(bytes: &[u8], path: &Path) -> Result<Outlined, StoreError> {
    let mut reader = Reader::new(FORMAT, bytes, path)?;
    let (root, outline) = (reader.digest()?, packed::outline(&mut reader)?);
    let (peer, past) = end(&mut reader)?;
    Ok((root, outline, peer, past))
}

/// What is behind the entries.
fn end(reader: &mut Reader<'_>) -> Result<(u32, Past), StoreError> {
    if reader.is_at_end() {
        return Ok((1, Past::default()));
    }
    let peer = u32::try_from(reader.u64()?).unwrap_or(1);
    Ok((peer, Past::decode(reader)?))
}

/// What is remembered at `path`.
pub(crate) fn load(path: &Path) -> Result<Option<Cache>, StoreError> {
    let Some(bytes) = store::read(path)? else {
        return Ok(None);
    };
    match decode(&bytes, path) {
        Ok(cache) => Ok(Some(cache)),
        Err(StoreError::Damaged { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

pub(crate) fn decode(bytes: &[u8], path: &Path) -> Result<Cache, StoreError> {
    let mut reader = Reader::new(FORMAT, bytes, path)?;
    let (root, entries) = (reader.digest()?, reader.entries()?);
    let (peer, past) = end(&mut reader)?;
    Ok(Cache {
        root,
        entries,
        peer,
        past,
    })
}

/// Remembers a committed tree, the version that the server speaks, and what else it may have.
pub(crate) fn save(
    path: &Path,
    (root, entries): (&Digest, &[Entry]),
    peer: u32,
    past: &Past,
) -> Result<(), StoreError> {
    let mut writer = Writer::new(FORMAT, 64 + entries.len() * 112);
    writer.digest(root);
    writer.entries(entries);
    // Who does not know of it reads what is before.
    if peer > 1 {
        writer.u64(peer.into());
        past.encode(&mut writer);
    }
    Replacement::of(path)?.finish(&writer.finish())?;
    store::sweep(path);
    Ok(())
}

/// The server speaks version 1 for all that is known.
pub(crate) fn forget_peer(path: &Path) -> Result<(), StoreError> {
    match load(path)? {
        Some(known) => save(path, (&known.root, &known.entries), 1, &known.past),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::{Cache, load, save};
    use crate::digest::Digest;
    use crate::manifest::{Entry, empty_root};
    use crate::message::Node;
    use crate::path::TreePath;
    use crate::push::past::Past;

    fn file(byte: u8) -> Entry {
        Entry {
            path: TreePath::new(*b"file").unwrap(),
            node: Node::File {
                exec: false,
                size: 5,
                hash: Digest([byte; 32]),
            },
            stat: None,
        }
    }

    #[test]
    fn it_comes_back_and_damage_is_as_good_as_none() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("cache");
        assert_eq!(load(&path).unwrap(), None);
        // And its encoding is pinned, that for a server of version 1 too.
        for peer in [2, 1] {
            let past = Past::after(&Past::default(), &[file(1)], &[]);
            save(&path, (&empty_root(), &[]), peer, &past).unwrap();
            let known = Cache {
                root: empty_root(),
                entries: Vec::new(),
                peer,
                past: if peer == 2 { past } else { Past::default() },
            };
            assert_eq!(load(&path).unwrap(), Some(known));
            let mut golden = b"lwcache\0\x01\0\0\0".to_vec();
            golden.extend_from_slice(empty_root().as_bytes());
            golden.extend_from_slice(&[0; 8]);
            if peer == 2 {
                golden.extend_from_slice(&[2, 0, 0, 0, 0, 0, 0, 0]);
                golden.extend_from_slice(&[1, 0, 0, 0, 0, 0, 0, 0]);
                golden.extend_from_slice(&[1; 8]);
                golden.extend_from_slice(&[5, 0, 0, 0, 0, 0, 0, 0]);
            }
            let bytes = std::fs::read(&path).unwrap();
            assert_eq!(&bytes[..bytes.len() - 32], golden);
        }
        std::fs::write(&path, "lwcache\0 cut").unwrap();
        assert_eq!(load(&path).ok(), None);
        std::fs::write(&path, "cut").unwrap();
        assert_eq!(load(&path).unwrap(), None);
    }
}
