//! The server object, and one connection of it.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;

use http::{Request, Response};
use hyper::server::conn::http2::Builder;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use legwork_identity::Principal;
use legwork_jobs::{Cgroups, Jobs, KeptLauncher, Launcher, Rebuilt};
use legwork_proto::v1::enroll_service_server::EnrollServiceServer;
use legwork_proto::v1::host_service_server::HostServiceServer;
use legwork_proto::v1::record_service_server::RecordServiceServer;
use legwork_proto::v1::sync_service_server::SyncServiceServer;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::Code;
use tonic::body::Body;
use tonic::service::Routes;
use tower::Service;

use crate::authority::Authority;
use crate::enroll::EnrollRpc;
use crate::guard::Guard;
use crate::health::Health;
use crate::host::HostRpc;
use crate::job_calls::JobCalls;
use crate::job_rules::JobRules;
use crate::joins::Joins;
use crate::names::Names;
use crate::otlp::LogsService;
use crate::owners::Owners;
use crate::problem::Problem;
use crate::quotas::Usage;
use crate::records::{INGEST_BYTES_MAX, RecordRpc, RecordRules, RecordShared};
use crate::run_as::{self, Accounts, RunAs};
use crate::sessions::Sessions;
use crate::sites::{SiteRule, Sites};
use crate::space::Space;
use crate::sync::SyncRpc;
use crate::workspaces::{Workspaces, own};

/// Bytes a client may send on one stream before we have read them.
const STREAM_WINDOW: u32 = 8 << 20;
/// The same for the whole connection.
const CONNECTION_WINDOW: u32 = 16 << 20;
/// Largest HTTP/2 frame we take, in bytes.
const FRAME_MAX: u32 = 1 << 20;
/// Bytes of answers that may wait in memory for a client to read them, per stream: one more piece of output follows.
const SEND_BUFFER: usize = 256 << 10;

/// Bytes of a message about identities.
const ENROLL_BYTES_MAX: usize = 64 << 10;

/// What a server is opened with.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where jobs, their index, mirrors and identities live.
    pub state_dir: PathBuf,
    /// Where jobs get control groups of their own.
    pub cgroups: Cgroups,
    /// The socket of the process that starts shims for this one; [`Cgroups::Auto`] is then what that one has. `None` means that this
    /// process starts them.
    pub keeper: Option<PathBuf>,
    /// What identities may ask of jobs.
    pub job_rules: JobRules,
    /// Directories that are workspaces, by the name under which they are.
    pub sites: BTreeMap<String, SiteRule>,
    /// How records are kept.
    pub records: RecordRules,
}

/// What every service works on.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) jobs: Jobs,
    pub(crate) workspaces: Workspaces,
    pub(crate) accounts: Arc<Accounts>,
    pub(crate) authority: Arc<Authority>,
    pub(crate) names: Names,
    pub(crate) joins: Joins,
    pub(crate) sessions: Sessions,
    pub(crate) usage: Usage,
    pub(crate) job_rules: JobRules,
    pub(crate) space: Space,
    pub(crate) owners: Owners,
    pub(crate) making: own::Making,
    pub(crate) records: RecordShared,
    /// Cancelled when the server stops.
    pub(crate) draining: CancellationToken,
    pub(crate) tasks: TaskTracker,
}

/// The services on one state directory. Clones are the same server.
#[derive(Debug, Clone)]
pub struct Server {
    pub(crate) shared: Arc<Shared>,
}

impl Server {
    /// Opens the state directory, making it if it is not there. Blocks for some file operations.
    /// Work that outlives its call runs on `tasks`.
    ///
    /// # Errors
    /// When the state directory is not ours, of a newer version, or cannot be written.
    pub fn open(config: Config, tasks: TaskTracker) -> Result<Self, Problem> {
        Self::build(config, Accounts::default(), tasks)
    }

    /// The same for identities, whose jobs run as other users of this host.
    ///
    /// # Errors
    /// As [`Server::open`], and when this server cannot run jobs as those users, or may not run them as who it is.
    pub async fn open_for(
        config: Config,
        run_as: &RunAs,
        tasks: TaskTracker,
    ) -> Result<Self, Problem> {
        let accounts = run_as.resolve()?;
        let state = config.state_dir.clone();
        let server = Self::build(config, accounts, tasks)?;
        server.shared.accounts.admit(&state).await?;
        Ok(server)
    }

    fn build(config: Config, accounts: Accounts, tasks: TaskTracker) -> Result<Self, Problem> {
        let kept = config.keeper.map(KeptLauncher::new);
        let cgroups = match (&kept, config.cgroups) {
            (Some(kept), Cgroups::Auto) => its_groups(kept)?,
            (_, told) => told,
        };
        let jobs = Jobs::open(legwork_jobs::Config {
            cgroups,
            launcher: kept.map(|kept| Arc::new(kept) as Arc<dyn Launcher>),
            ..legwork_jobs::Config::new(&config.state_dir)
        })?;
        for limits in config.job_rules.demanded() {
            jobs.check(&limits).map_err(|refused| {
                let message = format!("jobs cannot be held to the rules of this server: {refused}");
                Problem::new(Code::FailedPrecondition, "RULES_NOT_APPLICABLE", message)
            })?;
        }
        let accounts = Arc::new(accounts);
        let sites = Sites::new(config.sites, &config.state_dir)?;
        let workspaces = config.state_dir.join(run_as::WORKSPACES);
        let owners = Owners::new(&config.state_dir, &workspaces);
        let workspaces = Workspaces::new(workspaces, Arc::clone(&accounts), sites)?;
        let space = Space::new(&config.state_dir);
        let records = RecordShared::new(&config.state_dir, config.records);
        let authority = Arc::new(Authority::new(config.state_dir));
        Ok(Self {
            shared: Arc::new(Shared {
                jobs,
                workspaces,
                accounts,
                names: Names::new(Arc::clone(&authority)),
                authority,
                joins: Joins::default(),
                sessions: Sessions::default(),
                usage: Usage::default(),
                job_rules: config.job_rules,
                space,
                owners,
                making: own::Making::default(),
                records,
                draining: CancellationToken::new(),
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

    /// Serves one connection of this principal until it ends. Who is at the other end was settled before.
    ///
    /// # Errors
    /// When the peer broke the protocol or the stream failed.
    pub async fn serve<T>(self, io: T, principal: Principal) -> Result<(), hyper::Error>
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let services = TowerToHyperService::new(self.guard(principal).behind_http());
        builder().serve_connection(TokioIo::new(io), services).await
    }

    /// The services as this principal reaches them, for a client in this process.
    #[must_use]
    pub fn services(
        self,
        principal: Principal,
    ) -> impl Service<
        Request<Body>,
        Response = Response<Body>,
        Error = Infallible,
        Future: Send + 'static,
    > + Clone
    + Send
    + Sync
    + 'static {
        self.guard(principal)
    }

    fn guard(self, principal: Principal) -> Guard {
        self.shared.names.learn(&principal);
        let routes = self.routes();
        Guard::inside(self.shared, routes, principal)
    }

    /// Writes what waits in logs of records and closes them: for a process that has done what it came for.
    pub async fn close_logs(&self) {
        self.shared.records.streams.close().await;
    }

    /// Ends the background work of the libraries, and writes what waits; jobs go on.
    pub async fn close(&self) {
        self.shared.records.streams.close().await;
        self.shared.jobs.close().await;
    }

    /// What a client in this process can call.
    fn routes(&self) -> Routes {
        let enroll = EnrollServiceServer::new(EnrollRpc(Arc::clone(&self.shared)))
            .max_decoding_message_size(ENROLL_BYTES_MAX);
        Routes::new(JobCalls::new(&self.shared))
            .add_service(SyncServiceServer::new(SyncRpc(Arc::clone(&self.shared))))
            .add_service(HostServiceServer::new(HostRpc::new(&self.shared)))
            .add_service(
                RecordServiceServer::new(RecordRpc(Arc::clone(&self.shared)))
                    .max_decoding_message_size(INGEST_BYTES_MAX),
            )
            .add_service(LogsService(Arc::clone(&self.shared)))
            .add_service(enroll)
            .prepare()
    }

    /// The same, and what clients of other makes expect.
    pub(crate) fn public_routes(&self, health: &Health) -> Result<Routes, Problem> {
        let reflection = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(legwork_proto::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .build_v1()
            .map_err(|error| Problem::new(Code::Internal, "DESCRIPTORS", error.to_string()))?;
        let routes = self
            .routes()
            .add_service(health.service())
            .add_service(reflection);
        Ok(routes.prepare())
    }
}

/// Where jobs have control groups whose shims a keeper starts.
fn its_groups(keeper: &KeptLauncher) -> Result<Cgroups, Problem> {
    match keeper.look() {
        Ok(kept) => Ok(kept.groups.map_or(Cgroups::None, Cgroups::At)),
        Err(error) => Err(Problem::new(
            Code::Unavailable,
            "KEEPER_AWAY",
            error.to_string(),
        )),
    }
}

/// HTTP/2 for a client that may have large windows.
pub(crate) fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(FRAME_MAX)
        .max_send_buf_size(SEND_BUFFER);
    builder
}
