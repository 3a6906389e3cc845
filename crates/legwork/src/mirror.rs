//! Mirroring with something to look at, and what to say afterwards.

use std::path::Path;
use std::sync::Arc;

use legwork_client::{PushRequest, WorkspaceRef};
use legwork_sync::Digest;
use legwork_sync::message::{Delete, Listing, Writer};
use legwork_sync::push::{Compress, Options, Pushed};
use serde_json::{Value, json};

use crate::app::App;
use crate::error::{CommandError, FAILED};
use crate::local::Session;
use crate::output::{Output, printable};
use crate::progress::{CancelOnDrop, Progress, Way};
use crate::project::Project;
use crate::render::json::Text;
use crate::sync_settings::Rate;
use crate::{distance, paths, render};

/// Paths that a note names before it says how many more there are.
const NAMED: usize = 5;
/// Paths of each kind that a server is asked to name, where nobody is shown more of them: a thousand take a while on a slow link.
const ASKED: u32 = 16;

/// How to mirror.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct How {
    pub(crate) dry_run: bool,
    pub(crate) delete: Delete,
    pub(crate) force_delete: bool,
    pub(crate) compress: Compress,
    /// Take over a site that is not empty, or another directory than before.
    pub(crate) adopt: bool,
    /// Mirror `/`, or a whole home directory.
    pub(crate) whole: bool,
    pub(crate) live: bool,
    pub(crate) takeover: bool,
    /// It is mirrored again and again, as it changes.
    pub(crate) keeps: bool,
    /// All that is told of it is shown.
    pub(crate) in_full: bool,
}

#[expect(
    clippy::disallowed_methods,
    reason = "the mirror takes its clock from here"
)]
pub(crate) fn now() -> std::time::SystemTime {
    std::time::SystemTime::now()
}

/// Mirrors the project to the workspace.
pub(crate) async fn push(
    app: &App,
    session: &Session,
    project: &Project,
    workspace: WorkspaceRef,
    how: How,
) -> Result<Pushed, CommandError> {
    let request = request(session, project, workspace, how)?;
    let progress = Arc::new(Progress::of(app.out, Way::There));
    // A command that is interrupted does not wait for what is being read, and leaves no line behind.
    let _over = CancelOnDrop(Arc::clone(&progress));
    let pushed = session.client.push(request, progress).await?;
    if session.remote.is_some() {
        distance::remember(&session.client, &session.memory).await;
    }
    Ok(pushed)
}

/// What is to be mirrored, and where to.
pub(crate) fn request(
    session: &Session,
    project: &Project,
    workspace: WorkspaceRef,
    how: How,
) -> Result<PushRequest, CommandError> {
    if !how.whole {
        check_root(&project.root)?;
    }
    Ok(PushRequest {
        cache: session.memory(key(&workspace).as_bytes(), "cache")?,
        workspace,
        root: project.root.clone(),
        adopt: how.adopt,
        options: options(session, project, how)?,
    })
}

/// Which directory this is, to others who mirror theirs to the same workspace.
fn writer(session: &Session, project: &Project, how: How) -> Result<Writer, CommandError> {
    let root = project.root.as_os_str().as_encoded_bytes();
    let id = [session.machine_id()?.as_bytes(), root].join(&0);
    let uname = rustix::system::uname();
    let machine = uname.nodename().to_string_lossy();
    Ok(Writer {
        id: Digest::of(&id),
        name: format!("{machine}:{}", project.root.display()),
        keeps: how.keeps,
        takeover: how.takeover,
        leaves: false,
    })
}

/// What is mirrored of a project, and how.
pub(crate) fn options(
    session: &Session,
    project: &Project,
    how: How,
) -> Result<Options, CommandError> {
    // Running in a home directory must not mirror the mirror, nor send our keys away.
    let mut exclude = vec![session.state.clone()];
    exclude.extend(paths::data_dir());
    let sync = &project.sync;
    Ok(Options {
        dry_run: how.dry_run,
        delete: how.delete,
        force_delete: how.force_delete,
        live: how.live,
        writer: Some(writer(session, project, how)?),
        exclude,
        compress: how.compress,
        blocks: sync.blocks(),
        named: if how.in_full { 0 } else { ASKED },
        with_git: sync.with_git.unwrap_or_default(),
        include: sync.include.clone().unwrap_or_default(),
        bwlimit: sync.bwlimit.map(|Rate(bytes)| bytes),
        ..Options::at(now())
    })
}

/// Refuses what is hardly ever meant: keys, caches and all that a person has would travel.
fn check_root(root: &Path) -> Result<(), CommandError> {
    let own = std::env::home_dir().map(|home| home.canonicalize().unwrap_or(home));
    let what = match root.parent() {
        None => "the root of this machine's files".to_owned(),
        Some(_) if own.as_deref() == Some(root) => "your home directory".to_owned(),
        Some(_) => return Ok(()),
    };
    let message = format!(
        "{} is {what}, and all of it would be mirrored",
        root.display()
    );
    Err(CommandError::new(FAILED, "WHOLE_ROOT", message).hint(
        "go to the directory that you mean; --whole mirrors all of this; a job runs without a \
         mirror by --no-sync",
    ))
}

/// What tells one workspace of this client from another.
pub(crate) fn key(workspace: &WorkspaceRef) -> String {
    match workspace {
        WorkspaceRef::Name(name) => format!("name {name}"),
        WorkspaceRef::Origin { machine_id, root } => {
            format!("origin {machine_id} {}", root.display())
        }
    }
}

/// Whether this is the key of a workspace with a name.
pub(crate) fn is_named(key: &str) -> bool {
    key.starts_with("name ")
}

/// Remembers which mirror the server means by a workspace's id, for who only knows a job of it.
pub(crate) fn remember_id(session: &Session, id: &str, workspace: &WorkspaceRef) {
    let Ok(file) = session.memory(id.as_bytes(), "mirror") else {
        return;
    };
    let key = key(workspace);
    if std::fs::read_to_string(&file).is_ok_and(|known| known == key) {
        return;
    }
    // Without it a pull by a job's id replaces less: no reason to fail what started that job.
    drop(std::fs::write(file, key));
}

/// The key of the mirror that has this id, if a job of ours was started in it.
pub(crate) fn key_of(session: &Session, id: &str) -> Result<Option<String>, CommandError> {
    let file = session.memory(id.as_bytes(), "mirror")?;
    Ok(std::fs::read_to_string(file).ok())
}

/// Tells what the user should know of a commit: what was moved away, kept, or could not be read.
pub(crate) fn report(app: &App, pushed: &Pushed) {
    let summary = &pushed.summary;
    if pushed.sent_files + pushed.reused_files + summary.deleted.total > 0 {
        let reused = match pushed.reused_bytes {
            0 => String::new(),
            bytes => format!(", {} were there", render::bytes(bytes)),
        };
        app.out.remark(&format!(
            "mirrored: {} sent ({}){reused}, {} deleted",
            count(pushed.sent_files, "file"),
            render::bytes(pushed.sent_bytes),
            summary.deleted.total,
        ));
    }
    concerns(app.out, pushed);
}

/// Tells what a commit did not simply write and delete.
pub(crate) fn concerns(out: Output, pushed: &Pushed) {
    let summary = &pushed.summary;
    if summary.displaced.total > 0 {
        out.note(&format!(
            "{} in the mirror had been changed or made there and {} moved to the trash {}: {}",
            count(summary.displaced.total, "path"),
            if summary.displaced.total == 1 {
                "was"
            } else {
                "were"
            },
            summary.trash,
            named(&summary.displaced),
        ));
    }
    if summary.kept.total > 0 {
        out.note(&format!(
            "{} gone here, but changed in the mirror, and kept there: {}",
            count(summary.kept.total, "path"),
            named(&summary.kept),
        ));
    }
    for path in &pushed.unreadable {
        out.note(&format!(
            "cannot read {}: {}; the mirror keeps what it had there",
            show(&path.path),
            path.why
        ));
    }
}

/// `1 file`, `2 files`.
pub(crate) fn count(number: u64, thing: &str) -> String {
    if number == 1 {
        format!("1 {thing}")
    } else {
        format!("{number} {thing}s")
    }
}

/// The first of them, for a note.
pub(crate) fn named(listing: &Listing) -> String {
    some(listing, NAMED)
}

/// The first `limit` paths of a list, and how many more there are.
pub(crate) fn some(listing: &Listing, limit: usize) -> String {
    let mut names: Vec<String> = listing
        .paths
        .iter()
        .take(limit)
        .map(|path| printable(&String::from_utf8_lossy(path)))
        .collect();
    let more = listing.total.saturating_sub(names.len() as u64);
    if more > 0 {
        names.push(format!("and {more} more"));
    }
    names.join(", ")
}

/// All paths of a list, a line each after `head`, and how many more there are.
pub(crate) fn lines(head: &str, listing: &Listing) -> String {
    let mut text = String::new();
    for path in &listing.paths {
        let path = printable(&String::from_utf8_lossy(path));
        text.push_str(&format!("{head}{path}\n"));
    }
    let more = listing.total.saturating_sub(listing.paths.len() as u64);
    if more > 0 {
        text.push_str(&format!("{head}and {more} more\n"));
    }
    text
}

/// A list for programs.
pub(crate) fn to_json(listing: &Listing) -> Value {
    let paths: Vec<Text<'_>> = listing.paths.iter().map(|path| Text::new(path)).collect();
    json!({"total": listing.total, "paths": paths})
}

/// A path for people; the root itself as `.`.
pub(crate) fn show(path: &Path) -> String {
    if path.as_os_str().is_empty() {
        ".".to_owned()
    } else {
        printable(&path.to_string_lossy())
    }
}
