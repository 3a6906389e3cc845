//! The writing end of the payload's standard input.

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::OFlags;
use rustix::io::Errno;

/// Standard input that is fed through the control socket.
///
/// It belongs to the job, not to a connection: positions count from the job's start, so whoever
/// connects next goes on where the last one was, and what comes twice is taken once.
#[derive(Debug)]
pub(super) struct Stdin {
    pipe: Option<OwnedFd>,
    given: bool,
    taken: u64,
}

/// What became of an offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Offer {
    /// Everything up to this position is in the pipe.
    Taken(u64),
    /// The pipe is full; ask again when it has room.
    Full,
    /// Nobody reads it.
    Closed,
    /// It begins after the position up to which there is something.
    Gap,
}

impl Stdin {
    /// Takes the pipe, which is never to block the shim.
    pub(super) fn new(pipe: Option<OwnedFd>) -> Self {
        let given = pipe.is_some();
        let pipe = pipe.filter(|pipe| rustix::fs::fcntl_setfl(pipe, OFlags::NONBLOCK).is_ok());
        Self {
            pipe,
            given,
            taken: 0,
        }
    }

    /// Whether the job has a standard input at all.
    pub(super) fn was_given(&self) -> bool {
        self.given
    }

    /// The descriptor to wait for, while there is one.
    pub(super) fn pipe(&self) -> Option<BorrowedFd<'_>> {
        self.pipe.as_ref().map(AsFd::as_fd)
    }

    /// Offers bytes whose first has position `offset`.
    pub(super) fn offer(&mut self, offset: u64, data: &[u8]) -> Offer {
        let Some(known) = self.taken.checked_sub(offset) else {
            return if self.pipe.is_some() {
                Offer::Gap
            } else {
                Offer::Closed
            };
        };
        let mut rest = usize::try_from(known)
            .ok()
            .and_then(|known| data.get(known..))
            .unwrap_or_default();
        while !rest.is_empty() {
            let Some(pipe) = &self.pipe else {
                return Offer::Closed;
            };
            match rustix::io::write(pipe, rest) {
                Ok(written) => {
                    self.taken += written as u64;
                    rest = &rest[written..];
                }
                Err(Errno::AGAIN) => return Offer::Full,
                Err(Errno::INTR) => {}
                Err(_) => self.close(),
            }
        }
        Offer::Taken(self.taken)
    }

    /// Ends it. The payload reads what is in the pipe, then the end of the file.
    pub(super) fn close(&mut self) {
        self.pipe = None;
    }
}

#[cfg(test)]
mod tests {
    use rustix::pipe::{PipeFlags, pipe_with};

    use super::{Offer, Stdin};

    #[test]
    fn repeats_are_skipped_and_gaps_refused() {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        let mut stdin = Stdin::new(Some(writer));
        assert_eq!(stdin.offer(0, b"abc"), Offer::Taken(3));
        assert_eq!(stdin.offer(0, b"ab"), Offer::Taken(3));
        assert_eq!(stdin.offer(1, b"bcde"), Offer::Taken(5));
        assert_eq!(stdin.offer(6, b"x"), Offer::Gap);
        stdin.close();
        let mut all = [0; 16];
        assert_eq!(rustix::io::read(&reader, &mut all), Ok(5));
        assert_eq!(&all[..5], b"abcde");
        assert_eq!(stdin.offer(3, b"de"), Offer::Taken(5));
        assert_eq!(stdin.offer(5, b"f"), Offer::Closed);
    }

    #[test]
    fn a_full_pipe_takes_the_rest_later_and_a_reader_that_left_is_noticed() {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        let mut stdin = Stdin::new(Some(writer));
        let data = vec![b'x'; 200_000];
        assert_eq!(stdin.offer(0, &data), Offer::Full);
        let mut sink = vec![0; 65536];
        let mut got = 0;
        while stdin.offer(0, &data) == Offer::Full {
            got += rustix::io::read(&reader, &mut sink).unwrap();
        }
        assert!(got >= 200_000 - 65536);
        drop(reader);
        assert_eq!(stdin.offer(200_000, b"y"), Offer::Closed);
    }
}
