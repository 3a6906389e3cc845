//! The state directory: whose it is, which version wrote it, and whether it can be used at all.
//!
//! ```text
//! version     a number: the layout of this directory
//! jobs/ID/    one directory a job (see `legwork_shim::layout`); may be elsewhere
//! bin/        shims, one file a version
//! index.db    what `ps` needs, from the job directories; with its lock and its boot id beside it
//! ```

use std::fs::{DirBuilder, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::Access;

use crate::config::Config;
use crate::error::OpenError;
use crate::files;

/// The layout that this build writes, and the newest that it reads.
pub(crate) const VERSION: u64 = 1;

const VERSION_FILE: &str = "version";

/// The mode of a directory that is its owner's alone.
const PRIVATE: u32 = 0o700;
/// The mode of root's state directory when jobs run as other users: they pass through it to their mirrors, and whoever
/// gave it that mode sees to it that everything else in it is private.
const PASSABLE: u32 = 0o711;

/// Directories that are known to be usable.
#[derive(Debug)]
pub(crate) struct StateDir {
    /// The state directory.
    pub(crate) path: PathBuf,
    /// The parent of the job directories.
    pub(crate) jobs: PathBuf,
}

impl StateDir {
    /// Makes what is missing and refuses what cannot be used.
    pub(crate) fn prepare(config: &Config) -> Result<Self, OpenError> {
        let path = std::path::absolute(&config.state_dir)
            .map_err(|source| told(&config.state_dir, source))?;
        private_dir(&path, &[PRIVATE, PASSABLE])?;
        check_version(&path)?;
        let jobs = match &config.jobs_dir {
            Some(elsewhere) => {
                let elsewhere =
                    std::path::absolute(elsewhere).map_err(|source| told(elsewhere, source))?;
                private_dir(&elsewhere, &[PRIVATE])?;
                elsewhere
            }
            None => own_jobs_dir(&path)?,
        };
        Ok(Self { path, jobs })
    }
}

fn own_jobs_dir(state: &Path) -> Result<PathBuf, OpenError> {
    let jobs = state.join("jobs");
    let made = files::make_private_dir(&jobs).map_err(|source| told(&jobs, source))?;
    if made {
        files::sync_dir(state).map_err(|source| told(state, source))?;
    }
    Ok(jobs)
}

fn private_dir(path: &Path, modes: &[u32]) -> Result<(), OpenError> {
    let found = match std::fs::metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => make(path)?,
        Err(source) => return Err(told(path, source)),
    };
    if !found.is_dir() {
        return Err(OpenError::NotADirectory { path: path.into() });
    }
    let user = rustix::process::geteuid().as_raw();
    if found.uid() != user {
        return Err(OpenError::OtherOwner {
            path: path.into(),
            owner: found.uid(),
            user,
        });
    }
    let mode = found.mode() & 0o7777;
    if !modes.contains(&mode) || (mode == PASSABLE && user != 0) {
        if !path.join(VERSION_FILE).is_file() && !is_empty(path)? {
            return Err(OpenError::NotAState { path: path.into() });
        }
        std::fs::set_permissions(path, Permissions::from_mode(PRIVATE))
            .map_err(|source| told(path, source))?;
    }
    rustix::fs::access(path, Access::WRITE_OK | Access::EXEC_OK)
        .map_err(|errno| told(path, errno.into()))
}

fn is_empty(path: &Path) -> Result<bool, OpenError> {
    std::fs::read_dir(path)
        .map(|mut entries| entries.next().is_none())
        .map_err(|source| told(path, source))
}

fn make(path: &Path) -> Result<Metadata, OpenError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .and_then(|()| std::fs::metadata(path))
        .map_err(|source| told(path, source))
}

fn check_version(state: &Path) -> Result<(), OpenError> {
    let path = state.join(VERSION_FILE);
    let io = |source| told(&path, source);
    let Some(content) = files::read_if_there(&path).map_err(io)? else {
        return files::replace(&path, format!("{VERSION}\n").as_bytes(), 0o600)
            .and_then(|()| files::sync_dir(state))
            .map_err(io);
    };
    let text = String::from_utf8_lossy(&content);
    let Ok(found) = text.trim().parse::<u64>() else {
        return Err(OpenError::Damaged {
            path,
            what: format!(
                "{:?} is not a version",
                text.chars().take(40).collect::<String>()
            ),
        });
    };
    if found > VERSION {
        return Err(OpenError::Newer {
            path,
            found,
            known: VERSION,
        });
    }
    Ok(())
}

/// The system's word as one of ours.
pub(crate) fn told(path: &Path, source: io::Error) -> OpenError {
    let path = path.to_owned();
    if files::is_full(&source) {
        OpenError::DiskFull { path }
    } else if files::is_refused(&source) {
        OpenError::NotWritable { path, source }
    } else if source.kind() == io::ErrorKind::NotADirectory {
        OpenError::NotADirectory { path }
    } else {
        OpenError::Io { path, source }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use super::StateDir;
    use crate::config::Config;
    use crate::error::OpenError;

    #[test]
    fn made_private_and_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/state");
        let state = StateDir::prepare(&Config::new(&path)).unwrap();
        assert_eq!(
            std::fs::metadata(&state.path).unwrap().mode() & 0o777,
            0o700
        );
        assert_eq!(
            std::fs::metadata(&state.jobs).unwrap().mode() & 0o777,
            0o700
        );
        StateDir::prepare(&Config::new(&path)).unwrap();
    }

    #[test]
    fn a_directory_of_other_things_is_left_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let open = |name: &str, file: &str| {
            let path = dir.path().join(name);
            std::fs::create_dir(&path).unwrap();
            std::fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
            if !file.is_empty() {
                std::fs::write(path.join(file), "1\n").unwrap();
            }
            let opened = StateDir::prepare(&Config::new(&path));
            (opened, std::fs::metadata(&path).unwrap().mode() & 0o7777)
        };
        let (refused, mode) = open("home", "notes");
        assert!(matches!(refused, Err(OpenError::NotAState { .. })));
        assert_eq!(mode, 0o755);
        for (name, file) in [("empty", ""), ("state", "version")] {
            let (opened, mode) = open(name, file);
            assert!(opened.is_ok(), "{name}: {opened:?}");
            assert_eq!(mode, 0o700);
        }
    }

    #[test]
    fn what_cannot_be_used_is_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let refusal = |path| StateDir::prepare(&Config::new(path)).unwrap_err();

        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert!(matches!(
            refusal(file.clone()),
            OpenError::NotADirectory { .. }
        ));
        assert!(matches!(
            refusal(file.join("below")),
            OpenError::NotADirectory { .. }
        ));

        let newer = dir.path().join("newer");
        std::fs::create_dir(&newer).unwrap();
        std::fs::write(newer.join("version"), "7\n").unwrap();
        assert!(matches!(
            refusal(newer),
            OpenError::Newer {
                found: 7,
                known: 1,
                ..
            }
        ));

        let damaged = dir.path().join("damaged");
        std::fs::create_dir(&damaged).unwrap();
        std::fs::write(damaged.join("version"), "seven").unwrap();
        assert!(matches!(refusal(damaged), OpenError::Damaged { .. }));
    }
}
