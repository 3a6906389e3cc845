//! The mirror's own files, beside the trees: read whole, replaced by rename.
//!
//! Nothing here is fsynced. A killed process loses nothing, and after an unclean boot a checksum
//! tells a torn file, the index is distrusted, and files are compared by content.
//! What all these files have in common, from magic to checksum, is in `codec`.

pub(crate) mod codec;

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::StoreError;

pub(crate) fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_owned();
    move |source| StoreError::Io { what, path, source }
}

/// The whole file; `None` if there is none.
pub(crate) fn read(path: &Path) -> Result<Option<Vec<u8>>, StoreError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed("read", path)(error)),
    }
}

/// A file on its way to replace another; dropped before that, it is removed.
///
/// Its own name is unique to the process and call: several may replace the same file at once.
pub(crate) struct Replacement {
    file: File,
    temporary: PathBuf,
    path: PathBuf,
}

static CALLS: AtomicU64 = AtomicU64::new(0);

impl Replacement {
    pub(crate) fn of(path: &Path) -> Result<Self, StoreError> {
        loop {
            let call = CALLS.fetch_add(1, Ordering::Relaxed);
            let mut name = path.as_os_str().to_owned();
            name.push(format!(".{}-{call}.new", std::process::id()));
            let temporary = PathBuf::from(name);
            match File::create_new(&temporary) {
                Ok(file) => {
                    return Ok(Self {
                        file,
                        temporary,
                        path: path.to_owned(),
                    });
                }
                // Of a killed process, or of another pid namespace.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(failed("create", &temporary)(error)),
            }
        }
    }

    /// The file system's own time of its making, nanoseconds since the epoch.
    pub(crate) fn made_ns(&self) -> Result<i64, StoreError> {
        let stat = crate::tree::read::look(&self.file);
        stat.map(|stat| stat.mtime_ns)
            .map_err(|errno| failed("stat", &self.temporary)(errno.into()))
    }

    /// Writes it and puts it in place.
    pub(crate) fn finish(mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.file
            .write_all(bytes)
            .map_err(failed("write", &self.temporary))?;
        fs::rename(&self.temporary, &self.path).map_err(failed("rename", &self.temporary))?;
        self.temporary.clear();
        Ok(())
    }
}

impl Drop for Replacement {
    fn drop(&mut self) {
        if !self.temporary.as_os_str().is_empty() {
            // The first failure is the one to be told.
            let _left = fs::remove_file(&self.temporary);
        }
    }
}

/// Removes a file that may be gone already.
pub(crate) fn remove(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", path)(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::Replacement;

    #[test]
    fn two_may_replace_one_file_and_a_failure_leaves_nothing() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("cache");
        let (first, second) = (
            Replacement::of(&path).unwrap(),
            Replacement::of(&path).unwrap(),
        );
        first.finish(b"first").unwrap();
        second.finish(b"second").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"second");
        drop(Replacement::of(&path).unwrap());
        let in_the_way = temp.path().join("directory");
        std::fs::create_dir_all(in_the_way.join("full")).unwrap();
        assert!(Replacement::of(&in_the_way).unwrap().finish(b"").is_err());
        assert_eq!(std::fs::read_dir(temp.path()).unwrap().count(), 2);
    }
}
