//! `legwork version`.

use clap::Args;
use serde_json::json;

use crate::app::App;
use crate::error::CommandError;

/// Print the version.
#[derive(Debug, Args)]
pub(crate) struct Version {}

pub(crate) fn run(app: &App, _args: Version) -> Result<u8, CommandError> {
    let version = env!("CARGO_PKG_VERSION");
    if app.out.json {
        app.out.json_line(&json!({"version": version}))?;
    } else {
        app.out.text(&format!("legwork {version}\n"))?;
    }
    Ok(0)
}
