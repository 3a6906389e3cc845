//! The hash of a large file, by several threads.
//!
//! BLAKE3 is a tree: the parts of a file, each a subtree of its own, are hashed side by side and then put together. The result is that of one
//! thread that reads from the beginning to the end.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use blake3::Hasher;
use blake3::hazmat::{
    ChainingValue, HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root,
};
use rustix::io::{Errno, Result};

use crate::digest::Digest;

/// Bytes of a part: a power of two, so that each part is a whole subtree.
const PART: u64 = 8 << 20;
/// Bytes from which on more threads are worth it.
const LARGE: u64 = 4 * PART;
/// Bytes read at a time.
const STEP: usize = 256 << 10;
/// Threads at most: more than that no disk keeps busy.
const THREADS: usize = 4;

/// The hash of the first `size` bytes of an open file; `None` if it is too small for this, or has become shorter.
pub(crate) fn large(file: &OwnedFd, size: u64) -> Result<Option<Digest>> {
    if size < LARGE {
        return Ok(None);
    }
    let threads = thread::available_parallelism().map_or(1, |threads| threads.get().min(THREADS));
    let (next, over) = (AtomicU64::new(0), AtomicBool::new(false));
    let work = || {
        let mut done = Vec::new();
        let mut buffer = vec![0; STEP];
        while !over.load(Ordering::Relaxed) {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(offset) = at.checked_mul(PART).filter(|&offset| offset < size) else {
                break;
            };
            match part(file, offset, PART.min(size - offset), &mut buffer) {
                Ok(Some(value)) => done.push((at, value)),
                ended => {
                    over.store(true, Ordering::Relaxed);
                    return ended.map(|_| None);
                }
            }
        }
        Ok(Some(done))
    };
    let found = thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let join = |worker: thread::ScopedJoinHandle<'_, _>| worker.join();
        let joined = running.into_iter().map(join);
        joined
            .map(|done| done.expect("hashing does not panic"))
            .collect::<Result<Option<Vec<_>>>>()
    })?;
    // A worker that stopped since another one did has fewer, and then there is none.
    Ok(found
        .filter(|_| !over.load(Ordering::Relaxed))
        .map(|found| {
            let mut values: Vec<(u64, ChainingValue)> = found.into_iter().flatten().collect();
            values.sort_unstable_by_key(|(at, _)| *at);
            let values: Vec<ChainingValue> = values.into_iter().map(|(_, value)| value).collect();
            let (left, right) = values.split_at(left(values.len()));
            let root = merge_subtrees_root(&merged(left), &merged(right), Mode::Hash);
            Digest(*root.as_bytes())
        }))
}

/// One part; `None` if the file ends before it does.
fn part(file: &OwnedFd, offset: u64, len: u64, buffer: &mut [u8]) -> Result<Option<ChainingValue>> {
    let mut hasher = Hasher::new();
    hasher.set_input_offset(offset);
    let mut done = 0;
    while done < len {
        let space = usize::try_from(len - done).map_or(STEP, |left| left.min(STEP));
        match rustix::io::pread(file, &mut buffer[..space], offset + done) {
            Ok(0) => return Ok(None),
            Ok(read) => {
                hasher.update(&buffer[..read]);
                done += read as u64;
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Some(hasher.finalize_non_root()))
}

/// How many of so many parts, two or more, are the left half of their tree: the largest power of two that leaves some.
fn left(parts: usize) -> usize {
    1 << (parts - 1).ilog2()
}

fn merged(values: &[ChainingValue]) -> ChainingValue {
    if let [value] = values {
        return *value;
    }
    let (left, right) = values.split_at(left(values.len()));
    merge_subtrees_non_root(&merged(left), &merged(right), Mode::Hash)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write;
    use std::os::fd::OwnedFd;

    use super::{LARGE, PART, large};
    use crate::digest::Digest;

    #[test]
    fn it_is_the_hash_that_one_thread_finds() {
        let all: Vec<u8> = (0..LARGE + 2 * PART + 5)
            .map(|at| (at * 31 / 7).to_le_bytes()[0])
            .collect();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&all).unwrap();
        let file: OwnedFd = File::into(file);
        for more in [0, 1, 1024, PART - 1, PART, PART + 1, 2 * PART, 2 * PART + 5] {
            let size = LARGE + more;
            let expected = Digest::of(&all[..usize::try_from(size).unwrap()]);
            assert_eq!(large(&file, size).unwrap(), Some(expected), "{size}");
        }
        assert_eq!(large(&file, LARGE - 1).unwrap(), None);
        assert_eq!(large(&file, LARGE + 2 * PART + 6).unwrap(), None);
    }
}
