//! Byte streams of any kind, and one that remembers what ended it.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes looked at for a last word, once writing has failed.
const LAST_WORD_BYTES: usize = 1024;

/// Anything that leads to a server.
pub trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for T {}

/// What ended a stream, as it was said first.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ending(Arc<Seen>);

#[derive(Debug, Default)]
struct Seen {
    error: Mutex<Option<io::Error>>,
    over: AtomicBool,
}

impl Ending {
    /// Takes it, for whoever wants to know the cause behind the error that HTTP/2 made of it.
    pub(crate) fn take(&self) -> Option<io::Error> {
        let mut error = self.0.error.lock().unwrap_or_else(PoisonError::into_inner);
        error.take()
    }

    /// Whether the other end, or what is between, has ended it; else it was this side.
    pub(crate) fn was_theirs(&self) -> bool {
        self.0.over.load(Ordering::Relaxed)
    }

    fn note_over(&self) {
        self.0.over.store(true, Ordering::Relaxed);
    }

    /// Keeps the first error and gives one like it to pass on.
    fn note(&self, error: io::Error) -> io::Error {
        self.note_over();
        let told = io::Error::new(error.kind(), error.to_string());
        let mut first = self.0.error.lock().unwrap_or_else(PoisonError::into_inner);
        first.get_or_insert(error);
        told
    }
}

/// A stream that remembers what ended it. The verdict of a TLS peer over our certificate comes with a read
/// after the handshake, where everybody else sees a broken connection.
pub(crate) struct Watched {
    io: Box<dyn ByteStream>,
    ending: Ending,
}

impl Watched {
    pub(crate) fn new(io: Box<dyn ByteStream>) -> (Self, Ending) {
        let ending = Ending::default();
        let watched = Self {
            io,
            ending: ending.clone(),
        };
        (watched, ending)
    }

    /// What to say of a write that failed: the peer's last word, if it left one before it hung up.
    fn last_word(&mut self, cx: &mut Context<'_>, error: io::Error) -> io::Error {
        let mut space = [0; LAST_WORD_BYTES];
        let mut space = ReadBuf::new(&mut space);
        match Pin::new(&mut self.io).poll_read(cx, &mut space) {
            Poll::Ready(Err(word)) => self.ending.note(word),
            _ => self.ending.note(error),
        }
    }

    fn written(
        &mut self,
        cx: &mut Context<'_>,
        done: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        done.map_err(|error| self.last_word(cx, error))
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let (before, room) = (buf.filled().len(), buf.remaining());
        let done = Pin::new(&mut self.io).poll_read(cx, buf);
        if matches!(done, Poll::Ready(Ok(()))) && room > 0 && buf.filled().len() == before {
            self.ending.note_over();
        }
        done.map_err(|error| self.ending.note(error))
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let done = Pin::new(&mut self.io).poll_write(cx, buf);
        self.written(cx, done)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let done = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.written(cx, done)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let done = Pin::new(&mut self.io).poll_flush(cx);
        if matches!(done, Poll::Ready(Err(_))) {
            self.ending.note_over();
        }
        done
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
