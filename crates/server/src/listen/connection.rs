//! One connection, from the first byte to the last.

use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use hyper::server::conn::http2::Builder;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use legwork_identity::tls::{self, HandshakeError};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::server::TlsStream;

use super::admission::{Holder, Place};
use super::preface::Prefaced;
use super::{Listening, failed, socket};
use crate::guard::{Guard, Peer};
use crate::server;

/// Calls at once on one connection; and of a stranger.
const CALLS_MAX: u32 = 256;
const CALLS_OF_STRANGER_MAX: u32 = 4;
/// Connections of one identity on which it may send much before that is read, and how much on each of the others. A client has a few, and one for
/// each thing that carries much.
const ROOMY_EACH: usize = 16;
const WINDOW_OF_MORE: u32 = 256 << 10;
/// How long somebody who has too many connections may stay to be told so. Not long: a client that keeps the connection would be
/// refused on it also when there is room for another.
const EXCESS_LIFE: Duration = Duration::from_secs(10);
/// Bytes of a call's headers.
const HEADERS_MAX: u32 = 16 << 10;
/// Bytes that a stranger may send before they are read, and that wait to be sent to it.
const WINDOW_OF_STRANGER: u32 = 64 << 10;

/// The calls of a connection, until its last. In a box, as what comes before them is: a connection that is idle, as most are for most of
/// their time, then holds what it needs for the next call, and no room for a handshake or for its parts on their way here.
type Calls<'a> = BoxFuture<'a, ()>;

impl Listening {
    /// A connection over a network: TLS, then HTTP/2.
    pub(super) async fn over_tcp(self: Arc<Self>, stream: TcpStream, source: SocketAddr) {
        let Some(place) = self.admission.enter(Holder::stranger(source.ip())) else {
            self.nothing("full", source, &"there are too many connections");
            return;
        };
        let deadline = Instant::now() + self.limits.handshake;
        let give_way = place.give_way();
        let served = give_way.run_until_cancelled(async {
            let received = Box::pin(self.received(stream, source, deadline, place)).await;
            if let Some(calls) = received {
                calls.await;
            }
        });
        if served.await.is_none() {
            tracing::debug!(%source, "a stranger has given way to another");
        }
    }

    /// The handshake, in time; nothing to serve if it fails.
    async fn received(
        &self,
        stream: TcpStream,
        source: SocketAddr,
        deadline: Instant,
        place: Place,
    ) -> Option<Calls<'_>> {
        match timeout_at(deadline, self.handshake(stream)).await {
            Ok(Ok((stream, peer))) => return self.identified(stream, peer, source.ip(), place),
            Ok(Err(refused)) => self.nothing(failed::kind(&refused), source, &refused),
            Err(_elapsed) => self.nothing("late", source, &"it was not finished in time"),
        }
        None
    }

    /// A connection came to nothing: where that is told.
    fn nothing(&self, why: &'static str, source: SocketAddr, error: &dyn Display) {
        self.failed.tell(why, source, error);
        // Who leaves was refused by nobody.
        if why != failed::CLOSED
            && let Some(audit) = &self.watched.audit
        {
            audit.handshake(why, source.ip());
        }
    }

    async fn handshake(
        &self,
        stream: TcpStream,
    ) -> Result<(Prefaced<TlsStream<TcpStream>>, Peer), HandshakeError> {
        stream.set_nodelay(true)?;
        let tls = self.tls.as_ref().ok_or(HandshakeError::Closed)?;
        let stream = tls.acceptor().accept(stream).await?;
        let presented = stream.get_ref().1.peer_certificates();
        let peer = match tls::peer(presented) {
            Ok(None) => Peer::Stranger,
            Ok(Some(certificate)) => Peer::Identity {
                id: certificate.id,
                not_after: certificate.not_after,
            },
            Err(_not_ours) => return Err(HandshakeError::WrongPurpose),
        };
        Ok((Prefaced::read(stream).await?, peer))
    }

    /// Whoever has shown who it is takes a place of its own and gives the stranger's back. Where it has as many as it may
    /// have, its calls on this one are told so.
    fn identified(
        &self,
        stream: Prefaced<TlsStream<TcpStream>>,
        peer: Peer,
        source: IpAddr,
        mut place: Place,
    ) -> Option<Calls<'_>> {
        let Peer::Identity { id, not_after } = peer else {
            let calls = self.calls(stream, peer, Some(source), Some(self.limits.stranger_life));
            return Some(Box::pin(calls.map(|()| drop(place))));
        };
        if place.pass_to(Holder::Identity(id)) {
            let session = self.shared.sessions.open(id);
            let calls = self.calls(stream, peer, Some(source), None);
            return Some(Box::pin(async move {
                tokio::select! {
                    () = calls => {}
                    () = session.ended() => tracing::info!(%id, "revoked: its connection is closed"),
                }
                drop(place);
            }));
        }
        if place.pass_to(Holder::Excess(id)) {
            tracing::warn!(%id, "too many connections of one identity: its calls are refused");
            let excess = Peer::Excess {
                id,
                not_after,
                limit: self.limits.connections_each,
            };
            let life = EXCESS_LIFE.min(self.limits.stranger_life);
            let calls = self.calls(stream, excess, Some(source), Some(life));
            return Some(Box::pin(calls.map(|()| drop(place))));
        }
        tracing::warn!(%id, "too many connections of one identity: closed");
        None
    }

    /// A connection of a user of this host.
    pub(super) async fn over_socket(self: Arc<Self>, stream: UnixStream) {
        let Some(place) = self.admission.enter(Holder::Local) else {
            tracing::warn!("too many connections to the local socket: refused");
            return;
        };
        let principal = match stream.peer_cred() {
            Ok(peer) => socket::principal(peer),
            Err(error) => return tracing::warn!(%error, "no credentials on the local socket"),
        };
        match principal {
            Ok(principal) => {
                self.shared.names.learn(&principal);
                match timeout(self.limits.handshake, Prefaced::read(stream)).await {
                    Ok(Ok(stream)) => self.calls(stream, Peer::Local(principal), None, None).await,
                    Ok(Err(error)) => tracing::debug!(%error, "local connection refused"),
                    Err(_elapsed) => tracing::debug!("a local connection said nothing"),
                }
            }
            Err(problem) => tracing::warn!(%problem, "local connection refused"),
        }
        drop(place);
    }

    /// Serves calls until the peer leaves, its time is over, or the server stops.
    fn calls<T>(
        &self,
        io: T,
        peer: Peer,
        source: Option<IpAddr>,
        life: Option<Duration>,
    ) -> Calls<'_>
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let builder = self.builder(&peer);
        let guard = Guard::accepted(
            Arc::clone(&self.shared),
            self.routes.clone(),
            peer,
            source,
            self.watched.clone(),
        );
        let service = TowerToHyperService::new(guard.behind_http());
        let mut connection = Box::pin(builder.serve_connection(TokioIo::new(io), service));
        Box::pin(async move {
            let over = async {
                match life {
                    Some(life) => tokio::time::sleep(life).await,
                    None => std::future::pending().await,
                }
            };
            let ended = tokio::select! {
                ended = &mut connection => Some(ended),
                () = over => None,
                () = self.watched.draining.cancelled() => None,
            };
            let ended = match ended {
                Some(ended) => ended,
                None => {
                    connection.as_mut().graceful_shutdown();
                    match timeout(self.limits.drain, connection).await {
                        Ok(ended) => ended,
                        Err(_elapsed) => return tracing::debug!("a connection was cut off"),
                    }
                }
            };
            if let Err(error) = ended {
                tracing::debug!(%error, "a connection ended");
            }
        })
    }

    fn builder(&self, peer: &Peer) -> Builder<TokioExecutor> {
        let mut builder = server::builder();
        builder
            .timer(TokioTimer::new())
            .keep_alive_interval(self.limits.keepalive)
            .keep_alive_timeout(self.limits.keepalive)
            .max_header_list_size(HEADERS_MAX)
            .max_concurrent_streams(CALLS_MAX);
        if let Peer::Identity { id, .. } = peer
            && self.admission.of(Holder::Identity(*id)) > ROOMY_EACH
        {
            builder
                .initial_stream_window_size(WINDOW_OF_MORE)
                .initial_connection_window_size(WINDOW_OF_MORE);
        }
        if matches!(peer, Peer::Stranger | Peer::Excess { .. }) {
            builder
                .initial_stream_window_size(WINDOW_OF_STRANGER)
                .initial_connection_window_size(WINDOW_OF_STRANGER)
                .max_frame_size(16 << 10)
                .max_send_buf_size(64 << 10)
                .max_concurrent_streams(CALLS_OF_STRANGER_MAX);
        }
        builder
    }
}
