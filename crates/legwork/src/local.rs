//! This machine's own server: the one that holds the user's state directory, else one in this process.
//!
//! The same services and messages as a remote server's, through streams in memory instead of a socket. Nothing is left
//! running when the command ends but the jobs' shims; another terminal that opens the same state directory sees the same jobs.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use legwork_client::{ByteStream, CallError, Client, Dialler, Target};
use legwork_identity::Principal;
use legwork_server::{Config, JobRules, Problem, Server};
use rustix::fs::{FlockOperation, flock};
use tokio::io::DuplexStream;
use tokio::net::UnixStream;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::app::App;
use crate::error::CommandError;
use crate::files;
use crate::paths;

/// Bytes under way in the buffer between client and server, each way.
const BUFFER: usize = 1 << 20;
/// Pause between two looks at a server that has its lock and does not listen yet.
const PAUSE: Duration = Duration::from_millis(20);

/// A way to a server, and what this client keeps about it.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) client: Client,
    /// The server, if it is in this process.
    pub(crate) server: Option<Server>,
    /// The local state directory, canonical.
    pub(crate) state: PathBuf,
    /// Where this client keeps what it remembers of that server's mirrors.
    pub(crate) memory: PathBuf,
    /// What to call the server, if it is another than this machine's own.
    pub(crate) remote: Option<String>,
}

/// Opens the state directory and connects to its server: one that is running, else one in this process.
pub(crate) async fn open(app: &App, state: PathBuf) -> Result<Session, CommandError> {
    if !is_served(&state) {
        return open_here(app, state).await;
    }
    let target = Target::Dialler(either(state.clone(), app.tasks.clone()));
    let label = "the server of this machine";
    let client = Client::connect(target, app.contact(label)?, app.tasks.clone()).await?;
    session(client, None, &state)
}

/// Opens the state directory with a server in this process, whoever else has it open.
pub(crate) async fn open_here(app: &App, state: PathBuf) -> Result<Session, CommandError> {
    let server = server(&state, &app.tasks).map_err(told)?;
    let client = Client::in_process(server.clone().services(user()), app.tasks.clone());
    session(client, Some(server), &state)
}

fn session(client: Client, server: Option<Server>, state: &Path) -> Result<Session, CommandError> {
    let state = state.canonicalize()?;
    Ok(Session {
        client,
        server,
        memory: state.clone(),
        state,
        remote: None,
    })
}

/// A server in this process. Needs a runtime.
fn server(state: &Path, tasks: &TaskTracker) -> Result<Server, Problem> {
    let config = Config {
        state_dir: state.to_owned(),
        cgroups: paths::cgroups().unwrap_or_default(),
        keeper: None,
        job_rules: JobRules::default(),
        sites: std::collections::BTreeMap::new(),
        records: legwork_server::RecordRules::default(),
    };
    let server = Server::open(config, tasks.clone())?;
    server.warm();
    Ok(server)
}

/// Our end of a connection to it, for a client that had another one before.
fn connection(server: Server, tasks: &TaskTracker) -> DuplexStream {
    let (ours, theirs) = tokio::io::duplex(BUFFER);
    let serving = server.serve(theirs, user());
    // How a connection in memory ends is no news: our half is what ends it.
    tasks.spawn(async move { drop(serving.await) });
    ours
}

/// Leads to whatever server the state directory has at that moment: so a command outlives the server that it began with.
fn either(state: PathBuf, tasks: TaskTracker) -> Dialler {
    Dialler::new(move || {
        let (state, tasks) = (state.clone(), tasks.clone());
        async move {
            let socket = state.join("sock");
            while is_served(&state) {
                if let Ok(stream) = UnixStream::connect(&socket).await {
                    return Ok(Box::new(stream) as Box<dyn ByteStream>);
                }
                // Whoever limits the attempt to connect ends this.
                tokio::time::sleep(PAUSE).await;
            }
            let server = server(&state, &tasks).map_err(call_error)?;
            Ok(Box::new(connection(server, &tasks)) as Box<dyn ByteStream>)
        }
    })
}

/// Whether a server holds this state directory.
fn is_served(state: &Path) -> bool {
    let Ok(lock) = File::open(state.join("server.lock")) else {
        return false;
    };
    flock(&lock, FlockOperation::NonBlockingLockShared) == Err(rustix::io::Errno::WOULDBLOCK)
}

/// A server's error as the client would have read it from the wire.
pub(crate) fn told(problem: Problem) -> CommandError {
    call_error(problem).into()
}

fn call_error(problem: Problem) -> CallError {
    let Problem {
        code,
        reason,
        message,
        metadata,
    } = problem;
    let error = CallError::new(code, reason, message);
    metadata
        .into_iter()
        .fold(error, |error, (key, value)| error.with(&key, value))
}

/// Whoever runs this process, by name, or by number if the number has no name.
fn user() -> Principal {
    let uid = nix::unistd::Uid::effective();
    let name = match nix::unistd::User::from_uid(uid) {
        Ok(Some(user)) => user.name,
        Ok(None) | Err(_) => uid.to_string(),
    };
    Principal::in_process(uid.as_raw(), name)
}

impl Session {
    /// Closes the logs of records that a server in this process may have open, in order: whoever opens them next has less to do.
    pub(crate) async fn close_logs(self) {
        let Self { client, server, .. } = self;
        drop(client);
        if let Some(server) = server {
            server.close_logs().await;
        }
    }

    /// This client's own random id: part of what tells its mirrors from other machines'.
    pub(crate) fn machine_id(&self) -> Result<String, CommandError> {
        let path = self.memory.join("machine-id");
        if let Ok(id) = std::fs::read_to_string(&path)
            && let Ok(id) = id.trim().parse::<Uuid>()
        {
            return Ok(id.to_string());
        }
        let id = Uuid::now_v7();
        // Whoever comes first decides; the temporary name keeps a half-written id from being read.
        let fresh = self.memory.join(format!("machine-id.{id}"));
        files::create(&fresh, format!("{id}\n").as_bytes())?;
        let linked = std::fs::hard_link(&fresh, &path);
        std::fs::remove_file(&fresh).map_err(|e| files::failed(&fresh, &e))?;
        match linked {
            Ok(()) => Ok(id.to_string()),
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {
                let id = std::fs::read_to_string(&path).map_err(|e| files::failed(&path, &e))?;
                Ok(id.trim().to_owned())
            }
            Err(e) => Err(files::failed(&path, &e)),
        }
    }

    /// Where the client remembers a mirror; `key` says which.
    pub(crate) fn memory(&self, key: &[u8], kind: &str) -> Result<PathBuf, CommandError> {
        let dir = self.memory.join("mirrors");
        files::private_dir(&dir)?;
        let name = legwork_sync::Digest::of(key).to_string();
        Ok(dir.join(format!("{}.{kind}", &name[..16])))
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use rustix::fs::{FlockOperation, flock};

    use super::is_served;

    #[test]
    fn a_lock_that_is_held_is_a_server() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!is_served(dir.path()));
        let lock = File::create(dir.path().join("server.lock")).unwrap();
        assert!(!is_served(dir.path()));
        flock(&lock, FlockOperation::NonBlockingLockExclusive).unwrap();
        assert!(is_served(dir.path()));
        drop(lock);
        assert!(!is_served(dir.path()));
    }
}
