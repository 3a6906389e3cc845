//! The layer before all services: who calls, and whether that caller may call this at all.
//!
//! Whoever is at the other end of a connection was settled when the connection was made. Whether that is still
//! somebody is asked for each call, so that revoking works at once.

use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper::body::Incoming;
use legwork_identity::{Principal, UnixTime, policy};
use tonic::body::Body;
use tonic::service::Routes;
use tonic::{Code, Status};
use tower::Service;
use tower::util::MapRequest;
use uuid::Uuid;

use crate::access::Call;
use crate::answer::{Answer, STREAMS, Watched};
use crate::authority::now;
use crate::in_flight::Arriving;
use crate::problem::Problem;
use crate::protocol;
use crate::quotas::{self, Stream};
use crate::server::Shared;

/// Who is at the other end of a connection.
#[derive(Debug, Clone)]
pub(crate) enum Peer {
    /// A user of this host.
    Local(Principal),
    /// Whoever has shown a certificate of this identity.
    Identity {
        /// Which one.
        id: Uuid,
        /// The certificate's last second: a connection may last longer.
        not_after: UnixTime,
    },
    /// The same, when that identity has as many connections as it may have: whatever it calls on this one is refused.
    Excess {
        /// Which one.
        id: Uuid,
        /// The certificate's last second.
        not_after: UnixTime,
        /// How many it may have.
        limit: usize,
    },
    /// Somebody who has shown nothing.
    Stranger,
}

/// A request that may be answered, or why it is not.
type Admitted = Result<http::Request<Body>, (http::Request<Body>, Status)>;

/// A connection's request as the services take it.
type FromConnection = fn(http::Request<Incoming>) -> http::Request<Body>;

/// The services as one connection reaches them.
#[derive(Debug, Clone)]
pub(crate) struct Guard {
    shared: Arc<Shared>,
    routes: Routes,
    peer: Arc<Peer>,
    source: Option<IpAddr>,
    watched: Option<Watched>,
}

impl Guard {
    /// For a connection inside this process.
    pub(crate) fn inside(shared: Arc<Shared>, routes: Routes, principal: Principal) -> Self {
        Self {
            shared,
            routes,
            peer: Arc::new(Peer::Local(principal)),
            source: None,
            watched: None,
        }
    }

    /// For a connection that was accepted.
    pub(crate) fn accepted(
        shared: Arc<Shared>,
        routes: Routes,
        peer: Peer,
        source: Option<IpAddr>,
        watched: Watched,
    ) -> Self {
        Self {
            shared,
            routes,
            peer: Arc::new(peer),
            source,
            watched: Some(watched),
        }
    }

    /// The same for requests that come over a connection.
    pub(crate) fn behind_http(self) -> MapRequest<Self, FromConnection> {
        MapRequest::new(self, |request| request.map(Body::new))
    }

    /// The call, and whether it may be made.
    fn admit<T>(&self, request: &http::Request<T>) -> (Arc<Call>, Result<(), Problem>) {
        let (caller, admitted) = match self.shared.caller(&self.peer) {
            Ok(caller) => {
                let path = request.uri().path();
                let (service, method) = path
                    .strip_prefix('/')
                    .and_then(|path| path.split_once('/'))
                    .unwrap_or_default();
                let allowed = self.within_limit(caller.as_ref()).and_then(|()| {
                    policy::check(caller.as_ref(), service, method)?;
                    protocol::check(request.headers())
                });
                (caller, allowed)
            }
            Err(problem) => (None, Err(problem)),
        };
        (Arc::new(Call::new(caller, self.source)), admitted)
    }

    /// Refuses whatever somebody calls on a connection that it may not have. Who is nobody any more is told that.
    fn within_limit(&self, caller: Option<&Principal>) -> Result<(), Problem> {
        match (&*self.peer, caller) {
            (Peer::Excess { limit, .. }, Some(caller)) => {
                Err(quotas::too_many_connections(&caller.name, *limit))
            }
            _ => Ok(()),
        }
    }

    /// Counts what the call has in memory, for an identity, if there is room for it.
    fn in_flight(&self, path: &str, admitted: Admitted) -> (Admitted, Option<Arriving>) {
        let request = match admitted {
            Ok(request) => request,
            refused @ Err(_) => return (refused, None),
        };
        let Peer::Identity { id, .. } = *self.peer else {
            return (Ok(request), None);
        };
        let single = !STREAMS.contains(&path);
        match self.shared.usage.in_flight.call(id, single) {
            Ok(incoming) => (Ok(request), Some(incoming)),
            Err(problem) => (Err((request, Status::from(problem))), None),
        }
    }

    /// Counts the call for whom it belongs to, if it is a stream and they may have another one.
    fn counted(&self, path: &str, admitted: Admitted) -> (Admitted, Option<Stream>) {
        let request = match admitted {
            Ok(request) if STREAMS.contains(&path) => request,
            settled => return (settled, None),
        };
        let Peer::Identity { id, .. } = *self.peer else {
            return (Ok(request), None);
        };
        match self.shared.usage.stream(id) {
            Ok(stream) => (Ok(request), Some(stream)),
            Err(problem) => (Err((request, Status::from(problem))), None),
        }
    }
}

impl Shared {
    /// Who that is now; `None` if it is nobody, or not any more.
    fn caller(&self, peer: &Peer) -> Result<Option<Principal>, Problem> {
        let (id, not_after) = match peer {
            Peer::Local(principal) => return Ok(Some(principal.clone())),
            Peer::Identity { id, not_after } | Peer::Excess { id, not_after, .. } => {
                (*id, *not_after)
            }
            Peer::Stranger => return Ok(None),
        };
        let now = now();
        if now > not_after {
            let message = "the certificate of this connection has expired by the server's clock: connect again";
            let problem = Problem::new(Code::Unauthenticated, "CERTIFICATE_EXPIRED", message);
            return Err(problem
                .with("expiresAtS", not_after.as_secs())
                .with("serverTimeS", now.as_secs()));
        }
        let identity = self.authority.need()?.store.identity(id)?;
        Ok(identity.and_then(|identity| identity.principal()))
    }
}

impl Service<http::Request<Body>> for Guard {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Service::<http::Request<Body>>::poll_ready(&mut self.routes, cx)
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        let (call, admitted) = self.admit(&request);
        let answer = match admitted {
            Ok(()) => {
                request.extensions_mut().insert(Arc::clone(&call));
                Ok(request)
            }
            Err(problem) => Err((request, Status::from(problem))),
        };
        let Some(watched) = self.watched.clone() else {
            return match answer {
                Ok(request) => Box::pin(self.routes.call(request)),
                Err((_, status)) => Box::pin(std::future::ready(Ok(status.into_http()))),
            };
        };
        let path = match &answer {
            Ok(request) | Err((request, _)) => request.uri().path().to_owned(),
        };
        let (answer, stream) = self.counted(&path, answer);
        let (answer, incoming) = self.in_flight(&path, answer);
        let watch = watched.begin(path, call, stream, incoming);
        match answer {
            Ok(request) => {
                let answering = self.routes.call(watch.count(request));
                Box::pin(async move { Ok(Answer::wrap(answering.await?, watch)) })
            }
            Err((_, status)) => Box::pin(std::future::ready(Ok(Answer::wrap(
                status.into_http(),
                watch,
            )))),
        }
    }
}
