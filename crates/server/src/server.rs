//! The server object, and one connection of it.

use std::path::PathBuf;
use std::sync::Arc;

use hyper::server::conn::http2::Builder;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use legwork_jobs::{Jobs, Rebuilt};
use legwork_proto::v1::host_service_server::HostServiceServer;
use legwork_proto::v1::job_service_server::JobServiceServer;
use legwork_proto::v1::sync_service_server::SyncServiceServer;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::task::TaskTracker;
use tonic::service::Routes;

use crate::host::HostRpc;
use crate::jobs::JobRpc;
use crate::problem::Problem;
use crate::sync::SyncRpc;
use crate::workspaces::Workspaces;

/// Bytes a client may send on one stream before we have read them.
const STREAM_WINDOW: u32 = 8 << 20;
/// The same for the whole connection.
const CONNECTION_WINDOW: u32 = 16 << 20;
/// Largest HTTP/2 frame we take, in bytes.
const FRAME_MAX: u32 = 1 << 20;
/// Bytes of answers that may wait in memory for a client to read them, per stream.
const SEND_BUFFER: usize = 1 << 20;

/// What a server is opened with.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where jobs, their index and mirrors live.
    pub state_dir: PathBuf,
    /// Whom connections are taken for: who can open the state directory is its admin.
    pub principal: String,
}

/// What every service works on.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) jobs: Jobs,
    pub(crate) workspaces: Workspaces,
    pub(crate) principal: String,
    pub(crate) tasks: TaskTracker,
}

/// The services on one state directory. Clones are the same server.
#[derive(Debug, Clone)]
pub struct Server {
    shared: Arc<Shared>,
}

impl Server {
    /// Opens the state directory, making it if it is not there. Blocks for some file operations.
    /// Work that outlives its call runs on `tasks`.
    ///
    /// # Errors
    /// When the state directory is not ours, of a newer version, or cannot be written.
    pub fn open(config: Config, tasks: TaskTracker) -> Result<Self, Problem> {
        let jobs = Jobs::open(legwork_jobs::Config::new(&config.state_dir))?;
        let workspaces = Workspaces::new(config.state_dir.join("workspaces"))?;
        let principal = config.principal;
        Ok(Self {
            shared: Arc::new(Shared {
                jobs,
                workspaces,
                principal,
                tasks,
            }),
        })
    }

    /// Gets ready for the first call in the background, beside whatever comes before it. Needs a runtime.
    pub fn warm(&self) {
        self.shared.jobs.warm();
    }

    /// Throws the index of jobs away and builds it from their directories.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn rebuild(&self) -> Result<Rebuilt, Problem> {
        self.shared.jobs.rebuild().await.map_err(Problem::from)
    }

    /// Serves one connection until it ends.
    ///
    /// # Errors
    /// When the peer broke the protocol or the stream failed.
    pub async fn serve<T>(self, io: T) -> Result<(), hyper::Error>
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        Builder::new(TokioExecutor::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_frame_size(FRAME_MAX)
            .max_send_buf_size(SEND_BUFFER)
            .serve_connection(TokioIo::new(io), TowerToHyperService::new(self.routes()))
            .await
    }

    /// Ends the background work of the library; jobs go on.
    pub async fn close(&self) {
        self.shared.jobs.close().await;
    }

    fn routes(&self) -> Routes {
        Routes::new(JobServiceServer::new(JobRpc(Arc::clone(&self.shared))))
            .add_service(SyncServiceServer::new(SyncRpc(Arc::clone(&self.shared))))
            .add_service(HostServiceServer::new(HostRpc(Arc::clone(&self.shared))))
            .prepare()
    }
}
