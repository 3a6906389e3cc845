//! Whether a program and a state directory are where a service can use them, now and after the next boot.

use std::fs::Metadata;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::Path;

use super::Refusal;
use crate::error::CommandError;

/// Homes may be closed to others, not be mounted yet, and are their users' to change; the others do not outlive a boot.
const NO_PROGRAMS: &[&str] = &["/home", "/root", "/tmp", "/var/tmp", "/run", "/dev"];
/// Emptied at a boot or by age, or not the same for a service as for others.
const NO_STATE: &[&str] = &["/tmp", "/var/tmp", "/run", "/dev", "/proc", "/sys"];

/// Whether a service can run the program from where it is, and for one of root's, whether nobody else can put another there.
pub(super) fn check_binary(path: &Path, is_roots: bool) -> Result<(), Refusal> {
    let refused = |path: &Path, why| {
        let path = path.to_owned();
        Err(Refusal::BinaryPlace { path, why })
    };
    if is_below(path, NO_PROGRAMS) {
        return refused(path, "a service cannot count on a program in such a place");
    }
    if is_build(path) {
        return refused(path, "the next build replaces this program");
    }
    for above in path.ancestors() {
        let Ok(found) = above.metadata() else {
            return refused(above, "cannot be looked at");
        };
        if let Some(why) = flaw(&found, is_roots) {
            return refused(above, why);
        }
    }
    Ok(())
}

fn flaw(found: &Metadata, is_roots: bool) -> Option<&'static str> {
    if found.mode() & 0o001 == 0 {
        return Some("not everybody may execute or enter this");
    }
    if is_roots && found.uid() != 0 {
        return Some("belongs to another user, who could put another program in root's service");
    }
    if is_roots && found.mode() & 0o002 != 0 {
        return Some("everybody may write this, and so put another program in root's service");
    }
    None
}

/// Whether cargo has put it where it puts what it builds.
fn is_build(path: &Path) -> bool {
    let dir = path.parent().unwrap_or(path);
    matches!(
        dir.file_name().and_then(|name| name.to_str()),
        Some("debug" | "release")
    ) && dir.with_file_name("CACHEDIR.TAG").exists()
}

/// Whether a state directory can be there.
pub(super) fn check_state(path: &Path) -> Result<(), Refusal> {
    if is_below(path, NO_STATE) {
        let why = "a service's state directory cannot be in a place that does not last";
        return Err(Refusal::StatePlace {
            path: path.to_owned(),
            why,
        });
    }
    Ok(())
}

/// Makes a state directory for the server's user, who may not be able to. What comes into it is the server's affair.
pub(super) fn make_state(path: &Path, (uid, gid): (u32, u32)) -> Result<(), CommandError> {
    if let Ok(found) = path.metadata() {
        if found.uid() != uid {
            return Err(Refusal::StateOwner {
                path: path.to_owned(),
                owner: found.uid(),
            }
            .into());
        }
        return Ok(());
    }
    if let Some(above) = path.parent() {
        std::fs::create_dir_all(above)?;
    }
    std::fs::DirBuilder::new().mode(0o700).create(path)?;
    std::os::unix::fs::chown(path, Some(uid), Some(gid))?;
    Ok(())
}

fn is_below(path: &Path, places: &[&str]) -> bool {
    places.iter().any(|place| path.starts_with(place))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{check_binary, check_state, flaw, make_state};
    use crate::service::Refusal;

    #[test]
    fn programs_that_may_be_gone_are_refused() {
        for place in ["/home", "/root", "/tmp", "/opt/there/is/no/such"] {
            let place = Path::new(place).join(".cargo/bin/legwork");
            let refused = check_binary(&place, false).unwrap_err();
            assert!(
                matches!(refused, Refusal::BinaryPlace { .. }),
                "{refused:?}"
            );
        }
        check_binary(Path::new("/usr/bin/env"), true).unwrap();
    }

    #[test]
    fn roots_program_is_in_nobody_elses_hands() {
        let dir = tempfile::tempdir().unwrap();
        let found = |mode| {
            use std::os::unix::fs::PermissionsExt;
            std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(mode)).unwrap();
            dir.path().metadata().unwrap()
        };
        assert!(flaw(&found(0o750), false).unwrap().contains("execute"));
        assert_eq!(flaw(&found(0o757), false), None);
        assert!(flaw(&found(0o757), true).is_some());
    }

    #[test]
    fn a_state_directory_lasts_and_is_the_servers() {
        check_state(Path::new("/tmp/state")).unwrap_err();
        check_state(Path::new("/var/lib/legwork")).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let me = (
            nix::unistd::Uid::effective().as_raw(),
            nix::unistd::Gid::effective().as_raw(),
        );
        let path = dir.path().join("a/b");
        make_state(&path, me).unwrap();
        make_state(&path, me).unwrap();
        let other = make_state(&path, (me.0 + 1, me.1)).unwrap_err();
        assert_eq!(other.reason, "STATE_OTHER_USER");
    }
}
