//! `legwork rm`.

use clap::Args;

use crate::app::App;
use crate::error::CommandError;

/// Remove finished jobs and their output.
#[derive(Debug, Args)]
pub(crate) struct Rm {
    /// Ids or unique prefixes
    #[arg(required = true)]
    id: Vec<String>,
    /// Also those of a newer legwork, of which this one does not understand everything
    #[arg(long)]
    force: bool,
}

pub(crate) async fn run(app: &App, args: Rm) -> Result<u8, CommandError> {
    let session = app.connect().await?;
    let mut code = 0;
    for id in &args.id {
        // One that cannot be removed does not keep the others.
        let removed = if args.force {
            session.client.remove_whatever_it_is(id).await
        } else {
            session.client.remove(id).await
        };
        if let Err(error) = removed {
            let failure = CommandError::from(error);
            app.out.error(&failure);
            code = failure.exit;
        }
    }
    Ok(code)
}
