//! What a file looked like, and when that is proof that it has not changed.
//!
//! A file whose size, modification and change times, inode, device and mode are as recorded has the
//! recorded content, unless it changed twice within one tick of the clock. So a recorded look is
//! trusted only if both its times lie before a *horizon*: on the client 2 s before the scan
//! began, since the clock of a network file system may be coarse; in a workspace the file system's
//! own time of the index that records it, as git does. A local file system that keeps fine times takes them from the very clock by
//! which the client says when its scan began, and that goes on at least every 10 ms: there the horizon is 100 ms before.

use rustix::fs::{FileType, Stat};

use crate::tree::Dir;

/// How a client's clock bounds what it trusts, in nanoseconds: of any file, and of one of a local file system.
const RACY_NS: i64 = 2_000_000_000;
const RACY_LOCAL_NS: i64 = 100_000_000;
/// A time of whole milliseconds may be of a file system that keeps no finer ones.
const FINE_NS: i64 = 1_000_000;
/// File systems that stamp files by the kernel's own clock (statfs(2)): ext4, tmpfs, XFS, Btrfs, F2FS.
const LOCAL: [u32; 5] = [0xef53, 0x0102_1994, 0x5846_5342, 0x9123_683e, 0xf2f5_2010];

/// Before when a look is proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Horizon {
    any_ns: i64,
    /// The same for files of this device.
    local: Option<(u64, i64)>,
}

impl Horizon {
    /// Nanoseconds since the epoch, whatever the file.
    pub(crate) fn at(any_ns: i64) -> Self {
        Self {
            any_ns,
            local: None,
        }
    }

    /// For files at and below `root`, of a scan that begins at that time or later.
    pub(crate) fn before_scan(root: &Dir, now_ns: i64) -> Self {
        let kind = rustix::fs::fstatfs(root).map(|stat| stat.f_type.cast_unsigned() & 0xffff_ffff);
        let is_local = kind.is_ok_and(|kind| LOCAL.iter().any(|&local| u64::from(local) == kind));
        let device = rustix::fs::fstat(root).map(|stat| stat.st_dev).ok();
        let local = device.filter(|_| is_local);
        Self {
            any_ns: now_ns.saturating_sub(RACY_NS),
            local: local.map(|device| (device, now_ns.saturating_sub(RACY_LOCAL_NS))),
        }
    }

    /// Whether an equal look later proves that nothing changed.
    pub(crate) fn proves(&self, look: &FileStat) -> bool {
        let is_fine = look.ctime_ns % FINE_NS != 0;
        match self.local {
            Some((device, ns)) if look.dev == device && is_fine => look.is_before(ns),
            _ => look.is_before(self.any_ns),
        }
    }
}

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
    use super::{FileStat, Horizon, RACY_LOCAL_NS, RACY_NS};
    use crate::tree::Dir;

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

    #[test]
    fn a_fine_clock_of_this_machine_is_trusted_sooner() {
        let now = 9_000_000_000_000_000_500;
        let look = |dev, ago| FileStat {
            dev,
            ino: 2,
            size: 3,
            mtime_ns: 5,
            ctime_ns: now - ago,
            mode: 0o100_755,
        };
        let local = Horizon {
            local: Some((1, now - RACY_LOCAL_NS)),
            ..Horizon::at(now - RACY_NS)
        };
        assert!(local.proves(&look(1, RACY_LOCAL_NS + 1)));
        assert!(!local.proves(&look(1, RACY_LOCAL_NS)));
        // On another file system, or one that rounds.
        assert!(!local.proves(&look(2, RACY_LOCAL_NS + 1)));
        assert!(!local.proves(&look(1, RACY_LOCAL_NS + 1_000_500)));
        assert!(local.proves(&look(2, RACY_NS + 1)));
        assert!(!Horizon::at(now - RACY_NS).proves(&look(1, RACY_NS)));
        // What processes are is kept in no file system of that kind.
        let processes = Dir::open_root(std::path::Path::new("/proc")).unwrap();
        let far = Horizon::at(now - RACY_NS);
        assert_eq!(Horizon::before_scan(&processes, now), far);
    }
}
