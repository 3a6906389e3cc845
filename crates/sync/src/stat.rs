//! What a file looked like, and when that is proof that it has not changed.
//!
//! A file whose size, modification and change times, inode, device and mode are as recorded has the
//! recorded content, unless it changed twice within one tick of the clock. So a recorded look is
//! trusted only if both its times lie before a *horizon*: on the client 2 s before the scan
//! began, since the clock of a network file system may be coarse; in a workspace the file system's
//! own time of the index that records it, as git does.

use rustix::fs::{FileType, Stat};

/// How a client's clock bounds what it trusts, in nanoseconds.
pub(crate) const RACY_NS: i64 = 2_000_000_000;

/// What a file looked like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileStat {
    /// Device number.
    pub dev: u64,
    /// Inode number.
    pub ino: u64,
    /// Length in bytes.
    pub size: u64,
    /// Modification time, nanoseconds since the epoch.
    pub mtime_ns: i64,
    /// Change time, nanoseconds since the epoch.
    pub ctime_ns: i64,
    /// Type and permission bits.
    pub mode: u32,
}

impl FileStat {
    /// Takes what stat(2) said.
    #[must_use]
    pub(crate) fn of(stat: &Stat) -> Self {
        Self {
            dev: stat.st_dev,
            ino: stat.st_ino,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            mtime_ns: nanoseconds(stat.st_mtime, stat.st_mtime_nsec),
            ctime_ns: nanoseconds(stat.st_ctime, stat.st_ctime_nsec),
            mode: stat.st_mode,
        }
    }

    /// What kind of file it is.
    #[must_use]
    pub(crate) fn file_type(&self) -> FileType {
        FileType::from_raw_mode(self.mode)
    }

    /// Whether its owner may execute it.
    #[must_use]
    pub fn exec(&self) -> bool {
        self.mode & 0o100 != 0
    }

    /// Whether an equal look later proves that nothing changed.
    #[must_use]
    pub fn is_before(&self, horizon_ns: i64) -> bool {
        self.mtime_ns < horizon_ns && self.ctime_ns < horizon_ns
    }
}

/// The kernel's field types differ by architecture.
fn nanoseconds(seconds: impl Into<i64>, nanos: impl TryInto<i64>) -> i64 {
    let whole = seconds.into().saturating_mul(1_000_000_000);
    whole.saturating_add(nanos.try_into().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::FileStat;

    #[test]
    fn a_look_is_trusted_only_before_the_horizon() {
        let look = FileStat {
            dev: 1,
            ino: 2,
            size: 3,
            mtime_ns: 100,
            ctime_ns: 200,
            mode: 0o100_755,
        };
        assert!(look.is_before(201));
        assert!(!look.is_before(200));
        assert!(
            !FileStat {
                mtime_ns: 300,
                ..look
            }
            .is_before(201)
        );
        assert!(look.exec());
    }
}
