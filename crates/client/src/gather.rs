//! Small writes put together.
//!
//! HTTP/2 hands over each frame as it comes, and flushes: the headers of a call, then its message, then the end, from tasks
//! that run one after the other. TLS makes a record of each, and the kernel a packet for which it wakes the server. So a
//! flush lets the tasks that are ready have their turn first, and takes what they say along.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes that are put together at most: what one TLS record holds. More is passed on as it is.
const ROOM: usize = 16 << 10;
/// How often the others have their turn before a flush.
const TURNS: u8 = 3;

/// A stream whose writes wait for the flush, and the flush for one turn of everybody else.
#[derive(Debug)]
pub(crate) struct Gathered<T> {
    io: T,
    waiting: Vec<u8>,
    /// How much of it is written.
    written: usize,
    /// How many turns the others have had.
    gave_way: u8,
}

impl<T: AsyncWrite + Unpin> Gathered<T> {
    pub(crate) fn new(io: T) -> Self {
        Self {
            io,
            waiting: Vec::new(),
            written: 0,
            gave_way: 0,
        }
    }

    /// Writes out what waits.
    fn poll_pass_on(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.waiting.len() {
            let rest = &self.waiting[self.written..];
            match ready!(Pin::new(&mut self.io).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.written += written,
            }
        }
        self.waiting.clear();
        self.written = 0;
        self.gave_way = 0;
        Poll::Ready(Ok(()))
    }

    fn fits(&self, bytes: usize) -> bool {
        self.waiting.len() + bytes <= ROOM
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Gathered<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let bytes = pieces.iter().map(|piece| piece.len()).sum();
        if !self.fits(bytes) {
            ready!(self.poll_pass_on(cx))?;
        }
        if !self.fits(bytes) {
            return Pin::new(&mut self.io).poll_write_vectored(cx, pieces);
        }
        for piece in pieces {
            self.waiting.extend_from_slice(piece);
        }
        Poll::Ready(Ok(bytes))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.waiting.is_empty() && self.gave_way < TURNS {
            self.gave_way += 1;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        ready!(self.poll_pass_on(cx))?;
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_pass_on(cx))?;
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Gathered<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::pin::Pin;
    use std::sync::{Arc, Mutex};
    use std::task::{Context, Poll};

    use tokio::io::{AsyncWrite, AsyncWriteExt};
    use tokio_util::task::TaskTracker;

    use super::{Gathered, ROOM};

    /// Takes a few bytes of each write, and notes how many.
    #[derive(Clone, Default)]
    struct Wire {
        sizes: Arc<Mutex<Vec<usize>>>,
        bytes: Arc<Mutex<Vec<u8>>>,
        at_most: Option<usize>,
    }

    impl Wire {
        fn sizes(&self) -> Vec<usize> {
            std::mem::take(&mut *self.sizes.lock().unwrap())
        }
    }

    impl AsyncWrite for Wire {
        fn poll_write(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            let taken = bytes.len().min(self.at_most.unwrap_or(usize::MAX));
            self.sizes.lock().unwrap().push(taken);
            self.bytes.lock().unwrap().extend(&bytes[..taken]);
            Poll::Ready(Ok(taken))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn what_comes_before_the_flush_is_one_write() {
        let wire = Wire::default();
        let mut stream = Gathered::new(wire.clone());
        stream.write_all(b"headers").await.unwrap();
        stream.write_all(b"message").await.unwrap();
        assert!(wire.sizes().is_empty());
        stream.flush().await.unwrap();
        assert_eq!(wire.sizes(), [14]);
        stream.flush().await.unwrap();
        assert!(wire.sizes().is_empty());
    }

    #[tokio::test]
    async fn a_flush_takes_along_what_others_are_about_to_say() {
        let wire = Wire::default();
        let stream = Arc::new(tokio::sync::Mutex::new(Gathered::new(wire.clone())));
        stream.lock().await.write_all(b"one").await.unwrap();
        let other = stream.clone();
        let tasks = TaskTracker::new();
        drop(tasks.spawn(async move { other.lock().await.write_all(b"two").await }));
        std::future::poll_fn(|cx| {
            let mut stream = stream.try_lock().unwrap();
            Pin::new(&mut *stream).poll_flush(cx)
        })
        .await
        .unwrap();
        assert_eq!(wire.sizes(), [6]);
    }

    #[tokio::test]
    async fn all_arrives_in_order_whatever_the_sizes() {
        let wire = Wire {
            at_most: Some(5000),
            ..Wire::default()
        };
        let mut stream = Gathered::new(wire.clone());
        let mut sent = Vec::new();
        for (turn, size) in [10, ROOM, 3, ROOM + 1, 40_000, 0, 7]
            .into_iter()
            .enumerate()
        {
            let piece = vec![u8::try_from(turn).unwrap(); size];
            stream.write_all(&piece).await.unwrap();
            sent.extend(piece);
        }
        stream.shutdown().await.unwrap();
        assert_eq!(*wire.bytes.lock().unwrap(), sent);
    }
}
