//! What a command has at hand: how to speak, and a way to the server.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use legwork_client::{Notice, Options, Patience};
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

use crate::choice::{self, Asked, Choice};
use crate::cli::Which;
use crate::error::CommandError;
use crate::local::{self, Session};
use crate::output::Output;
use crate::{paths, remote, renewal};

/// The command's surroundings.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) out: Output,
    pub(crate) tasks: TaskTracker,
    pub(crate) state: Option<PathBuf>,
    server: Which,
    /// Work beside the command that is not to be cut off when the command is done.
    beside: Mutex<Option<JoinHandle<()>>>,
}

impl App {
    pub(crate) fn new(out: Output, state: Option<PathBuf>, server: Which) -> Self {
        Self {
            out,
            tasks: TaskTracker::new(),
            state,
            server,
            beside: Mutex::default(),
        }
    }

    /// The same surroundings with another state directory.
    pub(crate) fn for_state(&self, state: Option<PathBuf>) -> Self {
        Self {
            out: self.out,
            tasks: self.tasks.clone(),
            state,
            server: self.server.clone(),
            beside: Mutex::default(),
        }
    }

    /// The local state directory: from the flag, the environment, or where XDG puts it.
    pub(crate) fn state_dir(&self) -> Result<PathBuf, CommandError> {
        match &self.state {
            Some(dir) => Ok(std::path::absolute(dir)?),
            None => paths::default_state_dir(),
        }
    }

    /// Which server this command is for.
    pub(crate) fn choice(&self) -> Result<Choice, CommandError> {
        let asked = Asked {
            host: self.server.host.clone(),
            context: self.server.context.clone(),
        };
        choice::choose(&asked, self.state.is_some())
    }

    /// Opens a session with the server that this command is for.
    pub(crate) async fn connect(&self) -> Result<Session, CommandError> {
        match self.choice()? {
            Choice::Local => local::open(self, self.state_dir()?).await,
            elsewhere => remote::open(self, &elsewhere).await,
        }
    }

    /// The same for what mirrors first: with a far server, that begins while the connection is being made. Then it is the first
    /// call that fails, if there is none.
    pub(crate) async fn connect_ahead(&self) -> Result<Session, CommandError> {
        match self.choice()? {
            // On the heap, so that neither is in the frame of who waits.
            Choice::Local => Box::pin(local::open(self, self.state_dir()?)).await,
            elsewhere => Box::pin(remote::open_ahead(self, &elsewhere)).await,
        }
    }

    /// How contact with a server is kept, and what is said when it is lost: for ever as long as somebody watches.
    pub(crate) fn contact(&self, label: &str) -> Result<Options, CommandError> {
        let said = match self.server.reconnect {
            Some(patience) => Some(patience),
            None => choice::patience_of_environment()?,
        };
        let patience = match said {
            Some(patience) => patience,
            None if std::io::stderr().is_terminal() => Patience::Forever,
            None => Patience::default(),
        };
        let (out, label) = (self.out, label.to_owned());
        let options = Options {
            connect_timeout: self.server.connect_timeout,
            patience,
            ..Options::default()
        };
        Ok(options.on_notice(move |notice| match notice {
            Notice::Lost { why } => {
                out.note(&format!(
                    "contact with {label} lost ({why}); reconnecting …"
                ));
            }
            Notice::Back => out.note(&format!("{label} is back")),
        }))
    }

    /// Does something beside the command; there is one such thing at most.
    pub(crate) fn in_background(&self, work: impl Future<Output = ()> + Send + 'static) {
        let running = self.tasks.spawn(work);
        let mut beside = self.beside.lock().unwrap_or_else(PoisonError::into_inner);
        *beside = Some(running);
    }

    /// Lets what was begun beside the command come to its end, within reason.
    pub(crate) async fn settle(&self) {
        let beside = {
            let mut beside = self.beside.lock().unwrap_or_else(PoisonError::into_inner);
            beside.take()
        };
        if let Some(running) = beside {
            // What is not done by then is done by the next command.
            drop(tokio::time::timeout(renewal::PATIENCE, running).await);
        }
    }
}
