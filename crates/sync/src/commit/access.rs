//! Directories that a job closed, opened again for their owner.
//!
//! A job may take away the permissions of directories that the mirror has to look into or change. The
//! mirror then gives itself `u+rwx` on those that are its own, and does not take it back. What stays
//! closed, or the kernel does not let go of, is refused before the journal is written.

use rustix::io::Errno;

use crate::commit::drift::opened;
use crate::error::refusal;
use crate::manifest::Entry;
use crate::message::{Node, Refusal};
use crate::reconcile::Step;
use crate::tree::{Dir, Use};

/// What is said of a look at the tree that failed.
const LOOK: &str = "look at";

/// What is said of steps that were found impossible beforehand.
const CHANGE: &str = "change";
/// What is said of a step that failed.
pub(crate) const APPLY: &str = "apply";

/// A look at `path` failed.
pub(crate) fn unseen(path: &[u8], errno: Errno) -> Refusal {
    denied(LOOK, path, errno)
}

/// Whether this look failed for want of permissions.
pub(crate) fn is_closed(refused: &Refusal) -> bool {
    matches!(refused, Refusal::Io { what, errno, .. }
        if what == LOOK && *errno == Errno::ACCESS.raw_os_error())
}

/// Whether this is about one path of the tree, and about nothing that every other path lacks too.
pub(crate) fn is_stuck(refused: &Refusal) -> bool {
    matches!(refused, Refusal::Io { what, .. } if [LOOK, CHANGE, APPLY].contains(&what.as_str()))
}

/// As [`refusal`]; where there is something to do about it, with that.
pub(crate) fn denied(what: &str, path: &[u8], errno: Errno) -> Refusal {
    let mut refused = refusal(what, if path.is_empty() { b"." } else { path }, errno);
    if let Refusal::Io { error, .. } = &mut refused {
        error.push_str(match errno {
            Errno::ACCESS | Errno::PERM => "; make it writable in the workspace on the server (chown, chattr -ia or chmod u+rwx), then sync again",
            Errno::BUSY => "; unmount it in the workspace on the server, then sync again",
            _ => "",
        });
    }
    refused
}

/// Opens the tree's own directory and those of `entries`, as far as that can be done.
pub(crate) fn open_all(tree: &Dir, entries: &[Entry]) {
    // What stays closed is found by the next look.
    let _closed = tree.permit();
    for entry in entries.iter().filter(|entry| entry.node == Node::Dir) {
        if let Ok(dir) = tree.beneath(entry.path.as_bytes(), Use::Names) {
            let _closed = dir.permit();
        }
    }
}

/// Opens the directories that `steps` change; an error if one stays closed, or something that is to go
/// or to be replaced cannot be moved.
pub(crate) fn open_for(tree: &Dir, steps: &[Step]) -> Result<(), Refusal> {
    let open = |path: &[u8]| {
        let permitted = opened(tree.beneath(path, Use::Names)).and_then(|dir| match dir {
            Some(dir) => dir.permit().map(|()| Some(dir)),
            None => Ok(None),
        });
        permitted.map_err(|errno| denied(CHANGE, path, errno))
    };
    let mut last: Option<(&[u8], Option<Dir>)> = None;
    for step in steps {
        let (parent, name) = step.path().split();
        if last.as_ref().is_none_or(|(path, _)| *path != parent) {
            last = Some((parent, open(parent)?));
        }
        // To be moved elsewhere, a directory itself must be writable.
        if let Step::Displace(path) = step {
            open(path.as_bytes())?;
        }
        if let (Some((_, Some(dir))), false) = (&last, matches!(step, Step::Install(_))) {
            if dir.only_grows().unwrap_or(false) {
                return Err(denied(CHANGE, parent, Errno::PERM));
            }
            let movable = dir.movable(name);
            movable.map_err(|errno| denied(CHANGE, step.path().as_bytes(), errno))?;
        }
    }
    Ok(())
}
