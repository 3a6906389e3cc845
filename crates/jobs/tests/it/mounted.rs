//! A disk that can be full, for tests that may mount one.

use rustix::mount::{MountFlags, UnmountFlags};

use crate::sandbox::until;

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A small file system in memory.
pub(crate) struct Mounted(std::path::PathBuf);

impl Mounted {
    /// `None` where that needs rights that we do not have.
    pub(crate) fn new(at: std::path::PathBuf) -> Option<Self> {
        let mounted = rustix::mount::mount("none", &at, "tmpfs", MountFlags::empty(), c"size=2m");
        (is_root() && mounted.is_ok()).then_some(Self(at))
    }

    /// Once nobody writes to it any more: a shim may still be on its way out.
    pub(crate) async fn make_read_only(&self) {
        let remount = || rustix::mount::mount_remount(&self.0, MountFlags::RDONLY, c"").is_ok();
        until(remount).await;
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        rustix::mount::unmount(&self.0, UnmountFlags::DETACH).unwrap_or(());
    }
}
