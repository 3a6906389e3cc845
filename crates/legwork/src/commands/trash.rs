//! `legwork trash`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use legwork_client::{RestoreRequest, RestoredPaths, Trashed, WorkspaceRef};
use serde_json::{Value, json};

use crate::app::App;
use crate::error::{CommandError, FAILED};
use crate::local::Session;
use crate::mirror::{self, named};
use crate::output::printable;
use crate::project::{self, Project};
use crate::render;

/// What had to give way in a mirror, and how to get it back.
///
/// A commit moves what jobs changed or made to the trash where something of yours takes its place. It stays there for a
/// time, as far as there is room.
#[derive(Debug, Args)]
pub(crate) struct Trash {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List what commits displaced, newest first
    #[command(visible_alias = "ls")]
    List {
        /// Only this, with all of its paths
        id: Option<String>,
        #[command(flatten)]
        which: Which,
    },
    /// Move what a commit displaced back to where it was
    ///
    /// Nothing is overwritten: what has something else in its place stays in the trash, and is told. A path that is in
    /// your directory too is mirrored again by the next sync, which moves what was restored to the trash again: `legwork
    /// pull` brings it to you before that.
    Restore {
        /// As `legwork trash list` shows it
        id: String,
        /// Only what is at or below these paths
        path: Vec<PathBuf>,
        /// Move what is in the way to the trash
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        which: Which,
    },
}

#[derive(Debug, Args)]
struct Which {
    /// Of the mirror of this name; else of this directory's
    #[arg(long, value_name = "NAME")]
    workspace: Option<String>,
}

impl Which {
    fn workspace(&self, session: &Session) -> Result<WorkspaceRef, CommandError> {
        match &self.workspace {
            Some(name) => Ok(WorkspaceRef::Name(name.clone())),
            None => project::origin(session, &Project::find(&project::here()?)?),
        }
    }
}

pub(crate) async fn run(app: &App, args: Trash) -> Result<u8, CommandError> {
    let session = app.connect().await?;
    match args.action {
        Action::List { id, which } => {
            let workspace = which.workspace(&session)?;
            let found = session.client.trash(&workspace, id.as_deref()).await?;
            list(app, &found, id.is_some())
        }
        Action::Restore {
            id,
            path,
            force,
            which,
        } => {
            let paths = path.into_iter().map(tree_path).collect();
            let request = RestoreRequest {
                workspace: which.workspace(&session)?,
                id,
                paths,
                force,
            };
            tell(app, &session.client.restore(&request).await?)
        }
    }
}

/// A path below the mirror's root, however it is written.
fn tree_path(path: PathBuf) -> Vec<u8> {
    use std::os::unix::ffi::OsStringExt;
    // Components drop single dots in the middle, and slashes at the end.
    let path: PathBuf = path
        .strip_prefix(".")
        .unwrap_or(&path)
        .components()
        .collect();
    path.into_os_string().into_vec()
}

fn list(app: &App, found: &[Trashed], whole: bool) -> Result<u8, CommandError> {
    if app.out.json {
        let all: Vec<Value> = found.iter().map(to_json).collect();
        app.out.json_line(&all)?;
        return Ok(0);
    }
    let mut text = String::new();
    for trashed in found {
        text.push_str(&format!(
            "{}  {}  {}, {}",
            printable(&trashed.id),
            render::time(trashed.displaced_ms),
            mirror::count(trashed.paths.total, "path"),
            render::bytes(trashed.bytes),
        ));
        if whole {
            text.push('\n');
            text.push_str(&mirror::lines("  ", &trashed.paths));
        } else {
            text.push_str(&format!(": {}\n", named(&trashed.paths)));
        }
    }
    app.out.text(&text)?;
    if found.is_empty() {
        app.out.remark("the trash is empty");
    }
    Ok(0)
}

fn tell(app: &App, done: &RestoredPaths) -> Result<u8, CommandError> {
    if app.out.json {
        app.out.json_line(&json!({
            "restored": mirror::to_json(&done.restored),
            "inTheWay": mirror::to_json(&done.in_the_way),
            "displaced": mirror::to_json(&done.displaced),
        }))?;
    } else {
        app.out.note(&match done.restored.total {
            0 => "nothing was restored".to_owned(),
            _ => format!("restored {}", named(&done.restored)),
        });
        if done.displaced.total > 0 {
            app.out.note(&format!(
                "what was there is in the trash now: {}",
                named(&done.displaced)
            ));
        }
        if done.in_the_way.total > 0 {
            app.out.note(&format!(
                "left in the trash, because something else is there now: {}; --force moves that to the trash",
                named(&done.in_the_way)
            ));
        }
    }
    let nothing = done.restored.total == 0;
    Ok(if nothing || done.in_the_way.total > 0 {
        FAILED
    } else {
        0
    })
}

fn to_json(trashed: &Trashed) -> Value {
    json!({
        "id": trashed.id,
        "displacedMs": trashed.displaced_ms,
        "bytes": trashed.bytes,
        "paths": mirror::to_json(&trashed.paths),
    })
}
