//! `legwork run`.

use std::ffi::OsString;
use std::pin::pin;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use clap::Args;
use legwork_client::{Cause, Client, Job, LogEvent, Logs};
use serde_json::json;
use uuid::Uuid;

use crate::app::App;
use crate::commands::pull;
use crate::error::{CommandError, INTERRUPTED};
use crate::interrupt::Interrupts;
use crate::job_options::JobOptions;
use crate::local::Session;
use crate::printer::Printer;
use crate::project;
use crate::render;
use crate::render::logs::Viewer;
use crate::stdin;

/// Mirror this directory to a workspace, run a command there, and show its output as it happens.
///
/// Exits with the command's own code; 128+N when signal N killed it; 124 at a limit of time or disk space; 125 when
/// legwork failed before the job started; 126 not executable; 127 not found; 255 outcome unknown.
/// Ctrl-C stops the job and waits for its end; twice does not wait.
#[derive(Debug, Args)]
pub(crate) struct Run {
    #[command(flatten)]
    options: JobOptions,
    /// Forward standard input even from a terminal
    #[arg(long, short = 'i')]
    stdin: bool,
    /// Let the output do to the terminal what it wants; else it is shown text and colours
    #[arg(long)]
    raw_escapes: bool,
    /// Do not follow: print the job's id and return
    #[arg(long, short)]
    detach: bool,
    /// Afterwards bring back files that match (repeat for more)
    #[arg(long, value_name = "GLOB", conflicts_with_all = ["detach", "no_sync", "in_place"])]
    pull: Vec<String>,
    /// With --pull: replace files that were changed here meanwhile, too
    #[arg(long, requires = "pull")]
    force: bool,
    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "CMD")]
    argv: Vec<OsString>,
}

pub(crate) async fn run(app: &App, args: Run) -> Result<u8, CommandError> {
    let mut interrupts = Interrupts::listen()?;
    let (started, interrupted) = prepare_unless(app, &args, &mut interrupts).await?;
    let Started { session, job, logs } = started;
    if args.detach {
        render::id(app.out, &job)?;
        return Ok(0);
    }
    if app.out.json {
        app.out
            .json_line(&json!({"event": "started", "job": render::json::Job::from(&job)}))
            .map_err(CommandError::untold_start)?;
    } else {
        begun(app, &session, &job);
    }
    let short = render::short(&job);
    let end = match (job.finish().map(|finish| &finish.cause), logs) {
        // One that is over otherwise was started by an attempt whose answer was lost, and may have printed.
        (Some(Cause::NotStarted(_)), _) | (_, None) => Followed::Ended(Box::new(job)),
        (_, Some(logs)) => follow(
            app,
            &session.client,
            (&job, logs),
            &mut interrupts,
            &args,
            interrupted,
        )
        .await
        .map_err(|failure| failure.after_start().watching(short))?,
    };
    match end {
        Followed::Detached => Ok(INTERRUPTED),
        Followed::Unprinted(failure) => Err(failure),
        Followed::Ended(job) => {
            let code = conclude(app, &job)?;
            let ran = !matches!(job.finish().map(|f| &f.cause), Some(Cause::NotStarted(_)));
            if ran && !args.pull.is_empty() {
                let asked = (&args.pull[..], args.force, args.options.compress);
                let pulled = pull::after_run(app, &session, &job, asked, &mut interrupts).await;
                if code == 0 {
                    pulled?;
                } else if let Err(failure) = pulled {
                    app.out.error(&failure);
                }
            }
            Ok(code)
        }
    }
}

/// A job, where it runs, and its output unless nobody looks.
struct Started {
    session: Session,
    job: Job,
    logs: Option<Logs>,
}

/// Everything up to a job that runs, and whether it was interrupted when that had been asked for.
async fn prepare_unless(
    app: &App,
    args: &Run,
    interrupts: &mut Interrupts,
) -> Result<(Started, bool), CommandError> {
    let interrupted = |why: String| CommandError::new(INTERRUPTED, "INTERRUPTED", why);
    let asked = Mutex::new(None);
    let mut preparing = pin!(prepare(app, args, &asked));
    let prepared = tokio::select! {
        prepared = &mut preparing => Some(prepared),
        () = interrupts.next() => None,
    };
    let (prepared, was_interrupted) = match prepared {
        Some(prepared) => (prepared, false),
        None => {
            let asked = *asked.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(id) = asked else {
                let why = "interrupted before the job started; nothing runs";
                return Err(interrupted(why.to_owned()));
            };
            // What was asked for may be done already: the answer says what there is to stop.
            tokio::select! {
                prepared = &mut preparing => (prepared, true),
                () = interrupts.next() => {
                    let why = format!("interrupted while the job was being started; it may run: `legwork status {id}` tells");
                    return Err(interrupted(why));
                }
            }
        }
    };
    let started = prepared.map_err(CommandError::before_start)?;
    Ok((started, was_interrupted))
}

/// Everything up to a job that runs. Its id is noted before it is asked for.
async fn prepare(
    app: &App,
    args: &Run,
    asked: &Mutex<Option<Uuid>>,
) -> Result<Started, CommandError> {
    pull::check(&args.pull)?;
    let session = app.connect_ahead().await?;
    let stdin = if args.detach {
        legwork_client::Stdin::Null
    } else {
        stdin::wanted(args.stdin)
    };
    let options = &args.options;
    let spec = |place| {
        let spec = options.spec(args.argv.clone(), place, stdin, &session)?;
        *asked.lock().unwrap_or_else(PoisonError::into_inner) = Some(spec.id);
        Ok(spec)
    };
    let (job, logs) = if args.detach {
        let specs = |place| Ok(vec![spec(place)?]);
        let started = project::start(app, &session, options, specs).await?;
        let job = started.into_iter().next();
        let job = job.ok_or_else(|| CommandError::unknown("no answer"))??;
        (job, None)
    } else {
        let (job, logs) = project::run(app, &session, options, spec).await?;
        (job, Some(logs))
    };
    if stdin == legwork_client::Stdin::Pipe && job.finish().is_none() {
        forward_stdin(app, &session, &job);
    }
    Ok(Started { session, job, logs })
}

/// Apart from who prepares, so that only who has something to forward has room for it on the stack.
#[inline(never)]
fn forward_stdin(app: &App, session: &Session, job: &Job) {
    let (client, id, out) = (session.client.clone(), job.id.to_string(), app.out);
    app.tasks.spawn(async move {
        if let Err(failure) = stdin::forward(client, id).await {
            out.note(&format!("standard input: {}", failure.message));
        }
    });
}

/// Says which job it is, and on another machine where.
fn begun(app: &App, session: &Session, job: &Job) {
    match &session.remote {
        Some(host) => app.out.note(&format!("{host}: job {}", render::short(job))),
        None => app.out.remark(&format!("job {}", render::short(job))),
    }
    if let Some(told) = render::limits::left_out(job) {
        app.out.note(&told);
    }
}

enum Followed {
    Ended(Box<Job>),
    /// It has ended, and not all that it printed could be shown.
    Unprinted(CommandError),
    Detached,
}

/// Shows the output until the end; the first interrupt stops the job, the second only us.
async fn follow(
    app: &App,
    client: &Client,
    (job, logs): (&Job, Logs),
    interrupts: &mut Interrupts,
    args: &Run,
    mut interrupted: bool,
) -> Result<Followed, CommandError> {
    let id = job.id.to_string();
    let shown = show(app, client, &id, logs, args.raw_escapes);
    tokio::pin!(shown);
    let mut stopping = false;
    loop {
        let again = async {
            if !std::mem::take(&mut interrupted) {
                interrupts.next().await;
            }
        };
        tokio::select! {
            ended = &mut shown => return ended,
            () = again => {
                if stopping {
                    let short = render::short(job);
                    app.out.note(&format!(
                        "not waiting for it any more, while it is still being stopped; \
                         `legwork wait {short}` waits, `legwork logs -f {short}` shows it"
                    ));
                    return Ok(Followed::Detached);
                }
                stopping = true;
                let grace = args.options.stop_grace().unwrap_or(Duration::from_secs(10));
                app.out.note(&format!(
                    "stopping the job (up to {}); Ctrl-C again stops waiting for it",
                    humantime::format_duration(grace),
                ));
                stop_in_background(app, client, &id);
            }
        }
    }
}

fn stop_in_background(app: &App, client: &Client, id: &str) {
    let (client, id, out) = (client.clone(), id.to_owned(), app.out);
    app.tasks.spawn(async move {
        if let Err(failure) = client.stop(&id, None, None).await {
            out.note(&format!("cannot stop the job: {}", failure.message));
        }
    });
}

/// Prints what comes until the job's end.
async fn show(
    app: &App,
    client: &Client,
    id: &str,
    mut logs: Logs,
    raw: bool,
) -> Result<Followed, CommandError> {
    let printer = Printer::new(raw);
    let mut viewer = Viewer::new(app.out, &printer);
    let mut heard = true;
    let ended = loop {
        match logs.next().await? {
            Some(LogEvent::End { job: Some(job), .. }) => break job,
            Some(event) if heard => {
                heard = viewer.show(event).await?;
                if !heard {
                    // As a pipe would: who prints for nobody is asked to end.
                    stop_in_background(app, client, id);
                }
            }
            Some(_) => {}
            None => {
                return Err(CommandError::unknown(
                    "the output ended without the job's end",
                ));
            }
        }
    };
    if heard {
        viewer.finish().await?;
    }
    match printer.finish().await {
        Err(failure) if failure.exit != crate::error::NO_READER => {
            let short = render::short(&ended);
            let what = match ended.finish().map(|finish| &finish.cause) {
                Some(Cause::Stopped { .. }) => "the job was stopped, as it printed for nobody",
                _ => "the job ended by itself",
            };
            Ok(Followed::Unprinted(failure.hint(format!(
                "{what}; `legwork logs {short}` has what it printed"
            ))))
        }
        _ => Ok(Followed::Ended(ended)),
    }
}

/// Says how it ended, where the output does not show it, and gives the exit code.
pub(crate) fn conclude(app: &App, job: &Job) -> Result<u8, CommandError> {
    let Some(finish) = job.finish() else {
        return Err(render::end::untold(job));
    };
    if app.out.json {
        app.out
            .json_line(&json!({"event": "finished", "job": render::json::Job::from(job)}))?;
    }
    if let Some(failure) = render::end::problem(job, finish) {
        app.out.error(&failure);
    }
    Ok(finish.exit_code)
}
