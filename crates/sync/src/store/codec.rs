//! The encoding of the mirror's own files: index, journal, cache and pull record.
//!
//! ```text
//! 8 bytes    which file this is
//! u32        format version
//! ...        fields and entries, as each file defines
//! 32 bytes   BLAKE3 of all before
//! ```
//!
//! Integers are little-endian. An entry shares the beginning of its path with the entry before it:
//! `u8 kind and flags, u16 shared bytes, u16 own bytes, own bytes`, then for a file `u64 size, hash`,
//! for a link `u16 length, target`, and with the flag [`HAS_STAT`] six words of what it looked like.

use std::path::Path;

use bytes::Bytes;

use crate::digest::Digest;
use crate::error::StoreError;
use crate::manifest::{Entry, NodeRef};
use crate::message::Node;
use crate::path::{MAX_PATH, TreePath, common};
use crate::stat::FileStat;

const DIR: u8 = 0;
const FILE: u8 = 1;
const EXEC: u8 = 2;
const LINK: u8 = 3;
const KIND: u8 = 0x0f;
/// An entry's flag: what it looked like follows.
const HAS_STAT: u8 = 0x10;
const CHECKSUM: usize = 32;
/// Entries of one list at most, which bounds the memory that a file written by a job can cost.
const MAX_ENTRIES: usize = 8_000_000;

/// Which file, and its newest format.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Format {
    pub(crate) magic: [u8; 8],
    pub(crate) version: u32,
}

/// Builds a file.
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    pub(crate) fn new(format: Format, capacity: usize) -> Self {
        let mut bytes = Vec::with_capacity(capacity);
        bytes.extend_from_slice(&format.magic);
        bytes.extend_from_slice(&format.version.to_le_bytes());
        Self(bytes)
    }

    /// A file with this in it, whatever that is.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn around(format: Format, body: &[u8]) -> Self {
        let mut writer = Self::new(format, body.len());
        writer.0.extend_from_slice(body);
        writer
    }

    pub(crate) fn u64(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub(crate) fn digest(&mut self, value: &Digest) {
        self.0.extend_from_slice(value.as_bytes());
    }

    /// At most 65,535 bytes: boot ids, names, paths, link targets.
    pub(crate) fn bytes(&mut self, value: &[u8]) {
        self.len16(value.len());
        self.0.extend_from_slice(value);
    }

    /// Bytes as they are, whatever they mean.
    #[cfg(test)]
    pub(crate) fn any(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn len16(&mut self, len: usize) {
        let len = u16::try_from(len).expect("checked paths and targets are below 64 KiB");
        self.0.extend_from_slice(&len.to_le_bytes());
    }

    pub(crate) fn entries(&mut self, entries: &[Entry]) {
        self.u64(entries.len() as u64);
        let mut last: &[u8] = &[];
        for entry in entries {
            self.entry(entry, last);
            last = entry.path.as_bytes();
        }
    }

    fn entry(&mut self, entry: &Entry, last: &[u8]) {
        let path = entry.path.as_bytes();
        let shared = common(path, last);
        let kind = match &entry.node {
            Node::Dir => DIR,
            Node::File { exec: false, .. } => FILE,
            Node::File { exec: true, .. } => EXEC,
            Node::Symlink { .. } => LINK,
        };
        self.0
            .push(kind | if entry.stat.is_some() { HAS_STAT } else { 0 });
        self.len16(shared);
        self.bytes(&path[shared..]);
        match &entry.node {
            Node::Dir => {}
            Node::File { size, hash, .. } => {
                self.u64(*size);
                self.digest(hash);
            }
            Node::Symlink { target } => self.bytes(target),
        }
        if let Some(stat) = &entry.stat {
            for word in [stat.dev, stat.ino, stat.size] {
                self.u64(word);
            }
            for time in [stat.mtime_ns, stat.ctime_ns] {
                self.0.extend_from_slice(&time.to_le_bytes());
            }
            self.u64(stat.mode.into());
        }
    }

    pub(crate) fn finish(mut self) -> Vec<u8> {
        let checksum = Digest::of(&self.0);
        self.digest(&checksum);
        self.0
    }
}

/// An entry as it is written.
pub(crate) struct Raw<'a> {
    /// Bytes that its path shares with that of the entry before.
    pub(crate) shared: usize,
    /// What follows these in its path.
    pub(crate) own: &'a [u8],
    pub(crate) node: NodeRef<'a>,
    pub(crate) stat: Option<FileStat>,
}

/// Reads a file.
#[derive(Clone)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
    /// Where that begins in the file.
    at: usize,
    path: &'a Path,
}

impl<'a> Reader<'a> {
    /// Checks kind, version and checksum of the file at `path`.
    pub(crate) fn new(format: Format, bytes: &'a [u8], path: &'a Path) -> Result<Self, StoreError> {
        let damaged = |why| StoreError::Damaged {
            path: path.to_owned(),
            why,
        };
        let rest = bytes
            .strip_prefix(&format.magic)
            .ok_or_else(|| damaged("not such a file"))?;
        let (version, _) = rest
            .split_first_chunk()
            .ok_or_else(|| damaged("too short"))?;
        let found = u32::from_le_bytes(*version);
        if found > format.version {
            let path = path.to_owned();
            return Err(StoreError::NewerFormat {
                path,
                found,
                known: format.version,
            });
        }
        let body = bytes.len().checked_sub(CHECKSUM).filter(|&body| body >= 12);
        let (body, checksum) = bytes.split_at(body.ok_or_else(|| damaged("too short"))?);
        if Digest::of(body).as_bytes() != checksum {
            return Err(damaged("wrong checksum"));
        }
        Ok(Self {
            rest: &body[12..],
            at: 12,
            path,
        })
    }

    /// Reads on at a place in a file that was checked before.
    pub(crate) fn again(bytes: &'a [u8], at: usize) -> Self {
        Self {
            rest: bytes.get(at..).unwrap_or_default(),
            at,
            path: Path::new(""),
        }
    }

    /// How many bytes of the file are before what is read next.
    pub(crate) fn position(&self) -> usize {
        self.at
    }

    pub(crate) fn damaged(&self, why: &'static str) -> StoreError {
        StoreError::Damaged {
            path: self.path.to_owned(),
            why,
        }
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], StoreError> {
        let (taken, rest) = self
            .rest
            .split_at_checked(len)
            .ok_or_else(|| self.damaged("too short"))?;
        self.rest = rest;
        self.at += len;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], StoreError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    /// Whether all fields are read.
    pub(crate) fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn u64(&mut self) -> Result<u64, StoreError> {
        self.array().map(u64::from_le_bytes)
    }

    fn i64(&mut self) -> Result<i64, StoreError> {
        self.array().map(i64::from_le_bytes)
    }

    fn len16(&mut self) -> Result<usize, StoreError> {
        self.array().map(u16::from_le_bytes).map(usize::from)
    }

    pub(crate) fn digest(&mut self) -> Result<Digest, StoreError> {
        self.array().map(Digest)
    }

    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], StoreError> {
        let len = self.len16()?;
        self.take(len)
    }

    /// How many entries follow.
    pub(crate) fn count(&mut self) -> Result<usize, StoreError> {
        let count = usize::try_from(self.u64()?).ok();
        let count = count.filter(|&count| count <= MAX_ENTRIES);
        count.ok_or_else(|| self.damaged("too many entries"))
    }

    pub(crate) fn entries(&mut self) -> Result<Vec<Entry>, StoreError> {
        let count = self.count()?;
        self.list(count, |path| TreePath::part_of(path).ok())
    }

    /// So many entries, whose paths are made by `path`. They share one piece of memory.
    pub(crate) fn list(
        &mut self,
        count: usize,
        path: impl Fn(Bytes) -> Option<TreePath>,
    ) -> Result<Vec<Entry>, StoreError> {
        let (paths, ends) = self.clone().paths(count)?;
        let mut entries: Vec<Entry> = Vec::with_capacity(ends.len());
        let mut begin = 0;
        for end in ends {
            let raw = self.raw()?;
            let path = path(paths.slice(begin..end));
            entries.push(Entry {
                path: path.ok_or_else(|| self.damaged("a bad path"))?,
                node: raw.node.owned(),
                stat: raw.stat,
            });
            begin = end;
        }
        Ok(entries)
    }

    /// The paths of so many entries, one after the other, and where each ends.
    fn paths(mut self, count: usize) -> Result<(Bytes, Vec<usize>), StoreError> {
        let mut ends = Vec::with_capacity(count.min(self.rest.len() / 5));
        let (mut paths, mut begin) = (Vec::with_capacity(ends.capacity() * 32), 0);
        for _ in 0..count {
            let raw = self.raw()?;
            let end = paths.len();
            if raw.shared > end - begin {
                return Err(self.damaged("a path shares more than there is"));
            }
            if raw.shared + raw.own.len() > MAX_PATH {
                return Err(self.damaged("a bad path"));
            }
            paths.extend_from_within(begin..begin + raw.shared);
            paths.extend_from_slice(raw.own);
            ends.push(paths.len());
            begin = end;
        }
        Ok((paths.into(), ends))
    }

    pub(crate) fn raw(&mut self) -> Result<Raw<'a>, StoreError> {
        let [flags] = self.array()?;
        let shared = self.len16()?;
        let own = self.bytes()?;
        let node = match flags & KIND {
            DIR => NodeRef::Dir,
            kind @ (FILE | EXEC) => NodeRef::File {
                exec: kind == EXEC,
                size: self.u64()?,
                hash: self.digest()?,
            },
            LINK => NodeRef::Symlink {
                target: self.bytes()?,
            },
            _ => return Err(self.damaged("an unknown kind of entry")),
        };
        let stat = if flags & HAS_STAT == 0 {
            None
        } else {
            Some(self.stat()?)
        };
        Ok(Raw {
            shared,
            own,
            node,
            stat,
        })
    }

    fn stat(&mut self) -> Result<FileStat, StoreError> {
        Ok(FileStat {
            dev: self.u64()?,
            ino: self.u64()?,
            size: self.u64()?,
            mtime_ns: self.i64()?,
            ctime_ns: self.i64()?,
            mode: u32::try_from(self.u64()?).map_err(|_| self.damaged("a bad mode"))?,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    use super::{Format, Reader, Writer};
    use crate::digest::Digest;
    use crate::error::StoreError;
    use crate::manifest::Entry;
    use crate::message::Node;
    use crate::path::TreePath;
    use crate::stat::FileStat;

    const FORMAT: Format = Format {
        magic: *b"lwtest\0\0",
        version: 1,
    };

    fn sample() -> Vec<Entry> {
        let stat = FileStat {
            dev: 1,
            ino: 2,
            size: 3,
            mtime_ns: -4,
            ctime_ns: 5,
            mode: 0o100_644,
        };
        let entry = |path: &[u8], node, stat| Entry {
            path: TreePath::new(path).unwrap(),
            node,
            stat,
        };
        let hash = Digest([7; 32]);
        vec![
            entry(b"d", Node::Dir, None),
            entry(
                b"d/f",
                Node::File {
                    exec: true,
                    size: 3,
                    hash,
                },
                Some(stat),
            ),
            entry(
                b"d/\xff",
                Node::Symlink {
                    target: b"../x".to_vec(),
                },
                None,
            ),
        ]
    }

    fn encoded(entries: &[Entry]) -> Vec<u8> {
        let mut writer = Writer::new(FORMAT, 0);
        writer.entries(entries);
        writer.finish()
    }

    #[test]
    fn the_encoding_is_pinned() {
        let bytes = encoded(&sample());
        let mut golden = b"lwtest\0\0\x01\0\0\0\x03\0\0\0\0\0\0\0".to_vec();
        golden.extend_from_slice(b"\x00\x00\x00\x01\x00d");
        golden.extend_from_slice(b"\x12\x01\x00\x02\x00/f\x03\0\0\0\0\0\0\0");
        golden.extend_from_slice(&[7; 32]);
        for word in [1_i64, 2, 3, -4, 5, 0o100_644] {
            golden.extend_from_slice(&word.to_le_bytes());
        }
        golden.extend_from_slice(b"\x03\x02\x00\x01\x00\xff\x04\x00../x");
        assert_eq!(&bytes[..bytes.len() - 32], golden);
        let read = Reader::new(FORMAT, &bytes, Path::new("f"))
            .unwrap()
            .entries()
            .unwrap();
        assert_eq!(read, sample());
    }

    #[test]
    fn a_newer_format_is_refused_as_such() {
        let newer = Format {
            version: 2,
            ..FORMAT
        };
        let bytes = Writer::new(newer, 0).finish();
        let refused = Reader::new(FORMAT, &bytes, Path::new("f")).err().unwrap();
        assert!(matches!(
            refused,
            StoreError::NewerFormat {
                found: 2,
                known: 1,
                ..
            }
        ));
    }

    proptest! {
        #[test]
        fn damage_is_noticed(at in 0_usize..200, bit in 0_u8..8) {
            let mut bytes = encoded(&sample());
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
            prop_assert!(Reader::new(FORMAT, &bytes, Path::new("f")).is_err());
        }

        #[test]
        fn any_body_is_read_or_refused(body: Vec<u8>) {
            let mut writer = Writer::new(FORMAT, 0);
            writer.0.extend_from_slice(&body);
            let bytes = writer.finish();
            let _read = Reader::new(FORMAT, &bytes, Path::new("f")).unwrap().entries();
        }
    }
}
