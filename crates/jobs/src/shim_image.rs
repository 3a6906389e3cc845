//! The shim: carried inside this library, and kept as a file to be executed.
//!
//! Each version of it is written once to `bin` in the state directory, by whichever process comes first. It is executed
//! through a descriptor that stays open, so an upgrade or a tidy hand never disturbs an opener that has begun.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::files;

/// The shim for this build's target: a static program.
pub static EMBEDDED_SHIM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/legwork-shim"));

/// The name under which [`EMBEDDED_SHIM`] is kept.
const NAME: &str = concat!("shim-", env!("LEGWORK_SHIM_HASH"));

/// Opens the shim of this build, and writes it first where it is missing.
pub(crate) fn open(state: &Path) -> Result<OwnedFd, (PathBuf, io::Error)> {
    let bin = state.join("bin");
    let path = bin.join(NAME);
    open_whole(&path)
        .or_else(|_| {
            files::make_private_dir(&bin)?;
            files::replace(&path, EMBEDDED_SHIM, 0o700)?;
            files::sync_dir(&bin)?;
            open_whole(&path)
        })
        .map_err(|source| (path, source))
}

fn open_whole(path: &Path) -> io::Result<OwnedFd> {
    let no_links = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
    let file: File = OpenOptions::new()
        .read(true)
        .custom_flags(no_links)
        .open(path)?;
    if file.metadata()?.len() != EMBEDDED_SHIM.len() as u64 {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok(file.into())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::{EMBEDDED_SHIM, NAME, open};

    #[test]
    fn written_once_and_mended_when_cut_short() {
        let state = tempfile::tempdir().unwrap();
        let path = state.path().join("bin").join(NAME);
        open(state.path()).unwrap();
        let first = std::fs::metadata(&path).unwrap();
        assert_eq!(first.mode() & 0o7777, 0o700);
        open(state.path()).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().ino(), first.ino());
        std::fs::write(&path, "torn").unwrap();
        open(state.path()).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), EMBEDDED_SHIM);
    }

    /// The kinds of the program headers of a 64-bit little-endian ELF file.
    fn segments(image: &[u8]) -> Vec<u32> {
        assert!(image.starts_with(b"\x7fELF\x02\x01"));
        let half = |at: usize| usize::from(u16::from_le_bytes([image[at], image[at + 1]]));
        let (begin, size, count) = (half(32), half(54), half(56));
        (0..count)
            .map(|number| begin + number * size)
            .map(|at| u32::from_le_bytes(*image[at..].first_chunk().unwrap()))
            .collect()
    }

    #[test]
    fn it_is_a_program_that_needs_no_loader() {
        const DYNAMIC: u32 = 2;
        const INTERPRETER: u32 = 3;
        let segments = segments(EMBEDDED_SHIM);
        assert!(!segments.contains(&DYNAMIC) && !segments.contains(&INTERPRETER));
    }

    #[test]
    #[cfg(all(target_arch = "x86_64", target_env = "gnu"))]
    fn nothing_of_a_c_library_is_in_it() {
        const THREAD_LOCAL_STORAGE: u32 = 7;
        // No C library comes without, and all of them are larger.
        assert!(!segments(EMBEDDED_SHIM).contains(&THREAD_LOCAL_STORAGE));
        assert!(EMBEDDED_SHIM.len() < 256 * 1024);
    }
}
