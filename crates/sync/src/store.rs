//! The mirror's own files, beside the trees: read whole, replaced by rename.
//!
//! Nothing here is fsynced. A killed process loses nothing, and after an unclean boot a checksum
//! tells a torn file, the index is distrusted, and files are compared by content.
//! What all these files have in common, from magic to checksum, is in `codec`.

pub(crate) mod codec;

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

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

/// A file on its way to replace another.
pub(crate) struct Replacement {
    file: File,
    temporary: PathBuf,
    path: PathBuf,
}

impl Replacement {
    pub(crate) fn of(path: &Path) -> Result<Self, StoreError> {
        let mut name = path.as_os_str().to_owned();
        name.push(".new");
        let temporary = PathBuf::from(name);
        let file = File::create(&temporary).map_err(failed("create", &temporary))?;
        Ok(Self {
            file,
            temporary,
            path: path.to_owned(),
        })
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
        fs::rename(&self.temporary, &self.path).map_err(failed("rename", &self.temporary))
    }
}

/// Removes a file that may be gone already.
pub(crate) fn remove(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", path)(error)),
        _ => Ok(()),
    }
}
