//! One control connection: frames in, replies out, one of each at a time.
//!
//! A request that cannot be answered yet stays with the connection, which is not read meanwhile: what the
//! peer goes on sending fills the socket and then stops the peer. The same holds for a reply
//! that the peer does not collect. So a connection costs at most one frame of memory.

use alloc::vec::Vec;

use rustix::event::PollFlags;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::SendFlags;

use legwork_shim::control::{self, FrameError, Reply, Request};

/// Bytes read at once while no larger frame is known to come.
const READ: usize = 4096;

/// The peer has gone or talks nonsense.
#[derive(Debug)]
pub(super) struct Hangup;

/// A connected peer.
#[derive(Debug)]
pub(super) struct Connection {
    socket: OwnedFd,
    input: Vec<u8>,
    pending: Option<Request>,
    reply: Vec<u8>,
}

impl Connection {
    /// A peer that has said nothing yet.
    pub(super) fn new(socket: OwnedFd) -> Self {
        Self {
            socket,
            input: Vec::new(),
            pending: None,
            reply: Vec::new(),
        }
    }

    /// The descriptor to wait for.
    pub(super) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// What to wait for; nothing while the payload's standard input is full.
    pub(super) fn interest(&self) -> Option<PollFlags> {
        if self.waits() {
            return None;
        }
        let out = !self.reply.is_empty();
        Some(if out { PollFlags::OUT } else { PollFlags::IN })
    }

    /// Whether a request waits for room in the payload's standard input.
    pub(super) fn waits(&self) -> bool {
        self.pending.is_some()
    }

    /// Goes on as far as possible without waiting. `answer` gives `None` to a request that must wait.
    ///
    /// # Errors
    /// [`Hangup`] when the connection is of no more use.
    pub(super) fn work(
        &mut self,
        answer: &mut dyn FnMut(&Request) -> Option<Reply>,
    ) -> Result<(), Hangup> {
        loop {
            if !self.flush()? {
                return Ok(());
            }
            let reply = match self.next_request()? {
                Next::Nothing => return Ok(()),
                Next::Unsupported => Reply::Unsupported,
                Next::Request(request) => match answer(&request) {
                    Some(reply) => reply,
                    None => {
                        self.pending = Some(request);
                        return Ok(());
                    }
                },
            };
            self.reply = reply.encode();
        }
    }

    /// Sends what is to be sent; false if the peer does not take it.
    fn flush(&mut self) -> Result<bool, Hangup> {
        while !self.reply.is_empty() {
            let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
            match rustix::net::send(&self.socket, &self.reply, flags) {
                Ok(sent) => drop(self.reply.drain(..sent)),
                Err(Errno::AGAIN) => return Ok(false),
                Err(Errno::INTR) => {}
                Err(_) => return Err(Hangup),
            }
        }
        Ok(true)
    }

    fn next_request(&mut self) -> Result<Next, Hangup> {
        if let Some(request) = self.pending.take() {
            return Ok(Next::Request(request));
        }
        loop {
            if let Some((kind, payload, length)) =
                control::split(&self.input).map_err(|_| Hangup)?
            {
                let request = Request::decode(kind, payload);
                self.input.drain(..length);
                if self.input.is_empty() {
                    self.input = Vec::new();
                }
                return match request {
                    Ok(request) => Ok(Next::Request(request)),
                    Err(FrameError::Unknown(_)) => Ok(Next::Unsupported),
                    Err(_) => Err(Hangup),
                };
            }
            if !self.read()? {
                return Ok(Next::Nothing);
            }
        }
    }

    /// Reads more of the frame that has begun; false if there is nothing to read now.
    fn read(&mut self) -> Result<bool, Hangup> {
        let whole = self.input.first_chunk::<4>().map_or(0, |head| {
            4 + (u32::from_le_bytes(*head) as usize).min(control::FRAME_MAX)
        });
        let more = whole.saturating_sub(self.input.len());
        self.input.reserve_exact(more.max(READ));
        match rustix::io::read(
            &self.socket,
            rustix::buffer::spare_capacity(&mut self.input),
        ) {
            Ok(0) => Err(Hangup),
            Ok(_) | Err(Errno::INTR) => Ok(true),
            Err(Errno::AGAIN) => {
                if self.input.is_empty() {
                    self.input = Vec::new();
                }
                Ok(false)
            }
            Err(_) => Err(Hangup),
        }
    }
}

enum Next {
    Nothing,
    Unsupported,
    Request(Request),
}
