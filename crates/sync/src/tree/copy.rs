//! Copying between regular files that are held open.

use std::os::fd::OwnedFd;
use std::thread;

use blake3::Hasher;
use rustix::io::{Errno, Result};

use crate::digest::Digest;
use crate::stat::FileStat;
use crate::tree::{read, write};

/// Bytes from which on a copy that the kernel makes by itself is worth its two looks.
pub(crate) const LARGE: u64 = 256 << 10;
/// Bytes read at a time.
const STEP: usize = 256 << 10;
/// Bytes of a part from which on a second thread is worth it, and buffers that the two hand to each other.
const APART: u64 = 2 << 20;
const BUFFERS: usize = 4;

/// Copies all of `from`, which stands at its beginning, to the empty file `to`; says whether that is now the content with
/// `size` and `hash`. If not, what is in `to` means nothing.
///
/// `proof` is what `from` looks like as long as it holds that content. With it, a large file is cloned where the file system can,
/// or copied by the kernel, and not read. Otherwise it is read and hashed.
///
/// # Errors
/// Where `to` cannot be written. What cannot be read is as good as another content.
pub(crate) fn whole(
    from: &OwnedFd,
    to: &OwnedFd,
    (size, hash): (u64, &Digest),
    proof: Option<&FileStat>,
) -> Result<bool> {
    let unchanged = || read::look(from).is_ok_and(|look| proof == Some(&look));
    if size >= LARGE && unchanged() && by_kernel(from, to, size)? {
        return Ok(unchanged() && read::look(to)?.size == size);
    }
    let (mut hasher, mut copied) = (Hasher::new(), 0);
    let mut buffer = Vec::with_capacity(STEP.min(usize::try_from(size).unwrap_or(STEP) + 1));
    loop {
        buffer.clear();
        match read::append(from, &mut buffer) {
            Ok(0) => break,
            Ok(read) => copied += read as u64,
            Err(_) => return Ok(false),
        }
        if copied > size {
            return Ok(false);
        }
        hasher.update(&buffer);
        write::append(to, &buffer)?;
    }
    Ok(copied == size && hasher.finalize().as_bytes() == hash.as_bytes())
}

/// Copies `len` bytes of `from`, beginning at `offset`, to the end of `to`, and shows them to `see`. Where `from` ends earlier, or cannot
/// be read, there are fewer. Of much, one thread writes what another has read and seen: each takes about half of the time.
///
/// # Errors
/// Where `to` cannot be written.
pub(crate) fn range(
    from: &OwnedFd,
    offset: u64,
    len: u64,
    to: &OwnedFd,
    mut see: impl FnMut(&[u8]),
) -> Result<()> {
    let mut source = Source {
        file: from,
        at: offset,
        left: len,
    };
    if len < APART {
        let mut buffer = source.buffer();
        while source.fill(&mut buffer) {
            see(&buffer);
            write::append(to, &buffer)?;
        }
        return Ok(());
    }
    let (full, seen) = crossbeam_channel::bounded::<Vec<u8>>(BUFFERS);
    let (empty, written) = crossbeam_channel::bounded(BUFFERS);
    thread::scope(|scope| {
        let writer = scope.spawn(move || {
            for buffer in seen {
                write::append(to, &buffer)?;
                // The reader may have come to the end.
                drop(empty.send(buffer));
            }
            Ok(())
        });
        let mut made = 0;
        loop {
            let mut buffer = if made < BUFFERS {
                made += 1;
                source.buffer()
            } else if let Ok(buffer) = written.recv() {
                buffer
            } else {
                break;
            };
            if !source.fill(&mut buffer) {
                break;
            }
            see(&buffer);
            if full.send(buffer).is_err() {
                break;
            }
        }
        drop(full);
        writer.join().expect("a writer does not panic")
    })
}

/// A part of a file that is read from its beginning.
struct Source<'a> {
    file: &'a OwnedFd,
    at: u64,
    left: u64,
}

impl Source<'_> {
    fn buffer(&self) -> Vec<u8> {
        Vec::with_capacity(STEP.min(usize::try_from(self.left).unwrap_or(STEP)))
    }

    /// Reads what comes next; `false` where that is nothing.
    fn fill(&mut self, buffer: &mut Vec<u8>) -> bool {
        let space = buffer
            .capacity()
            .min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if space == 0 {
            return false;
        }
        // What is beyond the part is not read.
        buffer.resize(space, 0);
        let read =
            rustix::io::retry_on_intr(|| rustix::io::pread(self.file, &mut buffer[..], self.at));
        let read = read.unwrap_or(0);
        buffer.truncate(read);
        let next = self.at.checked_add(read as u64);
        self.left = if next.is_some() {
            self.left - read as u64
        } else {
            0
        };
        self.at = next.unwrap_or(u64::MAX);
        read > 0
    }
}

/// Shares the blocks of `from` with `to`, or copies them; `false`, and nothing happened, where this file system does neither.
fn by_kernel(from: &OwnedFd, to: &OwnedFd, size: u64) -> Result<bool> {
    if rustix::fs::ioctl_ficlone(to, from).is_ok() {
        return Ok(true);
    }
    let mut copied = 0;
    while copied < size {
        let left = usize::try_from(size - copied).unwrap_or(usize::MAX);
        match rustix::fs::copy_file_range(from, None, to, None, left) {
            // It became shorter: seen by its look.
            Ok(0) => break,
            Ok(count) => copied += count as u64,
            Err(Errno::INTR) => {}
            Err(error @ (Errno::NOSPC | Errno::DQUOT | Errno::FBIG)) => return Err(error),
            Err(_) if copied == 0 => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::fd::OwnedFd;

    use super::{APART, LARGE, range, whole};
    use crate::digest::Digest;
    use crate::tree::read;

    #[test]
    fn a_range_is_copied_as_far_as_there_is_something() {
        let temp = tempfile::tempdir().unwrap();
        let content: Vec<u8> = (0..APART * 3)
            .map(|byte| (byte * 7 / 3).to_le_bytes()[0])
            .collect();
        let path = temp.path().join("from");
        fs::write(&path, &content).unwrap();
        let from: OwnedFd = File::open(&path).unwrap().into();
        let size = content.len();
        for (offset, len) in [
            (0, size),
            (5, 1000),
            (7, size),
            (size - 3, size),
            (size, 9),
            (1, 2 << 20),
            (9, 0),
        ] {
            let to = temp.path().join("to");
            let file: OwnedFd = File::create(&to).unwrap().into();
            let mut seen = Vec::new();
            range(&from, offset as u64, len as u64, &file, |bytes| {
                seen.extend_from_slice(bytes);
            })
            .unwrap();
            let expected = &content[offset..size.min(offset + len)];
            assert!(
                seen == expected && fs::read(to).unwrap() == expected,
                "{offset} {len}"
            );
        }
        let closed: OwnedFd = File::open(&path).unwrap().into();
        assert!(range(&from, 0, size as u64, &closed, |_| ()).is_err());
        assert!(range(&from, u64::MAX - 1, u64::MAX, &from, |_| ()).is_ok());
    }

    #[test]
    fn a_copy_is_what_was_promised_or_is_known_not_to_be() {
        let temp = tempfile::tempdir().unwrap();
        let from = temp.path().join("from");
        let open = || -> OwnedFd { File::open(&from).unwrap().into() };
        for size in [0, 1, 1000, LARGE, LARGE + 1] {
            let content: Vec<u8> = (0..size)
                .map(|byte| (byte * 7 / 3).to_le_bytes()[0])
                .collect();
            fs::write(&from, &content).unwrap();
            let look = read::look(open()).unwrap();
            let hash = Digest::of(&content);
            let copied = |size, hash, proof| {
                let to = temp.path().join("to");
                let file: OwnedFd = File::create(&to).unwrap().into();
                let same = whole(&open(), &file, (size, hash), proof).unwrap();
                (same, fs::read(to).unwrap() == content)
            };
            assert_eq!(copied(size, &hash, None), (true, true));
            assert_eq!(copied(size, &hash, Some(&look)), (true, true));
            // Not what the proof is about: so it is read.
            let mut other = look;
            other.ino += 1;
            assert_eq!(copied(size, &hash, Some(&other)), (true, true));
            assert!(!copied(size, &Digest([1; 32]), Some(&other)).0);
            assert!(!copied(size, &Digest([1; 32]), None).0);
            assert!(!copied(size + 1, &hash, None).0);
            assert!(size == 0 || !copied(size - 1, &hash, None).0);
        }
    }
}
