//! Whole small files, and the numbers that name things under `/proc`.

use alloc::borrow::ToOwned;
use alloc::ffi::CString;
use alloc::vec::Vec;
use core::mem::MaybeUninit;

use rustix::fd::{BorrowedFd, OwnedFd};
use rustix::fs::{CWD, FileType, Mode, OFlags, RawDir};
use rustix::io::Errno;
use rustix::path::Arg;

/// Bytes made room for at first: files of the kernel's do not say how long they are.
const ROOM: usize = 1000;

/// Opens a file for reading.
///
/// # Errors
/// What the file system says.
pub(super) fn open(dir: BorrowedFd<'_>, name: impl Arg) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(dir, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
}

/// The content of a file.
///
/// # Errors
/// What the file system says.
pub(super) fn read(dir: BorrowedFd<'_>, name: impl Arg) -> Result<Vec<u8>, Errno> {
    let file = open(dir, name)?;
    let mut raw = Vec::with_capacity(ROOM);
    while rustix::io::read(&file, rustix::buffer::spare_capacity(&mut raw))? > 0 {
        raw.reserve(1);
    }
    Ok(raw)
}

/// The content of a file of the kernel's, by its full name.
///
/// # Errors
/// What the file system says.
pub(super) fn read_of_kernel(name: impl Arg) -> Result<Vec<u8>, Errno> {
    read(CWD, name)
}

/// The names in a directory that are numbers. One that cannot be read to its end has only those before.
///
/// # Errors
/// It cannot be opened.
pub(super) fn numbers(directory: impl Arg) -> Result<Vec<i32>, Errno> {
    let mut found = Vec::new();
    let mut room = [MaybeUninit::uninit(); 2048];
    let mut names = RawDir::new(open(CWD, directory)?, &mut room);
    while let Some(Ok(name)) = names.next() {
        found.extend(number(name.file_name().to_bytes()));
    }
    Ok(found)
}

/// The names of the directories in a directory, as far as it can be read.
///
/// # Errors
/// It cannot be opened.
pub(super) fn directories(directory: BorrowedFd<'_>) -> Result<Vec<CString>, Errno> {
    let mut found = Vec::new();
    let mut room = [MaybeUninit::uninit(); 2048];
    let mut names = RawDir::new(open(directory, ".")?, &mut room);
    while let Some(Ok(entry)) = names.next() {
        let name = entry.file_name();
        if entry.file_type() == FileType::Directory && !matches!(name.to_bytes(), b"." | b"..") {
            found.push(name.to_owned());
        }
    }
    Ok(found)
}

/// A decimal number.
pub(super) fn number(text: &[u8]) -> Option<i32> {
    core::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::os::fd::{AsFd, AsRawFd};

    use super::{numbers, read, read_of_kernel};

    #[test]
    fn files_of_any_length_are_read_whole() {
        let here = tempfile::tempdir().unwrap();
        let dir = std::fs::File::open(here.path()).unwrap();
        for length in [0, 1, 999, 1000, 1001, 100_000] {
            let content = vec![7; length];
            std::fs::write(here.path().join("file"), &content).unwrap();
            assert_eq!(read(dir.as_fd(), "file").unwrap(), content);
        }
        let stat = read_of_kernel("/proc/self/stat").unwrap();
        assert!(stat.starts_with(std::process::id().to_string().as_bytes()));
    }

    #[test]
    fn all_numbers_are_found_however_many() {
        let files: Vec<_> = (0..300)
            .map(|_| std::fs::File::open("/dev/null").unwrap())
            .collect();
        let found = numbers("/proc/self/fd").unwrap();
        assert!(files.iter().all(|file| found.contains(&file.as_raw_fd())));
    }
}
