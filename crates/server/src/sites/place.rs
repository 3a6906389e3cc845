//! Where a site may not be.

use std::path::{Component, Path, PathBuf};

use nix::unistd::{Uid, User};

/// Directories of the system, of which nothing that is inside may be a site either.
const SYSTEM: [&str; 15] = [
    "/bin",
    "/boot",
    "/dev",
    "/etc",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/proc",
    "/sbin",
    "/sys",
    "/usr/bin",
    "/usr/lib",
    "/usr/sbin",
    "/run/systemd",
];
/// Directories of the system that have others in them which may.
const SHARED: [&str; 22] = [
    "/home",
    "/media",
    "/mnt",
    "/opt",
    "/root",
    "/run",
    "/srv",
    "/tmp",
    "/usr",
    "/usr/local",
    "/usr/share",
    "/usr/local/bin",
    "/usr/local/lib",
    "/var",
    "/var/cache",
    "/var/lib",
    "/var/log",
    "/var/run",
    "/var/spool",
    "/var/tmp",
    "/var/www",
    "/var/mail",
];
/// Where the homes of people are.
const HOMES: &str = "/home";

/// Whether a path is absolute and says where it leads, links aside.
pub(super) fn is_plain(path: &Path) -> bool {
    // Components drop single dots in the middle, which mean nothing.
    path.is_absolute() && !path.components().any(|part| part == Component::ParentDir)
}

/// Whether one of two directories is the other, or in it.
pub(super) fn meet(a: &Path, b: &Path) -> bool {
    a.starts_with(b) || b.starts_with(a)
}

/// Why a directory cannot be a site; `None` if it can.
pub(super) fn forbidden(path: &Path, state: &Path) -> Option<String> {
    if path.parent().is_none() {
        return Some("it is the root of the file system".to_owned());
    }
    if meet(path, state) {
        return Some("it and the state directory are in each other".to_owned());
    }
    let inside = SYSTEM.iter().any(|dir| path.starts_with(dir));
    let shared = SHARED.iter().any(|dir| path == Path::new(dir));
    if inside || shared {
        return Some(
            "it is a directory of the system: choose one of its own, such as /srv/NAME".to_owned(),
        );
    }
    let home = homes(path).into_iter().find(|home| home.starts_with(path));
    let is_home = path.parent() == Some(Path::new(HOMES));
    match home {
        Some(home) if home == path => Some(home_of(path)),
        Some(home) => Some(format!("the home directory {} is in it", home.display())),
        None if is_home => Some(home_of(path)),
        None => None,
    }
}

fn home_of(path: &Path) -> String {
    let inside = path.join("NAME");
    format!(
        "it is a home directory: choose one inside, such as {}",
        inside.display()
    )
}

/// Homes that a path may be: of whom this server is, and of whom the directory belongs to.
fn homes(path: &Path) -> Vec<PathBuf> {
    use std::os::unix::fs::MetadataExt;
    let owner = path
        .symlink_metadata()
        .ok()
        .map(|found| Uid::from_raw(found.uid()));
    let users = [Some(Uid::effective()), owner].into_iter().flatten();
    let home = |uid| User::from_uid(uid).ok().flatten().map(|user| user.dir);
    users
        .filter_map(home)
        .chain(std::env::home_dir())
        .filter(|home| home.is_absolute())
        .flat_map(|home| [home.canonicalize().ok(), Some(home)])
        .flatten()
        .collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{HOMES, forbidden, is_plain, meet};

    #[test]
    fn what_nobody_means_is_refused() {
        let state = Path::new("/srv/legwork");
        let home = |below: &str| format!("{HOMES}/anna{below}");
        for (path, why) in [
            ("/", "root of the file system"),
            ("/etc", "of the system"),
            ("/etc/nginx", "of the system"),
            ("/usr/bin", "of the system"),
            ("/srv", "state directory"),
            ("/srv/legwork/workspaces", "state directory"),
            ("/tmp", "of the system"),
            (HOMES, "of the system"),
            (&home(""), "home directory"),
            ("/root", "of the system"),
        ] {
            let told = forbidden(Path::new(path), state).unwrap();
            assert!(told.contains(why), "{path}: {told}");
        }
        let own = std::env::home_dir().unwrap();
        assert!(forbidden(&own, state).is_some());
        let inside = home("/site");
        for path in ["/srv/site", &inside, "/var/www/html", "/opt/app"] {
            assert_eq!(forbidden(Path::new(path), state), None, "{path}");
        }
    }

    #[test]
    fn a_directory_with_a_home_in_it_is_refused() {
        let temp = tempfile::tempdir().unwrap();
        let home = std::env::home_dir().unwrap();
        if let Some(above) = home.parent().filter(|above| above.parent().is_some()) {
            assert!(forbidden(above, Path::new("/state")).is_some(), "{above:?}");
        }
        assert_eq!(forbidden(temp.path(), Path::new("/state")), None);
    }

    #[test]
    fn paths_say_where_they_lead() {
        assert!(is_plain(Path::new("/srv/site")));
        for path in ["srv", "/srv/../etc", ""] {
            assert!(!is_plain(Path::new(path)), "{path}");
        }
        assert!(meet(Path::new("/a/b"), Path::new("/a")));
        assert!(!meet(Path::new("/a/b"), Path::new("/a/bc")));
    }
}
