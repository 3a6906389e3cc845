//! The way of users through a root server's state directory to their mirrors.
//!
//! They pass through it and through `workspaces` (mode 0711) without seeing what is in either. Everything else in the
//! state directory is private by its own mode: whatever makes a file there makes it so, and what earlier versions left
//! readable, because the directory kept everybody out, is closed here first.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tonic::Code;

use crate::problem::Problem;

/// Where mirrors are.
pub(crate) const WORKSPACES: &str = "workspaces";
/// To pass, not to look.
const PASSABLE: u32 = 0o711;

/// Opens the way.
pub(super) fn open_up(state: &Path) -> Result<(), Problem> {
    let workspaces = state.join(WORKSPACES);
    let made = DirBuilder::new().mode(PASSABLE).create(&workspaces);
    match made {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(Problem::io(&workspaces, &error));
        }
        Ok(()) | Err(_) => {}
    }
    let there = names(state)?;
    for path in there.iter().filter(|path| **path != workspaces) {
        close(path).map_err(|error| Problem::io(path, &error))?;
    }
    for path in names(&workspaces)? {
        close(&path).map_err(|error| Problem::io(&path, &error))?;
    }
    for path in [&workspaces, state] {
        let passable = Permissions::from_mode(PASSABLE);
        fs::set_permissions(path, passable).map_err(|error| Problem::io(path, &error))?;
    }
    Ok(())
}

fn names(dir: &Path) -> Result<Vec<PathBuf>, Problem> {
    let listed = fs::read_dir(dir).and_then(|entries| {
        let paths = entries.map(|entry| entry.map(|entry| entry.path()));
        paths.collect::<io::Result<Vec<_>>>()
    });
    listed.map_err(|error| Problem::io(dir, &error))
}

/// Takes from others what they could do with it. Links have no mode; what a link leads to is not ours.
fn close(path: &Path) -> io::Result<()> {
    let found = match fs::symlink_metadata(path) {
        // A file of the index, which came and went.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found?,
    };
    if found.is_symlink() || found.mode() & 0o077 == 0 {
        return Ok(());
    }
    fs::set_permissions(path, Permissions::from_mode(found.mode() & 0o7700))
}

/// Whether the way is open to whoever this thread is.
pub(super) fn check(state: &Path, user: &str) -> Result<(), Problem> {
    let workspaces = state.join(WORKSPACES);
    let passes = |dir: &Path| fs::metadata(dir.join("."));
    let Err(error) = passes(&workspaces) else {
        return Ok(());
    };
    let mut way: Vec<&Path> = workspaces.ancestors().collect();
    way.reverse();
    let closed = way.into_iter().find(|dir| passes(dir).is_err());
    let closed = closed.unwrap_or(&workspaces);
    let message = format!(
        "user {user} cannot reach mirrors in {}, because {} is closed to that user ({error}): \
         use a state directory that everybody can pass through to, such as --state /var/lib/legwork",
        workspaces.display(),
        closed.display()
    );
    Err(
        Problem::new(Code::FailedPrecondition, "STATE_UNREACHABLE", message)
            .with("path", closed.display())
            .with("user", user),
    )
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use super::{check, open_up};

    #[test]
    fn the_way_is_opened_and_everything_beside_it_closed() {
        let state = tempfile::tempdir().unwrap();
        let at = |name: &str| state.path().join(name);
        let mode = |name: &str| fs::metadata(at(name)).unwrap().mode() & 0o7777;
        fs::create_dir_all(at("workspaces/one")).unwrap();
        fs::create_dir(at("mirrors")).unwrap();
        fs::write(at("index.db"), "").unwrap();
        std::os::unix::fs::symlink("/", at("link")).unwrap();
        for name in ["workspaces/one", "mirrors", "index.db"] {
            fs::set_permissions(at(name), Permissions::from_mode(0o755)).unwrap();
        }
        for _again in 0..2 {
            open_up(state.path()).unwrap();
            assert_eq!((mode("."), mode("workspaces")), (0o711, 0o711));
            for name in ["workspaces/one", "mirrors", "index.db"] {
                assert_eq!(mode(name), 0o700, "{name}");
            }
        }
        assert!(check(state.path(), "me").is_ok());
    }

    #[test]
    fn a_closed_way_is_told_with_what_closes_it() {
        let state = tempfile::tempdir().unwrap();
        let problem = check(&state.path().join("missing"), "me").unwrap_err();
        assert_eq!(problem.reason, "STATE_UNREACHABLE");
        assert!(
            problem.message.contains("missing is closed"),
            "{}",
            problem.message
        );
    }
}
