//! The authority's directory: `ca/ca.pem` and `ca/ca.key`, there whole or not at all.
//!
//! Both files are written to a directory with another name, which is then renamed: a crash leaves either no authority, or
//! all of it. A leftover directory holds a key that has signed nothing.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use uuid::Uuid;

use super::CaError;
use crate::random;

const CERTIFICATE: &str = "ca.pem";
const KEY: &str = "ca.key";

/// What the two files hold.
pub(super) struct Found {
    pub(super) certificate: String,
    pub(super) key: String,
}

/// Where the authority of a state directory is.
pub(super) fn dir(state: &Path) -> PathBuf {
    state.join("ca")
}

/// Reads both files; `None` if there is no such directory.
pub(super) fn read(state: &Path) -> Result<Option<Found>, CaError> {
    let dir = dir(state);
    match std::fs::symlink_metadata(&dir) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(told(&dir)(source)),
    }
    let path = dir.join(KEY);
    let file = File::open(&path).map_err(told(&path))?;
    let mode = file.metadata().map_err(told(&path))?.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(CaError::Exposed { path, mode });
    }
    let key = io::read_to_string(file).map_err(told(&path))?;
    let path = dir.join(CERTIFICATE);
    let certificate = std::fs::read_to_string(&path).map_err(told(&path))?;
    Ok(Some(Found { certificate, key }))
}

/// Puts both files in place; `false` if an authority was there before.
pub(super) fn write(state: &Path, certificate: &str, key: &str) -> Result<bool, CaError> {
    let unique = Uuid::from_bytes(random::bytes()).simple();
    let temporary = state.join(format!("ca.{unique}.new"));
    let path = dir(state);
    let placed = fill(&temporary, certificate, key)
        .and_then(|()| std::fs::rename(&temporary, &path))
        .and_then(|()| File::open(state)?.sync_all());
    let Err(source) = placed else {
        return Ok(true);
    };
    // The first error is the one to tell.
    drop(std::fs::remove_dir_all(&temporary));
    match Errno::from_io_error(&source) {
        Some(Errno::NOTEMPTY | Errno::EXIST) => Ok(false),
        _ => Err(CaError::Io { path, source }),
    }
}

fn fill(dir: &Path, certificate: &str, key: &str) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(dir)?;
    for (name, content) in [(KEY, key), (CERTIFICATE, certificate)] {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(dir.join(name))?;
        file.write_all(content.as_bytes())?;
        file.sync_all()?;
    }
    File::open(dir)?.sync_all()
}

fn told(path: &Path) -> impl FnOnce(io::Error) -> CaError + '_ {
    |source| CaError::Io {
        path: path.to_owned(),
        source,
    }
}
