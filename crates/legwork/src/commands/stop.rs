//! `legwork stop`.

use std::time::Duration;

use clap::Args;

use crate::app::App;
use crate::error::{CommandError, FAILED};
use crate::interrupt::unless_interrupted;
use crate::job_options::millis;
use crate::{render, signals};

/// Stop jobs and wait until they have ended: a signal to the main process, then, after the grace, an
/// end to everything the job started.
#[derive(Debug, Args)]
pub(crate) struct Stop {
    /// Ids or unique prefixes
    #[arg(required = true)]
    id: Vec<String>,
    /// First signal, instead of the one the job was started with
    #[arg(long, value_name = "SIGNAL", value_parser = signals::parse)]
    signal: Option<i32>,
    /// Time until everything is killed, instead of what the job was started with
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    grace: Option<Duration>,
}

pub(crate) async fn run(app: &App, args: Stop) -> Result<u8, CommandError> {
    let session = app.connect().await?;
    let stops: Vec<_> = args
        .id
        .iter()
        .map(|id| {
            let (client, id) = (session.client.clone(), id.clone());
            let (signal, grace) = (args.signal, args.grace.map(millis));
            app.tasks
                .spawn(async move { client.stop(&id, signal, grace).await })
        })
        .collect();
    let work = async {
        let mut code = 0;
        for stop in stops {
            let job = match stop.await.map_err(std::io::Error::other)? {
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
                let end = job.finish().map(render::end::summary);
                let end = end.unwrap_or_else(|| render::end::word(&job));
                app.out.text(&format!("{} {end}\n", render::short(&job)))?;
            }
            let Some(finish) = job.finish() else { continue };
            for remark in render::end::remarks(finish) {
                app.out.note(&remark);
            }
            if !finish.survivors.is_empty() {
                code = FAILED;
            }
        }
        Ok(code)
    };
    unless_interrupted(work).await
}
