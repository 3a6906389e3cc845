//! A server on a state directory of its own, in this process.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use legwork_client::{Client, Dialler};
use legwork_identity::Principal;
use legwork_server::{Cgroups, Config, JobRules, Problem, Server};
use tempfile::TempDir;
use tokio_util::task::TaskTracker;
use tonic::Status;
use tonic::body::Body;
use tower::ServiceExt;

/// How long a condition may take to come true before a test fails: for what hangs, also on a machine that is busy with something else.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The user that clients are taken for.
const UID: u32 = 4321;

/// A server on a state directory of its own.
#[derive(Debug)]
pub struct Host {
    dir: TempDir,
    server: Arc<Mutex<Server>>,
    tasks: TaskTracker,
}

impl Host {
    /// Makes a state directory and opens a server on it.
    ///
    /// # Errors
    /// What keeps the server from opening it.
    ///
    /// # Panics
    /// Without a temporary directory.
    pub fn start() -> Result<Self, Problem> {
        Self::on(tempfile::tempdir().expect("a temporary directory"))
    }

    /// Opens a server on what an earlier one left in such a directory.
    ///
    /// # Errors
    /// What keeps the server from opening it.
    pub fn on(dir: TempDir) -> Result<Self, Problem> {
        let tasks = TaskTracker::new();
        let server = open(dir.path().join("state"), &tasks)?;
        let server = Arc::new(Mutex::new(server));
        Ok(Self { dir, server, tasks })
    }

    /// Opens a second server on the same state directory, as another terminal would.
    ///
    /// # Errors
    /// What keeps the server from opening it.
    pub async fn another(&self) -> Result<Client, Problem> {
        let server = open(self.state_dir(), &self.tasks)?;
        Ok(connect(&server, &self.tasks).await)
    }

    /// A new connection.
    pub async fn client(&self) -> Client {
        let server = self.server();
        connect(&server, &self.tasks).await
    }

    /// A client of an older server, which does not know this method (`/package.Service/Method`).
    #[must_use]
    pub fn client_without(&self, method: &'static str) -> Client {
        let services = self.server().services(principal());
        let older = tower::service_fn(move |request: http::Request<Body>| {
            let answer =
                (request.uri().path() != method).then(|| services.clone().oneshot(request));
            async move {
                match answer {
                    Some(answer) => answer.await,
                    None => Ok(Status::unimplemented("no such method").into_http()),
                }
            }
        });
        Client::in_process(older, self.tasks())
    }

    /// Makes streams to whatever server there is at that moment.
    #[must_use]
    pub fn dialler(&self) -> Dialler {
        let (server, tasks) = (Arc::clone(&self.server), self.tasks.clone());
        Dialler::new(move || {
            let server = server.lock().unwrap_or_else(PoisonError::into_inner);
            let stream = serve(&server, &tasks);
            async move { Ok(stream) }
        })
    }

    /// Puts a new server, opened on the same state directory, in the place of the old one. Connections to the
    /// old one are for the test to cut.
    ///
    /// # Errors
    /// What keeps the server from opening it.
    pub fn restart(&self) -> Result<(), Problem> {
        let server = open(self.state_dir(), &self.tasks)?;
        *self.server.lock().unwrap_or_else(PoisonError::into_inner) = server;
        Ok(())
    }

    /// What runs the host's own background work; clients of a test may use it too.
    #[must_use]
    pub fn tasks(&self) -> TaskTracker {
        self.tasks.clone()
    }

    fn server(&self) -> Server {
        let server = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        server.clone()
    }

    /// Where its jobs and mirrors live.
    #[must_use]
    pub fn state_dir(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// A directory beside it for the test's own files, made by the first call.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn scratch(&self, name: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::create_dir_all(&path).expect("a directory in a fresh temporary one");
        path
    }
}

fn open(state_dir: PathBuf, tasks: &TaskTracker) -> Result<Server, Problem> {
    let config = Config {
        state_dir,
        cgroups: Cgroups::None,
        keeper: None,
        job_rules: JobRules::default(),
        sites: std::collections::BTreeMap::new(),
        records: legwork_server::RecordRules::default(),
    };
    Server::open(config, tasks.clone())
}

/// Whom clients are taken for.
fn principal() -> Principal {
    Principal::in_process(UID, "tester")
}

/// A stream to a server in this process.
fn serve(server: &Server, tasks: &TaskTracker) -> tokio::io::DuplexStream {
    let (ours, theirs) = tokio::io::duplex(1 << 20);
    let serving = server.clone().serve(theirs, principal());
    tasks.spawn(async move { drop(serving.await) });
    ours
}

async fn connect(server: &Server, tasks: &TaskTracker) -> Client {
    Client::over(serve(server, tasks), tasks.clone())
        .await
        .expect("a server in this process speaks HTTP/2")
}

/// Waits until `condition` holds.
///
/// # Panics
/// After [`PATIENCE`], naming `what`.
pub async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !condition() {
        assert!(
            tokio::time::Instant::now() < deadline,
            "never came true: {what}"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
