//! Byte streams of any kind, and one that remembers what ended it.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use legwork_identity::tls::PeerRefusal;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Anything that leads to a server.
pub trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for T {}

/// What ended a stream, for all who had calls on it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ending(Arc<Seen>);

#[derive(Debug, Default)]
struct Seen {
    refusal: OnceLock<PeerRefusal>,
    over: AtomicBool,
}

impl Ending {
    /// What the other end has against us, if it said so: the cause behind the error that HTTP/2 makes of it.
    pub(crate) fn refusal(&self) -> Option<PeerRefusal> {
        self.0.refusal.get().copied()
    }

    /// Whether the other end, or what is between, has ended it; else it was this side.
    pub(crate) fn was_theirs(&self) -> bool {
        self.0.over.load(Ordering::Relaxed)
    }

    fn note_over(&self) {
        self.0.over.store(true, Ordering::Relaxed);
    }

    fn note(&self, error: &io::Error) {
        self.note_over();
        if let Some(refusal) = PeerRefusal::told_by(error) {
            self.0.refusal.get_or_init(|| refusal);
        }
    }
}

/// A stream that remembers what ended it. The verdict of a TLS peer over our certificate comes with a read
/// after the handshake, where everybody else sees a broken connection.
///
/// Often it comes while we still write. So a write to somebody who has hung up is no error: what they said before they
/// did is read first, and then their end, which is what the connection fails for. It is certain to come, since a socket
/// that cannot be written to for this reason can be read to its end.
pub(crate) struct Watched {
    io: Box<dyn ByteStream>,
    ending: Ending,
    /// Nobody takes what is written.
    hung_up: bool,
}

impl Watched {
    pub(crate) fn new(io: Box<dyn ByteStream>) -> (Self, Ending) {
        let ending = Ending::default();
        let watched = Self {
            io,
            ending: ending.clone(),
            hung_up: false,
        };
        (watched, ending)
    }

    /// What comes of a write that would be `all` once done.
    fn outcome<T>(&mut self, done: Poll<io::Result<T>>, all: T) -> Poll<io::Result<T>> {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset};
        let gone = |error: &io::Error| {
            matches!(
                error.kind(),
                BrokenPipe | ConnectionAborted | ConnectionReset
            )
        };
        done.map(|done| match done {
            Err(error) if gone(&error) => {
                self.hung_up = true;
                Ok(all)
            }
            done => done.inspect_err(|error| self.ending.note(error)),
        })
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
        done.map(|done| done.inspect_err(|error| self.ending.note(error)))
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[io::IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let all = pieces.iter().map(|piece| piece.len()).sum();
        if self.hung_up {
            return Poll::Ready(Ok(all));
        }
        let done = Pin::new(&mut self.io).poll_write_vectored(cx, pieces);
        self.outcome(done, all)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.hung_up {
            return Poll::Ready(Ok(()));
        }
        let done = Pin::new(&mut self.io).poll_flush(cx);
        self.outcome(done, ())
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use legwork_identity::tls::PeerRefusal;
    use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
    use tokio_rustls::rustls::{self, AlertDescription};

    use super::Watched;

    /// Somebody who has hung up, and whose last word the reactor has not seen yet.
    struct Gone {
        seen: bool,
        write: io::ErrorKind,
    }

    impl AsyncRead for Gone {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            _: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            cx.waker().wake_by_ref();
            if std::mem::replace(&mut self.seen, true) {
                let expired = rustls::Error::AlertReceived(AlertDescription::CertificateExpired);
                return Poll::Ready(Err(io::Error::other(expired)));
            }
            Poll::Pending
        }
    }

    impl AsyncWrite for Gone {
        fn poll_write(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &[u8],
        ) -> Poll<io::Result<usize>> {
            Poll::Ready(Err(self.write.into()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Err(self.write.into()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn gone(write: io::ErrorKind) -> Box<Gone> {
        Box::new(Gone { seen: false, write })
    }

    #[tokio::test]
    async fn the_last_word_is_heard_also_where_a_write_fails_first() {
        for kind in [
            io::ErrorKind::BrokenPipe,
            io::ErrorKind::ConnectionReset,
            io::ErrorKind::ConnectionAborted,
        ] {
            let (mut stream, ending) = Watched::new(gone(kind));
            stream.write_all(b"who is there?").await.unwrap();
            stream.flush().await.unwrap();
            assert!(!ending.was_theirs());
            stream.read_u8().await.unwrap_err();
            for _ in 0..2 {
                assert_eq!(ending.refusal(), Some(PeerRefusal::NotValidNow));
            }
            assert!(ending.was_theirs());
        }
    }

    #[tokio::test]
    async fn a_write_that_fails_for_another_cause_is_told_as_it_is() {
        let (mut stream, ending) = Watched::new(gone(io::ErrorKind::TimedOut));
        let told = stream.write_all(b"who is there?").await.unwrap_err();
        assert_eq!(told.kind(), io::ErrorKind::TimedOut);
        assert!(ending.was_theirs() && ending.refusal().is_none());
    }
}
