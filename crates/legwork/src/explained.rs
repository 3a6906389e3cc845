//! What becomes of one path of a directory that is mirrored, in words.

use std::path::{Component, Path, PathBuf};

use legwork_sync::explain::{Explained, Fate, LeftOut, Reason, State, explain};
use legwork_sync::push::Options;
use serde_json::{Value, json};

use crate::app::App;
use crate::error::{CommandError, FAILED};
use crate::mirror::show;
use crate::output::printable;
use crate::project::Project;
use crate::render::json::Text;

/// Says what a sync does about `path`, which is seen from where we stand.
pub(crate) fn tell(
    app: &App,
    project: &Project,
    (options, cache): (&Options, &Path),
    path: &Path,
) -> Result<u8, CommandError> {
    let below = below(project, path)?;
    let told = explain(&project.root, options, cache, &below)
        .map_err(|error| CommandError::new(FAILED, "ROOT_UNREADABLE", error.to_string()))?;
    if app.out.json {
        app.out.json_line(&to_json(&below, &told))?;
    } else {
        app.out.text(&format!("{}\n", words(&below, &told)))?;
    }
    Ok(0)
}

/// Where a path is below the mirrored directory. Links are not followed: one is mirrored as what it is.
fn below(project: &Project, path: &Path) -> Result<PathBuf, CommandError> {
    let outside = || {
        let message = format!(
            "{} is not in {}, which is mirrored",
            path.display(),
            project.root.display()
        );
        CommandError::usage(message)
    };
    let mut here = if path.is_absolute() {
        PathBuf::new()
    } else {
        project.root.join(&project.inside)
    };
    for part in path.components() {
        match part {
            Component::ParentDir => drop(here.pop()),
            Component::CurDir => {}
            part => here.push(part),
        }
    }
    if let Ok(below) = here.strip_prefix(&project.root) {
        return Ok(below.to_owned());
    }
    // The way to it may go through links.
    let above = here.parent().and_then(|above| above.canonicalize().ok());
    let led = above
        .zip(here.file_name())
        .map(|(above, name)| above.join(name));
    let led = led.and_then(|led| led.strip_prefix(&project.root).map(Path::to_owned).ok());
    led.ok_or_else(outside)
}

fn words(path: &Path, told: &Explained) -> String {
    let name = show(path);
    let fate = match &told.fate {
        Fate::Taken => "is mirrored".to_owned(),
        Fate::Chosen(left_out) => format!(
            "is mirrored because you chose it; else it would be left out{}",
            why(path, left_out)
        ),
        Fate::LeftOut(left_out) => format!("is left out{}", why(path, left_out)),
        Fate::Excluded => "is legwork's own and never mirrored".to_owned(),
        Fate::Special => "is left out: sockets, pipes and devices do not travel".to_owned(),
        Fate::Unreadable(error) => {
            format!("cannot be read ({error}): the mirror keeps what it has there")
        }
        Fate::Missing => "is not there".to_owned(),
    };
    format!("{name} {fate}{}", state(told))
}

fn why(path: &Path, left_out: &LeftOut) -> String {
    let what = match &left_out.reason {
        Reason::Rule { line, file } => {
            let file = printable(&file.to_string_lossy());
            format!("by `{}` in {file}", printable(line))
        }
        Reason::Repository => "since it is a repository's own (--with-git takes .git)".to_owned(),
        Reason::BuildCache => "since its CACHEDIR.TAG says that it is a build's cache".to_owned(),
    };
    if left_out.at == path {
        return format!(" {what}");
    }
    format!(" with {}, {what}", show(&left_out.at))
}

fn state(told: &Explained) -> &'static str {
    let taken = matches!(told.fate, Fate::Taken | Fate::Chosen(_));
    match (taken, told.state) {
        (true, State::New) => "; the mirror does not have it yet",
        (true, State::Same) => "; the mirror has it as it is",
        (true, State::Changed) => "; it changed since it was mirrored",
        (false, State::Same | State::Changed) => {
            "; the mirror has it, and the next sync removes it there"
        }
        (false, State::New) | (_, State::Unknown) => "",
    }
}

fn to_json(path: &Path, told: &Explained) -> Value {
    use std::os::unix::ffi::OsStrExt;
    let (fate, left_out) = match &told.fate {
        Fate::Taken => ("taken", None),
        Fate::Chosen(left_out) => ("chosen", Some(left_out)),
        Fate::LeftOut(left_out) => ("leftOut", Some(left_out)),
        Fate::Excluded => ("excluded", None),
        Fate::Special => ("special", None),
        Fate::Unreadable(_) => ("unreadable", None),
        Fate::Missing => ("missing", None),
    };
    let rule = left_out.map(|left_out| {
        let at = Text::new(left_out.at.as_os_str().as_bytes());
        match &left_out.reason {
            Reason::Rule { line, file } => {
                json!({"at": at, "line": line, "file": file.to_string_lossy()})
            }
            Reason::Repository => json!({"at": at, "builtIn": "repository"}),
            Reason::BuildCache => json!({"at": at, "builtIn": "buildCache"}),
        }
    });
    let state = match told.state {
        State::New => "new",
        State::Same => "same",
        State::Changed => "changed",
        State::Unknown => "unknown",
    };
    let path = Text::new(path.as_os_str().as_bytes());
    json!({"path": path, "fate": fate, "rule": rule, "state": state})
}
