//! `legwork wait`.

use clap::Args;
use legwork_client::{Client, Job};
use tokio::task::JoinSet;

use crate::app::App;
use crate::error::CommandError;
use crate::interrupt::unless_interrupted;
use crate::render;

/// Wait for jobs to end.
///
/// Exits with the job's code as `run` would; of several, with the first that is not 0, in the order of
/// the arguments. Ctrl-C only stops waiting (130).
#[derive(Debug, Args)]
pub(crate) struct Wait {
    /// Ids or unique prefixes
    #[arg(required = true)]
    id: Vec<String>,
    /// Return with the first that ends
    #[arg(long)]
    any: bool,
}

pub(crate) async fn run(app: &App, args: Wait) -> Result<u8, CommandError> {
    // What fails here is no job's exit code.
    let ended = wait(app, &args).await.map_err(|failure| {
        let failure = failure.after_start();
        match args.id.as_slice() {
            [job] => failure.watching(job),
            _ => failure,
        }
    })?;
    if app.out.json {
        app.out.json_line(
            &ended
                .iter()
                .map(render::json::Job::from)
                .collect::<Vec<_>>(),
        )?;
    }
    let mut untold = 0;
    for job in ended.iter().filter(|job| job.finish().is_none()) {
        let failure = render::end::untold(job);
        app.out.error(&failure);
        untold = failure.exit;
    }
    let ends: Vec<_> = ended
        .iter()
        .filter_map(|job| Some((job, job.finish()?)))
        .collect();
    for (job, finish) in &ends {
        if let Some(problem) = render::end::problem(job, finish)
            && !app.out.json
        {
            app.out
                .note(&format!("{}: {}", render::short(job), problem.message));
        }
    }
    Ok(ends
        .iter()
        .map(|(_, finish)| finish.exit_code)
        .find(|code| *code != 0)
        .unwrap_or(untold))
}

async fn wait(app: &App, args: &Wait) -> Result<Vec<Job>, CommandError> {
    let session = app.connect().await?;
    if args.any {
        let first = unless_interrupted(first(&session.client, &args.id)).await?;
        return Ok(vec![first]);
    }
    unless_interrupted(all(&session.client, &args.id)).await
}

async fn all(client: &Client, ids: &[String]) -> Result<Vec<Job>, CommandError> {
    let mut ended = Vec::with_capacity(ids.len());
    for id in ids {
        // One after the other: the last of them to end decides in any order.
        ended.push(client.wait(id).await?);
    }
    Ok(ended)
}

async fn first(client: &Client, ids: &[String]) -> Result<Job, CommandError> {
    let mut waits = JoinSet::new();
    for id in ids {
        let (client, id) = (client.clone(), id.clone());
        waits.spawn(async move { client.wait(&id).await });
    }
    match waits.join_next().await {
        Some(ended) => Ok(ended.map_err(std::io::Error::other)??),
        None => Err(CommandError::usage("there is nothing to wait for")),
    }
}
