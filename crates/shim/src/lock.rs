//! Liveness: an exclusive lock that a shim holds for life.
//!
//! An open-file-description lock (fcntl(2), `F_OFD_SETLK`) on the job's [`crate::journal`]. The launcher takes it
//! before it writes the spec and hands the locked descriptor to the shim, so there is no moment
//! in which a job is alive and its lock free. It belongs to the description, survives exec, is not
//! lost when someone else closes the file, and the kernel frees it whatever kills the shim. Asking
//! ([`is_held`]) takes nothing, so observers never disturb each other.

use rustix::fd::AsFd;
use rustix::io::Errno;

use crate::sys;

/// Takes the lock without waiting; `false` if somebody else holds it.
///
/// # Errors
/// What fcntl(2) says, such as `ENOLCK` on a file system without locks.
pub fn acquire(file: impl AsFd) -> Result<bool, Errno> {
    sys::ofd_lock(file.as_fd())
}

/// Whether somebody else holds the lock, without touching it.
///
/// # Errors
/// What fcntl(2) says.
pub fn is_held(file: impl AsFd) -> Result<bool, Errno> {
    sys::ofd_is_locked(file.as_fd())
}

#[cfg(test)]
mod tests {
    use super::{acquire, is_held};

    #[test]
    fn a_second_description_sees_it_and_cannot_have_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let open = || {
            std::fs::File::options()
                .create(true)
                .truncate(false)
                .read(true)
                .write(true)
                .open(&path)
        };
        let (first, second) = (open().unwrap(), open().unwrap());
        assert!(!is_held(&second).unwrap());
        assert!(acquire(&first).unwrap());
        assert!(is_held(&second).unwrap());
        assert!(!acquire(&second).unwrap());
        drop(first);
        assert!(acquire(&second).unwrap());
    }
}
