//! Reading regular files through directory handles.

use std::os::fd::{AsFd, OwnedFd};

use blake3::Hasher;
use rustix::buffer::spare_capacity;
use rustix::fs::FileType;
use rustix::io::{Errno, Result};

use crate::digest::Digest;
use crate::message::Node;
use crate::stat::FileStat;
use crate::tree::Dir;

/// Bytes read at a time from a file that is only hashed.
const STEP: usize = 256 << 10;

/// Opens the regular file `name` and says what it looks like.
///
/// # Errors
/// `ELOOP` for a link, `EINVAL` for anything else that is not a regular file.
pub(crate) fn open(dir: &Dir, name: &[u8]) -> Result<(OwnedFd, FileStat)> {
    regular(dir.read_file(name)?)
}

/// Opens the regular file `name` to go on writing it.
///
/// # Errors
/// As [`open`].
pub(crate) fn reopen(dir: &Dir, name: &[u8]) -> Result<OwnedFd> {
    regular(dir.write_file(name)?).map(|(file, _)| file)
}

fn regular(file: OwnedFd) -> Result<(OwnedFd, FileStat)> {
    let stat = look(&file)?;
    if stat.file_type() == FileType::RegularFile {
        Ok((file, stat))
    } else {
        Err(Errno::INVAL)
    }
}

/// What an open file looks like now.
pub(crate) fn look(file: impl AsFd) -> Result<FileStat> {
    rustix::fs::fstat(file).map(|stat| FileStat::of(&stat))
}

/// One read(2) to the end of `into`, at most its spare capacity; 0 at the end of the file.
pub(crate) fn append(file: impl AsFd, into: &mut Vec<u8>) -> Result<usize> {
    rustix::io::retry_on_intr(|| rustix::io::read(file.as_fd(), spare_capacity(into)))
}

/// The content of a small file; `None` if it is not readable, not regular, or above `max` bytes.
pub(crate) fn read_small(dir: &Dir, name: &[u8], max: usize) -> Option<Vec<u8>> {
    let (file, stat) = open(dir, name).ok()?;
    let size = usize::try_from(stat.size)
        .ok()
        .filter(|&size| size <= max)?;
    let mut content = Vec::with_capacity(size + 1);
    while content.len() < content.capacity() && append(&file, &mut content).ok()? > 0 {}
    Some(content)
}

/// Hashes an open file from where it stands, `limit` bytes at most; also says how many there were.
pub(crate) fn hash(file: impl AsFd, limit: u64) -> Result<(Digest, u64)> {
    let (mut hasher, mut size) = (Hasher::new(), 0);
    let mut buffer = Vec::with_capacity(STEP);
    while size < limit {
        buffer.clear();
        let read = append(file.as_fd(), &mut buffer)?;
        if read == 0 {
            break;
        }
        let left = usize::try_from(limit - size).unwrap_or(usize::MAX);
        let taken = &buffer[..read.min(left)];
        hasher.update(taken);
        size += taken.len() as u64;
    }
    Ok((Digest(*hasher.finalize().as_bytes()), size))
}

/// Reads an open file from where it stands to its end.
pub(crate) fn each(file: impl AsFd, mut see: impl FnMut(&[u8])) -> Result<()> {
    let mut buffer = Vec::with_capacity(STEP);
    loop {
        buffer.clear();
        if append(file.as_fd(), &mut buffer)? == 0 {
            return Ok(());
        }
        see(&buffer);
    }
}

/// What `name` is, by its content, and what it looked like; `None` for the look if it changed
/// meanwhile. The node is `None` for what cannot be mirrored.
pub(crate) fn node(
    dir: &Dir,
    name: &[u8],
    seen: &FileStat,
) -> Result<(Option<Node>, Option<FileStat>)> {
    match seen.file_type() {
        FileType::Directory => Ok((Some(Node::Dir), Some(*seen))),
        FileType::Symlink => {
            let target = dir.read_link(name)?;
            Ok((Some(Node::Symlink { target }), Some(*seen)))
        }
        FileType::RegularFile => {
            let (file, before) = open(dir, name)?;
            let (hash, size) = hash(&file, u64::MAX)?;
            let after = look(&file)?;
            let stat = (before == after && after == *seen).then_some(after);
            Ok((
                Some(Node::File {
                    exec: before.exec(),
                    size,
                    hash,
                }),
                stat,
            ))
        }
        _ => Ok((None, None)),
    }
}
