//! Writing files that are held open.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Timespec, Timestamps};
use rustix::io::Result;

/// Writes all of `bytes` at the end of an open file.
pub(crate) fn append(file: &OwnedFd, mut bytes: &[u8]) -> Result<()> {
    while !bytes.is_empty() {
        let written = rustix::io::retry_on_intr(|| rustix::io::write(file, bytes))?;
        bytes = &bytes[written..];
    }
    Ok(())
}

/// Sets the modification time of a file or directory, nanoseconds since the epoch.
pub(crate) fn set_mtime(file: impl AsFd, mtime_ns: i64) -> Result<()> {
    let time = Timespec {
        tv_sec: mtime_ns.div_euclid(1_000_000_000),
        tv_nsec: mtime_ns.rem_euclid(1_000_000_000),
    };
    rustix::fs::futimens(
        file,
        &Timestamps {
            last_access: time,
            last_modification: time,
        },
    )
}
