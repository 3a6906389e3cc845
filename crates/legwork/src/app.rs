//! What a command has at hand: how to speak, and a way to the server.

use std::path::PathBuf;

use tokio_util::task::TaskTracker;

use crate::error::CommandError;
use crate::local::{self, Session};
use crate::output::Output;
use crate::paths;

/// The command's surroundings.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) out: Output,
    pub(crate) tasks: TaskTracker,
    pub(crate) state: Option<PathBuf>,
}

impl App {
    pub(crate) fn new(out: Output, state: Option<PathBuf>) -> Self {
        Self {
            out,
            tasks: TaskTracker::new(),
            state,
        }
    }

    /// The local state directory: from the flag, the environment, or where XDG puts it.
    pub(crate) fn state_dir(&self) -> Result<PathBuf, CommandError> {
        match &self.state {
            Some(dir) => Ok(std::path::absolute(dir)?),
            None => paths::default_state_dir(),
        }
    }

    /// Opens a session with the in-process server on the local state directory.
    pub(crate) async fn connect(&self) -> Result<Session, CommandError> {
        local::open(self.state_dir()?, &self.tasks).await
    }
}
