//! `legwork start`.

use std::ffi::OsString;

use clap::Args;
use legwork_client::{Cause, Job, Place, Stdin};

use crate::app::App;
use crate::error::CommandError;
use crate::job_options::JobOptions;
use crate::{project, render};

/// Start jobs detached and print their ids, a line each, in the order given.
///
/// Jobs started by one call start together. One that cannot be executed is said so at once, and its
/// code (127 not found, 126 not executable, 125 another reason) is the exit code.
#[derive(Debug, Args)]
pub(crate) struct Start {
    #[command(flatten)]
    options: JobOptions,
    /// A command for the shell (repeat for more jobs)
    #[arg(short = 'c', value_name = "SHELL COMMAND", conflicts_with = "argv")]
    shell: Vec<OsString>,
    /// The command and its arguments
    #[arg(trailing_var_arg = true, value_name = "CMD")]
    argv: Vec<OsString>,
}

impl Start {
    fn commands(&self) -> Result<Vec<Vec<OsString>>, CommandError> {
        if !self.argv.is_empty() {
            return Ok(vec![self.argv.clone()]);
        }
        if self.shell.is_empty() {
            return Err(CommandError::usage("there is no command to start")
                .hint("legwork start -- CMD ARG..., or legwork start -c 'SHELL COMMAND'"));
        }
        let shell = |line: &OsString| vec!["/bin/sh".into(), "-c".into(), line.clone()];
        Ok(self.shell.iter().map(shell).collect())
    }
}

pub(crate) async fn run(app: &App, args: Start) -> Result<u8, CommandError> {
    let results = start(app, &args)
        .await
        .map_err(CommandError::before_start)?;
    let mut code = 0;
    let mut note = |worse: u8| {
        if code == 0 {
            code = worse;
        }
    };
    for result in results {
        match result {
            Ok(job) => {
                render::id(app.out, &job)?;
                if let Some(told) = render::limits::left_out(&job).filter(|_| !app.out.json) {
                    app.out.note(&told);
                }
                note(mistake(app, &job));
            }
            Err(refused) => {
                let failure = CommandError::from(refused).before_start();
                note(failure.exit);
                app.out.error(&failure);
            }
        }
    }
    Ok(code)
}

async fn start(app: &App, args: &Start) -> Result<Vec<legwork_client::Result<Job>>, CommandError> {
    let commands = args.commands()?;
    let session = app.connect_ahead().await?;
    let specs = |place: Place| {
        let spec = |argv: &Vec<OsString>| {
            args.options
                .spec(argv.clone(), place.clone(), Stdin::Null, &session)
        };
        commands.iter().map(spec).collect()
    };
    project::start(app, &session, &args.options, specs).await
}

/// Tells of a job that could not be executed; its exit code, or 0.
fn mistake(app: &App, job: &Job) -> u8 {
    match job.finish() {
        Some(finish) if matches!(finish.cause, Cause::NotStarted(_)) => {
            if let Some(problem) = render::end::problem(job, finish) {
                app.out.error(&problem);
            }
            finish.exit_code
        }
        _ => 0,
    }
}
