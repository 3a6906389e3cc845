//! Out of the trash, back to where it was.
//!
//! Nothing is written over: what is in the way stays, and so does what it is in the way of, unless the caller says that
//! it may go to the trash itself.

use std::mem::MaybeUninit;

use rustix::fs::FileType;
use rustix::io::{Errno, Result};

use crate::path::{TreePath, is_below};
use crate::tree::{Dir, Use};
use crate::workspace::trash;

/// What to restore.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wanted {
    /// Only what is at or below these; all if there are none.
    pub only: Vec<TreePath>,
    /// What is in the way goes to the trash.
    pub force: bool,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Restored {
    /// Back where they were: topmost paths, with all that is in them.
    pub restored: Vec<TreePath>,
    /// Still in the trash, since something else is there now.
    pub in_the_way: Vec<TreePath>,
    /// Moved to the trash to make way.
    pub displaced: Vec<TreePath>,
}

/// Moves what is wanted of the trash directory `from` back into `tree`; `into` is the trash directory for what is in the way.
pub(crate) fn restore(
    from: &Dir,
    tree: &Dir,
    wanted: &Wanted,
    into: &dyn Fn() -> Result<Dir>,
) -> Result<Restored> {
    let mut restorer = Restorer {
        tree,
        wanted,
        into,
        done: Restored::default(),
        buffer: vec![MaybeUninit::uninit(); 8192],
    };
    restorer.dir(from, &[])?;
    Ok(restorer.done)
}

struct Restorer<'a> {
    tree: &'a Dir,
    wanted: &'a Wanted,
    into: &'a dyn Fn() -> Result<Dir>,
    done: Restored,
    buffer: Vec<MaybeUninit<u8>>,
}

impl Restorer<'_> {
    fn dir(&mut self, from: &Dir, path: &[u8]) -> Result<()> {
        let mut names = from.names(&mut self.buffer)?;
        names.sort_by(|a, b| a.name.cmp(&b.name));
        for name in names {
            let Ok(below) = TreePath::join(path, &name.name) else {
                continue;
            };
            let is_dir = name.file_type == FileType::Directory;
            let (inside, above) = self.asked(&below);
            if !(inside || above && is_dir) {
                continue;
            }
            let there = self.there(&below)?;
            let merges = is_dir && there == Some(FileType::Directory);
            if merges || !inside {
                self.dir(&from.child(&name.name, Use::List)?, below.as_bytes())?;
                // Not empty where something stayed.
                let _left = from.remove_dir(&name.name);
                continue;
            }
            if let Some(file_type) = there {
                if !self.wanted.force || file_type == FileType::Unknown {
                    self.done.in_the_way.push(below);
                    continue;
                }
                self.make_way(&below)?;
            }
            self.put_back(from, is_dir, below)?;
        }
        Ok(())
    }

    /// Whether a path is wanted, and whether something below it is.
    fn asked(&self, path: &TreePath) -> (bool, bool) {
        let only = &self.wanted.only;
        let inside = |only: &TreePath| only == path || path.is_below(only.as_bytes());
        let above = |only: &TreePath| is_below(only.as_bytes(), path.as_bytes());
        (
            only.is_empty() || only.iter().any(inside),
            only.iter().any(above),
        )
    }

    fn there(&self, path: &TreePath) -> Result<Option<FileType>> {
        let (parent, name) = path.split();
        match self.tree.beneath(parent, Use::Names) {
            Ok(dir) => Ok(dir.look(name)?.map(|look| look.file_type())),
            Err(Errno::NOENT) => Ok(None),
            // Something else is in the place of a directory above it.
            Err(Errno::NOTDIR | Errno::LOOP) => Ok(Some(FileType::Unknown)),
            Err(error) => Err(error),
        }
    }

    fn make_way(&mut self, path: &TreePath) -> Result<()> {
        let (parent, name) = path.split();
        let dir = self.tree.beneath(parent, Use::Names)?;
        if let Ok(there) = dir.child(name, Use::Names) {
            there.permit()?;
        }
        trash::displace(&dir, path, &(self.into)()?)?;
        self.done.displaced.push(path.clone());
        Ok(())
    }

    fn put_back(&mut self, from: &Dir, is_dir: bool, path: TreePath) -> Result<()> {
        let (parent, name) = path.split();
        let to = self.tree.make_beneath(parent)?;
        if is_dir {
            // To be moved elsewhere, a directory itself must be writable.
            from.child(name, Use::Names)?.permit()?;
        }
        match from.move_new(name, &to, name) {
            Ok(()) => self.done.restored.push(path),
            Err(Errno::EXIST | Errno::NOTEMPTY) => self.done.in_the_way.push(path),
            Err(error) => return Err(error),
        }
        Ok(())
    }
}
