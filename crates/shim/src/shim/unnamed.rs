//! Adding up the files that a job's processes have open and that have no name any more.
//!
//! Such a file takes its place on the disk until it is closed, and no walk over directories meets it: whoever needs room for a moment,
//! and whoever wants to hide some, makes one (unlink(2) after open(2), or `O_TMPFILE`). The processes are looked at one after the other,
//! through `/proc/PID/fd`, whose entries lead to what is open (proc(5)). A file that is only mapped is not met.

use alloc::format;
use alloc::vec::Vec;
use core::mem::MaybeUninit;

use rustix::fd::AsFd;
use rustix::fs::{AtFlags, CWD, FileType, RawDir};
use rustix::process::Pid;

use super::files;
use super::walk::BLOCK;

/// Files that are told apart; those beyond count each time that they are met.
const KNOWN: usize = 4096;

/// A look at processes that has not come to its end.
#[derive(Debug)]
pub(super) struct Unnamed {
    device: u64,
    processes: Vec<Pid>,
    known: Vec<u64>,
    bytes: u64,
}

impl Unnamed {
    /// What these have open on a device, beside `bytes` that are known of.
    pub(super) fn begin(device: u64, processes: Vec<Pid>, bytes: u64) -> Self {
        Self {
            device,
            processes,
            known: Vec::new(),
            bytes,
        }
    }

    /// Looks at one more process. The sum, once it is complete.
    pub(super) fn step(&mut self) -> Option<u64> {
        let Some(process) = self.processes.pop() else {
            return Some(self.bytes);
        };
        // One that is gone, or may not be looked at, has nothing that could be counted.
        let Ok(dir) = files::open(CWD, format!("/proc/{process}/fd")) else {
            return None;
        };
        let mut room = [MaybeUninit::uninit(); 2048];
        let mut names = RawDir::new(dir.as_fd(), &mut room);
        while let Some(Ok(entry)) = names.next() {
            let Ok(found) = rustix::fs::statat(&dir, entry.file_name(), AtFlags::empty()) else {
                continue;
            };
            let file = FileType::from_raw_mode(found.st_mode) == FileType::RegularFile;
            let counts = file && found.st_nlink == 0 && found.st_dev == self.device;
            if counts && !self.known.contains(&found.st_ino) {
                if self.known.len() < KNOWN {
                    self.known.push(found.st_ino);
                }
                let bytes = u64::try_from(found.st_blocks).unwrap_or(0) * BLOCK;
                self.bytes = self.bytes.saturating_add(bytes);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;
    use std::os::unix::fs::MetadataExt;

    use rustix::process::getpid;

    use super::Unnamed;

    fn sum(device: u64) -> u64 {
        let mut unnamed = Unnamed::begin(device, vec![getpid()], 5);
        assert_eq!(unnamed.step(), None);
        unnamed.step().unwrap()
    }

    #[test]
    fn a_file_without_a_name_counts_once_and_only_while_it_is_open() {
        let temp = tempfile::tempdir().unwrap();
        let device = temp.path().metadata().unwrap().dev();
        let before = sum(device);
        let mut file = fs::File::create(temp.path().join("file")).unwrap();
        file.write_all(&vec![1; 1 << 20]).unwrap();
        let again = file.try_clone().unwrap();
        assert_eq!(sum(device), before);
        fs::remove_file(temp.path().join("file")).unwrap();
        assert!(sum(device) >= before + (1 << 20));
        assert!(sum(device) < before + (2 << 20));
        assert_eq!(sum(device + 1), 5);
        drop((file, again));
        assert_eq!(sum(device), before);
    }
}
