//! `legwork workspaces`.

use clap::{Args, Subcommand};
use legwork_client::{Workspace, WorkspaceRef};
use serde_json::{Value, json};

use crate::app::App;
use crate::error::CommandError;
use crate::local::Session;
use crate::output::printable;
use crate::render;
use crate::render::json::Text;

/// The mirrors that you have on the server, and the directories of its admin's choosing that you may mirror to.
#[derive(Debug, Args)]
pub(crate) struct Workspaces {
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List them; also without a word
    #[command(visible_alias = "ls")]
    List,
    /// Remove some, with all that jobs made in them and with their trash
    Rm {
        /// Names, ids or unique prefixes of ids
        #[arg(required = true)]
        name: Vec<String>,
    },
}

pub(crate) async fn run(app: &App, args: Workspaces) -> Result<u8, CommandError> {
    let session = app.connect().await?;
    match args.action.unwrap_or(Action::List) {
        Action::List => list(app, &session).await,
        Action::Rm { name } => remove(app, &session, &name).await,
    }
}

async fn list(app: &App, session: &Session) -> Result<u8, CommandError> {
    let found = session.client.workspaces().await?;
    if app.out.json {
        let all: Vec<Value> = found.iter().map(to_json).collect();
        app.out.json_line(&all)?;
        return Ok(0);
    }
    let own = session.machine_id()?;
    app.out.text(&render::table::workspaces(&found, &own))?;
    for workspace in &found {
        if let Some(problem) = &workspace.problem {
            app.out.note(&format!("{}: {problem}", workspace.id));
        }
    }
    Ok(0)
}

async fn remove(app: &App, session: &Session, names: &[String]) -> Result<u8, CommandError> {
    let mut code = 0;
    for name in names {
        // One that cannot be removed does not keep the others.
        match session.client.remove_workspace(name).await {
            Ok(id) if app.out.json => app.out.json_line(&json!({ "removed": id }))?,
            Ok(id) => app.out.remark(&format!("removed {id}")),
            Err(error) => {
                let failure = CommandError::from(error);
                app.out.error(&failure);
                code = failure.exit;
            }
        }
    }
    Ok(code)
}

/// What a workspace is of, for people.
pub(crate) fn what(workspace: &Workspace, own: &str) -> String {
    match &workspace.by {
        Some(WorkspaceRef::Name(name)) => printable(name),
        Some(WorkspaceRef::Origin { machine_id, root }) => {
            let root = printable(&root.to_string_lossy());
            if machine_id == own {
                root
            } else {
                format!("{root} of another machine")
            }
        }
        None => "?".to_owned(),
    }
}

fn to_json(workspace: &Workspace) -> Value {
    use std::os::unix::ffi::OsStrExt;
    let (name, origin) = match &workspace.by {
        Some(WorkspaceRef::Name(name)) => (Some(name), None),
        Some(WorkspaceRef::Origin { machine_id, root }) => (None, Some((machine_id, root))),
        None => (None, None),
    };
    let origin = origin.map(|(machine_id, root)| {
        json!({ "machineId": machine_id, "root": Text::new(root.as_os_str().as_bytes()) })
    });
    json!({
        "id": workspace.id,
        "name": name,
        "origin": origin,
        "tree": Text::new(workspace.tree.as_os_str().as_bytes()),
        "site": workspace.site,
        "generation": workspace.generation,
        "entries": workspace.entries,
        "bytes": workspace.bytes,
        "trashBytes": workspace.trash_bytes,
        "lastUsedMs": workspace.last_used_ms,
        "problem": workspace.problem,
    })
}
