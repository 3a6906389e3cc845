//! What the client remembers of its last commit to one workspace.
//!
//! Encoded as `root, entries`; each entry with what the file looked like when it was hashed. A
//! damaged cache is as good as none; one of a newer version is refused.

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
    })
}

/// Remembers a committed tree.
pub(crate) fn save(path: &Path, root: &Digest, entries: &[Entry]) -> Result<(), StoreError> {
    let mut writer = Writer::new(FORMAT, 64 + entries.len() * 112);
    writer.digest(root);
    writer.entries(entries);
    Replacement::of(path)?.finish(&writer.finish())?;
    store::sweep(path);
    Ok(())
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
        // And its encoding is pinned.
        save(&path, &empty_root(), &[]).unwrap();
        assert_eq!(
            load(&path).unwrap(),
            Some(Cache {
                root: empty_root(),
                entries: Vec::new()
            })
        );
        let mut golden = b"lwcache\0\x01\0\0\0".to_vec();
        golden.extend_from_slice(empty_root().as_bytes());
        golden.extend_from_slice(&[0; 8]);
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(&bytes[..bytes.len() - 32], golden);
        std::fs::write(&path, "lwcache\0 cut").unwrap();
        assert_eq!(load(&path).ok(), None);
        std::fs::write(&path, "cut").unwrap();
        assert_eq!(load(&path).unwrap(), None);
    }
}
