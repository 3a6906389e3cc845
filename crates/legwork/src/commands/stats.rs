//! `legwork stats`.

use clap::Args;

use crate::app::App;
use crate::error::CommandError;
use crate::output::JsonList;
use crate::render;

/// Show what jobs have consumed until now: those named, or all that run.
///
/// Without a control group (see `legwork doctor`) the figures are what can be seen of a job's processes, marked with ~.
#[derive(Debug, Args)]
pub(crate) struct Stats {
    /// Ids of jobs, or unique prefixes of them
    ids: Vec<String>,
}

pub(crate) async fn run(app: &App, args: Stats) -> Result<u8, CommandError> {
    let session = app.connect().await?;
    let stats = session.client.stats(&args.ids).await?;
    if app.out.json {
        let mut list = JsonList::default();
        for one in &stats {
            list.add(&render::stats::Json::from(one))?;
        }
        list.end()?;
    } else {
        app.out.text(&render::stats::table(&stats))?;
    }
    Ok(0)
}
