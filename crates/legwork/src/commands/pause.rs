//! `legwork pause` and `legwork resume`.

use clap::Args;

use crate::app::App;
use crate::error::CommandError;
use crate::render;

/// Hold jobs still, or let them go on. Their time limits go on in any case.
#[derive(Debug, Args)]
pub(crate) struct Pause {
    /// Ids of jobs, or unique prefixes of them
    #[arg(required = true)]
    ids: Vec<String>,
}

/// What is wanted of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    Still,
    Going,
}

pub(crate) async fn run(app: &App, args: Pause, wanted: Wanted) -> Result<u8, CommandError> {
    let session = app.connect().await?;
    let mut code = 0;
    for id in &args.ids {
        let done = match wanted {
            Wanted::Still => session.client.pause(id).await,
            Wanted::Going => session.client.resume(id).await,
        };
        // One that cannot be held does not keep the others.
        let job = match done {
            Ok(job) => job,
            Err(error) => {
                let failure = CommandError::from(error);
                app.out.error(&failure);
                code = failure.exit;
                continue;
            }
        };
        if app.out.json {
            app.out.json_line(&render::json::Job::from(&job))?;
        } else {
            let (short, state) = (render::short(&job), render::state(&job));
            app.out.text(&format!("{short} {state}\n"))?;
        }
    }
    Ok(code)
}
