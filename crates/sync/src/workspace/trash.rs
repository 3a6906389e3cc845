//! What commits displaced: `trash/<commit>/<path>`, kept for the last two commits that did.

use std::mem::MaybeUninit;

use rustix::fs::FileType;
use rustix::io::{Errno, Result};

use crate::path::{TreePath, to_path_buf};
use crate::tree::{Dir, Use};
use crate::workspace::TrashDir;

/// Trash directories that are kept.
const KEPT: usize = 2;

/// The name of a commit's trash directory.
pub(crate) fn name(generation: u64) -> String {
    format!("{generation:010}")
}

/// Moves `path` of the tree, whose parent is `parent`, into the trash directory `into`. If something
/// of an interrupted commit is there already, the name gets a number.
pub(crate) fn displace(parent: &Dir, path: &TreePath, into: &Dir) -> Result<()> {
    let (above, name) = path.split();
    let to = into.make_beneath(above)?;
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

/// Removes all but the last few. What cannot be removed, for one since a job gave it to another user,
/// stays: the commit is made by now.
pub(crate) fn prune(trash: &Dir) -> Result<()> {
    let names = sorted(trash)?;
    for name in names.iter().rev().skip(KEPT) {
        let _stays = trash.remove_all(name);
    }
    Ok(())
}

fn sorted(trash: &Dir) -> Result<Vec<Box<[u8]>>> {
    let mut buffer = vec![MaybeUninit::uninit(); 8192];
    let mut names: Vec<_> = trash.child(b".", Use::List)?.names(&mut buffer)?;
    names.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(names.into_iter().map(|name| name.name).collect())
}

/// What there is, newest first.
pub(crate) fn list(trash: &Dir) -> Result<Vec<TrashDir>> {
    let mut dirs = Vec::new();
    for name in sorted(trash)?.into_iter().rev() {
        let name = String::from_utf8_lossy(&name).into_owned();
        let Ok(generation) = name.parse() else {
            continue;
        };
        let mut paths = Vec::new();
        leaves(&trash.child(name.as_bytes(), Use::List)?, &[], &mut paths)?;
        dirs.push(TrashDir {
            name,
            generation,
            paths,
        });
    }
    Ok(dirs)
}

fn leaves(dir: &Dir, path: &[u8], found: &mut Vec<std::path::PathBuf>) -> Result<()> {
    let mut buffer = vec![MaybeUninit::uninit(); 8192];
    let mut names = dir.names(&mut buffer)?;
    names.sort_by(|a, b| a.name.cmp(&b.name));
    for name in names {
        let below = if path.is_empty() {
            name.name.to_vec()
        } else {
            [path, &name.name].join(&b'/')
        };
        if name.file_type == FileType::Directory {
            match dir.child(&name.name, Use::List) {
                Ok(inside) => leaves(&inside, &below, found)?,
                // A job closed it: named as a whole.
                Err(Errno::ACCESS) => found.push(to_path_buf(&below)),
                Err(error) => return Err(error),
            }
        } else {
            found.push(to_path_buf(&below));
        }
    }
    Ok(())
}
