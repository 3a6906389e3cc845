//! Waiting for whatever happens next: one poll(2) over all that a shim listens to.

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::BorrowedFd;

use super::clock;
use super::control::CONNECTIONS_MAX;

/// Descriptors waited for: signals, two streams, standard input, the listener, connections.
const POLLED_MAX: usize = 5 + CONNECTIONS_MAX;

/// Something that can become ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token {
    /// Signals.
    Signals,
    /// An output stream, by its place.
    Source(usize),
    /// Standard input has room, or nobody reads it.
    Stdin,
    /// A new control connection.
    Listener,
    /// A control connection, by its place.
    Connection(usize),
}

/// What to wait for. A fixed array: a sleeping shim must not cost heap.
pub(super) struct Interest<'a> {
    tokens: [Token; POLLED_MAX],
    fds: [PollFd<'a>; POLLED_MAX],
    count: usize,
}

impl<'a> Interest<'a> {
    /// Signals, and nothing else yet.
    pub(super) fn new(signals: BorrowedFd<'a>) -> Self {
        Self {
            tokens: [Token::Signals; POLLED_MAX],
            fds: core::array::from_fn(|_| PollFd::from_borrowed_fd(signals, PollFlags::IN)),
            count: 1,
        }
    }

    /// One more.
    pub(super) fn add(&mut self, token: Token, fd: BorrowedFd<'a>, flags: PollFlags) {
        let slots = (
            self.tokens.get_mut(self.count),
            self.fds.get_mut(self.count),
        );
        if let (Some(of), Some(slot)) = slots {
            *of = token;
            *slot = PollFd::from_borrowed_fd(fd, flags);
            self.count += 1;
        }
    }

    /// Sleeps until something is ready or the time has come, both in milliseconds of the same clock.
    pub(super) fn wait(mut self, now: u64, until: Option<u64>) -> Ready {
        let mut ready = Ready {
            tokens: [(Token::Signals, PollFlags::empty()); POLLED_MAX],
            count: 0,
        };
        let fds = &mut self.fds[..self.count];
        let timeout = until.map(|until| clock::span(until.saturating_sub(now)));
        // A failed wait (for want of kernel memory) looks like one that nothing has ended.
        if poll(fds, timeout.as_ref()).is_ok() {
            for (fd, token) in fds.iter().zip(self.tokens) {
                if !fd.revents().is_empty() {
                    ready.tokens[ready.count] = (token, fd.revents());
                    ready.count += 1;
                }
            }
        }
        ready
    }
}

/// What has become ready.
pub(super) struct Ready {
    tokens: [(Token, PollFlags); POLLED_MAX],
    count: usize,
}

impl Ready {
    /// All of it, in the order in which it was added.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Token, PollFlags)> {
        self.tokens[..self.count].iter().copied()
    }

    /// Whether this has.
    pub(super) fn has(&self, wanted: Token) -> bool {
        self.iter().any(|(token, _)| token == wanted)
    }
}
