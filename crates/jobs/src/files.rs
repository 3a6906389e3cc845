//! Small files that must be whole after any crash.

use std::ffi::OsString;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::io::Errno;

/// Puts a file in place: whole or not at all, also when the power fails or two processes do it at once.
/// The directory is for the caller to sync.
pub(crate) fn replace(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    static ATTEMPTS: AtomicU32 = AtomicU32::new(0);
    let attempt = ATTEMPTS.fetch_add(1, Ordering::Relaxed);
    let mut name = OsString::from(path);
    name.push(format!(".{}-{attempt}.new", std::process::id()));
    let temporary = Path::new(&name);
    let written = write(temporary, content, mode)
        .and_then(|file| file.sync_all())
        .and_then(|()| std::fs::rename(temporary, path));
    if written.is_err() {
        // The first error is the one to tell.
        drop(std::fs::remove_file(temporary));
    }
    written
}

fn write(path: &Path, content: &[u8], mode: u32) -> io::Result<File> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(path)?;
    file.write_all(content)?;
    Ok(file)
}

/// Makes the entries of a directory durable.
pub(crate) fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Makes a directory for its owner only; `false` if something has that name already.
pub(crate) fn make_private_dir(path: &Path) -> io::Result<bool> {
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

/// The content of a file, or `None` where there is none.
pub(crate) fn read_if_there(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match std::fs::read(path) {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// No space, or over the quota.
pub(crate) fn is_full(error: &io::Error) -> bool {
    has_errno(error, &[Errno::NOSPC, Errno::DQUOT])
}

/// Permissions, or a read-only file system.
pub(crate) fn is_refused(error: &io::Error) -> bool {
    has_errno(error, &[Errno::ACCESS, Errno::PERM, Errno::ROFS])
}

/// Whether an error is one of these.
pub(crate) fn has_errno(error: &io::Error, among: &[Errno]) -> bool {
    Errno::from_io_error(error).is_some_and(|errno| among.contains(&errno))
}

#[cfg(test)]
mod tests {
    use super::{make_private_dir, read_if_there, replace};

    #[test]
    fn replaced_whole_and_nothing_else_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        assert_eq!(read_if_there(&path).unwrap(), None);
        replace(&path, b"longer content", 0o600).unwrap();
        replace(&path, b"short", 0o600).unwrap();
        assert_eq!(read_if_there(&path).unwrap().unwrap(), b"short");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_directory_is_made_once() {
        let dir = tempfile::tempdir().unwrap();
        assert!(make_private_dir(&dir.path().join("new")).unwrap());
        assert!(!make_private_dir(&dir.path().join("new")).unwrap());
    }
}
