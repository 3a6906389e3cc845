//! `legwork sync`.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use legwork_client::WorkspaceRef;
use legwork_sync::push::Pushed;
use serde_json::json;

use crate::app::App;
use crate::commands::pull;
use crate::compress::Compression;
use crate::error::{CommandError, FAILED, INTERRUPTED};
use crate::interrupt::unless_interrupted;
use crate::output::Output;
use crate::project::{self, Project};
use crate::sync_settings::{Policy, Rate, SyncSettings};
use crate::{explained, mirror, render, watching};

/// Mirror a directory without running anything.
///
/// The mirror deletes and overwrites only what it wrote itself; what a job changed is moved to a
/// trash before, and told.
#[derive(Debug, Args)]
pub(crate) struct Sync {
    /// The directory; by default the project that we stand in
    dir: Option<PathBuf>,
    /// Tell what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Use the mirror of this name
    #[arg(long, value_name = "NAME")]
    workspace: Option<String>,
    /// What happens to mirrored files that are gone here
    #[arg(long, value_enum)]
    delete: Option<Policy>,
    /// Delete however much this directory no longer has
    #[arg(long)]
    force_delete: bool,
    /// Whether content is compressed on its way
    #[arg(long, value_enum, value_name = "HOW")]
    compress: Option<Compression>,
    /// Take over the directory that the server's admin chose for this name, though it is not empty, or another than before
    #[arg(long, requires = "workspace")]
    adopt: bool,
    /// Mirror this directory although it is `/` or a whole home directory
    #[arg(long)]
    whole: bool,
    /// Take `.git` too
    #[arg(long)]
    with_git: bool,
    /// Take what matches although the ignore files leave it out (repeat for more); `include` in the table `sync` of legwork.toml is for
    /// every time
    #[arg(long, value_name = "GLOB")]
    include: Vec<String>,
    /// Send no more than this in a second, such as 500K or 2MiB/s
    #[arg(long, value_name = "RATE")]
    bwlimit: Option<Rate>,
    /// Say what becomes of this path, and by which rule, and do nothing
    #[arg(long, value_name = "PATH", conflicts_with = "dry_run")]
    explain: Option<PathBuf>,
    /// Mirror this directory even if another one is watched for the same mirror, which ends that
    #[arg(long)]
    takeover: bool,
    /// Then mirror each change as it is saved, until Ctrl-C
    #[arg(long, conflicts_with = "dry_run")]
    watch: bool,
    /// With --watch: do not wait for jobs that run in the mirror; they see files change
    #[arg(long, requires = "watch")]
    live: bool,
}

pub(crate) async fn run(app: &App, args: Sync) -> Result<u8, CommandError> {
    pull::check(&args.include)?;
    let mut project = match &args.dir {
        Some(dir) => Project::at(dir)?,
        None => Project::find(&project::here()?)?,
    };
    project.sync = settings(&args).or(project.sync);
    let session = if args.watch || args.explain.is_some() {
        app.connect().await?
    } else {
        app.connect_ahead().await?
    };
    let workspace = match &args.workspace {
        Some(name) => WorkspaceRef::Name(name.clone()),
        None => project::origin(&session, &project)?,
    };
    let how = mirror::How {
        dry_run: args.dry_run,
        delete: project.sync.delete(),
        force_delete: args.force_delete,
        compress: Compression::chosen(project.sync.compress),
        adopt: args.adopt,
        whole: args.whole,
        live: args.live,
        takeover: args.takeover,
        keeps: args.watch,
        in_full: args.dry_run || app.out.json,
    };
    if let Some(path) = &args.explain {
        let cache = session.memory(mirror::key(&workspace).as_bytes(), "cache")?;
        let options = mirror::options(&session, &project, how)?;
        return explained::tell(app, &project, (&options, &cache), path);
    }
    if args.watch {
        return watching::watch(app, &session, &project, workspace, how).await;
    }
    let began = Instant::now();
    let pushing = mirror::push(app, &session, &project, workspace, how);
    let pushed = unless_interrupted(pushing).await.map_err(stopped)?;
    let took = began.elapsed();
    if app.out.json {
        app.out.json_line(&to_json(&pushed))?;
    } else {
        tell(app.out, &pushed, took)?;
    }
    // The mirror is as it should be but for these: a script must be able to see that.
    Ok(if pushed.unreadable.is_empty() {
        0
    } else {
        FAILED
    })
}

/// What the command line says.
fn settings(args: &Sync) -> SyncSettings {
    SyncSettings {
        delete: args.delete,
        with_git: args.with_git.then_some(true),
        include: (!args.include.is_empty()).then(|| args.include.clone()),
        bwlimit: args.bwlimit,
        compress: args.compress,
        ..SyncSettings::default()
    }
}

/// Ctrl-C stops a sync itself, not only looking at it.
fn stopped(error: CommandError) -> CommandError {
    if error.exit != INTERRUPTED {
        return error;
    }
    let message = "stopped: the mirror is as it was before, unless it was just being put in place";
    CommandError::new(INTERRUPTED, "INTERRUPTED", message).hint("sync again to complete it")
}

pub(crate) fn tell(out: Output, pushed: &Pushed, took: Duration) -> Result<(), CommandError> {
    let summary = &pushed.summary;
    if pushed.dry_run {
        for (what, listing) in [
            ("write", &summary.written),
            ("delete", &summary.deleted),
            ("displace", &summary.displaced),
            ("keep", &summary.kept),
        ] {
            out.text(&mirror::lines(&format!("{what:<8} "), listing))?;
        }
    } else {
        mirror::concerns(out, pushed);
    }
    out.note(&format!(
        "{}{} written ({}), {} deleted, {} in the mirror{}",
        if pushed.dry_run { "would be: " } else { "" },
        summary.written.total,
        render::bytes(summary.written_bytes),
        summary.deleted.total,
        mirror::count(summary.entries, "path"),
        speed(pushed, took),
    ));
    if pushed.special > 0 {
        out.note(&format!(
            "{} left out: sockets, pipes and devices do not travel",
            mirror::count(pushed.special, "path")
        ));
    }
    if pushed.dry_run {
        for path in &pushed.unreadable {
            out.note(&format!(
                "cannot read {}: {}",
                mirror::show(&path.path),
                path.why
            ));
        }
    }
    Ok(())
}

/// How fast it went, if there was anything to send.
fn speed(pushed: &Pushed, took: Duration) -> String {
    if pushed.sent_bytes + pushed.reused_bytes == 0 {
        return String::new();
    }
    let reused = match pushed.reused_bytes {
        0 => String::new(),
        bytes => format!(" and {} reused", render::bytes(bytes)),
    };
    let millis = took.as_millis().max(1);
    let rate = u128::from(pushed.sent_bytes) * 1000 / millis;
    format!(
        "; {} sent{reused} in {}.{:02}s, {}/s",
        render::bytes(pushed.sent_bytes),
        millis / 1000,
        millis % 1000 / 10,
        render::bytes(u64::try_from(rate).unwrap_or(u64::MAX)),
    )
}

pub(crate) fn to_json(pushed: &Pushed) -> serde_json::Value {
    let summary = &pushed.summary;
    let unreadable: Vec<_> = pushed
        .unreadable
        .iter()
        .map(|path| json!({"path": mirror::show(&path.path), "why": path.why}))
        .collect();
    json!({
        "dryRun": pushed.dry_run,
        "root": summary.root.to_string(),
        "generation": summary.generation,
        "entries": summary.entries,
        "sentFiles": pushed.sent_files,
        "sentBytes": pushed.sent_bytes,
        "wireBytes": pushed.wire_bytes,
        "reusedFiles": pushed.reused_files,
        "reusedBytes": pushed.reused_bytes,
        "written": mirror::to_json(&summary.written),
        "writtenBytes": summary.written_bytes,
        "deleted": mirror::to_json(&summary.deleted),
        "displaced": mirror::to_json(&summary.displaced),
        "kept": mirror::to_json(&summary.kept),
        "trash": summary.trash,
        "special": pushed.special,
        "unreadable": unreadable,
    })
}
