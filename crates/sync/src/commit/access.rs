//! Directories that a job closed, opened again for their owner.
//!
//! A job may take away the permissions of directories that the mirror has to look into or change. The
//! mirror then gives itself `u+rwx` on those that are its own, and does not take it back. What stays
//! closed is refused before the journal is written.

use rustix::io::Errno;

use crate::commit::drift::opened;
use crate::error::refusal;
use crate::manifest::Entry;
use crate::message::{Node, Refusal};
use crate::reconcile::Step;
use crate::tree::{Dir, Use};

/// What is said of a look at the tree that failed.
const LOOK: &str = "look at";

/// A look at `path` failed.
pub(crate) fn unseen(path: &[u8], errno: Errno) -> Refusal {
    denied(LOOK, path, errno)
}

/// Whether this look failed for want of permissions.
pub(crate) fn is_closed(refused: &Refusal) -> bool {
    matches!(refused, Refusal::Io { what, errno, .. }
        if what == LOOK && *errno == Errno::ACCESS.raw_os_error())
}

/// As [`refusal`]; where permissions are lacking, with what to do about it.
pub(crate) fn denied(what: &str, path: &[u8], errno: Errno) -> Refusal {
    let mut refused = refusal(what, if path.is_empty() { b"." } else { path }, errno);
    if let Refusal::Io { error, .. } = &mut refused
        && matches!(errno, Errno::ACCESS | Errno::PERM)
    {
        error.push_str("; make it writable in the workspace on the server (chown, chattr or chmod u+rwx), then sync again");
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

/// Opens the directories that `steps` change; an error if one stays closed.
pub(crate) fn open_for(tree: &Dir, steps: &[Step]) -> Result<(), Refusal> {
    let open = |path: &[u8]| {
        let permitted = opened(tree.beneath(path, Use::Names))
            .and_then(|dir| dir.map_or(Ok(()), |dir| dir.permit()));
        permitted.map_err(|errno| denied("change", path, errno))
    };
    let mut last = None;
    for step in steps {
        let parent = step.path().split().0;
        if last != Some(parent) {
            open(parent)?;
            last = Some(parent);
        }
        // To be moved elsewhere, a directory itself must be writable.
        if let Step::Displace(path) = step {
            open(path.as_bytes())?;
        }
    }
    Ok(())
}
