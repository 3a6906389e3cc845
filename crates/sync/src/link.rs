//! The seam to a transport: one side's sending and receiving half.
//!
//! Blocking and ordered. A half that is dropped tells the other side, whose calls then return
//! [`Closed`]; messages sent before are still received. Each side bounds what is under way: `send`
//! waits when the other side does not keep up. The two halves are used from different threads.

pub(crate) mod throttle;

use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

/// The other side is gone, or the transport failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the other side closed the connection")]
pub struct Closed;

/// Where messages go.
pub trait Sending<T>: Send {
    /// Hands over one message, waiting while the queue is full.
    ///
    /// # Errors
    /// [`Closed`] if it cannot arrive any more.
    fn send(&mut self, message: T) -> Result<(), Closed>;
}

/// Where messages come from.
pub trait Receiving<T>: Send {
    /// The next message; `None` if there was none within `timeout`.
    ///
    /// # Errors
    /// [`Closed`] if none will come any more.
    fn receive(&mut self, timeout: Duration) -> Result<Option<T>, Closed>;
}

/// Both halves of one side.
#[derive(Debug)]
pub struct Link<S, R> {
    /// Where messages go.
    pub sender: S,
    /// Where messages come from.
    pub receiver: R,
}

impl<T: Send> Sending<T> for Sender<T> {
    fn send(&mut self, message: T) -> Result<(), Closed> {
        Self::send(self, message).map_err(|_| Closed)
    }
}

impl<T: Send> Receiving<T> for Receiver<T> {
    fn receive(&mut self, timeout: Duration) -> Result<Option<T>, Closed> {
        match self.recv_timeout(timeout) {
            Ok(message) => Ok(Some(message)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(Closed),
        }
    }
}

/// One side of a [`pair`].
pub type Local<Out, In> = Link<Sender<Out>, Receiver<In>>;

/// Two sides in one process, with at most `bound` messages under way in each direction.
#[must_use]
pub fn pair<Up, Down>(bound: usize) -> (Local<Up, Down>, Local<Down, Up>) {
    let (up_in, up_out) = crossbeam_channel::bounded(bound);
    let (down_in, down_out) = crossbeam_channel::bounded(bound);
    let client = Link {
        sender: up_in,
        receiver: down_out,
    };
    let server = Link {
        sender: down_in,
        receiver: up_out,
    };
    (client, server)
}
