//! The names of new files on the disk, besides what is in them.
//!
//! By the rules (fsync(2)) a new file may be gone after a power failure until the directory that names it is synced, and a
//! new directory until its own is. That would be two more waits for the disk before a job may run. The usual file systems of
//! Linux do it along with the file: ext4 and XFS write their journals in order, and the making of the file and of its
//! directory come before its content; without a journal ext4 follows the new names upwards (`ext4_sync_parent` in
//! fs/ext4/fsync.c); btrfs logs all new parents (`btrfs_log_inode_parent` in fs/btrfs/tree-log.c). Everywhere else both
//! directories are synced. The old driver for ext2 cannot be told from ext4 and syncs no names; hardly a kernel uses it.

use rustix::fd::BorrowedFd;
use rustix::io::Errno;

use super::files;

/// Those of which it is known (statfs(2)).
const WITH_THE_FILE: [rustix::fs::FsWord; 3] = [
    libc::EXT4_SUPER_MAGIC,
    libc::XFS_SUPER_MAGIC,
    libc::BTRFS_SUPER_MAGIC,
];

/// Makes the name of a file durable that was synced in this directory, and the directory's own; both may be new.
///
/// # Errors
/// What the file system says.
pub(super) fn make_durable(dir: BorrowedFd<'_>) -> Result<(), Errno> {
    let kind = rustix::fs::fstatfs(dir)?.f_type;
    if WITH_THE_FILE.contains(&kind) {
        return Ok(());
    }
    rustix::fs::fsync(dir)?;
    rustix::fs::fsync(files::open(dir, "..")?)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsFd;
    use std::path::Path;

    use super::make_durable;

    #[test]
    fn names_are_made_durable_on_what_is_on_the_disk_and_on_what_is_not() {
        let somewhere = tempfile::tempdir().unwrap();
        // procfs syncs nothing, and says so.
        for (path, expected) in [
            (somewhere.path(), true),
            (Path::new("/dev/shm"), true),
            (Path::new("/proc"), false),
        ] {
            let dir = File::open(path).unwrap();
            assert_eq!(make_durable(dir.as_fd()).is_ok(), expected, "{path:?}");
        }
    }
}
