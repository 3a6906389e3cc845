//! Small private files that are there whole or not at all.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use uuid::Uuid;

use crate::error::{CommandError, FAILED};

/// Makes a directory, and those above it, for nobody else to look into.
pub(crate) fn private_dir(path: &Path) -> Result<(), CommandError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|e| failed(path, &e))
}

/// Writes a new file with mode 0600, to the disk.
pub(crate) fn create(path: &Path, content: &[u8]) -> Result<(), CommandError> {
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        file.write_all(content)?;
        file.sync_all()
    };
    write().map_err(|e| failed(path, &e))
}

/// Puts a file with mode 0600 in the place of what is there.
pub(crate) fn replace(path: &Path, content: &[u8]) -> Result<(), CommandError> {
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(format!(".{}", Uuid::now_v7()));
    let fresh = Path::new(&fresh);
    let placed = create(fresh, content)
        .and_then(|()| std::fs::rename(fresh, path).map_err(|e| failed(path, &e)));
    if placed.is_err() {
        // What is left of it has no name that anybody reads.
        drop(std::fs::remove_file(fresh));
    }
    placed.and_then(|()| sync_parent(path))
}

/// Makes a change of a directory's names last.
pub(crate) fn sync_parent(path: &Path) -> Result<(), CommandError> {
    let Some(dir) = path.parent() else {
        return Ok(());
    };
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(|e| failed(dir, &e))
}

/// What to say of a file operation that failed.
pub(crate) fn failed(path: &Path, cause: &io::Error) -> CommandError {
    let reason = match cause.kind() {
        io::ErrorKind::StorageFull => "NO_SPACE",
        _ => "IO",
    };
    CommandError::new(FAILED, reason, format!("{}: {cause}", path.display()))
}
