//! The server of a machine without one: in this process, on the user's own state directory.
//!
//! The same services over the same protocol as a remote server's, through a buffer in memory instead
//! of a socket. Nothing is left running when the command ends but the jobs' shims; another terminal
//! that opens the same state directory sees the same jobs.

use std::path::{Path, PathBuf};

use legwork_client::{CallError, Client};
use legwork_identity::Principal;
use legwork_server::{Config, Problem, Server};
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::error::CommandError;

/// Bytes under way in the buffer between client and server, each way.
const BUFFER: usize = 1 << 20;

/// A way to a server, and what this client keeps about it.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) client: Client,
    pub(crate) server: Server,
    state: PathBuf,
}

/// Opens the state directory and connects to it.
pub(crate) async fn open(state: PathBuf, tasks: &TaskTracker) -> Result<Session, CommandError> {
    let config = Config {
        state_dir: state.clone(),
    };
    let server = Server::open(config, tasks.clone()).map_err(told)?;
    server.warm();
    let (ours, theirs) = tokio::io::duplex(BUFFER);
    let serving = server.clone().serve(theirs, user());
    // How a connection in memory ends is no news: our half is what ends it.
    tasks.spawn(async move { drop(serving.await) });
    let client = Client::over(ours, tasks.clone()).await?;
    let state = state.canonicalize()?;
    Ok(Session {
        client,
        server,
        state,
    })
}

/// A server's error as the client would have read it from the wire.
pub(crate) fn told(problem: Problem) -> CommandError {
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
        .into()
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
    /// The state directory, canonical.
    pub(crate) fn state_dir(&self) -> &Path {
        &self.state
    }

    /// This client's own random id: part of what tells its mirrors from other machines'.
    pub(crate) fn machine_id(&self) -> Result<String, CommandError> {
        let path = self.state.join("machine-id");
        if let Ok(id) = std::fs::read_to_string(&path)
            && let Ok(id) = id.trim().parse::<Uuid>()
        {
            return Ok(id.to_string());
        }
        let id = Uuid::now_v7();
        // Whoever comes first decides; the temporary name keeps a half-written id from being read.
        let fresh = self.state.join(format!("machine-id.{id}"));
        std::fs::write(&fresh, format!("{id}\n")).map_err(|e| cannot_write(&fresh, &e))?;
        let linked = std::fs::hard_link(&fresh, &path);
        std::fs::remove_file(&fresh).map_err(|e| cannot_write(&fresh, &e))?;
        match linked {
            Ok(()) => Ok(id.to_string()),
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {
                let id = std::fs::read_to_string(&path).map_err(|e| cannot_write(&path, &e))?;
                Ok(id.trim().to_owned())
            }
            Err(e) => Err(cannot_write(&path, &e)),
        }
    }

    /// Where the client remembers a mirror; `key` says which.
    pub(crate) fn memory(&self, key: &[u8], kind: &str) -> Result<PathBuf, CommandError> {
        let dir = self.state.join("mirrors");
        std::fs::create_dir_all(&dir).map_err(|e| cannot_write(&dir, &e))?;
        let name = legwork_sync::Digest::of(key).to_string();
        Ok(dir.join(format!("{}.{kind}", &name[..16])))
    }
}

fn cannot_write(path: &Path, cause: &std::io::Error) -> CommandError {
    let reason = if cause.kind() == std::io::ErrorKind::StorageFull {
        "NO_SPACE"
    } else {
        "IO"
    };
    CommandError::new(
        crate::error::FAILED,
        reason,
        format!("{}: {cause}", path.display()),
    )
}
