//! What becomes of one path, and why: the rules of a scan, told instead of applied.

use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::FileType;
use rustix::io::Errno;

use crate::error::PushError;
use crate::manifest;
use crate::path::{TreePath, to_path_buf};
use crate::push::{Options, cache, inside, rules};
pub use crate::scan::rules::Reason;
use crate::scan::rules::Rules;
use crate::tree::{Dir, Use, read};

/// What becomes of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It is mirrored.
    Taken,
    /// It is mirrored because the caller chose it; else it would be left out.
    Chosen(LeftOut),
    /// It is not mirrored.
    LeftOut(LeftOut),
    /// It is, or lies in, a directory that the caller never mirrors, such as its own state.
    Excluded,
    /// A socket, pipe or device: those do not travel.
    Special,
    /// It cannot be read: what the mirror has there stays as it is.
    Unreadable(String),
    /// There is nothing.
    Missing,
}

/// Why something is left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// The path itself, or the directory above it that is left out with all that is in it.
    pub at: PathBuf,
    /// Why that is.
    pub reason: Reason,
}

/// How a path stands to what was mirrored last, as far as the client remembers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It was not mirrored.
    New,
    /// It was mirrored as it is.
    Same,
    /// It was mirrored, and is something else now.
    Changed,
    /// Nothing is remembered.
    Unknown,
}

/// What becomes of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explained {
    /// Of the path itself.
    pub fate: Fate,
    /// What the mirror has of it.
    pub state: State,
}

/// Says what a push of `root` with `options` does about `path`, which is below it; `cache` is the push's.
///
/// # Errors
/// [`PushError::Root`], [`PushError::BadInclude`], and a cache of a newer version.
pub fn explain(
    root: &Path,
    options: &Options,
    cache: &Path,
    path: &Path,
) -> Result<Explained, PushError> {
    let dir = Dir::open_root(root).map_err(|errno| PushError::Root {
        path: root.to_owned(),
        source: errno.into(),
    })?;
    let fate = match TreePath::new(path.as_os_str().as_bytes()) {
        Ok(path) => {
            let way = Way {
                excluded: inside(root, &options.exclude),
                rules: rules(root, options)?,
                left_out: None,
            };
            way.fate(dir, &path)
                .unwrap_or_else(|errno| Fate::Unreadable(errno.to_string()))
        }
        Err(_) if path.as_os_str().is_empty() => Fate::Taken,
        Err(bad) => Fate::Unreadable(bad.to_string()),
    };
    let state = state(root, cache, path)?;
    Ok(Explained { fate, state })
}

struct Way {
    excluded: Vec<TreePath>,
    rules: Arc<Rules>,
    /// Of the path, or of the topmost directory above it.
    left_out: Option<LeftOut>,
}

impl Way {
    fn fate(mut self, mut dir: Dir, path: &TreePath) -> rustix::io::Result<Fate> {
        let mut buffer = vec![MaybeUninit::uninit(); 32 << 10];
        let bytes = path.as_bytes();
        let ends = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'/');
        let ends: Vec<usize> = ends.map(|(at, _)| at).chain([bytes.len()]).collect();
        let mut start = 0;
        for end in ends {
            let (parent, name) = (&bytes[..start.max(1) - 1], &bytes[start..end]);
            self.rules = Rules::enter(&self.rules, &dir, parent, &dir.names(&mut buffer)?);
            let Some(look) = dir.look(name)? else {
                return Ok(Fate::Missing);
            };
            let file_type = look.file_type();
            let here = &bytes[..end];
            if self.excluded.iter().any(|dir| dir.as_bytes() == here) {
                return Ok(Fate::Excluded);
            }
            if let Some(left_out) = self.left_out(&dir, parent, name, file_type) {
                return Ok(Fate::LeftOut(left_out));
            }
            start = end + 1;
            if end == bytes.len() {
                return self.last(&dir, name, file_type);
            }
            dir = match dir.child(name, Use::List) {
                Err(Errno::NOTDIR | Errno::LOOP) => return Ok(Fate::Missing),
                child => child?,
            };
        }
        Ok(Fate::Missing)
    }

    /// Whether one name is left out; if it is taken though the rules leave it out, that is noted.
    fn left_out(
        &mut self,
        dir: &Dir,
        parent: &[u8],
        name: &[u8],
        file_type: FileType,
    ) -> Option<LeftOut> {
        let is_dir = file_type == FileType::Directory;
        let cache = || {
            is_dir
                .then(|| self.rules.cache(dir, parent, name))
                .flatten()
        };
        let reason = self.rules.reason(parent, name, is_dir).or_else(cache);
        if let (None, Some(reason)) = (&self.left_out, reason) {
            let at = to_path_buf(&if parent.is_empty() {
                name.to_vec()
            } else {
                [parent, name].join(&b'/')
            });
            self.left_out = Some(LeftOut { at, reason });
        }
        let taken = self.rules.takes(parent, name, is_dir);
        self.left_out.clone().filter(|_| !taken)
    }

    fn last(self, dir: &Dir, name: &[u8], file_type: FileType) -> rustix::io::Result<Fate> {
        match file_type {
            FileType::RegularFile => drop(read::open(dir, name)?),
            FileType::Directory => drop(dir.child(name, Use::List)?),
            FileType::Symlink => {}
            _ => return Ok(Fate::Special),
        }
        Ok(self.left_out.map_or(Fate::Taken, Fate::Chosen))
    }
}

fn state(root: &Path, cache: &Path, path: &Path) -> Result<State, PushError> {
    let known = cache::load(cache)?;
    // The root is no entry.
    let Some(known) = known.filter(|_| !path.as_os_str().is_empty()) else {
        return Ok(State::Unknown);
    };
    let Some(entry) = manifest::find(&known.entries, path.as_os_str().as_bytes()) else {
        return Ok(State::New);
    };
    let now = |dir: &Dir| -> rustix::io::Result<bool> {
        let (parent, name) = entry.path.split();
        let parent = dir.beneath_mounts(parent, Use::Names)?;
        let Some(look) = parent.look(name)? else {
            return Ok(false);
        };
        if entry.stat == Some(look) {
            return Ok(true);
        }
        let (node, _) = read::node(&parent, name, &look)?;
        Ok(node.as_ref() == Some(&entry.node))
    };
    let same = Dir::open_root(root).and_then(|dir| now(&dir));
    Ok(if same.unwrap_or(false) {
        State::Same
    } else {
        State::Changed
    })
}
