//! `legwork sync`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use legwork_client::WorkspaceRef;
use legwork_sync::message::{Delete, Listing};
use legwork_sync::push::Pushed;
use serde_json::json;

use crate::app::App;
use crate::error::{CommandError, FAILED};
use crate::interrupt::unless_interrupted;
use crate::output::{Output, printable};
use crate::project::{self, Project};
use crate::render::json::Text;
use crate::{mirror, render, watching};

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
    #[arg(long, value_enum, default_value = "owned")]
    delete: Policy,
    /// Delete however much this directory no longer has
    #[arg(long)]
    force_delete: bool,
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

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Policy {
    /// Delete what the mirror wrote and nobody changed since
    Owned,
    /// Delete nothing now; a later sync without this does
    None,
}

pub(crate) async fn run(app: &App, args: Sync) -> Result<u8, CommandError> {
    let project = match &args.dir {
        Some(dir) => Project::at(dir)?,
        None => Project::find(&project::here()?)?,
    };
    let session = app.connect().await?;
    let workspace = match &args.workspace {
        Some(name) => WorkspaceRef::Name(name.clone()),
        None => project::origin(&session, &project)?,
    };
    let how = mirror::How {
        dry_run: args.dry_run,
        delete: match args.delete {
            Policy::Owned => Delete::Owned,
            Policy::None => Delete::Nothing,
        },
        force_delete: args.force_delete,
        live: args.live,
        takeover: args.takeover,
        keeps: args.watch,
    };
    if args.watch {
        return watching::watch(app, &session, &project, workspace, how).await;
    }
    let pushed = unless_interrupted(mirror::push(app, &session, &project, workspace, how)).await?;
    if app.out.json {
        app.out.json_line(&to_json(&pushed))?;
    } else {
        tell(app.out, &pushed)?;
    }
    // The mirror is as it should be but for these: a script must be able to see that.
    Ok(if pushed.unreadable.is_empty() {
        0
    } else {
        FAILED
    })
}

pub(crate) fn tell(out: Output, pushed: &Pushed) -> Result<(), CommandError> {
    let summary = &pushed.summary;
    if pushed.dry_run {
        for (what, listing) in [
            ("write", &summary.written),
            ("delete", &summary.deleted),
            ("displace", &summary.displaced),
            ("keep", &summary.kept),
        ] {
            out.text(&list(what, listing))?;
        }
    } else {
        mirror::concerns(out, pushed);
    }
    out.note(&format!(
        "{}{} written ({}), {} deleted, {} in the mirror",
        if pushed.dry_run { "would be: " } else { "" },
        summary.written.total,
        render::bytes(summary.written_bytes),
        summary.deleted.total,
        mirror::count(summary.entries, "path"),
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

fn list(what: &str, listing: &Listing) -> String {
    let mut text = String::new();
    for path in &listing.paths {
        text.push_str(&format!(
            "{what:<8} {}\n",
            printable(&String::from_utf8_lossy(path))
        ));
    }
    let more = listing.total.saturating_sub(listing.paths.len() as u64);
    if more > 0 {
        text.push_str(&format!("{what:<8} and {more} more\n"));
    }
    text
}

pub(crate) fn to_json(pushed: &Pushed) -> serde_json::Value {
    let summary = &pushed.summary;
    let listing = |listing: &Listing| {
        let paths: Vec<Text<'_>> = listing.paths.iter().map(|path| Text::new(path)).collect();
        json!({"total": listing.total, "paths": paths})
    };
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
        "written": listing(&summary.written),
        "writtenBytes": summary.written_bytes,
        "deleted": listing(&summary.deleted),
        "displaced": listing(&summary.displaced),
        "kept": listing(&summary.kept),
        "trash": summary.trash,
        "special": pushed.special,
        "unreadable": unreadable,
    })
}
