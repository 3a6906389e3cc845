//! Writing files that are held open.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, Timespec, Timestamps, UTIME_NOW};
use rustix::io::Result;

/// Writes all of `bytes` at the end of an open file.
pub(crate) fn append(file: &OwnedFd, mut bytes: &[u8]) -> Result<()> {
    while !bytes.is_empty() {
        let written = rustix::io::retry_on_intr(|| rustix::io::write(file, bytes))?;
        bytes = &bytes[written..];
    }
    Ok(())
}

/// The permissions of a file that has those in `mode`, with or without those to execute it: whoever may read gets these too, as the
/// umask had it when the file was made.
pub(crate) fn executable(mode: u32, exec: bool) -> Mode {
    let mode = if exec {
        mode | (mode & 0o444) >> 2 | 0o100
    } else {
        mode & !0o111
    };
    Mode::from_raw_mode(mode & 0o777)
}

/// Gives a file the modification time that it would have if it was written now.
pub(crate) fn touch(file: &OwnedFd) -> Result<()> {
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: UTIME_NOW,
    };
    rustix::fs::futimens(
        file,
        &Timestamps {
            last_access: now,
            last_modification: now,
        },
    )
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
