//! One HTTP/2 connection over any byte stream.
//!
//! tonic's own channel wants a dialler and a URI; ours are given streams that already lead to the
//! right peer. Windows and frames are large because one stream may carry a gigabyte of output.

use std::task::{Context, Poll};

use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::task::TaskTracker;
use tonic::body::Body;

use crate::error::{CallError, Result};

/// Bytes a server may send on one stream before we have read them.
const STREAM_WINDOW: u32 = 8 << 20;
/// The same for the whole connection.
const CONNECTION_WINDOW: u32 = 16 << 20;
/// Largest HTTP/2 frame we take, in bytes.
const FRAME_MAX: u32 = 1 << 20;

/// A handle on a connection; clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Channel {
    requests: SendRequest<Body>,
}

impl Channel {
    /// Speaks HTTP/2 over `io`. The connection's task runs on `tasks` and ends with the last handle.
    pub(crate) async fn over<T>(io: T, tasks: &TaskTracker) -> Result<Self>
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (requests, connection) = Builder::new(TokioExecutor::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_frame_size(FRAME_MAX)
            .handshake(TokioIo::new(io))
            .await
            .map_err(|e| CallError::unreachable(&e))?;
        // Whatever ends the connection also fails the calls on it, which report it.
        tasks.spawn(async move { drop(connection.await) });
        Ok(Self { requests })
    }
}

impl tower::Service<http::Request<Body>> for Channel {
    type Response = http::Response<Incoming>;
    type Error = hyper::Error;
    type Future = std::pin::Pin<
        Box<dyn Future<Output = std::result::Result<Self::Response, Self::Error>> + Send>,
    >;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<std::result::Result<(), Self::Error>> {
        self.requests.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(self.requests.send_request(request))
    }
}
