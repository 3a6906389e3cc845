//! Listening: sockets, who is let in, and how it ends.
//!
//! Everything that a peer can use up has a bound ([`Limits`]). Whoever has shown nothing gets little of it: a short
//! time, small buffers, and few connections from one address.

mod accept;
mod admission;
mod connection;
mod failed;
mod lock;
mod preface;
mod socket;
mod tls;

pub use self::lock::ServerLock;
pub use self::socket::connect;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use legwork_identity::UnixTime;
use legwork_identity::invite::Address;
use tokio::net::{TcpListener, UnixListener};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::Code;
use tonic::service::Routes;

use self::admission::Admission;
use self::failed::Failed;
use self::tls::Tls;
use crate::access_log::AccessLog;
use crate::answer::Watched;
use crate::audit::{self, Audit};
use crate::export;
use crate::health::Health;
use crate::metrics::{Metrics, Page};
use crate::problem::Problem;
use crate::quotas::Quotas;
use crate::server::{Server, Shared};

/// What peers may use up.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections in all.
    pub connections: usize,
    /// Connections that one identity, or the users of this host together, may have. A few more of an identity are taken for
    /// a moment, to be told so.
    pub connections_each: usize,
    /// Connections without a certificate, handshakes included.
    pub strangers: usize,
    /// The same from one address, or one network of IPv6.
    pub strangers_each: usize,
    /// From the first byte to the end of the handshake.
    pub handshake: Duration,
    /// How long somebody without a certificate may stay.
    pub stranger_life: Duration,
    /// How long of that it keeps its place when all are taken and another one comes.
    pub stranger_grace: Duration,
    /// How long a peer may be silent before it is asked for a sign of life, and how long it has to give it.
    pub keepalive: Duration,
    /// How long calls may take to finish when the server stops.
    pub drain: Duration,
    /// What one identity may have beside connections.
    pub quotas: Quotas,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 4096,
            connections_each: 1024,
            strangers: 512,
            strangers_each: 64,
            handshake: Duration::from_secs(10),
            stranger_life: Duration::from_secs(60),
            stranger_grace: Duration::from_secs(3),
            keepalive: Duration::from_secs(20),
            drain: Duration::from_secs(10),
            quotas: Quotas::default(),
        }
    }
}

/// Sockets that are bound, and not yet listened to.
#[derive(Debug)]
pub struct Sockets {
    tcp: Vec<TcpListener>,
    local: UnixListener,
    path: PathBuf,
    metrics: Option<TcpListener>,
}

impl Sockets {
    /// Binds the local socket of the state directory, and these addresses. A port of 0 takes a free one.
    ///
    /// # Errors
    /// When one cannot be bound.
    pub async fn bind(
        _lock: &ServerLock,
        state: &Path,
        addresses: &[SocketAddr],
    ) -> Result<Self, Problem> {
        let mut tcp = Vec::with_capacity(addresses.len());
        for address in addresses {
            tcp.push(listener(*address).await?);
        }
        let (local, path) = socket::bind(state)?;
        Ok(Self {
            tcp,
            local,
            path,
            metrics: None,
        })
    }

    /// Answers requests for metrics, too, in plain HTTP: so this has to be an address that only this host reaches. Tells
    /// which it really is; a port of 0 takes a free one.
    ///
    /// # Errors
    /// When it is not a loopback address, or cannot be bound.
    pub async fn with_metrics(&mut self, address: SocketAddr) -> Result<SocketAddr, Problem> {
        if !address.ip().is_loopback() {
            let message = format!(
                "metrics are told in plain HTTP, to this host only: {address} is not a loopback address"
            );
            let problem = Problem::new(Code::InvalidArgument, "NOT_LOOPBACK", message);
            return Err(problem.with("address", address));
        }
        let bound = listener(address).await?;
        let address = bound.local_addr();
        self.metrics = Some(bound);
        address.map_err(|error| Problem::new(Code::Internal, "CANNOT_LISTEN", error.to_string()))
    }

    /// The addresses as they really are.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn addresses(&self) -> std::io::Result<Vec<SocketAddr>> {
        self.tcp.iter().map(TcpListener::local_addr).collect()
    }
}

async fn listener(address: SocketAddr) -> Result<TcpListener, Problem> {
    TcpListener::bind(address).await.map_err(|error| {
        let message = format!("cannot listen on {address}: {error}");
        Problem::new(Code::FailedPrecondition, "CANNOT_LISTEN", message).with("address", address)
    })
}

/// What all connections share.
#[derive(Debug)]
pub(crate) struct Listening {
    shared: Arc<Shared>,
    routes: Routes,
    tls: Option<Tls>,
    admission: Arc<Admission>,
    failed: Failed,
    limits: Limits,
    watched: Watched,
    connections: TaskTracker,
}

impl Listening {
    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// How the audit log is doing.
    pub(crate) fn audit(&self) -> Option<Arc<audit::Counts>> {
        self.watched.audit.as_ref().map(Audit::counts)
    }

    /// Who is connected, and how many of them.
    pub(crate) fn connections(&self) -> [(&'static str, u64); 4] {
        self.admission.counts()
    }

    /// How many connections came to nothing, by why.
    pub(crate) fn failed(&self) -> Vec<(&'static str, u64)> {
        self.failed.counts()
    }

    /// The last second of the certificate that new connections are shown.
    pub(crate) fn certificate_ends(&self) -> Option<UnixTime> {
        self.tls.as_ref().map(Tls::ends)
    }
}

impl Server {
    /// Makes the certificate authority and the identity of this server if there are none, and tells whether it did. Blocks for
    /// file operations.
    ///
    /// # Errors
    /// When they cannot be made, or what is there cannot be used.
    pub fn initialise(&self) -> Result<bool, Problem> {
        Ok(self.shared.authority.create()?.1)
    }

    /// Whether [`Self::initialise`] was called before.
    ///
    /// # Errors
    /// When it was not, or what is there cannot be used.
    pub fn check_initialised(&self) -> Result<(), Problem> {
        self.shared.authority.need().map(drop)
    }

    /// Where the server can be reached, for the invites that it makes. Blocks for file operations.
    ///
    /// # Errors
    /// When it cannot be written down.
    pub fn advertise(&self, addresses: &[Address]) -> Result<(), Problem> {
        self.shared.authority.advertise(addresses)
    }

    /// Looks after the jobs that were running when nobody looked.
    ///
    /// # Errors
    /// When their directories cannot be read.
    pub async fn recover(&self) -> Result<usize, Problem> {
        Ok(self.shared.jobs.recover().await?)
    }

    /// Goes on with the jobs that were accepted and not started, in the background, and tells in how many batches they came.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn launch_accepted(&self) -> Result<usize, Problem> {
        Ok(self.shared.jobs.launch_accepted().await?)
    }

    /// Accepts connections until `stop`, then ends: calls under way may finish, streams are told to go on later. Jobs go on.
    ///
    /// # Errors
    /// When there is an address to listen on and no certificate authority.
    pub async fn listen(
        &self,
        sockets: Sockets,
        limits: Limits,
        log: Option<AccessLog>,
        stop: CancellationToken,
    ) -> Result<(), Problem> {
        let tls = match sockets.tcp.is_empty() {
            true => None,
            false => Some(Tls::new(self.shared.authority.need()?)?),
        };
        let draining = self.shared.draining.clone();
        self.shared.usage.limit(limits.quotas);
        let metrics = sockets.metrics.as_ref().map(|_| Metrics::new());
        let keeping = Arc::clone(&self.shared);
        drop(self.shared.tasks.spawn(async move {
            keeping.records.stay(&keeping.draining).await;
        }));
        let audit = Audit::begin(Arc::clone(&self.shared)).await;
        drop(
            self.shared
                .tasks
                .spawn(audit.clone().keep(draining.clone())),
        );
        export::begin(&self.shared);
        let health = Health::serving().await;
        let listening = Arc::new(Listening {
            shared: Arc::clone(&self.shared),
            routes: self.public_routes(&health)?,
            tls,
            admission: Arc::new(Admission::new(limits)),
            failed: Failed::default(),
            limits,
            watched: Watched {
                draining: draining.clone(),
                log,
                metrics: metrics.clone(),
                audit: Some(audit.clone()),
            },
            connections: TaskTracker::new(),
        });
        let accepting = TaskTracker::new();
        for listener in sockets.tcp {
            accepting.spawn(accept::tcp(Arc::clone(&listening), listener, stop.clone()));
        }
        accepting.spawn(accept::local(
            Arc::clone(&listening),
            sockets.local,
            stop.clone(),
        ));
        if let (Some(listener), Some(metrics)) = (sockets.metrics, metrics) {
            let page = Page::new(metrics, Arc::clone(&listening));
            accepting.spawn(accept::metrics(page, listener, stop.clone()));
        }
        accepting.close();
        accepting.wait().await;
        // Only tidiness: one that nobody listens to is as good as none.
        drop(std::fs::remove_file(sockets.path));
        health.stopping().await;
        self.shared.jobs.hold_accepted();
        draining.cancel();
        listening.connections.close();
        listening.connections.wait().await;
        audit.finish();
        Ok(())
    }
}
