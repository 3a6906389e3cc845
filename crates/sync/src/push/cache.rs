//! What the client remembers of its last commit to one workspace.
//!
//! Encoded as `root, entries`, and if the server speaks more than version 1 of the protocol, that version; each entry with what
//! the file looked like when it was hashed. A damaged cache is as good as none; one of a newer version is refused.

use std::path::Path;

use crate::digest::Digest;
use crate::error::StoreError;
use crate::manifest::Entry;
use crate::store::codec::{Format, Reader, Writer};
use crate::store::{self, Replacement};

const FORMAT: Format = Format {
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

fn decode(bytes: &[u8], path: &Path) -> Result<Cache, StoreError> {
    let mut reader = Reader::new(FORMAT, bytes, path)?;
    Ok(Cache {
        root: reader.digest()?,
        entries: reader.entries()?,
        peer: if reader.is_at_end() {
            1
        } else {
            u32::try_from(reader.u64()?).unwrap_or(1)
        },
    })
}

/// Remembers a committed tree, and the version that the server speaks.
pub(crate) fn save(
    path: &Path,
    root: &Digest,
    peer: u32,
    entries: &[Entry],
) -> Result<(), StoreError> {
    let mut writer = Writer::new(FORMAT, 64 + entries.len() * 112);
    writer.digest(root);
    writer.entries(entries);
    // Who does not know of it reads what is before.
    if peer > 1 {
        writer.u64(peer.into());
    }
    Replacement::of(path)?.finish(&writer.finish())?;
    store::sweep(path);
    Ok(())
}

/// The server speaks version 1 for all that is known.
pub(crate) fn forget_peer(path: &Path) -> Result<(), StoreError> {
    match load(path)? {
        Some(known) => save(path, &known.root, 1, &known.entries),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::{Cache, load, save};
    use crate::manifest::empty_root;

    #[test]
    fn it_comes_back_and_damage_is_as_good_as_none() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("cache");
        assert_eq!(load(&path).unwrap(), None);
        // And its encoding is pinned, that for a server of version 1 too.
        for peer in [2, 1] {
            save(&path, &empty_root(), peer, &[]).unwrap();
            let known = Cache {
                root: empty_root(),
                entries: Vec::new(),
                peer,
            };
            assert_eq!(load(&path).unwrap(), Some(known));
            let mut golden = b"lwcache\0\x01\0\0\0".to_vec();
            golden.extend_from_slice(empty_root().as_bytes());
            golden.extend_from_slice(&[0; 8]);
            if peer == 2 {
                golden.extend_from_slice(&[2, 0, 0, 0, 0, 0, 0, 0]);
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
