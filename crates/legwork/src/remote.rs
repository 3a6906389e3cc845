//! A server elsewhere: how it is reached, and what this client keeps about it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use legwork_client::{Client, Target, TlsTarget};
use legwork_identity::SystemClock;

use crate::app::App;
use crate::choice::Choice;
use crate::contexts::{Contexts, Place};
use crate::error::CommandError;
use crate::local::Session;
use crate::renewal;
use crate::{distance, files};

/// Opens a session with a server that is not this machine's own.
pub(crate) async fn open(app: &App, choice: &Choice) -> Result<Session, CommandError> {
    open_when(app, choice, When::Connected).await
}

/// The same, with a connection that may be yet to come if the server is far away.
pub(crate) async fn open_ahead(app: &App, choice: &Choice) -> Result<Session, CommandError> {
    open_when(app, choice, When::Ahead).await
}

/// When a session is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    Connected,
    Ahead,
}

async fn open_when(app: &App, choice: &Choice, when: When) -> Result<Session, CommandError> {
    match choice {
        Choice::Local => Err(CommandError::usage("this needs a server")),
        Choice::Socket { label, path } => {
            let target = Target::Unix(path.clone());
            session(app, target, (label, &socket_key(path)), when).await
        }
        Choice::Network { context, address } => {
            let contexts = Contexts::open()?;
            let known = contexts.get(context)?;
            let Place::Network {
                server, addresses, ..
            } = known.place
            else {
                return Err(contexts.unknown(context));
            };
            let addresses = address.clone().map_or(addresses, |address| vec![address]);
            let keys = contexts.keys(context)?;
            let clock = Arc::new(SystemClock);
            let target = TlsTarget::new(addresses, keys.ca.clone(), server, &keys.own, clock)?;
            let kept = Target::Tls(target.clone());
            let key = server.to_string();
            let session = session(app, kept, (context, &key), when).await?;
            renewal::begin(app, &session.client, target, context, keys);
            Ok(session)
        }
    }
}

/// Where what is to be remembered of a server is kept, whether it can be reached or not.
pub(crate) fn memory_of(app: &App, choice: &Choice) -> Result<PathBuf, CommandError> {
    let state = app.state_dir()?;
    match choice {
        Choice::Local => {
            files::private_dir(&state)?;
            Ok(state)
        }
        Choice::Socket { path, .. } => memory(&state, &socket_key(path)),
        Choice::Network { context, .. } => {
            let contexts = Contexts::open()?;
            match contexts.get(context)?.place {
                Place::Network { server, .. } => memory(&state, &server.to_string()),
                Place::Socket(_) => Err(contexts.unknown(context)),
            }
        }
    }
}

fn socket_key(path: &Path) -> String {
    let key = format!("unix {}", path.display());
    legwork_sync::Digest::of(key.as_bytes()).to_string()[..32].to_owned()
}

async fn session(
    app: &App,
    target: Target,
    (label, key): (&str, &str),
    when: When,
) -> Result<Session, CommandError> {
    let state = app.state_dir()?;
    let expected = distance::expected(&place(&state, key)).filter(|_| when == When::Ahead);
    let (options, tasks) = (app.contact(label)?, app.tasks.clone());
    let client = match expected {
        Some(expected) => Client::connect_ahead(target, options, tasks, expected),
        None => Client::connect(target, options, tasks).await?,
    };
    let memory = memory(&state, key)?;
    Ok(Session {
        client,
        server: None,
        state: state.canonicalize()?,
        memory,
        remote: Some(label.to_owned()),
    })
}

/// What is remembered of one server: nothing that another one could connect with it.
fn memory(state: &Path, key: &str) -> Result<PathBuf, CommandError> {
    let dir = place(state, key);
    files::private_dir(&dir)?;
    Ok(dir)
}

fn place(state: &Path, key: &str) -> PathBuf {
    state.join("servers").join(key)
}
