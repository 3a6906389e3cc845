//! What commits displaced: `trash/<commit>/<path>`.
//!
//! The modification time of a commit's directory is when it was displaced, by the clock of whoever committed. The
//! oldest go when there is more than [`Bounds`] allow; what the last commit displaced goes by age alone.

use std::mem::MaybeUninit;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use rustix::fs::FileType;
use rustix::io::{Errno, Result};

use crate::path::{MAX_DEPTH, TreePath, to_path_buf};
use crate::push::since_epoch;
use crate::tree::{Dir, Use, write};

/// How much stays in the trash of a workspace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// For how long.
    pub age: Duration,
    /// How many bytes of files in all.
    pub bytes: u64,
    /// Of how many commits.
    pub commits: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            age: Duration::from_hours(7 * 24),
            bytes: 1 << 30,
            commits: 64,
        }
    }
}

/// What one commit displaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrashDir {
    /// Name of the directory, as in [`crate::message::Summary::trash`].
    pub name: String,
    /// Number of the commit that moved these there.
    pub generation: u64,
    /// When, in nanoseconds since the epoch.
    pub displaced_ns: i64,
    /// Bytes of the files in it.
    pub bytes: u64,
    /// How many files and links are in it.
    pub files: u64,
    /// These by the path they had in the tree, or the first of them.
    pub paths: Vec<PathBuf>,
}

/// The name of a commit's trash directory.
pub(crate) fn name(generation: u64) -> String {
    format!("{generation:010}")
}

/// Moves `path` of the tree, whose parent is `parent`, into the trash directory `into`. If something
/// is there already, of an interrupted commit or of a restore, the name gets a number; if that is in the place of a
/// directory above it, the whole path does.
pub(crate) fn displace(parent: &Dir, path: &TreePath, into: &Dir) -> Result<()> {
    let (above, name) = path.split();
    let to = match into.make_beneath(above) {
        Err(Errno::NOTDIR | Errno::LOOP) => beside(above, into)?,
        made => made?,
    };
    let mut free = name.to_vec();
    for attempt in 1.. {
        match parent.move_new(name, &to, &free) {
            Err(Errno::EXIST | Errno::NOTEMPTY) if attempt < 1000 => {
                free = [name, b"~", attempt.to_string().as_bytes()].concat();
            }
            done => return done,
        }
    }
    Ok(())
}

/// The directory `above` in a numbered one of `into`.
fn beside(above: &[u8], into: &Dir) -> Result<Dir> {
    for attempt in 1..1000 {
        let path = [format!("~{attempt}").as_bytes(), above].join(&b'/');
        match into.make_beneath(&path) {
            Err(Errno::NOTDIR | Errno::LOOP) => {}
            done => return done,
        }
    }
    Err(Errno::NOTDIR)
}

/// Notes when a commit displaced what is in its directory, if there is one.
pub(crate) fn stamp(trash: &Dir, generation: u64, now: SystemTime) -> Result<()> {
    match trash.child(name(generation).as_bytes(), Use::List) {
        Ok(dir) => write::set_mtime(&dir, since_epoch(now)),
        Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Removes what is beyond `bounds` at `now`. What cannot be removed, for one since a job gave it to another user,
/// stays: the commit is made by now.
pub(crate) fn prune(trash: &Dir, bounds: &Bounds, now: SystemTime) -> Result<()> {
    let oldest = since_epoch(now - bounds.age.min(age_max(now)));
    let (mut kept, mut bytes) = (0, 0_u64);
    for (name, _) in generations(trash)?.into_iter().rev() {
        let dir = trash.child(name.as_bytes(), Use::List)?;
        let displaced_ns = look(trash, &name)?;
        let mut held = 0;
        // Of those that go anyway it does not matter how much is in them.
        if kept < bounds.commits && bytes <= bounds.bytes {
            leaves(&dir, &[], 0, &mut |_, size| held += size)?;
        }
        bytes = bytes.saturating_add(held);
        let fits = kept == 0 || bytes <= bounds.bytes && kept < bounds.commits;
        if displaced_ns < oldest || !fits {
            let _stays = trash.remove_all(name.as_bytes());
        } else {
            kept += 1;
        }
    }
    Ok(())
}

/// As far as one can go back from `now`.
fn age_max(now: SystemTime) -> Duration {
    now.duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
}

/// When the directory of that name was filled.
fn look(trash: &Dir, name: &str) -> Result<i64> {
    let look = trash.look(name.as_bytes())?.ok_or(Errno::NOENT)?;
    Ok(look.mtime_ns)
}

/// The directories of commits, oldest first. What else lies there was put there by somebody else.
fn generations(trash: &Dir) -> Result<Vec<(String, u64)>> {
    let mut buffer = vec![MaybeUninit::uninit(); 8192];
    let names = trash.child(b".", Use::List)?.names(&mut buffer)?;
    let generation = |name: &[u8]| {
        let name = std::str::from_utf8(name).ok()?.to_owned();
        let generation: u64 = name.parse().ok()?;
        (self::name(generation) == name).then_some((name, generation))
    };
    let directories = names
        .iter()
        .filter(|name| name.file_type == FileType::Directory);
    let mut found: Vec<_> = directories
        .filter_map(|name| generation(&name.name))
        .collect();
    found.sort_unstable_by_key(|(_, generation)| *generation);
    Ok(found)
}

/// The names of what there is.
pub(crate) fn list_names(trash: &Dir) -> Result<Vec<String>> {
    let found = generations(trash)?.into_iter();
    Ok(found.map(|(name, _)| name).collect())
}

/// What there is, newest first, with so many paths of each at most.
pub(crate) fn list(trash: &Dir, most: usize) -> Result<Vec<TrashDir>> {
    let mut dirs = Vec::new();
    for (name, generation) in generations(trash)?.into_iter().rev() {
        let (mut paths, mut bytes, mut files) = (Vec::new(), 0, 0);
        let dir = trash.child(name.as_bytes(), Use::List)?;
        leaves(&dir, &[], 0, &mut |path, size| {
            if paths.len() < most {
                paths.push(to_path_buf(path));
            }
            files += 1;
            bytes += size;
        })?;
        dirs.push(TrashDir {
            displaced_ns: look(trash, &name)?,
            name,
            generation,
            bytes,
            files,
            paths,
        });
    }
    Ok(dirs)
}

/// Shows what lies below `dir` at `path`, sorted, with the size of each file: files, links, and directories that are
/// empty, that a job closed, or that lie too deep for any tree, which are shown as a whole.
fn leaves(dir: &Dir, path: &[u8], depth: usize, found: &mut impl FnMut(&[u8], u64)) -> Result<()> {
    let mut buffer = vec![MaybeUninit::uninit(); 8192];
    let mut names = dir.names(&mut buffer)?;
    names.sort_by(|a, b| a.name.cmp(&b.name));
    if names.is_empty() && !path.is_empty() {
        found(path, 0);
    }
    for name in names {
        let below = if path.is_empty() {
            name.name.to_vec()
        } else {
            [path, &name.name].join(&b'/')
        };
        if name.file_type == FileType::Directory && depth < MAX_DEPTH {
            match dir.child(&name.name, Use::List) {
                Ok(inside) => leaves(&inside, &below, depth + 1, found)?,
                Err(Errno::ACCESS) => found(&below, 0),
                Err(error) => return Err(error),
            }
        } else {
            let size = dir.look(&name.name)?.map_or(0, |look| look.size);
            found(&below, size);
        }
    }
    Ok(())
}
