//! Which directory is mirrored, and where in it a job runs.
//!
//! The mirror's root is the nearest ancestor with a `legwork.toml`, else the current directory.

use std::path::{Component, Path, PathBuf};

use legwork_client::{CallError, Job, JobSpec, Logs, Place, WorkspaceRef};
use legwork_server::Retention;
use serde::Deserialize;

use crate::app::App;
use crate::compress::Compression;
use crate::error::{CommandError, FAILED};
use crate::job_options::JobOptions;
use crate::local::Session;
use crate::settings::UserConfig;
use crate::sync_settings::SyncSettings;
use crate::{mirror, settings};

/// The name of the project's file.
const FILE: &str = "legwork.toml";

/// How often another commit may come between ours and the start before we give up.
const OVERTAKEN_MAX: u32 = 50;

/// A directory to mirror, and the part of it that we stand in.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Project {
    /// Canonical absolute path.
    pub(crate) root: PathBuf,
    /// The current directory, relative to that.
    pub(crate) inside: PathBuf,
    /// How it is mirrored, where the command does not say.
    pub(crate) sync: SyncSettings,
}

/// What a project may say. It names no address: a checkout must not choose whom we talk to.
#[derive(Debug, Default, Deserialize)]
struct Settings {
    context: Option<String>,
    #[serde(default)]
    sync: SyncSettings,
}

impl Settings {
    fn load(file: &Path) -> Result<Self, CommandError> {
        Ok(settings::read(file, &["context", "sync"])?.unwrap_or_default())
    }
}

/// The context that the project we stand in names, and the file that does so.
pub(crate) fn context() -> Result<Option<(PathBuf, String)>, CommandError> {
    // Where there is no current directory there is no project; who needs one says so.
    let Ok(here) = std::env::current_dir() else {
        return Ok(None);
    };
    let mut files = here.ancestors().map(|dir| dir.join(FILE));
    let Some(file) = files.find(|file| file.is_file()) else {
        return Ok(None);
    };
    let named = Settings::load(&file)?.context;
    Ok(named.map(|name| (file, name)))
}

impl Project {
    /// `dir` itself, whatever is above it.
    pub(crate) fn at(dir: &Path) -> Result<Self, CommandError> {
        let root = canonical(dir)?;
        Ok(Self {
            sync: settled(&root)?,
            root,
            inside: PathBuf::new(),
        })
    }

    /// The project that `dir` is in.
    pub(crate) fn find(dir: &Path) -> Result<Self, CommandError> {
        let here = canonical(dir)?;
        let root = here
            .ancestors()
            .find(|dir| dir.join(FILE).is_file())
            .unwrap_or(&here)
            .to_owned();
        let sync = settled(&root)?;
        let inside = here
            .strip_prefix(&root)
            .map(Path::to_owned)
            .unwrap_or_default();
        Ok(Self { root, inside, sync })
    }
}

/// How the project is mirrored: as it says itself, else as the user does.
fn settled(root: &Path) -> Result<SyncSettings, CommandError> {
    let own = Settings::load(&root.join(FILE))?.sync;
    Ok(own.or(UserConfig::load()?.sync))
}

fn canonical(dir: &Path) -> Result<PathBuf, CommandError> {
    dir.canonicalize().map_err(|e| {
        CommandError::new(FAILED, "ROOT_UNREADABLE", format!("{}: {e}", dir.display()))
    })
}

/// Mirrors what is to be mirrored, and says where the job runs.
pub(crate) async fn place(
    app: &App,
    session: &Session,
    options: &JobOptions,
) -> Result<Place, CommandError> {
    let dir = options.dir.clone().unwrap_or_default();
    if options.no_sync {
        return Ok(Place {
            dir,
            ..Place::default()
        });
    }
    let here = here()?;
    if options.in_place && session.remote.is_some() {
        return Err(CommandError::usage(
            "--in-place runs in a directory of this machine, and the job is for another",
        )
        .hint("leave it out to run in a mirror there, or name this machine with -C local"));
    }
    if options.in_place {
        return Ok(Place {
            dir: here.join(dir),
            ..Place::default()
        });
    }
    // On the heap, so that who mirrors nothing has no room for it on the stack.
    Box::pin(mirrored(app, session, options, &here, dir)).await
}

/// Mirrors the project around `here`, where the job is to run in `dir`.
async fn mirrored(
    app: &App,
    session: &Session,
    options: &JobOptions,
    here: &Path,
    dir: PathBuf,
) -> Result<Place, CommandError> {
    let project = Project::find(here)?;
    let dir = if dir.is_absolute() {
        dir
    } else {
        below(&project.inside, &dir)?
    };
    let workspace = match &options.workspace {
        Some(name) => WorkspaceRef::Name(name.clone()),
        None => origin(session, &project)?,
    };
    let how = mirror::How {
        force_delete: options.force_delete,
        compress: Compression::chosen(options.compress.or(project.sync.compress)),
        delete: project.sync.delete(),
        whole: options.whole,
        takeover: options.takeover,
        ..mirror::How::default()
    };
    // Nothing was started yet, however contact was lost.
    let pushed = mirror::push(app, session, &project, workspace.clone(), how)
        .await
        .map_err(CommandError::certainly_before_start)?;
    mirror::report(app, &pushed);
    Ok(Place {
        workspace: Some(workspace),
        require_root: Some(pushed.summary.root.0),
        // It was committed just now. If it is not there any more, it will not come back by waiting.
        root_wait_ms: Some(0),
        dir,
    })
}

/// Mirrors and starts. When another commit to the same mirror comes in between, mirrors again: a job
/// runs on the tree that it was started on, or not at all.
pub(crate) async fn start(
    app: &App,
    session: &Session,
    options: &JobOptions,
    specs: impl Fn(Place) -> Result<Vec<JobSpec>, CommandError>,
) -> Result<Vec<legwork_client::Result<Job>>, CommandError> {
    let mut specs = specs(place(app, session, options).await?)?;
    let mut left = OVERTAKEN_MAX;
    loop {
        // The ids stay: what was started the last time is found, not started again.
        let started = session.client.start_many(&specs).await?;
        let mut errors = started.iter().filter_map(|result| result.as_ref().err());
        if left == 0 || !errors.any(is_overtaken) {
            for (job, spec) in started.iter().flatten().zip(&specs) {
                remember(session, job, spec);
            }
            tidy(app, session);
            return Ok(started);
        }
        left -= 1;
        let place = place(app, session, options).await?;
        for spec in &mut specs {
            spec.place = place.clone();
        }
    }
}

/// The same with one job, whose output is followed.
pub(crate) async fn run(
    app: &App,
    session: &Session,
    options: &JobOptions,
    spec: impl Fn(Place) -> Result<JobSpec, CommandError>,
) -> Result<(Job, Logs), CommandError> {
    let mut spec = spec(place(app, session, options).await?)?;
    let mut left = OVERTAKEN_MAX;
    loop {
        match session.client.run(&spec).await {
            Ok((job, logs)) => {
                remember(session, &job, &spec);
                tidy(app, session);
                return Ok((job, logs));
            }
            Err(error) if left > 0 && is_overtaken(&error) => {
                left -= 1;
                spec.place = place(app, session, options).await?;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Whether another commit has taken the place of ours.
fn is_overtaken(error: &CallError) -> bool {
    error.reason == "ROOT_NOT_COMMITTED"
}

/// Takes note of what the server calls the mirror of a job.
fn remember(session: &Session, job: &Job, spec: &JobSpec) {
    if let (Some(id), Some(workspace)) = (&job.workspace, &spec.place.workspace) {
        mirror::remember_id(session, id, workspace);
    }
}

/// Where no server does, a command that starts jobs looks for those that ended long ago, beside whatever else it does.
fn tidy(app: &App, session: &Session) {
    let Some(server) = session.server.clone() else {
        return;
    };
    let out = app.out;
    app.in_background(async move {
        if let Err(problem) = server.tidy(Retention::default()).await {
            out.note(&format!("old jobs cannot be looked for: {problem}"));
        }
    });
}

/// The current directory.
pub(crate) fn here() -> Result<PathBuf, CommandError> {
    std::env::current_dir().map_err(|e| {
        CommandError::new(
            FAILED,
            "ROOT_UNREADABLE",
            format!("the current directory: {e}"),
        )
        .hint("has it been removed? `cd` to one that exists")
    })
}

/// The workspace of a project without a name of its own.
pub(crate) fn origin(session: &Session, project: &Project) -> Result<WorkspaceRef, CommandError> {
    Ok(WorkspaceRef::Origin {
        machine_id: session.machine_id()?,
        root: project.root.clone(),
    })
}

/// `dir` seen from `inside`, without leaving the mirror.
fn below(inside: &Path, dir: &Path) -> Result<PathBuf, CommandError> {
    let mut path = PathBuf::new();
    for part in inside.join(dir).components() {
        match part {
            Component::Normal(name) => path.push(name),
            Component::ParentDir if path.pop() => {}
            Component::ParentDir => {
                let message = format!("the directory {} leads out of the mirror", dir.display());
                return Err(
                    CommandError::usage(message).hint("--in-place runs outside of a mirror")
                );
            }
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::below;

    #[test]
    fn a_directory_is_seen_from_where_we_stand() {
        assert_eq!(
            below(Path::new("a"), Path::new("b")).unwrap(),
            Path::new("a/b")
        );
        assert_eq!(
            below(Path::new("a"), Path::new("../b")).unwrap(),
            Path::new("b")
        );
        assert_eq!(
            below(Path::new(""), Path::new("./b/.")).unwrap(),
            Path::new("b")
        );
        assert!(below(Path::new("a"), Path::new("../..")).is_err());
    }
}
