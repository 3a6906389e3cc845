//! The chunks of the large files that were sent, as the client remembers them beside its cache.
//!
//! Encoded as a number of files, and for each `hash, number of chunks`, and for each chunk `id, u64 length`. It is read when a large file has
//! changed, and written when one was sent. What it says of files that are not in the base counts as nothing.

use std::collections::HashMap;
use std::path::Path;

use crate::digest::Digest;
use crate::error::StoreError;
use crate::push::blocks::MAX_CHUNK;
use crate::push::chunks::{Chunk, Id, Place};
use crate::store::codec::{Format, Reader, Writer};
use crate::store::{self, Replacement};

pub(crate) const FORMAT: Format = Format {
    magic: *b"lwchunk\0",
    version: 1,
};

/// Chunks that are remembered at most: those of 64 GiB. In memory they take some 80 MB while such a file is sent, on disk 24 MB.
const MAX_CHUNKS: usize = 1 << 20;

/// The chunks of several files.
#[derive(Debug, Default)]
pub(crate) struct Library {
    files: Vec<(Digest, Vec<Chunk>)>,
    /// For each chunk its file and its position there.
    places: HashMap<Id, (u32, u32)>,
}

impl Library {
    /// What is remembered at `path` of the files that `is_there`. What is damaged, or of a newer version, is as good as nothing.
    pub(crate) fn load(path: &Path, is_there: impl Fn(&Digest) -> bool) -> Self {
        let mut library = Self::default();
        let read = store::read(path).ok().flatten();
        let files = read.and_then(|bytes| decode(&bytes, path).ok());
        for (hash, chunks) in files.unwrap_or_default() {
            if is_there(&hash) {
                library.add(hash, chunks);
            }
        }
        library
    }

    /// Remembers at `path` the chunks of those files, of these here and of `new`, that `is_there`.
    pub(crate) fn save(
        &self,
        path: &Path,
        new: &[(Digest, Vec<Chunk>)],
        is_there: impl Fn(&Digest) -> bool,
    ) -> Result<(), StoreError> {
        let mut files: HashMap<&Digest, &[Chunk]> = HashMap::new();
        let mut left = MAX_CHUNKS;
        for (hash, chunks) in new.iter().chain(&self.files) {
            if chunks.len() <= left && is_there(hash) && files.insert(hash, chunks).is_none() {
                left -= chunks.len();
            }
        }
        Replacement::of(path)?.finish(&encode(&files))
    }

    pub(crate) fn add(&mut self, hash: Digest, chunks: Vec<Chunk>) {
        let file = u32::try_from(self.files.len()).expect("at most a million chunks");
        for (at, chunk) in (0..).zip(&chunks) {
            self.places.entry(chunk.id).or_insert((file, at));
        }
        self.files.push((hash, chunks));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Where a chunk with this id and length is: its file here, and its position there.
    pub(crate) fn find(&self, id: &Id, len: usize) -> Option<(usize, usize)> {
        let &(file, at) = self.places.get(id)?;
        let (file, at) = (file as usize, at as usize);
        self.chunk(file, at)
            .filter(|(chunk, _)| chunk.len as usize == len)?;
        Some((file, at))
    }

    /// The chunk at a position of a file, and whether that is the last.
    pub(crate) fn chunk(&self, file: usize, at: usize) -> Option<(&Chunk, bool)> {
        let (_, chunks) = self.files.get(file)?;
        chunks.get(at).map(|chunk| (chunk, at + 1 == chunks.len()))
    }

    /// Where that is for a server.
    pub(crate) fn place(&self, file: usize, at: usize) -> Option<Place> {
        let (hash, chunks) = self.files.get(file)?;
        let offset = chunks.get(at)?.offset;
        Some(Place {
            file: *hash,
            offset,
        })
    }
}

fn encode(files: &HashMap<&Digest, &[Chunk]>) -> Vec<u8> {
    let mut sorted: Vec<_> = files.iter().collect();
    sorted.sort_by_key(|(hash, _)| **hash);
    let chunks = sorted.iter().map(|(_, chunks)| chunks.len());
    let mut writer = Writer::new(FORMAT, 64 + sorted.len() * 40 + chunks.sum::<usize>() * 26);
    writer.u64(sorted.len() as u64);
    for (hash, chunks) in sorted {
        writer.digest(hash);
        writer.u64(chunks.len() as u64);
        for chunk in *chunks {
            writer.bytes(&chunk.id);
            writer.u64(chunk.len.into());
        }
    }
    writer.finish()
}

pub(crate) fn decode(bytes: &[u8], path: &Path) -> Result<Vec<(Digest, Vec<Chunk>)>, StoreError> {
    let mut reader = Reader::new(FORMAT, bytes, path)?;
    let (mut files, mut left) = (Vec::new(), MAX_CHUNKS as u64);
    for _ in 0..reader.u64()? {
        let (hash, count) = (reader.digest()?, reader.u64()?);
        let too_many = || reader.damaged("too many chunks");
        left = left.checked_sub(count).ok_or_else(too_many)?;
        let (mut chunks, mut offset) = (Vec::new(), 0);
        for _ in 0..count {
            let (id, len) = (reader.bytes()?.try_into().ok(), reader.u64()?);
            let len = u32::try_from(len).ok();
            let len = len.filter(|&len| len > 0 && len as usize <= MAX_CHUNK);
            let (Some(id), Some(len)) = (id, len) else {
                return Err(reader.damaged("a bad chunk"));
            };
            chunks.push(Chunk { id, offset, len });
            offset += u64::from(len);
        }
        files.push((hash, chunks));
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::{Chunk, Library};
    use crate::digest::Digest;

    #[test]
    fn what_is_there_comes_back_and_damage_is_as_good_as_nothing() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("chunks");
        let chunk = |byte, offset, len| Chunk {
            id: [byte; 16],
            offset,
            len,
        };
        let [a, b, gone] = [1, 2, 3].map(|byte| Digest([byte; 32]));
        let is_there = |hash: &Digest| *hash != gone;
        assert!(Library::load(&path, is_there).is_empty());
        let mut old = Library::default();
        old.add(a, vec![chunk(7, 0, 20_000), chunk(8, 20_000, 5)]);
        old.add(gone, vec![chunk(9, 0, 1)]);
        old.save(&path, &[(b, vec![chunk(7, 0, 30_000)])], is_there)
            .unwrap();
        // And its encoding is pinned.
        let bytes = std::fs::read(&path).unwrap();
        let mut golden = b"lwchunk\0\x01\0\0\0\x02\0\0\0\0\0\0\0".to_vec();
        golden.extend_from_slice(&[1; 32]);
        golden.extend_from_slice(b"\x02\0\0\0\0\0\0\0\x10\0");
        golden.extend_from_slice(&[7; 16]);
        golden.extend_from_slice(b"\x20\x4e\0\0\0\0\0\0\x10\0");
        assert_eq!(&bytes[..golden.len()], golden);
        let known = Library::load(&path, is_there);
        assert_eq!(
            known.files,
            [old.files[0].clone(), (b, vec![chunk(7, 0, 30_000)])]
        );
        assert_eq!(known.find(&[8; 16], 5), Some((0, 1)));
        assert_eq!(known.find(&[8; 16], 6), None);
        assert!(Library::load(&path, |_| false).is_empty());
        std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        assert!(Library::load(&path, is_there).is_empty());
    }
}
