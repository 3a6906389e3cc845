//! `legwork pull`.

use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use legwork_client::{Client, Job, PullRequest, PullSource, WorkspaceRef};
use legwork_sync::pull::{Options, Pulled};
use serde_json::json;

use crate::app::App;
use crate::compress::Compression;
use crate::error::{CommandError, FAILED, INTERRUPTED};
use crate::interrupt::Interrupts;
use crate::local::Session;
use crate::progress::{CancelOnDrop, Progress, Way};
use crate::project::{self, Project};
use crate::{mirror, render};

/// How long a pull that was interrupted has to remove what it did not complete.
const TIDYING: Duration = Duration::from_millis(500);

/// Bring files back from the mirror that a job ran in.
///
/// Takes what is there now, whoever wrote it. A file that was changed here is left alone unless --force
/// is given. `*` does not match `/`, `**` does; a directory stands for all below it. What is in a `.git`,
/// `.hg` or `.svn` is only taken by a pattern that names it.
#[derive(Debug, Args)]
pub(crate) struct Pull {
    /// The job's id or a unique prefix of it, then patterns; with --workspace only patterns
    #[arg(required = true, value_name = "ID GLOB")]
    words: Vec<String>,
    /// From the mirror of this name
    #[arg(long, value_name = "NAME")]
    workspace: Option<String>,
    /// Put them here instead of into the current directory
    #[arg(long, value_name = "DIR")]
    into: Option<PathBuf>,
    /// Replace files that were changed here
    #[arg(long)]
    force: bool,
    /// Whether content is compressed on its way
    #[arg(long, value_enum, value_name = "HOW")]
    compress: Option<Compression>,
}

pub(crate) async fn run(app: &App, args: Pull) -> Result<u8, CommandError> {
    let (source, globs) = match args.workspace {
        Some(name) => (PullSource::Workspace(WorkspaceRef::Name(name)), args.words),
        None => {
            let mut words = args.words.into_iter();
            let id = words.next().unwrap_or_default();
            (PullSource::Job(id), words.collect())
        }
    };
    check(&globs)?;
    if globs.is_empty() {
        return Err(CommandError::usage(
            "say which files: legwork pull ID GLOB...",
        ));
    }
    let session = app.connect().await?;
    let into = match args.into {
        Some(dir) => dir,
        None => project::here()?,
    };
    let options = Options {
        globs,
        force: args.force,
        ..Options::default()
    };
    let mut interrupts = Interrupts::listen()?;
    let asked = (source, into, args.compress);
    unless_stopped(app, &session, asked, options, &mut interrupts).await
}

/// `run --pull`: into the project that was mirrored.
pub(crate) async fn after_run(
    app: &App,
    session: &Session,
    job: &Job,
    (globs, force, compress): (&[String], bool, Option<Compression>),
    interrupts: &mut Interrupts,
) -> Result<u8, CommandError> {
    let project = Project::find(&project::here()?)?;
    let options = Options {
        globs: globs.to_vec(),
        force,
        ..Options::default()
    };
    let source = PullSource::Job(job.id.to_string());
    let asked = (source, project.root, compress);
    unless_stopped(app, session, asked, options, interrupts).await
}

/// From where, into which directory, and whether compressed.
type Asked = (PullSource, PathBuf, Option<Compression>);

/// Pulls until it is done or somebody interrupts it.
async fn unless_stopped(
    app: &App,
    session: &Session,
    asked: Asked,
    options: Options,
    interrupts: &mut Interrupts,
) -> Result<u8, CommandError> {
    let progress = Arc::new(Progress::of(app.out, Way::Back));
    let _over = CancelOnDrop(Arc::clone(&progress));
    let mut pulling = pin!(pull(app, session, asked, options, &progress));
    tokio::select! {
        pulled = &mut pulling => return pulled,
        () = interrupts.next() => {}
    }
    progress.cancel();
    // Which of both it comes to is the same for whoever interrupted it.
    drop(tokio::time::timeout(TIDYING, pulling).await);
    let message = "stopped: files that had come are here, and of others nothing";
    Err(CommandError::new(INTERRUPTED, "INTERRUPTED", message).hint("pull again for the others"))
}

async fn pull(
    app: &App,
    session: &Session,
    (source, into, compress): Asked,
    mut options: Options,
    progress: &Arc<Progress>,
) -> Result<u8, CommandError> {
    std::fs::create_dir_all(&into).map_err(|e| {
        CommandError::new(FAILED, "DESTINATION", format!("{}: {e}", into.display()))
    })?;
    let into = into.canonicalize()?;
    let workspace = workspace_key(&session.client, &source).await?;
    let key = format!("{workspace} {}", into.display());
    let record = session.memory(key.as_bytes(), "pulled")?;
    let settled = Project::find(&into)?.sync.compress;
    options.compress = Compression::chosen(compress.or(settled));
    options.pushed = pushed(session, &source, &workspace, &into)?;
    let (asked, forced) = (options.globs.join(" "), options.force);
    let request = PullRequest {
        source,
        into,
        options,
        record,
    };
    let progress = Arc::clone(progress);
    let pulled = session.client.pull(request, progress).await?;
    if app.out.json {
        app.out.json_line(&to_json(&pulled))?;
    } else {
        app.out.remark(&format!(
            "pulled {} ({}), {} there already",
            mirror::count(pulled.written.len() as u64, "file"),
            render::bytes(pulled.written_bytes),
            pulled.same,
        ));
    }
    outcome(app, &pulled, &asked, forced)
}

/// Whether these can be patterns, before anything is done that they are for.
pub(crate) fn check(globs: &[String]) -> Result<(), CommandError> {
    for glob in globs {
        if let Err(error) = globset::Glob::new(glob) {
            return Err(
                CommandError::usage(format!("bad pattern {glob}: {}", error.kind()))
                    .hint("`*` matches within a directory, `**` across; `[` begins a set"),
            );
        }
    }
    Ok(())
}

/// What was pushed last to that workspace, if it was pushed from the directory that is pulled into.
fn pushed(
    session: &Session,
    source: &PullSource,
    workspace: &str,
    into: &Path,
) -> Result<Option<PathBuf>, CommandError> {
    let key = match source {
        PullSource::Workspace(_) => Some(workspace.to_owned()),
        PullSource::Job(_) => mirror::key_of(session, workspace)?,
    };
    let Some(key) = key else { return Ok(None) };
    let here = project::origin(session, &Project::at(into)?)?;
    // One with a name may be pushed from anywhere, though hardly from within a project.
    let named = || mirror::is_named(&key) && Project::find(into).is_ok_and(|p| p.root == into);
    if key != mirror::key(&here) && !named() {
        return Ok(None);
    }
    session.memory(key.as_bytes(), "cache").map(Some)
}

/// Which workspace the record of earlier pulls is about.
async fn workspace_key(client: &Client, source: &PullSource) -> Result<String, CommandError> {
    Ok(match source {
        PullSource::Workspace(workspace) => mirror::key(workspace),
        PullSource::Job(id) => client.get(id).await?.workspace.unwrap_or_default(),
    })
}

fn outcome(app: &App, pulled: &Pulled, asked: &str, forced: bool) -> Result<u8, CommandError> {
    let (why, step) = if forced {
        ("is a directory here", "move them out of the way first")
    } else {
        (
            "was changed here",
            "`legwork pull --force ID GLOB` replaces them",
        )
    };
    for path in &pulled.refused {
        let path = mirror::show(path);
        app.out.note(&format!("{path} {why} and is left alone"));
    }
    for path in &pulled.gone {
        app.out.note(&format!(
            "{} vanished while it was read",
            mirror::show(path)
        ));
    }
    for path in &pulled.failed {
        app.out
            .note(&format!("{}: {}", mirror::show(&path.path), path.why));
    }
    if !pulled.refused.is_empty() {
        let message = format!(
            "{} not replaced",
            mirror::count(pulled.refused.len() as u64, "file")
        );
        return Err(CommandError::new(FAILED, "CHANGED_HERE", message).hint(step));
    }
    if !pulled.gone.is_empty() || !pulled.failed.is_empty() {
        return Err(CommandError::new(
            FAILED,
            "PULL_INCOMPLETE",
            "some files could not be brought",
        ));
    }
    if pulled.written.is_empty() && pulled.same == 0 {
        return Err(CommandError::new(
            FAILED,
            "NOTHING_MATCHED",
            format!("nothing there matches {asked}"),
        )
        .hint("patterns are relative to the mirror's root; `**/name` matches at any depth"));
    }
    Ok(0)
}

fn to_json(pulled: &Pulled) -> serde_json::Value {
    let paths = |paths: &[PathBuf]| {
        paths
            .iter()
            .map(|path| mirror::show(path))
            .collect::<Vec<_>>()
    };
    let failed: Vec<_> = pulled
        .failed
        .iter()
        .map(|path| json!({"path": mirror::show(&path.path), "why": path.why}))
        .collect();
    json!({
        "written": paths(&pulled.written),
        "writtenBytes": pulled.written_bytes,
        "wireBytes": pulled.wire_bytes,
        "same": pulled.same,
        "refused": paths(&pulled.refused),
        "gone": paths(&pulled.gone),
        "failed": failed,
    })
}
