//! A plan, done to the tree.
//!
//! Each step is one rename, removal or mode change of a single name in a held directory. Before a
//! step takes away what the mirror wrote, it looks once more whether that is still what is there; a
//! late change is moved to the trash, like any other work of a job. Nothing is written over anything
//! unseen: what is installed where nothing should be is moved there with `RENAME_NOREPLACE`.

use std::collections::{HashMap, HashSet};

use rustix::fs::AtFlags;
use rustix::io::{Errno, Result};

use crate::digest::Digest;
use crate::faults::Faults;
use crate::manifest::{self, Entry};
use crate::message::Node;
use crate::path::TreePath;
use crate::reconcile::Step;
use crate::stat::FileStat;
use crate::tree::{Dir, Parents, Use, write};
use crate::workspace::past::Moved;
use crate::workspace::{kept, trash};

/// Where a plan is applied.
pub(crate) struct Place<'a> {
    pub(crate) tree: &'a Dir,
    /// Holds what is to be installed, in the shape of the tree.
    pub(crate) staged: &'a Dir,
    /// All trash directories.
    pub(crate) trash: &'a Dir,
    /// The name of this commit's own.
    pub(crate) trash_name: &'a str,
    /// What the mirror wrote.
    pub(crate) tracked: &'a [Entry],
    /// Where that goes when it is replaced or removed; nowhere without it.
    pub(crate) past: Option<&'a Dir>,
    /// Contents that come into the tree, at one path or another.
    pub(crate) coming: HashSet<Digest>,
    pub(crate) faults: &'a Faults,
}

/// What came of it, beyond the plan.
#[derive(Debug, Default)]
pub(crate) struct Applied {
    /// What files look like that were moved or changed by themselves.
    pub(crate) looks: HashMap<TreePath, FileStat>,
    /// Found changed at the last moment, and moved to the trash.
    pub(crate) displaced: Vec<TreePath>,
    /// Directories that were to go, but are not empty.
    pub(crate) kept: Vec<TreePath>,
    /// Replaced or removed, and kept for when it comes back.
    pub(crate) past: Moved,
}

/// Does all steps.
pub(crate) fn apply(
    place: &Place<'_>,
    steps: &[Step],
) -> std::result::Result<Applied, (TreePath, Errno)> {
    let mut applier = Applier {
        place,
        tree: Parents::of(place.tree),
        staged: Parents::of(place.staged),
        applied: Applied::default(),
    };
    for step in steps {
        applier
            .step(step)
            .map_err(|errno| (step.path().clone(), errno))?;
    }
    Ok(applier.applied)
}

struct Applier<'a> {
    place: &'a Place<'a>,
    tree: Parents<'a>,
    staged: Parents<'a>,
    applied: Applied,
}

impl Applier<'_> {
    fn step(&mut self, step: &Step) -> Result<()> {
        match step {
            Step::Remove(path, look) => self.remove(path, look.as_ref()),
            Step::Displace(path) => self.displace(path),
            Step::RemoveDir(path) => self.remove_dir(path),
            Step::SetMode(path, exec) => self.set_mode(path, *exec),
            Step::Install(path) => self.install(path),
            Step::InstallOver(path, look) => self.install_over(path, look.as_ref()),
        }
    }

    fn remove(&mut self, path: &TreePath, look: Option<&FileStat>) -> Result<()> {
        let (parent, name) = path.split();
        let dir = self.tree.get(parent)?;
        match dir.look(name)? {
            None => Ok(()),
            now if now.as_ref() == look => {
                self.place.faults.before("remove")?;
                match self.place.leaving(path) {
                    Some((past, hash, size)) => {
                        self.applied.past.add(size);
                        // Also where there is no room for one more name.
                        let kept = dir.move_over(name, past, &kept::whole(&hash));
                        kept.or_else(|_| dir.remove_file(name))
                    }
                    None => dir.remove_file(name),
                }
            }
            Some(_) => {
                self.applied.displaced.push(path.clone());
                self.displace(path)
            }
        }
    }

    fn displace(&mut self, path: &TreePath) -> Result<()> {
        self.place.faults.before("displace")?;
        let (parent, _) = path.split();
        let into = self
            .place
            .trash
            .make_beneath(self.place.trash_name.as_bytes())?;
        let dir = self.tree.get(parent)?;
        let displaced = match trash::displace(dir, path, &into) {
            // A directory that came at the last moment, and is closed.
            Err(Errno::ACCESS) => {
                dir.child(path.name(), Use::Names)?.permit()?;
                trash::displace(dir, path, &into)
            }
            done => done,
        };
        match displaced {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error),
        }
        self.tree.forget();
        Ok(())
    }

    fn remove_dir(&mut self, path: &TreePath) -> Result<()> {
        self.place.faults.before("remove directory")?;
        let (parent, name) = path.split();
        let removed = self.tree.get(parent)?.remove_dir(name);
        self.tree.forget();
        match removed {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(Errno::NOTEMPTY | Errno::EXIST) => {
                self.applied.kept.push(path.clone());
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    fn set_mode(&mut self, path: &TreePath, exec: bool) -> Result<()> {
        self.place.faults.before("mode")?;
        let (parent, name) = path.split();
        let dir = self.tree.get(parent)?;
        let now = dir.look(name)?.ok_or(Errno::NOENT)?;
        let mode = write::executable(now.mode, exec);
        rustix::fs::chmodat(dir, name, mode, AtFlags::SYMLINK_NOFOLLOW).or_else(
            |errno| match errno {
                Errno::OPNOTSUPP | Errno::NOSYS => {
                    let (file, _) = crate::tree::read::open(dir, name)?;
                    rustix::fs::fchmod(file, mode)
                }
                errno => Err(errno),
            },
        )?;
        self.note(path)
    }

    fn install(&mut self, path: &TreePath) -> Result<()> {
        match self.move_new(path) {
            Err(Errno::EXIST | Errno::NOTEMPTY) => {
                self.applied.displaced.push(path.clone());
                self.displace(path)?;
                self.move_new(path)
            }
            done => done,
        }
    }

    fn move_new(&mut self, path: &TreePath) -> Result<()> {
        self.place.faults.before("install")?;
        let (parent, name) = path.split();
        self.staged
            .get(parent)?
            .move_new(name, self.tree.get(parent)?, name)?;
        self.note(path)
    }

    fn install_over(&mut self, path: &TreePath, look: Option<&FileStat>) -> Result<()> {
        let (parent, name) = path.split();
        if self.tree.get(parent)?.look(name)?.as_ref() != look {
            self.applied.displaced.push(path.clone());
            self.displace(path)?;
            return self.install(path);
        }
        self.place.faults.before("replace")?;
        let (staged, tree) = (self.staged.get(parent)?, self.tree.get(parent)?);
        match self.place.leaving(path) {
            Some((past, hash, size)) if staged.exchange(name, tree, name)? => {
                self.place.faults.before("keep")?;
                self.applied.past.add(size);
                // What cannot be kept goes with the staging area.
                let _kept = staged.move_over(name, past, &kept::whole(&hash));
            }
            _ => staged.move_over(name, tree, name)?,
        }
        self.note(path)
    }

    /// Remembers what a file looks like now: a rename may change its times.
    fn note(&mut self, path: &TreePath) -> Result<()> {
        let (parent, name) = path.split();
        if let Some(look) = self.tree.get(parent)?.look(name)? {
            self.applied.looks.insert(path.clone(), look);
        }
        Ok(())
    }
}

impl<'a> Place<'a> {
    /// Where what the mirror wrote at `path` goes, its hash and its length; `None` where it is not worth keeping: it has nothing in it, or
    /// was only moved.
    fn leaving(&self, path: &TreePath) -> Option<(&'a Dir, Digest, u64)> {
        match manifest::find(self.tracked, path.as_bytes())?.node {
            Node::File { hash, size, .. } if size > 0 && !self.coming.contains(&hash) => {
                Some((self.past?, hash, size))
            }
            _ => None,
        }
    }
}
