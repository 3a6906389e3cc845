//! `legwork signal`.

use clap::Args;

use crate::app::App;
use crate::error::CommandError;
use crate::signals;

/// Send a signal to a job's main process.
#[derive(Debug, Args)]
pub(crate) struct Signal {
    /// The job's id or a unique prefix of it
    id: String,
    /// The signal, such as HUP or 1
    #[arg(value_parser = signals::parse)]
    signal: i32,
}

pub(crate) async fn run(app: &App, args: Signal) -> Result<u8, CommandError> {
    let session = app.connect().await?;
    session.client.signal(&args.id, args.signal).await?;
    Ok(0)
}
