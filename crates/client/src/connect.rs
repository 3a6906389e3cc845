//! What calls are made on: one HTTP/2 connection over any byte stream, or a server in this process.
//!
//! tonic's own channel wants a dialler and a URI; ours are given streams that already lead to the
//! right peer. Windows and frames are large because one stream may carry a gigabyte of output.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{HeaderValue, Request, Response};
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use legwork_identity::tls::PeerRefusal;
use tokio_util::task::TaskTracker;
use tonic::body::Body;

use crate::error::{CallError, Result};
use crate::gather::Gathered;
use crate::in_process::InProcess;
use crate::lost::{self, NotSent};
use crate::stream::{ByteStream, Ending, Watched};

/// The version of the protocol that this client was made for, and the header that says so in every call: a server that does
/// not speak it refuses, instead of misunderstanding.
const PROTOCOL: (&str, &str) = ("legwork-protocol", "1");

/// Bytes a server may send on one stream before we have read them.
const STREAM_WINDOW: u32 = 8 << 20;
/// The same for the whole connection.
const CONNECTION_WINDOW: u32 = 16 << 20;
/// Largest HTTP/2 frame we take, in bytes.
const FRAME_MAX: u32 = 1 << 20;

/// A handle on a connection; clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Channel {
    way: Way,
    ending: Ending,
}

/// Where calls go.
#[derive(Debug, Clone)]
enum Way {
    Connection(SendRequest<Body>),
    InProcess(InProcess),
}

/// An answer on its way.
pub(crate) type Answering =
    Pin<Box<dyn Future<Output = std::result::Result<Response<Body>, BoxError>> + Send>>;
type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// How a connection whose other end has vanished without a word is noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heartbeat {
    /// Silence after which the peer is asked whether it is there.
    pub interval: Duration,
    /// How long it may take to answer.
    pub timeout: Duration,
}

impl Default for Heartbeat {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(10),
            timeout: Duration::from_secs(10),
        }
    }
}

impl Channel {
    /// Speaks HTTP/2 over `io`. The connection's task runs on `tasks` and ends with the last handle.
    pub(crate) async fn over(
        io: Box<dyn ByteStream>,
        heartbeat: Option<Heartbeat>,
        tasks: &TaskTracker,
    ) -> Result<Self> {
        let (io, ending) = Watched::new(io);
        let mut builder = Builder::new(TokioExecutor::new());
        builder
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_frame_size(FRAME_MAX);
        if let Some(heartbeat) = heartbeat {
            builder
                .timer(TokioTimer::new())
                .keep_alive_interval(heartbeat.interval)
                .keep_alive_timeout(heartbeat.timeout)
                .keep_alive_while_idle(true);
        }
        let (requests, connection) = builder
            .handshake(TokioIo::new(Gathered::new(io)))
            .await
            .map_err(|e| CallError::unreachable(&lost::words(&e)))?;
        // Whatever ends the connection also fails the calls on it, which report it.
        tasks.spawn(async move { drop(connection.await) });
        let way = Way::Connection(requests);
        Ok(Self { way, ending })
    }

    /// Calls a server in this process.
    pub(crate) fn in_process(server: InProcess) -> Self {
        let (way, ending) = (Way::InProcess(server), Ending::default());
        Self { way, ending }
    }

    /// Whether no call can be made on it any more.
    pub(crate) fn is_closed(&self) -> bool {
        match &self.way {
            Way::Connection(requests) => requests.is_closed(),
            Way::InProcess(_) => false,
        }
    }

    /// What the other end has against us, if that ended the stream below.
    pub(crate) fn refusal(&self) -> Option<PeerRefusal> {
        self.ending.refusal()
    }

    /// What to say of a call on it that was lost. A connection that the heartbeat has given up is dropped without a cause,
    /// as if it had been closed.
    pub(crate) fn why<'a>(&self, why: &'a str) -> &'a str {
        match why {
            lost::CLOSED if !self.ending.was_theirs() => lost::SILENT,
            told => told,
        }
    }
}

impl tower::Service<Request<Body>> for Channel {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = Answering;

    /// Always: a closed connection is told by the call, which can say that nothing was sent.
    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<std::result::Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let (name, version) = PROTOCOL;
        let version = HeaderValue::from_static(version);
        request.headers_mut().insert(name, version);
        let mut requests = match &self.way {
            Way::Connection(requests) => requests.clone(),
            Way::InProcess(server) => return server.call(request),
        };
        Box::pin(async move {
            requests.ready().await.map_err(NotSent)?;
            match requests.send_request(request).await {
                Ok(response) => Ok(response.map(Body::new)),
                Err(error) if error.is_canceled() => Err(NotSent(error).into()),
                Err(error) => Err(error.into()),
            }
        })
    }
}
