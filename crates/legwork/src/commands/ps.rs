//! `legwork ps`.

use clap::{Args, ValueEnum};
use legwork_client::{Job, ListFilter};
use legwork_jobs::{Clock, SystemClock};

use crate::app::App;
use crate::error::CommandError;
use crate::job_options::label;
use crate::output::JsonList;
use crate::render;

/// List jobs, newest first: those not finished, or all with -a.
#[derive(Debug, Args)]
pub(crate) struct Ps {
    /// Finished jobs too
    #[arg(long, short)]
    all: bool,
    /// Only jobs in this state
    #[arg(long, value_enum)]
    state: Vec<State>,
    /// Only jobs with this label (repeat for more: all must match)
    #[arg(long, value_name = "KEY=VALUE", value_parser = label)]
    label: Vec<(String, String)>,
    /// Only jobs with this name
    #[arg(long)]
    name: Option<String>,
    /// Only jobs of this user
    #[arg(long)]
    user: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum State {
    Pending,
    Starting,
    Running,
    Paused,
    Finished,
    Unknown,
}

pub(crate) async fn run(app: &App, args: Ps) -> Result<u8, CommandError> {
    let session = app.connect().await?;
    let filter = ListFilter {
        finished: finished(&args),
        labels: args.label.iter().cloned().collect(),
        owner: args.user.clone(),
        name: args.name.clone(),
    };
    let mut pages = session.client.pages(&filter);
    let asked = |job: &Job| args.state.is_empty() || args.state.iter().any(|state| is(job, *state));
    if app.out.json {
        let mut list = JsonList::default();
        while let Some(jobs) = pages.next().await? {
            for job in jobs.iter().filter(|job| asked(job)) {
                list.add(&render::json::Job::from(job))?;
            }
        }
        list.end()?;
    } else {
        let mut found = Vec::new();
        while let Some(jobs) = pages.next().await? {
            found.extend(jobs.into_iter().filter(asked));
        }
        app.out
            .text(&render::table::jobs(&found, SystemClock.now_ms()))?;
    }
    Ok(0)
}

/// Which jobs to ask for: what was named, or by default what still has something to do.
fn finished(args: &Ps) -> Option<bool> {
    let wants_finished = args.state.contains(&State::Finished);
    let wants_open = args.state.iter().any(|state| *state != State::Finished);
    match (wants_finished, wants_open) {
        (true, true) => None,
        (true, false) => Some(true),
        (false, true) => Some(false),
        (false, false) => {
            if args.all {
                None
            } else {
                Some(false)
            }
        }
    }
}

fn is(job: &Job, state: State) -> bool {
    let name = state.to_possible_value();
    name.is_some_and(|name| name.get_name() == render::state(job))
}
