//! `legwork doctor`.

use clap::Args;
use serde_json::json;

use crate::app::App;
use crate::error::CommandError;
use crate::local;

/// Tell where jobs live, who we are to them, and how a job's processes are held together here.
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// Build the index of jobs anew from their directories
    #[arg(long)]
    rebuild: bool,
}

pub(crate) async fn run(app: &App, args: Doctor) -> Result<u8, CommandError> {
    let state = app.state_dir()?;
    let session = app.connect().await?;
    let rebuilt = match args.rebuild {
        true => Some(session.server.rebuild().await.map_err(local::told)?),
        false => None,
    };
    let info = session.client.info().await?;
    if app.out.json {
        app.out.json_line(&json!({
            "version": info.version,
            "stateDir": state.to_string_lossy(),
            "principal": info.principal,
            "containment": info.containment,
            "rebuiltJobs": rebuilt,
        }))?;
        return Ok(0);
    }
    app.out.text(&format!(
        "version     {}\nstate       {}\nprincipal   {}\ncontainment {}\n",
        info.version,
        state.display(),
        info.principal,
        info.containment,
    ))?;
    if let Some(jobs) = rebuilt {
        app.out.text(&format!(
            "index       rebuilt, {}\n",
            crate::mirror::count(jobs as u64, "job")
        ))?;
    }
    Ok(0)
}
