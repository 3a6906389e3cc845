//! The files of a log: segments, each with its index.
//!
//! A segment is `<first seq, 20 digits>.jsonl`, or the same with `.zst` once it is packed; `.idx` is its index. Lines whose numbers
//! reach those of the next segment are not part of the log: the end of a segment that failed is cut off by the name of the next.

pub(crate) mod index;
pub(crate) mod packed;
pub(crate) mod replay;
pub(crate) mod scan;

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use self::packed::Packed;

/// Where things are in the directory of a log.
pub(crate) fn data_path(dir: &Path, first: u64) -> PathBuf {
    dir.join(format!("{first:020}.jsonl"))
}

pub(crate) fn packed_path(dir: &Path, first: u64) -> PathBuf {
    dir.join(format!("{first:020}.jsonl.zst"))
}

pub(crate) fn index_path(dir: &Path, first: u64) -> PathBuf {
    dir.join(format!("{first:020}.idx"))
}

/// Which files there are of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Files {
    pub(crate) plain: bool,
    pub(crate) packed: bool,
    pub(crate) index: bool,
}

/// The segments in a directory, in their order. Other files are passed over.
pub(crate) fn list(dir: &Path) -> io::Result<BTreeMap<u64, Files>> {
    let mut found: BTreeMap<u64, Files> = BTreeMap::new();
    for entry in std::fs::read_dir(dir)? {
        let name = entry?.file_name();
        let Some((digits, rest)) = name.to_str().and_then(|name| name.split_at_checked(20)) else {
            continue;
        };
        // No log gets as far as the last numbers: what is named so was not made by one, and behind it there would be no other.
        let Some(first) = digits.parse().ok().filter(|first| *first < u64::MAX / 2) else {
            continue;
        };
        let has = match rest {
            ".jsonl" => |files: &mut Files| files.plain = true,
            ".jsonl.zst" => |files: &mut Files| files.packed = true,
            ".idx" => |files: &mut Files| files.index = true,
            _ => continue,
        };
        has(found.entry(first).or_default());
    }
    Ok(found)
}

/// A segment that is being read. It stays readable when its file goes.
#[derive(Debug)]
pub(crate) enum Content {
    Plain(File),
    Packed(Packed),
}

impl Content {
    /// Opens whichever form there is. `None` if there is none any more.
    pub(crate) fn open(dir: &Path, first: u64) -> io::Result<Option<Self>> {
        // It may be packed between two looks, so the plain form is asked for first and again.
        if let Some(file) = there(&data_path(dir, first))? {
            return Ok(Some(Self::Plain(file)));
        }
        if let Some(file) = there(&packed_path(dir, first))? {
            return Ok(Some(Self::Packed(Packed::open(file)?)));
        }
        Ok(there(&data_path(dir, first))?.map(Self::Plain))
    }

    /// Bytes of lines, as far as the file is whole.
    pub(crate) fn length(&self) -> io::Result<u64> {
        match self {
            Self::Plain(file) => Ok(file.metadata()?.len()),
            Self::Packed(packed) => Ok(packed.length()),
        }
    }

    /// Reads from an offset on, about `wanted` bytes, at most up to `end`; less than that only at the end.
    /// What of a packed form cannot be unpacked reads as zeros.
    pub(crate) fn read(
        &self,
        offset: u64,
        wanted: u64,
        end: u64,
        into: &mut Vec<u8>,
    ) -> io::Result<()> {
        into.clear();
        let length = end.saturating_sub(offset).min(wanted);
        match self {
            Self::Plain(file) => {
                into.resize(usize::try_from(length).unwrap_or(usize::MAX), 0);
                let read = read_up_to(file, into, offset)?;
                into.truncate(read);
                Ok(())
            }
            Self::Packed(packed) => packed.read(offset, length, into),
        }
    }
}

fn there(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn read_up_to(file: &File, into: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut done = 0;
    while done < into.len() {
        match file.read_at(&mut into[done..], offset + done as u64) {
            Ok(0) => break,
            Ok(read) => done += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}
