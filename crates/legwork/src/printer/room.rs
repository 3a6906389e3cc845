//! Whether a piece can be written without waiting.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::AsFd;
use rustix::fs::{FileType, fstat};

/// What a pipe that poll(2) calls writable takes without waiting, in bytes: one page, and `PIPE_BUF` of pipe(7).
const AT_ONCE: usize = 4096;

/// Whether it is a pipe. Only those are asked for room: a terminal or a socket may call itself writable and take less than that.
pub(super) fn is_pipe(fd: impl AsFd) -> bool {
    fstat(fd).is_ok_and(|found| FileType::from_raw_mode(found.st_mode) == FileType::Fifo)
}

/// Whether so many bytes can be written to a pipe without waiting for a reader.
pub(super) fn is_there(pipe: impl AsFd, bytes: usize) -> bool {
    if bytes > AT_ONCE {
        return false;
    }
    let mut asked = [PollFd::new(&pipe, PollFlags::OUT)];
    poll(&mut asked, Some(&Timespec::default())).is_ok() && asked[0].revents() == PollFlags::OUT
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write;

    use super::{AT_ONCE, is_pipe, is_there};

    #[test]
    fn a_pipe_has_room_until_it_is_full_or_nobody_reads_it() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        let mut written = 0;
        while is_there(&writer, AT_ONCE) {
            writer.write_all(&[7; AT_ONCE]).unwrap();
            written += AT_ONCE;
        }
        assert!(written >= AT_ONCE);
        drop(reader);
        assert!(!is_there(&writer, 1));
    }

    #[test]
    fn what_is_no_pipe_or_too_much_has_a_thread_to_wait() {
        let (_reader, writer) = std::io::pipe().unwrap();
        assert!(is_pipe(&writer));
        assert!(!is_there(&writer, AT_ONCE + 1));
        assert!(!is_pipe(File::create("/dev/null").unwrap()));
    }
}
