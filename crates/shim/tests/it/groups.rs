//! A place for control groups, where this machine lets a test have one.

use std::fs;
use std::path::{Path, PathBuf};

use crate::harness::{command, is_root, skipped, unique, until};

/// A directory for control groups of the test's own.
pub(crate) struct Groups {
    mount: tempfile::TempDir,
    path: PathBuf,
}

impl Groups {
    /// Makes one, or says aloud why there is none.
    pub(crate) fn new() -> Option<Self> {
        if !is_root("only root can mount a file system of control groups") {
            return None;
        }
        let mount = tempfile::tempdir().expect("a temporary directory");
        let mounted = command("mount")
            .args(["-t", "cgroup2", "none"])
            .arg(mount.path())
            .output()
            .expect("mount is part of every system");
        if !mounted.status.success() {
            skipped(&format!(
                "control groups cannot be mounted: {}",
                String::from_utf8_lossy(&mounted.stderr).trim()
            ));
            return None;
        }
        // Tests may be threads of one process.
        let name = format!("legwork-test-{}-{}", std::process::id(), unique());
        let path = mount.path().join(name);
        match fs::create_dir(&path) {
            Ok(()) => Some(Self { mount, path }),
            Err(error) => {
                unmount(mount.path());
                skipped(&format!("no control group can be made: {error}"));
                None
            }
        }
    }

    /// Where the group of a job is to be.
    pub(crate) fn of_job(&self) -> PathBuf {
        self.path.join("job")
    }

    /// Whether there is none left.
    pub(crate) fn is_empty(&self) -> bool {
        let mut entries = fs::read_dir(&self.path).expect("it is there");
        !entries.any(|entry| entry.expect("it can be read").path().is_dir())
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        // A job that a failed test has left is killed by its shim's death, and that takes a moment.
        if !std::thread::panicking() {
            until("an empty group", || fs::remove_dir(&self.path).ok());
        }
        unmount(self.mount.path());
    }
}

fn unmount(path: &Path) {
    let done = command("umount").arg("-l").arg(path).status();
    drop(done);
}
