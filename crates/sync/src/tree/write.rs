//! Writing files that are held open.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, SeekFrom, Timespec, Timestamps, UTIME_NOW};
use rustix::io::Result;

/// Zeros in a row that are left out, as a hole.
const HOLE: usize = 64 << 10;
/// Zeros are looked for by so many bytes: what file systems keep or leave out as one.
const BLOCK: usize = 4 << 10;

/// Appends all of `bytes` to an open file that stands at its end. Long runs of zeros take no space on the disk.
pub(crate) fn append(file: &OwnedFd, bytes: &[u8]) -> Result<()> {
    let mut left = bytes;
    while !left.is_empty() {
        let (data, zeros) = up_to_hole(left);
        write_all(file, &left[..data])?;
        if zeros > 0 {
            let end = rustix::fs::tell(file)? + zeros as u64;
            rustix::fs::ftruncate(file, end)?;
            rustix::fs::seek(file, SeekFrom::Start(end))?;
        }
        left = &left[data + zeros..];
    }
    Ok(())
}

/// Bytes before the first run of zeros that is long enough for a hole, and bytes of that.
fn up_to_hole(bytes: &[u8]) -> (usize, usize) {
    let mut run = 0;
    for (at, block) in bytes.chunks(BLOCK).enumerate() {
        if block.iter().all(|&byte| byte == 0) {
            run += block.len();
            continue;
        }
        if run >= HOLE {
            return (at * BLOCK - run, run);
        }
        run = 0;
    }
    if run >= HOLE {
        (bytes.len() - run, run)
    } else {
        (bytes.len(), 0)
    }
}

fn write_all(file: &OwnedFd, mut bytes: &[u8]) -> Result<()> {
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

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;
    use std::os::unix::fs::MetadataExt;

    use proptest::prelude::*;

    use super::{BLOCK, HOLE, append, up_to_hole};

    #[test]
    fn only_long_runs_of_zeros_are_holes() {
        let zeros = vec![0; HOLE];
        assert_eq!(up_to_hole(&zeros), (0, HOLE));
        assert_eq!(up_to_hole(&zeros[1..]), (HOLE - 1, 0));
        let mut bytes = [&[1; BLOCK][..], &zeros, b"end"].concat();
        assert_eq!(up_to_hole(&bytes), (BLOCK, HOLE));
        bytes[BLOCK + HOLE / 2] = 1;
        assert_eq!(up_to_hole(&bytes), (bytes.len(), 0));
    }

    #[test]
    fn a_hole_takes_no_space_in_the_middle_nor_at_the_end() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let open: OwnedFd = file.reopen().unwrap().into();
        for bytes in [
            &b"begin"[..],
            &vec![0; 8 << 20],
            b"middle",
            &vec![0; 8 << 20],
        ] {
            append(&open, bytes).unwrap();
        }
        let stat = file.as_file().metadata().unwrap();
        assert_eq!(stat.len(), (16 << 20) + 11);
        assert!(stat.blocks() * 512 < 1 << 20, "{} blocks", stat.blocks());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn whatever_is_appended_is_read_back(
            pieces in prop::collection::vec((any::<bool>(), 0..3 * HOLE, any::<u8>()), 0..6)
        ) {
            let file = tempfile::NamedTempFile::new().unwrap();
            let open: OwnedFd = file.reopen().unwrap().into();
            let mut all = Vec::new();
            for (is_zero, len, byte) in pieces {
                let piece = vec![if is_zero { 0 } else { byte }; len];
                append(&open, &piece).unwrap();
                all.extend(piece);
            }
            prop_assert!(std::fs::read(file.path()).unwrap() == all);
        }
    }
}
