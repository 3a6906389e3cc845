//! `legwork status`.

use clap::Args;

use crate::app::App;
use crate::error::CommandError;
use crate::render;

/// Show one job: what it is, what it does, how it ended.
#[derive(Debug, Args)]
pub(crate) struct Status {
    /// The job's id or a unique prefix of it
    id: String,
}

pub(crate) async fn run(app: &App, args: Status) -> Result<u8, CommandError> {
    let session = app.connect().await?;
    let job = session.client.get(&args.id).await?;
    if app.out.json {
        app.out.json_line(&render::json::Job::from(&job))?;
    } else {
        app.out.text(&render::facts::job(&job))?;
    }
    Ok(0)
}
