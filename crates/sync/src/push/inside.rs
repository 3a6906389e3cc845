//! Directories that are left out whatever the ignore files say: where they lie inside a root, whatever links lead there.

use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use crate::path::TreePath;

/// Where those of `directories` that lie inside `root` are below it.
pub(crate) fn inside(root: &Path, directories: &[PathBuf]) -> Vec<TreePath> {
    let root = led(root);
    let mut found = Vec::new();
    for directory in directories {
        let directory = root.join(directory);
        // A link in the tree is an entry of its own, beside what it leads to.
        let named = match (directory.parent(), directory.file_name()) {
            (Some(parent), Some(name)) => led(parent).join(name),
            _ => directory.clone(),
        };
        for path in [led(&directory), named] {
            let below = path.strip_prefix(&root).ok();
            let below = below.map(|below| TreePath::new(below.as_os_str().as_bytes()));
            found.extend(below.and_then(Result::ok));
        }
    }
    found
}

/// Where `path` leads: links are followed as far as there is something.
fn led(path: &Path) -> PathBuf {
    // Mostly there is something all the way.
    if let Ok(there) = path.canonicalize() {
        return there;
    }
    let mut here = PathBuf::new();
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                here.pop();
            }
            part => {
                here.push(part);
                here = here.canonicalize().unwrap_or(here);
            }
        }
    }
    here
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::{Path, PathBuf};

    use super::inside;
    use crate::path::TreePath;

    #[test]
    fn what_is_excluded_may_be_written_in_any_way() {
        let temp = tempfile::tempdir().unwrap();
        let at = |path: &str| temp.path().join(path);
        fs::create_dir_all(at("root/a/state")).unwrap();
        symlink("root", at("way")).unwrap();
        symlink("a/state", at("root/link")).unwrap();
        symlink(at("elsewhere"), at("root/out")).unwrap();
        fs::create_dir(at("elsewhere")).unwrap();
        let found = |root: &str, directory: PathBuf| {
            let found = inside(&at(root), &[directory]);
            let mut found: Vec<_> = found.iter().map(TreePath::to_path_buf).collect();
            found.dedup();
            found
        };
        for root in ["root", "way", "./way/", "root/../way/."] {
            for written in [
                "root/a/state",
                "root/a/state/",
                "root/./a//state/.",
                "way/a/state",
                "way/a/../a/state",
            ] {
                assert_eq!(
                    found(root, at(written)),
                    [Path::new("a/state")],
                    "{root} {written}"
                );
            }
            for relative in ["a/state", "./a/state/"] {
                assert_eq!(
                    found(root, relative.into()),
                    [Path::new("a/state")],
                    "{root}"
                );
            }
            // What is not there yet, behind a link too.
            assert_eq!(found(root, at("way/b/new/")), [Path::new("b/new")]);
            let both = [Path::new("a/state"), Path::new("link")];
            assert_eq!(found(root, at("way/link")), both);
            assert_eq!(found(root, at("way/out")), [Path::new("out")]);
            for outside in ["elsewhere", "root", "way/", "rooted", "root/../elsewhere"] {
                assert!(found(root, at(outside)).is_empty(), "{root} {outside}");
            }
        }
    }
}
